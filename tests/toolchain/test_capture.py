import io

import pytest
import torch
import torch.nn.functional as F
from act.models.layers import ChannelPad, ColumnConv2d
from act.toolchain.capture import CAPTURE_BATCH, CaptureError, capture
from torch import nn


def test_the_graph_computes_the_same_and_keeps_paths(model_of):
    model, shape = model_of("resnet20")
    network = capture(model, shape)
    x = torch.randn(2, *shape)
    with torch.no_grad():
        torch.testing.assert_close(network.module(x), model(x))
    assert network.module.state_dict().keys() == model.state_dict().keys()
    assert network.module.get_submodule("conv1").weight is model.conv1.weight
    assert network.output_shape == (10,)
    assert network.shapes["conv1"] == (CAPTURE_BATCH, 16, 16, 16)


def test_our_layers_are_single_operators():
    layer = ColumnConv2d(3, 4, (3, 3), torch.arange(5), padding=(1, 1))
    network = capture(nn.Sequential(layer, ChannelPad(1, 2)), (3, 8, 8))
    assert [node.op for node in network.module.graph.nodes] == ["placeholder", "call_module", "call_module", "output"]


@pytest.mark.parametrize("training", [True, False])
def test_modes_are_left_as_they_were(model_of, training):
    model, shape = model_of("resnet20")
    model.train(training)
    model.bn1.eval()
    mean = model.layer1[0].bn1.running_mean.clone()
    network = capture(model, shape)
    assert network.module.training is training
    assert model.layer1[0].bn1.training is training
    assert not model.bn1.training
    assert torch.equal(mean, model.layer1[0].bn1.running_mean)


def test_functional_dropout_follows_the_mode():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1)

        def forward(self, x):
            return F.dropout(self.conv(x), p=0.9, training=self.training)

    network = capture(Net(), (1, 4, 4))
    x = torch.ones(8, 1, 4, 4)
    assert not torch.equal(network.module.train()(x), network.module.train()(x))
    assert torch.equal(network.module.eval()(x), network.module.eval()(x))
    assert list(network.module.state_dict()) == ["conv.weight", "conv.bias"]


def test_arguments_with_a_default_become_constants():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 1)

        def forward(self, x, double=False, scale=None):
            x = self.conv(x)
            return x * 2 if double else x

    network = capture(Net(), (1, 4, 4))
    assert network.module(torch.zeros(1, 1, 4, 4)).shape == (1, 2, 4, 4)
    assert "call_function" not in [node.op for node in network.module.graph.nodes]


class Branching(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x
        return -x


class TwoInputs(nn.Module):
    def forward(self, x, y):
        return x + y


class TwoOutputs(nn.Module):
    def forward(self, x):
        return x, x


class NoBatch(nn.Module):
    def forward(self, x):
        return x.sum()


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        (Branching(), ["test_capture.py", "if x.sum() > 0", "control flow"]),
        (TwoInputs(), ["2 inputs", "x, y"]),
        (TwoOutputs(), ["one tensor", "2 values"]),
        (NoBatch(), ["no batch"]),
    ],
)
def test_what_cannot_be_captured_is_named(model, parts):
    with pytest.raises(CaptureError) as error:
        capture(model, (3, 8, 8))
    for part in parts:
        assert part in str(error.value)


def test_a_wrong_image_size_names_the_layer(model_of):
    model, _ = model_of("lenet5")
    with pytest.raises(CaptureError, match=r"3x28x28.*layer 'conv1'"):
        capture(model, (3, 28, 28))
    with pytest.raises(CaptureError, match=r"1x6x6"):
        capture(model, (1, 6, 6))
    with pytest.raises(CaptureError, match="at least 1"):
        capture(model, (1, 0, 28))


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v2", "concatenated", "depthwise", "gated", "recurrent"])
def test_a_captured_network_can_be_sent_to_another_process(network_of, images_for, name):
    network = network_of(name)
    buffer = io.BytesIO()
    torch.save(network.module, buffer)
    buffer.seek(0)
    received = torch.load(buffer, weights_only=False)
    images = images_for(network)
    with torch.no_grad():
        assert torch.equal(received.eval()(images), network.module.eval()(images))
    assert received.state_dict().keys() == network.module.state_dict().keys()
