"""The arena stays close to what is alive, on networks of four families; one runs, its halos where other values were."""

import numpy as np
import pytest
from act.device.harness import measure
from act.device.package_format import read_package
from onnx import helper

from ..kernel_check import compile_model, local_device
from ..onnx_networks import model_of, value


class Builder:
    """Adds layers to a graph; every method takes and gives names of values."""

    def __init__(self):
        self.nodes, self.weights = [], {}
        self.channels = {"input": 3}

    def _add(self, operator, inputs, channels, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        self.channels[name] = channels
        return name

    def conv(self, source, filters, kernel=3, stride=1, groups=1, relu=True):
        name = f"w{len(self.nodes)}"
        fan_in = self.channels[source] // groups * kernel * kernel
        rng = np.random.default_rng(len(self.nodes))
        weight = rng.standard_normal((filters, self.channels[source] // groups, kernel, kernel)) * (2 / fan_in) ** 0.5
        self.weights[name] = weight.astype(np.float32)
        attributes = {"pads": [kernel // 2] * 4, "strides": [stride] * 2, "group": groups}
        found = self._add("Conv", [source, name], filters, **attributes)
        return self._add("Relu", [found], filters) if relu else found

    def add(self, a, b):
        return self._add("Relu", [self._add("Add", [a, b], self.channels[a])], self.channels[a])

    def concat(self, *values):
        return self._add("Concat", list(values), sum(self.channels[v] for v in values), axis=1)

    def pool(self, source, stride=2):
        return self._add(
            "MaxPool", [source], self.channels[source], kernel_shape=[3, 3], pads=[1] * 4, strides=[stride] * 2
        )

    def finish(self, source, side):
        pooled = self._add("GlobalAveragePool", [source], self.channels[source])
        self.nodes.append(helper.make_node("Flatten", [pooled], ["output"]))
        return model_of(self.nodes, self.weights, inputs=[value("input", ["batch", 3, side, side])])


def resnet20():
    b = Builder()
    x = b.conv("input", 16)
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(3):
            stride = 2 if stage and not block else 1
            skip = x if b.channels[x] == filters else b.conv(x, filters, kernel=1, stride=stride, relu=False)
            x = b.add(b.conv(b.conv(x, filters, stride=stride), filters, relu=False), skip)
    return b.finish(x, 32)


def mobilenet_v2():
    b = Builder()
    x = b.conv(b.conv("input", 32, stride=2), 16, kernel=1)
    for filters, blocks, stride in ((24, 2, 2), (32, 2, 2), (64, 2, 2), (96, 1, 1), (160, 2, 2)):
        for block in range(blocks):
            wide = b.conv(x, 6 * b.channels[x], kernel=1)
            deep = b.conv(wide, b.channels[wide], stride=1 if block else stride, groups=b.channels[wide])
            narrow = b.conv(deep, filters, kernel=1, relu=False)
            x = b.add(narrow, x) if block else narrow
    return b.finish(b.conv(x, 320, kernel=1), 96)


def densenet():
    b = Builder()
    x = b.pool(b.conv("input", 32, stride=2))
    for stage in range(3):
        for _ in range(4):
            x = b.concat(x, b.conv(b.conv(x, 48, kernel=1), 12))
        if stage < 2:
            x = b.pool(b.conv(x, b.channels[x] // 2, kernel=1))
    return b.finish(x, 64)


def inception():
    b = Builder()
    x = b.pool(b.conv("input", 32, stride=2))
    for width in (16, 24, 32):
        for _ in range(2):
            branches = (
                b.conv(x, width, kernel=1),
                b.conv(b.conv(x, width, kernel=1), 2 * width),
                b.conv(b.conv(x, width // 2, kernel=1), width, kernel=5),
                b.conv(b.pool(x, stride=1), width, kernel=1),
            )
            x = b.concat(*branches)
        x = b.pool(x)
    return b.finish(x, 64)


def pyramid():
    """Padded convolutions on ever smaller maps, which lie in each other's memory."""
    b = Builder()
    x = b.conv("input", 8)
    for filters in (8, 16, 16, 32, 32):
        x = b.conv(x, filters, stride=1 + (filters > b.channels[x]))
    return b.finish(x, 32)


@pytest.mark.parametrize("network", [resnet20, mobilenet_v2, densenet, inception])
def test_the_arena_is_at_most_1_3_times_what_is_alive(network, tmp_path):
    compiled = compile_model(network(), tmp_path, target="adreno640")
    assert compiled.peak_live_bytes <= compiled.arena_bytes <= 1.3 * compiled.peak_live_bytes
    package = read_package(compiled.path)
    assert package.arena_bytes == compiled.arena_bytes
    assert package.metadata["act.peak_live_bytes"] == str(compiled.peak_live_bytes)


@pytest.mark.opencl
@pytest.mark.parametrize("target", ["host-opencl", "adreno640"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_halos_are_zero_where_other_values_were(precision, target, tmp_path):
    compiled = compile_model(pyramid(), tmp_path, target=target, precision=precision)
    error = measure(compiled.path, local_device(), runs=3, warmup=0, profile_runs=0).verified_error
    assert error < (1e-5 if precision == "fp32" else 5e-3)
