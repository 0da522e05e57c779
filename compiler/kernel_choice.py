"""Which kernel a layer gets: lowering, where its addresses come from, and tile; by rule, or as tuned on a device.

A choice belongs to a layer's sizes (`LayerShape` without its name), a batch and a target with its precision, and to no
network: equal layers share it. What is fused behind the sums is left out: it is done once for every output, while
lowering and tile decide what is done for every multiply-add.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from .latency_model import LOWERINGS, Lowering, has_blocks, kernel_cost, lowering_costs
from .layer_shape import LayerShape
from .schedules.linear import LinearTile, choose_linear_tile
from .schedules.tile import Tile, choose_tile, depthwise_tile, is_gpu, narrow_tile
from .select import Choice, choose_lowering
from .targets import Target

__all__ = [
    "BY_RULE",
    "UNTUNED",
    "Decision",
    "KernelChoice",
    "LayerKey",
    "TunedKernel",
    "TunedKernels",
    "decide",
    "layer_key",
]

LayerKey: TypeAlias = tuple[LayerShape, int]
BY_RULE: Final = "by the rule"
_TILES: Final = MappingProxyType[str, type[Tile] | type[LinearTile]]({"conv": Tile, "linear": LinearTile})


@dataclass(frozen=True, kw_only=True)
class KernelChoice:
    """All that is chosen for one layer.

    Attributes:
        lowering: Which columns are computed.
        tile: Work of a work-item.
        form: How their kernel finds them: ``dense`` by loops, the others by a table of addresses, as for the lowering
            of that name; dense convolutions may take the form of columns or of blocks.
    """

    lowering: Lowering
    tile: Tile | LinearTile
    form: Lowering = "dense"

    def describe(self) -> str:
        """For people: ``16 filters × 8 pixels, 64 work-items, column table``."""
        tile = self.tile
        if isinstance(tile, LinearTile):
            whose = "work-group" if tile.block > tile.vectors * tile.lanes else "work-item"
            return f"{tile.vectors} × {tile.lanes} features, {tile.work_items} work-items, weights by {whose}"
        extras = {
            "vectors of filters": tile.along_filters,
            f"{self.form} table": self.form != "dense",
            "written out": tile.whole_rows,
            f"{tile.columns} columns at once": tile.columns > 1,
            "texels": tile.texels,
        }
        rows = f" × {tile.rows} rows" if tile.rows > 1 else ""
        filters = f"{tile.filters} filters × " if tile.filters > 1 else ""
        sizes = [f"{filters}{tile.pixels} pixels{rows}", f"{tile.work_items} work-items"]
        return ", ".join([*sizes, *(text for text, true in extras.items() if true)])

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        kind = "linear" if isinstance(self.tile, LinearTile) else "conv"
        return {"kind": kind, "lowering": self.lowering, "form": self.form, "tile": asdict(self.tile)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> KernelChoice:
        """The inverse of `to_dict`.

        Raises:
            ValueError, KeyError, TypeError: If the values are none of a choice.
        """
        lowering, form = values["lowering"], values["form"]
        if not {lowering, form} <= set(LOWERINGS):
            raise ValueError(f"unknown lowering {lowering!r} or form {form!r}; known: {', '.join(LOWERINGS)}")
        return cls(lowering=lowering, form=form, tile=_TILES[values["kind"]](**values["tile"]))


@dataclass(frozen=True, kw_only=True)
class TunedKernel:
    """A choice that a device made, and how it is told."""

    choice: KernelChoice
    reason: str


@dataclass(frozen=True, kw_only=True)
class TunedKernels:
    """What was tuned for one target in one precision."""

    kernels: Mapping[LayerKey, TunedKernel] = field(default_factory=dict)

    def get(self, shape: LayerShape, batch: int) -> TunedKernel | None:
        """What a layer's device chose; None where it was not tuned."""
        return self.kernels.get(layer_key(shape, batch))


UNTUNED: Final = TunedKernels()


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The kernel of a layer: the lowering with reason and modelled cost, and everything chosen with its reason."""

    lowering: Choice
    kernel: KernelChoice
    reason: str


def layer_key(shape: LayerShape, batch: int) -> LayerKey:
    """What makes two layers equal: sizes, and how many columns, channels and blocks are kept; not which."""
    return replace(shape, name=""), batch


def decide(shape: LayerShape, batch: int, target: Target, tuned: TunedKernels = UNTUNED) -> Decision:
    """The kernel of a convolution or linear layer.

    Args:
        shape: The layer with its kept columns.
        batch: Images a run; of a linear layer, rows.
        target: What is compiled for.
        tuned: For this target and precision; empty for the rule.
    """
    found = tuned.get(shape, batch)
    by_rule = choose_lowering(shape, target)
    if found is None or found.choice.lowering not in lowering_costs(shape, target):
        return Decision(lowering=by_rule, kernel=_rule(shape, batch, target, by_rule.lowering), reason=BY_RULE)
    lowering = found.choice.lowering
    reason = by_rule.reason if lowering == by_rule.lowering else f"{lowering} was faster on the device that tuned it"
    modelled_us = kernel_cost(shape, lowering, target).modelled_us
    chosen = replace(by_rule, lowering=lowering, reason=reason, modelled_us=modelled_us)
    return Decision(lowering=chosen, kernel=found.choice, reason=found.reason)


def _rule(shape: LayerShape, batch: int, target: Target, lowering: Lowering) -> KernelChoice:
    if shape.kind == "linear":
        return KernelChoice(lowering="dense", tile=choose_linear_tile(shape.c_out, target))
    depthwise = shape.kind == "depthwise"  # shares no input in any case, so its tiles may cross groups
    tile = choose_tile(shape.c_out, shape.output_hw, batch, target, groups=1 if depthwise else shape.groups)
    tile = depthwise_tile(tile, target) if depthwise else tile
    if shape.groups == 1:
        tile = narrow_tile(shape.c_out, shape.output_hw, target) or tile
    form = lowering
    looped = shape.kernel == (1, 1) and shape.c_in // shape.groups % tile.columns == 0
    if lowering == "dense" and shape.kind == "conv" and not looped and not is_gpu(target):
        form = "block" if has_blocks(shape, target) else "column"  # on a CPU a table is faster than three loops
    return KernelChoice(lowering=lowering, form=form, tile=replace(tile, whole_rows=True) if form == "block" else tile)
