"""Modelled milliseconds of a network on a target without a phone: an analytic cost per kernel, batch 1.

    latency = sync + sum over kernels of launch + DRAM bytes / DRAM rate + max(arithmetic, L2 bytes / L2 rate, waiting)

It prices the kernels that the compiler generates: `tile_rule` gives the sums that a work-item holds and so the number
of work-items; these form waves, and waves are spread over the compute units, the fullest of which decides.

- arithmetic: 2 * MACs / (efficiency * peak), filters padded to multiples of four, the last wave of a unit whole;
- waiting: reduction steps * loads a step * wait * max(1, waves a unit / resident waves). A wave waits for its loads in
  every step; waits of other waves overlap, as far as there are other waves. Small late layers are few waves with long
  reductions: nothing hides their waits. A step loads a vector of pixels and a vector of weights per four filters.
  Packed columns load an address, too, blocks of columns one for four, channels one for all kernel positions. So a
  packed column costs 1.33 to 1.5 times a dense one; published column rows cost 1.23 to 1.57 times filter rows per MAC;
- L2 bytes: pixels as loaded by all work-items, less what the kernel positions of a row share; a wave shares weights;
- DRAM bytes: input, output and weights once. Additions are fused and cost the reading of their second operand. A
  linear layer waits for nothing else, so there the largest term counts alone.

The target's precision decides the bytes alone: fp16 storage halves the traffic, while arithmetic, which accumulates in
fp32, takes as long as in fp32 (measured so on Adreno 640, and on newer parts with fp32 accumulation).

A layer with pruned columns is priced at the cheapest of its lowerings (`Lowering`). The tile is the compiler's rule
without its steps, so that more channels or columns are never faster beyond the steps of four.

Constants come from `model_parameters`. On the published pruned rows of Adreno 640, which took no part in the
calibration, ResNet-18 comes out up to 1.9 times too slow and VGG-16 up to 1.8 times too fast. No sum over layers can
meet both: both networks have the same 3x3 layers on 32x32 to 4x4 maps, and by any rule that meets the published rates
nearly all of pruned VGG-16's work lies there, yet a MAC costs it 2.3 times what it costs pruned ResNet-18.
benchmarks/calibrate_latency_model.py prints every row. Modelled values rank candidates; a phone decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, get_args

from .layer_shape import BLOCK_CHANNELS, LayerShape
from .model_parameters import CALIBRATED, MODEL_VERSION, ModelParameters, default_parameters
from .schedules.tile import has_lanes, is_gpu, row_vector, tile_rule
from .targets import Target

__all__ = [
    "CALIBRATED",
    "LOWERINGS",
    "MODEL_VERSION",
    "KernelCost",
    "Lowering",
    "ModelParameters",
    "computed_columns",
    "copy_cost_us",
    "default_parameters",
    "has_blocks",
    "kernel_cost",
    "lowering_costs",
    "modelled_kernels",
    "modelled_latency_ms",
]

WEIGHT_VECTOR = 4
LEAST_SUMS = 4
ROUNDING = 1e-9

# Zero columns computed; only the input channels that are read; kept columns packed; blocks of four columns packed.
Lowering = Literal["dense", "channel", "column", "block"]
LOWERINGS: Final[tuple[Lowering, ...]] = get_args(Lowering)
Bound = Literal["arithmetic", "L2", "waiting", "DRAM"]


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelCost:
    """Modelled cost of one kernel.

    Attributes:
        name: Name of the layer.
        lowering: Which columns the kernel computes, and how it finds them.
        modelled_us: Microseconds, launch included.
        bound: The largest term.
        bytes: DRAM traffic.
    """

    name: str
    lowering: Lowering
    modelled_us: float
    bound: Bound
    bytes: int


def modelled_latency_ms(
    layers: Sequence[LayerShape], target: Target, parameters: ModelParameters | None = None
) -> float:
    """Modelled latency of a network, batch 1, in the target's precision.

    Args:
        layers: Layers in any order; the model does not look at neighbours.
        target: What it would run on, and in which precision.
        parameters: Constants of the model; by default the target's.

    Returns:
        Milliseconds; of kind "modelled", never comparable with a measured value.
    """
    price, parameters = _prices(target, parameters), parameters or default_parameters(target)
    return (parameters.sync_us + sum(price(shape).modelled_us for shape in layers)) * 1e-3


def modelled_kernels(
    layers: Sequence[LayerShape], target: Target, parameters: ModelParameters | None = None
) -> tuple[KernelCost, ...]:
    """Cost of each layer by its cheapest lowering, in the order given; `modelled_latency_ms` is their sum plus sync."""
    price = _prices(target, parameters)
    return tuple(price(shape) for shape in layers)


def lowering_costs(
    shape: LayerShape, target: Target, parameters: ModelParameters | None = None
) -> dict[Lowering, KernelCost]:
    """Cost of a layer by each lowering that it has, the simplest first: only ``dense`` where no column is pruned."""
    return {lowering: kernel_cost(shape, lowering, target, parameters) for lowering in _lowerings(shape, target)}


def kernel_cost(
    shape: LayerShape, lowering: Lowering, target: Target, parameters: ModelParameters | None = None
) -> KernelCost:
    """Cost of a layer by one lowering.

    Raises:
        ValueError: If the shape does not say what the lowering needs: ``read_channels``, or ``blocks``.
    """
    return _price(shape, lowering, target, parameters or default_parameters(target))


def copy_cost_us(moved_bytes: int, target: Target, parameters: ModelParameters | None = None) -> float:
    """Cost of a kernel that only moves memory."""
    return (parameters or default_parameters(target)).launch_us + 1e-3 * moved_bytes / target.machine.dram_gbps


@lru_cache(maxsize=64)
def _prices(target: Target, parameters: ModelParameters | None) -> Callable[[LayerShape], KernelCost]:
    """Prices by shape alone: a search asks for the same few thousand shapes over and over."""
    constants = parameters or default_parameters(target)

    @lru_cache(maxsize=1 << 16)
    def price(shape: LayerShape) -> KernelCost:
        costs = [_price(shape, lowering, target, constants) for lowering in _lowerings(shape, target)]
        return min(costs, key=lambda cost: cost.modelled_us)

    return price


def _lowerings(shape: LayerShape, target: Target) -> tuple[Lowering, ...]:
    if shape.is_dense or shape.groups != 1:
        return ("dense",)
    # On a CPU, and with a 1x1 kernel, the kept columns of those channels take no more addresses than the channels do.
    fewer = (shape.read_channels or shape.c_in) < shape.c_in and shape.kernel != (1, 1) and is_gpu(target)
    channel: tuple[Lowering, ...] = ("channel",) if fewer else ()
    block: tuple[Lowering, ...] = ("block",) if shape.blocks and has_blocks(shape, target) else ()
    return ("dense", *channel, "column", *block)


def has_blocks(shape: LayerShape, target: Target) -> bool:
    """Whether a convolution may be computed by blocks of columns.

    In the lanes of a CPU (lavapipe) columns are added four at a time anyway, and their addresses are one texel: blocks
    are no faster there, measured side by side.
    """
    return shape.groups == 1 and shape.c_in >= BLOCK_CHANNELS and not has_lanes(target)


def _price(shape: LayerShape, lowering: Lowering, target: Target, parameters: ModelParameters) -> KernelCost:
    machine, item_bytes = target.machine, target.storage_bytes
    columns = computed_columns(shape, lowering)
    spread = _spread(shape, target)
    waves = math.ceil(spread.work_items / (machine.wave * machine.compute_units) - ROUNDING)
    lanes = waves * machine.compute_units * machine.wave
    macs = lanes * spread.sums * columns if shape.weight_count else 0
    arithmetic_us = 2e-3 * macs / (parameters.efficiency * machine.peak_gflops)
    weight_loads = spread.sums / spread.pixels / WEIGHT_VECTOR if shape.weight_count else 0
    loads = spread.inputs + weight_loads + _table_loads(shape, lowering, target)
    waiting_us = columns * loads * parameters.wait_us * max(1.0, waves / parameters.resident_waves)
    l2_items = columns * _pixel_share(shape, lowering, target) * spread.inputs * spread.vectors
    l2_us = 1e-3 * l2_items * item_bytes / machine.l2_gbps
    traffic = item_bytes * _dram_items(shape, columns)
    dram_us = 1e-3 * traffic / machine.dram_gbps
    if shape.kind == "elementwise":
        return KernelCost(name=shape.name, lowering=lowering, modelled_us=dram_us, bound="DRAM", bytes=traffic)
    terms: dict[Bound, float] = {"arithmetic": arithmetic_us, "L2": l2_us, "waiting": waiting_us, "DRAM": dram_us}
    inner_us = max(arithmetic_us, l2_us, waiting_us)
    # A linear layer reads every weight once: its waits are those for the memory.
    busy_us = max(inner_us, dram_us) if shape.kind == "linear" else inner_us + dram_us
    return KernelCost(
        name=shape.name,
        lowering=lowering,
        modelled_us=parameters.launch_us + busy_us,
        bound=max(terms, key=lambda term: terms[term]),
        bytes=traffic,
    )


def computed_columns(shape: LayerShape, lowering: Lowering) -> int:
    """Columns per filter that a lowering computes, zeros included.

    Raises:
        ValueError: If the shape does not say how many.
    """
    if lowering == "dense":
        return shape.dense_columns
    if lowering == "column":
        return shape.columns
    area = shape.kernel[0] * shape.kernel[1]
    count, size = (shape.read_channels, area) if lowering == "channel" else (shape.blocks, BLOCK_CHANNELS)
    if count is None:
        raise ValueError(f"layer {shape.name!r}: the lowering {lowering!r} needs its channels or blocks counted")
    return count * size


@dataclass(frozen=True, slots=True)
class _Spread:
    """Work of one work-item (``sums``, on vectors of ``pixels``, of ``inputs`` channels), and what all of them do.

    ``vectors`` counts the pixels that all work-items load in a step.
    """

    sums: float
    pixels: float
    inputs: float
    work_items: float
    vectors: float


def _spread(shape: LayerShape, target: Target) -> _Spread:
    """`choose_tile` without its steps: between its bounds, a work-item's sums grow with the layer."""
    height, width = shape.output_hw
    rule = tile_rule(target)
    if shape.kind in ("pool", "elementwise"):
        outputs = shape.c_out * height * width
        return _Spread(sums=1, pixels=1, inputs=1, work_items=outputs, vectors=outputs)
    filters = shape.groups * _pad(shape.c_out // shape.groups)
    if shape.kind == "depthwise":
        filters = _pad(shape.c_out)
    if shape.kind == "linear":
        return _Spread(sums=4, pixels=1, inputs=1, work_items=filters / 4, vectors=filters / 4)
    vector = row_vector(width, rule)
    outputs = filters * height * -(-width // vector) * vector
    most_filters = min(rule.filters, filters if shape.kind == "depthwise" else filters // shape.groups)
    least = LEAST_SUMS if is_gpu(target) else LEAST_SUMS * vector
    sums = min(max(least, outputs / rule.enough), rule.sums, most_filters * vector)
    held = min(max(LEAST_SUMS, sums / vector), most_filters)
    return _Spread(
        sums=sums,
        pixels=sums / held,
        inputs=held if shape.kind == "depthwise" else 1,
        work_items=outputs / sums,
        vectors=outputs / held,
    )


def _pixel_share(shape: LayerShape, lowering: Lowering, target: Target) -> float:
    """Share of a column's pixels that the last kernel position has not brought near."""
    if shape.kind == "linear":  # its few inputs stay near
        return 0.0
    # A kernel that goes from column to column shares nothing; on a CPU all of them do.
    if lowering in ("column", "block") or shape.kind in ("pool", "elementwise") or not is_gpu(target):
        return 1.0
    kw, step, vector = shape.kernel[1], shape.stride[1], tile_rule(target).pixels
    return min(kw + (vector - 1) * step, vector * kw) / (kw * vector)


def _table_loads(shape: LayerShape, lowering: Lowering, target: Target) -> float:
    """Addresses loaded for one column."""
    area = shape.kernel[0] * shape.kernel[1]
    if lowering == "channel":
        return 1 / area
    if lowering == "block":
        return 1 / BLOCK_CHANNELS
    if lowering == "column":
        return 1.0
    if shape.kind != "conv" or area == 1 or is_gpu(target):
        return 0.0
    # On a CPU a dense convolution takes addresses from a table, too.
    return 1 / BLOCK_CHANNELS if has_blocks(shape, target) else 1.0


def _dram_items(shape: LayerShape, columns: int) -> int:
    inputs = shape.c_in * shape.input_hw[0] * shape.input_hw[1]
    outputs = shape.c_out * shape.output_hw[0] * shape.output_hw[1]
    if shape.kind == "elementwise":
        return outputs
    weights = 0 if shape.kind == "pool" else shape.c_out * columns
    return inputs + outputs + weights


def _pad(count: int) -> int:
    return -(-count // WEIGHT_VECTOR) * WEIGHT_VECTOR
