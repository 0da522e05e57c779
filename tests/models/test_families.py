"""Every registered network, through the same tests."""

from pathlib import Path

import numpy as np
import pytest
import torch
from act.models.layers import ChannelPad
from act.models.registry import create_model, default_arguments, list_models
from act.models.torchvision_compat import import_torchvision
from act.models.weights import load_into, load_weights
from torch import fx, nn

_TORCHVISION_NAMES = {
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "mobilenet_v2": "mobilenet_v2",
    "vgg16": "vgg16_bn",
}


@pytest.mark.parametrize("name", list_models())
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 33, 20)])
def test_traces_and_classifies_small_images_of_any_size(name: str, shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    model = create_model(name, **default_arguments(name, num_classes=7, image_shape=shape)).eval()
    images = torch.randn(2, *shape)
    with torch.no_grad():
        logits = model(images)
        assert logits.shape == (2, 7)
        assert bool(torch.isfinite(logits).all())
        assert torch.equal(fx.symbolic_trace(model)(images), logits)


@pytest.mark.parametrize("name", ["lenet5", "vgg16"])
def test_a_single_pixel_is_enough(name: str) -> None:
    model = create_model(name, **default_arguments(name, num_classes=3, image_shape=(1, 1, 1))).eval()
    assert model(torch.zeros(1, 1, 1, 1)).shape == (1, 3)


@pytest.mark.parametrize("name", sorted(_TORCHVISION_NAMES))
def test_imagenet_sized_networks_have_the_keys_and_shapes_of_torchvision(name: str) -> None:
    models = import_torchvision().models
    with torch.device("meta"):
        ours = create_model(name).state_dict()
        theirs = getattr(models, _TORCHVISION_NAMES[name])().state_dict()
    assert list(ours) == list(theirs)
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2"])
def test_imagenet_sized_networks_compute_what_torchvision_computes(name: str) -> None:
    torch.manual_seed(0)
    theirs = getattr(import_torchvision().models, _TORCHVISION_NAMES[name])().eval()
    ours = create_model(name).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


@pytest.mark.parametrize(("name", "params"), [("resnet20", 269_722), ("resnet56", 853_018), ("lenet5", 431_080)])
def test_networks_have_their_known_size(name: str, params: int) -> None:
    assert sum(parameter.numel() for parameter in create_model(name).parameters()) == params


def test_option_a_shortcut_drops_pixels_and_pads_channels_evenly() -> None:
    model = create_model("resnet20")
    pads = [module for module in model.modules() if isinstance(module, ChannelPad)]
    assert [(pad.before, pad.after) for pad in pads] == [(8, 8), (16, 16)]


def test_left_out_pools_do_not_renumber_the_features_of_vgg() -> None:
    small = create_model("vgg16", stem="cifar", image_height=8, image_width=8)
    large = create_model("vgg16", stem="cifar")
    assert list(small.state_dict()) == list(large.state_dict())
    count = [sum(isinstance(module, nn.MaxPool2d) for module in model.modules()) for model in (small, large)]
    assert count == [3, 5]


@pytest.mark.parametrize("name", ["resnet20", "resnet56", "vgg16"])
def test_published_weights_load_strictly_and_recognise_images(name: str, shared: Path) -> None:
    arguments = default_arguments(name, num_classes=10, image_shape=(3, 32, 32))
    model = create_model(name, **arguments).eval()
    weights = load_weights(shared / "weights" / f"{name}-cifar10.safetensors")
    load_into(model, weights)
    note = weights.normalization
    assert note is not None and note.channel_order == "RGB"
    with np.load(shared / "data" / "cifar10" / "test.npz", allow_pickle=False) as data:
        images, labels = data["x"][:100], data["y"][:100]
    values = (images * note.scale - np.asarray(note.mean)) / np.asarray(note.std)
    with torch.no_grad():
        logits = model(torch.from_numpy(values.transpose(0, 3, 1, 2)).float())
    assert (logits.argmax(1).numpy() == labels).mean() > 0.88
