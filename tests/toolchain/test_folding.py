import pytest
import torch
from act.toolchain.capture import capture
from act.toolchain.equality import relative_difference
from act.toolchain.folding import fold_batch_norm, folded_weights, plain_weights, row_scales
from torch import nn


@pytest.mark.parametrize("name", ["resnet20", "vgg16", "mobilenet_v2", "depthwise", "concatenated", "recurrent"])
def test_folding_keeps_the_function_and_leaves_the_network_alone(network_of, images_for, name):
    network = network_of(name)
    network.module.train()
    state = {key: value.clone() for key, value in network.module.state_dict().items()}
    folded = fold_batch_norm(network)
    assert network.module.training
    assert not folded.module.training
    x = images_for(network)
    with torch.no_grad():
        assert relative_difference(folded.module(x), network.module.eval()(x)) < 1e-5
    assert all(torch.equal(state[key], value) for key, value in network.module.state_dict().items())
    assert folded.shapes.keys() == {node.name for node in folded.module.graph.nodes} & network.shapes.keys()


def test_every_batch_norm_behind_a_layer_goes(network_of):
    folded = fold_batch_norm(network_of("resnet20"))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.module.modules())
    assert folded.module.conv1.bias.shape == (16,)


def test_batch_norms_elsewhere_stay(network_of):
    concatenated = fold_batch_norm(network_of("concatenated"))
    assert isinstance(concatenated.module.bn, nn.BatchNorm2d)  # behind a concatenation
    shared = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    twice = capture(nn.Sequential(shared[0], shared[1], nn.ReLU(), shared[1]), (3, 4, 4))
    assert sum(isinstance(module, nn.BatchNorm2d) for module in fold_batch_norm(twice).module.modules()) == 1


def test_scales_say_what_a_filter_is_worth(network_of):
    network = network_of("resnet20")
    bn = network.module.get_submodule("bn1")
    expected = bn.weight / torch.sqrt(bn.running_var + bn.eps)
    torch.testing.assert_close(row_scales(network)["conv1"].float(), expected.detach())
    folded, plain = folded_weights(network), plain_weights(network)
    torch.testing.assert_close(folded["conv1"], plain["conv1"] * expected.detach().view(-1, 1, 1, 1))
    assert torch.equal(folded["linear"], plain["linear"])
    doubled = folded_weights(network, {"conv1": 2 * plain["conv1"]})
    assert list(doubled) == ["conv1"]
    torch.testing.assert_close(doubled["conv1"], 2 * folded["conv1"])
    assert not plain["conv1"].requires_grad


def test_filters_that_differ_by_their_batch_norm_alone_have_one_folded_norm():
    model = nn.Sequential(nn.Conv2d(2, 2, 3, bias=False), nn.BatchNorm2d(2)).eval()
    with torch.no_grad():
        model[0].weight[1] = 100 * model[0].weight[0]
        model[1].running_var.copy_(torch.tensor([1.0, 1e4]))
    norms = folded_weights(capture(model, (2, 8, 8)))["0"].flatten(1).norm(dim=1)
    assert norms[1] == pytest.approx(float(norms[0]), rel=1e-4)
