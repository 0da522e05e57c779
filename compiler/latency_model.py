"""Modelled milliseconds of a network on a target without a phone: an analytic cost per kernel, batch 1.

    latency = sync + sum over kernels of launch + max(
        gather * arithmetic * (1 + idle / pixels), gather * L2 bytes / L2 rate, DRAM bytes / DRAM rate)

- arithmetic: 2 * MACs / (efficiency * peak), input and output channels padded to multiples of four (a float4);
- idle: lanes of a wave lie along output pixels, so small maps leave lanes without work (the ``eff(waves)`` term);
- L2 bytes: what a work-item of 4 pixels by 4 channels reads when it reuses its input patch over the kernel positions;
  a 1x1 kernel and a gathered column have nothing to reuse;
- gather: a kernel over packed columns costs more per MAC, since its input addresses come from a table;
- DRAM bytes: input, output and weights once. Additions are fused and cost the reading of their second operand.

The target's precision decides the bytes alone: fp16 storage halves the traffic, while arithmetic, which accumulates in
fp32, takes as long as in fp32 (measured so on Adreno 640, and on newer parts with fp32 accumulation).

A layer with pruned columns is priced at the cheaper of both lowerings: packed columns, or dense with zeros. So fewer
channels or columns are never slower beyond the steps of four.

``idle`` and ``launch`` are calibrated by benchmarks/calibrate_latency_model.py on four published dense latencies of
Adreno 640; rates are those of `targets`. Other targets use the same values. On the published pruned rows the model is
within a quarter for most ResNet-18 rows and up to 2.8 times too fast for VGG-16 on CIFAR; that script prints all of it.
Modelled values rank candidates; a phone decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from .layer_shape import LayerShape
from .targets import Machine, Target

__all__ = [
    "CALIBRATED",
    "MODEL_VERSION",
    "KernelCost",
    "Lowering",
    "ModelParameters",
    "kernel_cost",
    "lowering_costs",
    "modelled_kernels",
    "modelled_latency_ms",
]

MODEL_VERSION = "1"
PIXEL_TILE = 4
CHANNEL_TILE = 4

Lowering = Literal["dense", "column"]
Bound = Literal["arithmetic", "L2", "DRAM"]


@dataclass(frozen=True, kw_only=True)
class ModelParameters:
    """The model's constants.

    Attributes:
        idle_pixels: Output pixels at which half of the lanes have work; calibrated.
        launch_us: Cost of one kernel launch; calibrated within the 6 to 40 us that phones show.
        efficiency: Share of the peak that arithmetic reaches where every lane has work; not fitted: the published rows
            leave it open between 0.6 and 1 (they are bound by L2 on large maps), so it is the middle.
        gather: Cost per MAC of a column kernel over a dense one: the middle of the published 1.23 to 1.57; not fitted.
        sync_us: Waiting for the result once; not fitted.
    """

    idle_pixels: float
    launch_us: float
    efficiency: float = 0.8
    gather: float = 1.4
    sync_us: float = 20.0


# What benchmarks/calibrate_latency_model.py finds, to three digits; a test runs it and compares.
CALIBRATED = ModelParameters(idle_pixels=286.0, launch_us=38.9)


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelCost:
    """Modelled cost of one kernel.

    Attributes:
        name: Name of the layer.
        lowering: Whether the kernel reads packed columns.
        modelled_us: Microseconds, launch included.
        bound: The term that decided.
        bytes: DRAM traffic.
    """

    name: str
    lowering: Lowering
    modelled_us: float
    bound: Bound
    bytes: int


def modelled_latency_ms(
    layers: Sequence[LayerShape], target: Target, parameters: ModelParameters = CALIBRATED
) -> float:
    """Modelled latency of a network, batch 1, in the target's precision.

    Args:
        layers: Layers in any order; the model does not look at neighbours.
        target: What it would run on, and in which precision.
        parameters: Constants of the model.

    Returns:
        Milliseconds; of kind "modelled", never comparable with a measured value.
    """
    machine, item_bytes, total_us = target.machine, target.storage_bytes, parameters.sync_us
    for shape in layers:
        total_us += _best(shape, machine, item_bytes, parameters).modelled_us
    return total_us * 1e-3


def modelled_kernels(
    layers: Sequence[LayerShape], target: Target, parameters: ModelParameters = CALIBRATED
) -> tuple[KernelCost, ...]:
    """Cost of each layer by its cheaper lowering, in the order given; `modelled_latency_ms` is their sum plus sync."""
    return tuple(_best(shape, target.machine, target.storage_bytes, parameters) for shape in layers)


def lowering_costs(
    shape: LayerShape, target: Target, parameters: ModelParameters = CALIBRATED
) -> dict[Lowering, KernelCost]:
    """Cost of a layer by each lowering that it has: ``column`` only where columns are pruned."""
    lowerings: tuple[Lowering, ...] = ("dense",) if shape.is_dense else ("dense", "column")
    return {lowering: kernel_cost(shape, lowering, target, parameters) for lowering in lowerings}


def kernel_cost(
    shape: LayerShape, lowering: Lowering, target: Target, parameters: ModelParameters = CALIBRATED
) -> KernelCost:
    """Cost of a layer by one lowering: ``dense`` computes zero columns too, ``column`` gathers the kept ones."""
    return _price(shape, lowering, target.machine, target.storage_bytes, parameters)


@lru_cache(maxsize=1 << 16)
def _best(shape: LayerShape, machine: Machine, item_bytes: int, parameters: ModelParameters) -> KernelCost:
    dense = _price(shape, "dense", machine, item_bytes, parameters)
    if shape.is_dense:
        return dense
    column = _price(shape, "column", machine, item_bytes, parameters)
    return column if column.modelled_us < dense.modelled_us else dense


def _price(
    shape: LayerShape, lowering: Lowering, machine: Machine, item_bytes: int, parameters: ModelParameters
) -> KernelCost:
    columns = shape.columns if lowering == "column" else shape.dense_columns
    gather = parameters.gather if lowering == "column" else 1.0
    pixels = shape.output_hw[0] * shape.output_hw[1]
    macs = _padded_macs(shape, lowering, pixels)
    lanes = 1.0 if shape.kind == "linear" else 1.0 + parameters.idle_pixels / pixels
    arithmetic_us = gather * 2e-3 * macs * lanes / (parameters.efficiency * machine.peak_gflops)
    l2_bytes = macs * item_bytes * _l2_items_per_mac(shape, lowering)
    l2_us = gather * 1e-3 * l2_bytes / machine.l2_gbps
    traffic = item_bytes * _dram_items(shape, columns)
    dram_us = 1e-3 * traffic / machine.dram_gbps
    busy_us = max(arithmetic_us, l2_us, dram_us)
    bound: Bound = "DRAM" if busy_us == dram_us else "L2" if busy_us == l2_us else "arithmetic"
    launch_us = 0.0 if shape.kind == "elementwise" else parameters.launch_us
    return KernelCost(name=shape.name, lowering=lowering, modelled_us=launch_us + busy_us, bound=bound, bytes=traffic)


def _padded_macs(shape: LayerShape, lowering: Lowering, pixels: int) -> int:
    """MACs with channels, or packed columns, padded to multiples of four; 0 without weights."""
    if shape.kind in ("pool", "elementwise"):
        return 0
    outputs = shape.groups * _pad(shape.c_out // shape.groups)
    reduction = _pad(shape.c_in // shape.groups) * shape.kernel[0] * shape.kernel[1]
    if shape.kind == "depthwise":
        # Four channels are one float4, so nothing but the channel count itself is padded.
        outputs, reduction = _pad(shape.c_out), shape.dense_columns
    if lowering == "column":
        reduction = min(reduction, _pad(shape.columns))
    return outputs * reduction * pixels


def _l2_items_per_mac(shape: LayerShape, lowering: Lowering) -> float:
    """Elements read per MAC by a work-item of 4 pixels by 4 channels; a linear layer streams its weights (DRAM)."""
    if shape.kind == "linear":
        return 0.0
    kw, step = shape.kernel[1], shape.stride[1]
    # A gathered column, and a stride beyond the kernel, read each input anew; else a row's overlap is read once.
    row = PIXEL_TILE * kw if lowering == "column" else min(kw + (PIXEL_TILE - 1) * step, PIXEL_TILE * kw)
    outputs_per_input = 1 if shape.kind == "depthwise" else CHANNEL_TILE
    return row / (kw * PIXEL_TILE * outputs_per_input)


def _dram_items(shape: LayerShape, columns: int) -> int:
    inputs = shape.c_in * shape.input_hw[0] * shape.input_hw[1]
    outputs = shape.c_out * shape.output_hw[0] * shape.output_hw[1]
    if shape.kind == "elementwise":
        return outputs
    weights = 0 if shape.kind == "pool" else shape.c_out * columns
    return inputs + outputs + weights


def _pad(count: int) -> int:
    return -(-count // 4) * 4
