"""Layer shapes of the networks whose Adreno 640 latencies are published, dense and with invented pruned shapes.

The paper (AutoCompress, arXiv:1907.03141) gives rates, not shapes. The rule here: layer i keeps the share
``r_i = min(1, exp(-(p + q*s_i)))`` of its weights, where s_i counts the halvings of its output's side; p and q are
solved so that both published rates (conv params and MACs) are met. Filter pruning keeps ``sqrt(r)`` of the filters,
so that a layer loses a factor r through its own filters and its producer's. Combined pruning keeps ``r**0.25`` of the
filters and ``sqrt(r)`` of the columns that are left.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence

from act.compiler.layer_shape import LayerKind, LayerShape
from scipy.optimize import least_squares


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """One published latency; rates are 1 for the dense network."""

    network: str
    method: str
    params_x: float
    macs_x: float
    latency_ms: float
    combined: bool = False


DENSE_ROWS = (
    PublishedRow(network="vgg16-cifar", method="dense", params_x=1, macs_x=1, latency_ms=14),
    PublishedRow(network="resnet18-cifar", method="dense", params_x=1, macs_x=1, latency_ms=11),
    PublishedRow(network="vgg16-imagenet", method="dense", params_x=1, macs_x=1, latency_ms=95),
    PublishedRow(network="resnet50-imagenet", method="dense", params_x=1, macs_x=1, latency_ms=48),
)


def _pruned(network: str, method: str, rates: tuple[float, float], latency_ms: float, combined: bool) -> PublishedRow:
    params_x, macs_x = rates
    return PublishedRow(
        network=network, method=method, params_x=params_x, macs_x=macs_x, latency_ms=latency_ms, combined=combined
    )


PRUNED_ROWS = (
    _pruned("vgg16-cifar", "filter, manual", (9.3, 2.1), 7.1, False),
    _pruned("vgg16-cifar", "filter, annealing", (13.7, 3.1), 4.8, False),
    _pruned("vgg16-cifar", "filter, to the combined rate", (47.4, 14.0), 1.7, False),
    _pruned("vgg16-cifar", "combined, manual", (44.3, 8.1), 2.9, True),
    _pruned("vgg16-cifar", "AutoCompress", (52.2, 8.8), 2.7, True),
    _pruned("resnet18-cifar", "filter, manual", (5.2, 2.7), 4.2, False),
    _pruned("resnet18-cifar", "filter, annealing", (8.0, 4.7), 2.4, False),
    _pruned("resnet18-cifar", "combined, DRL", (11.8, 3.8), 4.7, True),
    _pruned("resnet18-cifar", "combined, manual", (43.3, 9.6), 1.9, True),
    _pruned("resnet18-cifar", "AutoCompress", (61.2, 13.3), 1.3, True),
    _pruned("resnet18-cifar", "AutoCompress, FLOPs", (54.2, 12.2), 1.45, True),
)


def layer(kind: LayerKind, channels: tuple[int, int], kernel: int, stride: int, hw: int, name: str) -> LayerShape:
    """A square layer whose output is its input divided by the stride."""
    c_in, c_out = channels
    groups = c_in if kind == "pool" else 1
    side = hw // stride
    return LayerShape(
        name=name, kind=kind, c_in=c_in, c_out=c_out, kernel=(kernel, kernel), stride=(stride, stride),
        padding=(kernel // 2, kernel // 2), dilation=(1, 1), groups=groups, input_hw=(hw, hw), output_hw=(side, side),
        columns=c_in // groups * kernel * kernel,
    )  # fmt: skip


def linear(c_in: int, c_out: int) -> LayerShape:
    """A fully connected layer."""
    return layer("linear", (c_in, c_out), 1, 1, 1, "linear")


def vgg16(hw: int, features: Sequence[int]) -> list[LayerShape]:
    """VGG-16 with linear layers of these sizes."""
    layers: list[LayerShape] = []
    channels = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers.append(layer("conv", (channels, width), 3, 1, hw, f"conv{len(layers)}"))
            channels = width
        layers.append(layer("pool", (channels, channels), 2, 2, hw, "pool"))
        hw //= 2
    sizes = [channels * hw * hw, *features]
    return [*layers, *(linear(*pair) for pair in itertools.pairwise(sizes))]


def resnet18_cifar() -> list[LayerShape]:
    """ResNet-18 with a 3x3 stem, for 32x32 images."""
    layers = [layer("conv", (3, 64), 3, 1, 32, "stem")]
    channels, hw = 64, 32
    for width, first_stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first_stride, 1):
            layers.append(layer("conv", (channels, width), 3, stride, hw, "conv1"))
            if stride == 2:
                layers.append(layer("conv", (channels, width), 1, stride, hw, "shortcut"))
            hw //= stride
            layers += [layer("conv", (width, width), 3, 1, hw, "conv2"), _addition(width, hw)]
            channels = width
    return [*layers, layer("pool", (512, 512), 4, 4, 4, "pool"), linear(512, 10)]


def resnet50_imagenet() -> list[LayerShape]:
    """ResNet-50 for 224x224 images, stride on the 3x3."""
    layers = [layer("conv", (3, 64), 7, 2, 224, "stem"), layer("pool", (64, 64), 3, 2, 112, "pool")]
    channels, hw = 64, 56
    for width, count, first_stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(count):
            stride = first_stride if block == 0 else 1
            layers += [
                layer("conv", (channels, width), 1, 1, hw, "conv1"),
                layer("conv", (width, width), 3, stride, hw, "conv2"),
            ]
            if block == 0:
                layers.append(layer("conv", (channels, 4 * width), 1, stride, hw, "shortcut"))
            hw //= stride
            layers += [layer("conv", (width, 4 * width), 1, 1, hw, "conv3"), _addition(4 * width, hw)]
            channels = 4 * width
    return [*layers, layer("pool", (2048, 2048), 7, 7, 7, "pool"), linear(2048, 1000)]


def _addition(channels: int, hw: int) -> LayerShape:
    shape = layer("pool", (channels, channels), 1, 1, hw, "add")
    return dataclasses.replace(shape, kind="elementwise")


NETWORKS: dict[str, Callable[[], list[LayerShape]]] = {
    "vgg16-cifar": lambda: vgg16(32, [10]),
    "resnet18-cifar": resnet18_cifar,
    "vgg16-imagenet": lambda: vgg16(224, [4096, 4096, 1000]),
    "resnet50-imagenet": resnet50_imagenet,
}


def row_layers(row: PublishedRow) -> list[LayerShape]:
    """The row's layers: dense, or pruned by the rule of the module's docstring."""
    dense = NETWORKS[row.network]()
    if row.params_x == 1:
        return dense

    def miss(rule: Sequence[float]) -> list[float]:
        # On unrounded counts, so that the rates are smooth in p and q.
        params, macs = _totals(dense, [1.0] * len(dense))
        kept_params, kept_macs = _totals(dense, _kept_weights(dense, rule, row.combined))
        return [math.log(params / kept_params / row.params_x), math.log(macs / kept_macs / row.macs_x)]

    solution = least_squares(miss, [0.5, 0.5]).x
    return [_prune(shape, producer, solution, row.combined) for shape, producer in _with_producer(dense)]


def _side(shape: LayerShape) -> int:
    return shape.output_hw[0]


def _with_producer(dense: list[LayerShape]) -> list[tuple[LayerShape, int]]:
    """Each layer with the output side of the convolution that makes its input (0 for the image)."""
    pairs = []
    for index, shape in enumerate(dense):
        convs = [other for other in dense[:index] if other.kind == "conv"]
        made = [_side(other) for other in convs if other.c_out == shape.c_in and _side(other) >= shape.input_hw[0]]
        pairs.append((shape, 0 if shape.c_in == 3 else made[-1] if made else _side(convs[-1])))
    return pairs


def _share(side: int, rule: Sequence[float]) -> float:
    return min(1.0, math.exp(-(rule[0] + rule[1] * math.log2(32 / side)))) if side else 1.0


def _filter_share(side: int, rule: Sequence[float], combined: bool) -> float:
    return _share(side, rule) ** (0.25 if combined else 0.5) if side else 1.0


def _column_share(shape: LayerShape, rule: Sequence[float], combined: bool) -> float:
    return _share(_side(shape), rule) ** 0.5 if combined else 1.0


def _kept_weights(dense: list[LayerShape], rule: Sequence[float], combined: bool) -> list[float]:
    return [
        _filter_share(producer, rule, combined)
        * _filter_share(_side(shape), rule, combined)
        * _column_share(shape, rule, combined)
        for shape, producer in _with_producer(dense)
    ]


def _totals(dense: list[LayerShape], kept: list[float]) -> tuple[float, float]:
    pairs = [(shape, share) for shape, share in zip(dense, kept, strict=True) if shape.kind == "conv"]
    return sum(s.weight_count * share for s, share in pairs), sum(s.macs * share for s, share in pairs)


def _prune(shape: LayerShape, producer: int, rule: Sequence[float], combined: bool) -> LayerShape:
    c_in = max(1, round(shape.c_in * _filter_share(producer, rule, combined)))
    if shape.kind != "conv":
        fixed = shape.kind == "linear"
        changed = dataclasses.replace(shape, groups=1, c_in=c_in, c_out=shape.c_out if fixed else c_in, columns=1)
        groups = 1 if fixed else c_in
        kernel = shape.kernel[0] * shape.kernel[1]
        return dataclasses.replace(changed, groups=groups, columns=c_in // groups * kernel)
    c_out = max(1, round(shape.c_out * _filter_share(_side(shape), rule, combined)))
    dense_columns = c_in * shape.kernel[0] * shape.kernel[1]
    columns = max(1, round(dense_columns * _column_share(shape, rule, combined)))
    return dataclasses.replace(shape, c_in=c_in, c_out=c_out, columns=columns)
