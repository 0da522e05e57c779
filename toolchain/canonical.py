"""One form for what can be written in several ways, so that coupling, compaction and export each know one.

* Functional dropout, whose mode tracing freezes, becomes a module that follows ``train()`` and ``eval()``.
* ShuffleNet's shuffle (view, transpose, view) becomes one permutation of channels, which stays right when any of them
  go; the view would need as many channels left in every group.
* A chunk, or a split into equal parts, becomes a split into parts of given sizes, for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from ..models.layers import ChannelPermutation
from .operators import CHUNKS, RESHAPES, SPLITS, TRANSPOSITIONS, argument

__all__ = ["make_dropout_switchable", "unify_channel_forms"]

_DROPOUTS: dict[Callable[..., Any], type[nn.Module]] = {
    F.dropout: nn.Dropout,
    F.dropout1d: nn.Dropout1d,
    F.dropout2d: nn.Dropout2d,
}
_COPIES = frozenset({"contiguous", "clone"})


def make_dropout_switchable(module: fx.GraphModule) -> None:
    """Replace functional dropout, traced with the mode of that moment, by modules."""
    for node in list(module.graph.nodes):
        kind = _DROPOUTS.get(node.target) if node.op == "call_function" else None
        if kind is not None:
            rate = node.args[1] if len(node.args) > 1 else node.kwargs.get("p", 0.5)
            _replace_by_module(module, node, kind(p=rate), node.args[0] if node.args else node.kwargs["input"])
    module.recompile()


def unify_channel_forms(module: fx.GraphModule, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Rewrite shuffles and chunks of channels, in place.

    Args:
        module: A traced network.
        shapes: Of its nodes' values.

    Returns:
        Whether anything was rewritten, and the shapes must be recorded anew.
    """
    known, changed = dict(shapes), False  # a rewritten node passes its shape on, under its new name
    for node in list(module.graph.nodes):
        shuffled = _shuffled_groups(node, known)
        if node.target in CHUNKS or node.target in SPLITS:
            changed |= _give_sizes(node, known)
        elif node.op == "call_module" and isinstance(module.get_submodule(str(node.target)), nn.ChannelShuffle):
            shuffled = int(module.get_submodule(str(node.target)).groups), node.args[0]  # type: ignore[arg-type]
        if shuffled is not None:
            groups, source = shuffled
            shape = known[node.name]
            layer = _replace_by_module(module, node, _shuffle(shape[1], groups), source)
            known[layer.name] = shape
            changed = True
    if changed:
        module.graph.eliminate_dead_code()
        module.recompile()
    return changed


def _give_sizes(node: fx.Node, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Make ``node`` a ``torch.split`` into parts of given sizes."""
    source: Any = argument(node, 0, "input")
    how: Any = argument(node, 1, "chunks" if node.target in CHUNKS else "split_size_or_sections")
    dimension: Any = argument(node, 2, "dim", 0)
    known = isinstance(source, fx.Node) and source.name in shapes
    if not known or not isinstance(dimension, int) or not isinstance(how, int):
        return False
    rank, size = len(shapes[source.name]), shapes[source.name][dimension]
    if dimension % rank == 0:
        return False
    step = -(-size // how) if node.target in CHUNKS else how
    sizes = [min(step, size - start) for start in range(0, size, step)]
    graph = node.graph
    with graph.inserting_before(node):
        replacement = graph.call_function(torch.split, (source, sizes, dimension % rank))
    node.replace_all_uses_with(replacement)
    graph.erase_node(node)
    return True


def _shuffled_groups(node: fx.Node, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, Any] | None:
    """Groups and source of a shuffle that ends in ``node``: (n, g·k, …) → (n, g, k, …) → (n, k, g, …) → (n, k·g, …)."""
    if node.target not in RESHAPES:
        return None
    swap = _through_copies(node.args[0])
    if swap is None or swap.target not in TRANSPOSITIONS or set(swap.args[1:]) != {1, 2}:
        return None
    split = _through_copies(swap.args[0])
    if split is None or split.target not in RESHAPES or not isinstance(split.args[0], fx.Node):
        return None
    source = split.args[0]
    before, apart, after = (shapes.get(value.name, ()) for value in (source, split, node))
    same = len(before) > 1 and before == after and len(apart) == len(before) + 1
    if not same or apart[0] != before[0] or apart[1] * apart[2] != before[1] or apart[3:] != before[2:]:
        return None
    return apart[1], source


def _through_copies(value: Any) -> fx.Node | None:  # noqa: ANN401 - any fx argument
    while isinstance(value, fx.Node) and value.target in _COPIES:
        value = value.args[0]
    return value if isinstance(value, fx.Node) else None


def _shuffle(channels: int, groups: int) -> ChannelPermutation:
    return ChannelPermutation(torch.arange(channels).view(groups, -1).t().reshape(-1))


def _replace_by_module(module: fx.GraphModule, node: fx.Node, layer: nn.Module, source: Any) -> fx.Node:  # noqa: ANN401
    name = f"{node.name}_module"
    module.add_submodule(name, layer)
    with module.graph.inserting_before(node):
        replacement = module.graph.call_module(name, (source,))
    node.replace_all_uses_with(replacement)
    module.graph.erase_node(node)
    return replacement
