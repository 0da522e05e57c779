"""torchvision's networks through the registry: names, sizes, one output, published files."""

from pathlib import Path

import pytest
import torch
from act.models.published_weights import adapt_keys
from act.models.registry import (
    ModelError,
    create_model,
    default_arguments,
    list_models,
    list_torchvision_models,
)
from act.models.torchvision_compat import import_torchvision
from act.models.torchvision_networks import usual_side
from act.models.weights import WeightsError, load_into, load_weights
from torch import nn

SAMPLE = {
    "alexnet": 64,
    "convnext_tiny": 32,
    "densenet121": 32,
    "efficientnet_b0": 32,
    "googlenet": 32,
    "inception_v3": 75,
    "mnasnet0_5": 32,
    "mobilenet_v3_small": 32,
    "regnet_y_400mf": 32,
    "resnext50_32x4d": 32,
    "shufflenet_v2_x0_5": 32,
    "squeezenet1_1": 32,
    "swin_v2_t": 32,
    "torchvision.vgg16": 32,
    "vit_b_16": 32,
    "vgg11_bn": 32,
}


def test_every_classification_network_of_torchvision_has_one_name() -> None:
    models = import_torchvision().models
    names, own = list_torchvision_models(), list_models()
    stock = models.list_models(module=models)
    assert sorted(name.removeprefix("torchvision.") for name in names) == sorted(stock)
    assert len(stock) >= 80
    assert not set(names) & set(own)
    qualified = [name for name in names if name.startswith("torchvision.")]
    assert qualified == [f"torchvision.{name}" for name in own if name in stock]
    assert list_torchvision_models("efficientnet_b[01]") == ["efficientnet_b0", "efficientnet_b1"]


def test_our_own_network_wins_and_torchvisions_is_there_too() -> None:
    with torch.device("meta"):
        own, stock = create_model("vgg16"), create_model("torchvision.vgg16")
    assert type(own).__module__.startswith("act.")
    norms = [sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) for network in (own, stock)]
    assert norms == [13, 0]


# RegNet computes its widths with tensors, which the meta device has not.
@pytest.mark.parametrize("name", [name for name in list_torchvision_models() if not name.startswith("regnet_")])
def test_every_network_has_the_size_that_torchvision_states(name: str) -> None:
    stock = name.removeprefix("torchvision.")
    stated = {weights.meta["num_params"] for weights in import_torchvision().models.get_model_weights(stock)}
    side = usual_side(name)
    with torch.device("meta"):
        network = create_model(name, **default_arguments(name, num_classes=1000, image_shape=(3, side, side)))
    auxiliary = 3_326_696 if stock == "inception_v3" else 0  # counted there, left out here
    assert sum(parameter.numel() for parameter in network.parameters()) + auxiliary in stated


@pytest.mark.parametrize("name", SAMPLE)
def test_networks_classify_images_of_a_small_size(name: str) -> None:
    side = SAMPLE[name]
    network = create_model(name, **default_arguments(name, num_classes=7, image_shape=(3, side, side))).eval()
    with torch.no_grad():
        logits = network(torch.randn(2, 3, side, side))
    assert isinstance(logits, torch.Tensor) and logits.shape == (2, 7)
    network.train()
    assert isinstance(network(torch.randn(2, 3, side, side)), torch.Tensor)


def test_usual_sizes_are_those_of_the_published_weights() -> None:
    names = ("resnet101", "efficientnet_b4", "inception_v3", "vit_h_14", "torchvision.vgg16", "no_such_network")
    assert [usual_side(name) for name in names] == [224, 380, 299, 224, 224, 224]


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("efficientnet_b0", {"in_channels": 1}, "images of 3 channels, RGB, but in_channels is 1"),
        ("inception_v3", {"image_height": 32, "image_width": 32}, "at least 75×75 pixels, but these are 32×32"),
        ("vit_b_16", {"image_height": 30, "image_width": 30}, "multiple of 16, but these are 30×30"),
        ("vit_b_32", {"image_height": 64, "image_width": 32}, "square images"),
        ("maxvit_t", {"image_height": 32}, "multiples of 224"),
        ("squeezenet1_1", {"stem": "cifar"}, "unknown argument of squeezenet1_1 'stem'"),
        ("squeezenet1_1", {"num_classes": 0}, "at least 1"),
        ("googlenet", {"transform_input": 3}, "true or false"),
        ("efficientnet_b9", {}, "did you mean 'efficientnet_b"),
        ("torchvision.vgg61", {}, "did you mean 'torchvision.vgg16'"),
        ("torchvision.alexnet", {}, "did you mean"),
    ],
)
def test_what_a_network_cannot_do_is_said(name: str, arguments: dict[str, int | str], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        create_model(name, **arguments)


@pytest.mark.parametrize(("name", "side"), [("googlenet", 64), ("inception_v3", 96)])
def test_published_files_load_without_their_auxiliary_classifiers(name: str, side: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    stock = getattr(import_torchvision().models, name)(init_weights=False, aux_logits=True, transform_input=True).eval()
    torch.save(stock.state_dict(), tmp_path / "published.pth")
    network = create_model(name).eval()
    load_into(network, load_weights(tmp_path / "published.pth"))
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        torch.testing.assert_close(network(images), stock(images))
    with pytest.raises(WeightsError, match=r"shapes: fc\.weight"):
        load_into(create_model(name, num_classes=10), load_weights(tmp_path / "published.pth"))


def test_weights_of_mnasnet_load_though_files_say_no_version(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, second = (create_model("mnasnet0_5", num_classes=3).eval() for _ in range(2))
    torch.save(dict(first.state_dict()), tmp_path / "weights.pth")
    load_into(second, load_weights(tmp_path / "weights.pth"))
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(first(images), second(images))


def test_old_keys_of_published_files_are_renamed() -> None:
    with torch.device("meta"):
        densenet = create_model("densenet121").state_dict()
        vit = create_model("vit_b_16").state_dict()
    old_densenet = {key.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): key for key in densenet}
    assert old_densenet.keys() != densenet.keys()
    assert adapt_keys(old_densenet, densenet) == {key: key for key in densenet}
    old_vit = {key.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): key for key in vit}
    assert old_vit.keys() != vit.keys()
    assert adapt_keys(old_vit, vit) == {key: key for key in vit}


def test_keys_that_a_network_has_or_nobody_knows_stay() -> None:
    state = {"aux1.weight": 1, "aux2.weight": 2, "other.mlp.linear_1.weight": 3}
    assert adapt_keys(state, {"aux1.weight"}) == {"aux1.weight": 1, "other.mlp.linear_1.weight": 3}
