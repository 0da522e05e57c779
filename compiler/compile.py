"""ONNX file in, `model.actpkg` out: import, lower, plan memory, add a verification pair, write.

The expected output of the verification input comes from onnxruntime on the same file, so that every device checks the
whole chain, not only our own view of it.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from ..device.package_format import Buffer, Kernel, Package, Step, write_package
from ..device.package_types import DType
from .importer import ImportedModel, import_onnx
from .kernel_choice import UNTUNED, TunedKernels
from .latency_model import copy_cost_us, default_parameters
from .layer_shape import LayerShape
from .legalize.legalizer import weight_key
from .limits import check_limits
from .lower import LoweredNetwork, LoweredStep, Tensor, lower
from .memory.execution_plan import MemoryPlan, plan_memory, step_bytes, weight_blob
from .passes.half_range import check_half_range
from .targets import Target

__all__ = [
    "KERNELS_KEY",
    "Assembled",
    "CompiledPackage",
    "Source",
    "StepInfo",
    "assemble",
    "compile_onnx",
    "operator_names",
    "source_of",
]

VERIFICATION_SEED = 0
# Metadata of a package: how each of its steps was chosen, as JSON.
KERNELS_KEY = "act.kernels"


@dataclass(frozen=True, kw_only=True)
class StepInfo:
    """What a report says of one step.

    Attributes:
        name: Kernel function.
        kind: ``conv``, ``depthwise``, ``linear``, ``pool`` or ``elementwise``.
        source_op: Name of the ONNX node, or of the fused operators where it has no weight.
        lowering: ``dense`` or ``column``, or ``generic`` without a schedule of its own.
        reason: Why this lowering.
        tile: The tile, for people; empty for a generic kernel.
        tile_reason: By the rule, or as tuned.
        layer: The layer that it computes, if any.
        batch: Images a run, or rows of a linear layer.
        macs: Multiply-accumulates done, those with zero columns included.
        bytes: Of its buffers.
        modelled_us: Modelled on the target.
    """

    name: str
    kind: str
    source_op: str
    lowering: str
    reason: str
    macs: int
    bytes: int
    modelled_us: float
    tile: str = ""
    tile_reason: str = ""
    layer: LayerShape | None = None
    batch: int = 1


@dataclass(frozen=True, kw_only=True)
class CompiledPackage:
    """A written package, and what compiling it found; `peak_live_bytes` is the least that any arena must have."""

    path: Path
    modelled_latency_ms: float
    steps: tuple[StepInfo, ...]
    arena_bytes: int
    peak_live_bytes: int
    weight_bytes: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a package keeps of the file, its weights apart: a verification pair, names, preprocessing."""

    given: npt.NDArray[np.float32]
    expected: npt.NDArray[np.float32]
    preprocessing: dict[str, Any] | None
    input_name: str
    output_name: str


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """A package in memory, and what a report says of it."""

    package: Package
    steps: tuple[StepInfo, ...]
    peak_live_bytes: int


def compile_onnx(
    path: Path,
    target: Target,
    *,
    output: Path,
    batch: int = 1,
    input_shape: tuple[int, ...] | None = None,
    tuned: TunedKernels = UNTUNED,
) -> CompiledPackage:
    """Compile an ONNX file for a target.

    Args:
        path: The network; packed or dense, ours or foreign.
        target: From `targets.get_target`, with the precision.
        output: The package to write, atomically.
        batch: Images per run, fixed in the package.
        input_shape: ``(C, H, W)`` or ``(F,)``, for files that leave these open.
        tuned: Kernels that a device chose for this target and precision; the rule decides the others.

    Raises:
        OnnxInputError: If the file cannot be read as a network.
        UnsupportedOpError: If an operator is not supported.
        CompileError: If TVM cannot lower it, a buffer or a kernel is too large for the target, or a weight for its
            precision.
    """
    start = time.perf_counter()
    imported = import_onnx(path, batch=batch, input_shape=input_shape)
    if target.precision == "fp16":
        check_half_range(imported.onnx_model)
    # Every form of a large network's weights is let go as soon as the next one is there.
    names, source, module = operator_names(imported.onnx_model), source_of(path, imported), imported.relax_module
    del imported
    network = lower(module, target, names=names, tuned=tuned)
    del module
    assembled = assemble(network, source, target)
    del network
    write_package(output, assembled.package)
    modelled_us = default_parameters(target).sync_us + sum(info.modelled_us for info in assembled.steps)
    return CompiledPackage(
        path=output,
        modelled_latency_ms=modelled_us / 1e3,
        steps=assembled.steps,
        arena_bytes=assembled.package.arena_bytes,
        peak_live_bytes=assembled.peak_live_bytes,
        weight_bytes=len(assembled.package.weights),
        seconds=time.perf_counter() - start,
    )


def assemble(network: LoweredNetwork, source: Source, target: Target) -> Assembled:
    """Plan a lowered network's memory and make it a package.

    Raises:
        CompileError: If a buffer or a kernel is too large for the target.
    """
    plan = plan_memory(network)
    check_limits(network, plan, target)
    infos = tuple(_step_info(step, target) for step in network.steps)
    package = _package(source, network, plan, infos, target)
    return Assembled(package=package, steps=infos, peak_live_bytes=plan.peak_live_bytes)


def operator_names(model: onnx.ModelProto) -> dict[str, list[str]]:
    """Names of the nodes with weights, by their weight's key, in graph order."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    names: dict[str, list[str]] = {}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul") and len(node.input) > 1 and node.input[1] in weights:
            key = weight_key(numpy_helper.to_array(weights[node.input[1]]))
            names.setdefault(key, []).append(node.name or node.output[0])
    return names


def _step_info(step: LoweredStep, target: Target) -> StepInfo:
    layer, moved = step.layer, step_bytes(step)
    if layer is None:
        return StepInfo(
            name=step.kernel.name,
            kind="elementwise",
            source_op=step.operator,
            lowering="generic",
            reason=step.reason,
            macs=0,
            bytes=moved,
            modelled_us=copy_cost_us(moved, target),
        )
    return StepInfo(
        name=step.kernel.name,
        kind=layer.shape.kind,
        source_op=step.operator,
        lowering=layer.choice.lowering,
        reason=layer.choice.reason,
        macs=layer.macs,
        bytes=moved,
        modelled_us=layer.choice.modelled_us,
        tile=layer.kernel.describe() if layer.kernel is not None else "",
        tile_reason=layer.kernel_reason,
        layer=layer.shape,
        batch=layer.batch,
    )


def _kernel_record(info: StepInfo) -> dict[str, Any]:
    """What a package keeps of a step for `act inspect` and for `tuning`."""
    layer = None if info.layer is None else asdict(info.layer)
    return {
        "lowering": info.lowering,
        "reason": info.reason,
        "tile": info.tile,
        "tile_reason": info.tile_reason,
        "layer": layer,
        "batch": info.batch,
    }


def _package(
    source: Source, network: LoweredNetwork, plan: MemoryPlan, infos: tuple[StepInfo, ...], target: Target
) -> Package:
    index = {tensor: number for number, tensor in enumerate(plan.tensors)}
    kernels: dict[str | bytes, int] = {}
    steps = []
    for step, info in zip(network.steps, infos, strict=True):
        kernel = kernels.setdefault(step.kernel.source, len(kernels))
        steps.append(
            Step(
                kernel=kernel,
                arguments=tuple(index[tensor.buffer] for tensor in step.arguments),
                global_size=step.kernel.global_size,
                local_size=step.kernel.local_size,
                macs=info.macs,
                bytes=info.bytes,
                source_operator=info.source_op,
                modelled_us=info.modelled_us,
            )
        )
    by_source = {step.kernel.source: step.kernel for step in network.steps}
    return Package(
        target=target.name,
        backend=target.backend,
        arena_bytes=plan.arena_bytes,
        buffers=tuple(map(_buffer, plan.tensors, plan.offsets)),
        steps=tuple(steps),
        kernels=tuple(Kernel(name=by_source[source].name, source=source) for source in kernels),
        weights=weight_blob(plan),
        inputs=(index[network.input],),
        outputs=(index[network.output],),
        verification_input=source.given,
        verification_output=source.expected,
        preprocessing=source.preprocessing,
        metadata={
            "act.peak_live_bytes": str(plan.peak_live_bytes),
            KERNELS_KEY: json.dumps([_kernel_record(info) for info in infos]),
            "act.input": source.input_name,
            "act.output": source.output_name,
        },
    )


def _buffer(tensor: Tensor, offset: int) -> Buffer:
    """Activations have the shape of their allocation: their halo is part of it."""
    layout = tensor.layout
    shape = layout.shape if layout.is_plain and not layout.slack else (layout.elements,)
    return Buffer(
        name=tensor.name,
        role=tensor.role,
        dtype=cast(DType, tensor.dtype),
        shape=shape,
        offset=offset,
        size_bytes=tensor.size_bytes,
        storage=tensor.storage,
    )


def source_of(path: Path, imported: ImportedModel) -> Source:
    """What a package keeps of an imported file; onnxruntime computes the expected output on the file itself."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = np.random.default_rng(VERIFICATION_SEED).standard_normal(imported.input_shape, dtype=np.float32)
    (expected,) = session.run([imported.output_name], {imported.input_name: given})
    return Source(
        given=given,
        expected=np.asarray(expected, np.float32),
        preprocessing=imported.preprocessing,
        input_name=imported.input_name,
        output_name=imported.output_name,
    )
