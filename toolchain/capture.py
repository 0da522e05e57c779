"""Capture a network as a graph of operators with ``torch.fx``: the one place that knows how torch traces.

The captured graph module shares parameters and leaf modules with the network it came from, and keeps their paths, so
that a state dict of one loads into the other. What depends on training mode stays switchable, and channel operations
are brought into one form (see ``canonical``). Control flow that depends on data cannot be captured and is reported with
its source line; it is never guessed.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..models.layers import ChannelPad, ChannelPermutation, ColumnConv2d
from .canonical import make_dropout_switchable, unify_channel_forms
from .grouped import SingleGroupConv2d
from .operators import is_stochastic_depth

__all__ = ["CAPTURE_BATCH", "CaptureError", "CapturedNetwork", "capture", "with_shapes"]

CAPTURE_BATCH = 2
"""Batch of the shapes in :class:`CapturedNetwork`; not 1, so that batch norm in training mode accepts 1x1 images."""


class CaptureError(ValueError):
    """The network cannot be captured, or does not accept images of the given size."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CapturedNetwork:
    """A network as a graph.

    Attributes:
        module: Runs the network; ``train()``, ``eval()`` and ``state_dict()`` work as on the original.
        input_shape: ``(channels, height, width)`` of one image.
        shapes: Shape of every node whose value is one tensor, by node name, for a batch of ``CAPTURE_BATCH``.
    """

    module: fx.GraphModule
    input_shape: tuple[int, int, int]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the network's output for one image, without the batch."""
        output = next(node for node in self.module.graph.nodes if node.op == "output")
        return self.shapes[output.args[0].name][1:]


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        ours = isinstance(m, ColumnConv2d | ChannelPad | ChannelPermutation | SingleGroupConv2d)
        return ours or is_stochastic_depth(m) or super().is_leaf_module(m, module_qualified_name)


class _ShapeRecorder(fx.Interpreter):
    """Runs the graph once and notes the shape of every tensor; an operator that fails is named."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.extra_traceback = False
        self.shapes: dict[str, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:  # noqa: ANN401 - the type of torch's method
        try:
            value = super().run_node(n)
        except Exception as error:
            what = (
                f"layer {n.target!r}" if n.op == "call_module" else f"operator {operator_name(n)!r} (node {n.name!r})"
            )
            raise CaptureError(f"{what} fails: {_first_line(error)}") from error
        if isinstance(value, Tensor):
            self.shapes[n.name] = tuple(value.shape)
        return value


def operator_name(node: fx.Node) -> str:
    """Name of what a node calls, as a user would write it: ``sigmoid``, ``torch.cat``, ``GroupNorm``."""
    if node.op == "call_module":
        module = node.graph.owning_module
        return type(module.get_submodule(str(node.target))).__name__ if module is not None else str(node.target)
    if node.op == "call_function":
        name = getattr(node.target, "__name__", str(node.target))
        module_name = getattr(node.target, "__module__", None) or "torch"
        return name if module_name == "_operator" else f"{module_name.removeprefix('_')}.{name}"
    return str(node.target)


def capture(model: nn.Module, input_shape: tuple[int, int, int]) -> CapturedNetwork:
    """Trace a network into a graph and run it once to learn every shape.

    Args:
        model: Network with one image input ``(N, C, H, W)`` and one tensor as output. Not copied: the captured graph
            shares its parameters. Training modes are left as they are.
        input_shape: ``(channels, height, width)``.

    Returns:
        The captured network.

    Raises:
        CaptureError: If the network depends on data in a way that tracing cannot follow, has several inputs or
            outputs, or does not accept images of this size.
    """
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise CaptureError(f"input shape must be (channels, height, width), each at least 1, got {tuple(input_shape)}")
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        graph = _trace(model)
        module = fx.GraphModule(model, graph, class_name=type(model).__name__)
        make_dropout_switchable(module)
        network = with_shapes(module, input_shape)
        if unify_channel_forms(module, network.shapes):
            network = with_shapes(module, input_shape)
        module.training = modes[0][1]
        return network
    finally:
        for submodule, training in modes:
            submodule.training = training


def with_shapes(module: fx.GraphModule, input_shape: tuple[int, int, int]) -> CapturedNetwork:
    """Record the shapes of a graph module; training modes are left as they are.

    Raises:
        CaptureError: If a layer does not accept what it gets, or the output is not one tensor.
    """
    modes = [(submodule, submodule.training) for submodule in module.modules()]
    example = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    recorder = _ShapeRecorder(module)
    try:
        module.eval()
        with torch.no_grad():
            recorder.run(torch.zeros(CAPTURE_BATCH, *input_shape, dtype=example.dtype, device=example.device))
    except CaptureError as error:
        size = "x".join(str(size) for size in input_shape)
        raise CaptureError(
            f"the network does not accept images of {size} (channels x height x width): {error}"
        ) from error
    finally:
        for submodule, training in modes:
            submodule.training = training
    _check_output(module.graph, recorder.shapes)
    return CapturedNetwork(module=module, input_shape=input_shape, shapes=recorder.shapes)


def _trace(model: nn.Module) -> fx.Graph:
    parameters = list(inspect.signature(model.forward).parameters.values())
    defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    try:
        graph = _Tracer().trace(model, concrete_args=defaults or None)
    except Exception as error:
        raise CaptureError(
            f"cannot capture the network at {_source_line(error.__traceback__)}: {_first_line(error)}; the graph must "
            "be the same for every image: no control flow on values, no loops over tensor sizes, no numpy"
        ) from error
    # Arguments with a default become constants; fx leaves a placeholder and an assertion for each.
    for node in reversed(list(graph.nodes)):
        is_check = node.op == "call_function" and node.target is torch._assert
        if is_check or (not node.users and node.op not in ("placeholder", "output")):
            graph.erase_node(node)
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    for node in placeholders[1:]:
        if node.users:
            names = ", ".join(str(p.target) for p in placeholders)
            raise CaptureError(f"the network has {len(placeholders)} inputs ({names}); one image input is supported")
        graph.erase_node(node)
    for node in graph.nodes:
        node.type = None  # annotations may be mere text, with which the graph module could not be pickled
    return graph


def _check_output(graph: fx.Graph, shapes: Mapping[str, tuple[int, ...]]) -> None:
    output = next(node for node in graph.nodes if node.op == "output")
    value = output.args[0]
    if not isinstance(value, fx.Node) or value.name not in shapes:
        count = f"{len(value)} values" if isinstance(value, tuple | list | dict) else "something else"
        raise CaptureError(f"the network must return one tensor, but returns {count}; select one in its forward()")
    shape = shapes[value.name]
    if not shape or shape[0] != CAPTURE_BATCH:
        raise CaptureError(f"the network's output {shape} has no batch as its first dimension; it must be (N, ...)")


def _source_line(trace: TracebackType | None) -> str:
    """The innermost line of the user's own code in a traceback."""
    torch_folder = str(Path(torch.__file__).parent)
    own = [
        frame
        for frame in traceback.extract_tb(trace)
        if not frame.filename.startswith(torch_folder)
        and frame.filename != __file__
        and "<eval_with_key>" not in frame.filename
    ]
    if not own:
        return "an unknown line"
    frame = own[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} `{(frame.line or '').strip()}`"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
