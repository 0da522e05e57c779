"""ONNX file in, `model.actpkg` out: import, lower, plan memory, add a verification pair, write.

The expected output of the verification input comes from onnxruntime on the same file, so that every device checks the
whole chain, not only our own view of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from ..device.package_format import Buffer, Kernel, Package, Step, write_package
from .execution_plan import ALIGNMENT_BYTES, MemoryPlan, plan_memory, step_bytes
from .importer import ImportedModel, import_onnx
from .latency_model import CALIBRATED
from .layout import Layout
from .legalize import weight_key
from .limits import check_limits
from .lower import LoweredNetwork, LoweredStep, Tensor, lower
from .opencl import build_kernels, with_layouts
from .schedules.halo import clear_cells
from .targets import Target

__all__ = ["CompiledPackage", "StepInfo", "compile_onnx"]

VERIFICATION_SEED = 0


@dataclass(frozen=True, kw_only=True)
class StepInfo:
    """What a report says of one step.

    Attributes:
        name: Kernel function.
        kind: ``conv``, ``depthwise``, ``linear``, ``pool`` or ``elementwise``.
        source_op: Name of the ONNX node, or of the fused operators where it has no weight.
        lowering: ``dense`` or ``column``, or ``generic`` without a schedule of its own.
        reason: Why this lowering.
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


@dataclass(frozen=True, kw_only=True)
class CompiledPackage:
    """A written package, and what compiling it found."""

    path: Path
    modelled_latency_ms: float
    steps: tuple[StepInfo, ...]
    arena_bytes: int
    weight_bytes: int
    seconds: float


def compile_onnx(
    path: Path, target: Target, *, output: Path, batch: int = 1, input_shape: tuple[int, ...] | None = None
) -> CompiledPackage:
    """Compile an ONNX file for a target.

    Args:
        path: The network; packed or dense, ours or foreign.
        target: From `targets.get_target`.
        output: The package to write, atomically.
        batch: Images per run, fixed in the package.
        input_shape: ``(C, H, W)`` or ``(F,)``, for files that leave these open.

    Raises:
        OnnxInputError: If the file cannot be read as a network.
        UnsupportedOpError: If an operator is not supported.
        CompileError: If TVM cannot lower it, or a buffer or a kernel is too large for the target.
    """
    start = time.perf_counter()
    imported = import_onnx(path, batch=batch, input_shape=input_shape)
    network = lower(imported.relax_module, target, names=_operator_names(imported.onnx_model))
    network, plan = _clear_halos_first(network, plan_memory(network), target)
    check_limits(network, plan, target)
    infos = tuple(_step_info(step, target) for step in network.steps)
    package = _package(imported, network, plan, infos, target, _verification(path, imported))
    write_package(output, package)
    return CompiledPackage(
        path=output,
        modelled_latency_ms=(sum(info.modelled_us for info in infos) + CALIBRATED.sync_us) / 1e3,
        steps=infos,
        arena_bytes=plan.arena_bytes,
        weight_bytes=len(plan.weights),
        seconds=time.perf_counter() - start,
    )


def _operator_names(model: onnx.ModelProto) -> dict[str, list[str]]:
    """Names of the nodes with weights, by their weight's key, in graph order."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    names: dict[str, list[str]] = {}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul") and len(node.input) > 1 and node.input[1] in weights:
            key = weight_key(numpy_helper.to_array(weights[node.input[1]]))
            names.setdefault(key, []).append(node.name or node.output[0])
    return names


def _clear_halos_first(network: LoweredNetwork, plan: MemoryPlan, target: Target) -> tuple[LoweredNetwork, MemoryPlan]:
    """Add the step that sets the halos to zero, where there are any."""
    if not plan.halo_cells.size:
        return network, plan
    elements = (plan.arena_bytes - plan.halo_offset) // 4
    region = Tensor(name="halos", role="activation", dtype="float32", layout=Layout(shape=(elements,)))
    table = Tensor(
        name="halo_cells",
        role="weight",
        dtype="int32",
        layout=Layout(shape=plan.halo_cells.shape),
        data=plan.halo_cells,
    )
    function = with_layouts(clear_cells(plan.halo_cells.size, elements), [None, None])
    (kernel,) = build_kernels(function, target.tvm_target(), name="clear_halos").kernels
    by_name = {"a0": region, "a1": table}
    step = LoweredStep(
        kernel=kernel,
        arguments=tuple(by_name[name] for name in kernel.arguments),
        written=(region,),
        operator="clear_halos",
        layer=None,
    )
    blob = plan.weights + bytes(-len(plan.weights) % ALIGNMENT_BYTES)
    return replace(network, steps=(step, *network.steps)), replace(
        plan,
        tensors=(*plan.tensors, region, table),
        offsets=(*plan.offsets, plan.halo_offset, len(blob)),
        weights=blob + plan.halo_cells.tobytes(),
    )


def _step_info(step: LoweredStep, target: Target) -> StepInfo:
    layer, moved = step.layer, step_bytes(step)
    if layer is None:
        memory_us = 1e-3 * moved / target.machine.dram_gbps
        return StepInfo(
            name=step.kernel.name,
            kind="elementwise",
            source_op=step.operator,
            lowering="generic",
            reason=step.reason,
            macs=0,
            bytes=moved,
            modelled_us=CALIBRATED.launch_us + memory_us,
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
    )


def _package(
    imported: ImportedModel,
    network: LoweredNetwork,
    plan: MemoryPlan,
    infos: tuple[StepInfo, ...],
    target: Target,
    verification: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
) -> Package:
    index = {tensor: number for number, tensor in enumerate(plan.tensors)}
    kernels: dict[str, int] = {}
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
    given, expected = verification
    return Package(
        target=target.name,
        arena_bytes=plan.arena_bytes,
        buffers=tuple(map(_buffer, plan.tensors, plan.offsets)),
        steps=tuple(steps),
        kernels=tuple(Kernel(name=by_source[source].name, source=source) for source in kernels),
        weights=plan.weights,
        inputs=(index[network.input],),
        outputs=(index[network.output],),
        verification_input=given,
        verification_output=expected,
        preprocessing=imported.preprocessing,
        metadata={
            "act.lowerings": ",".join(info.lowering for info in infos),
            "act.input": imported.input_name,
            "act.output": imported.output_name,
        },
    )


def _buffer(tensor: Tensor, offset: int) -> Buffer:
    """Activations have the shape of their allocation: their halo is part of it."""
    layout = tensor.layout
    shape = layout.shape if layout.is_plain and not layout.slack else (layout.elements,)
    return Buffer(
        name=tensor.name,
        role=tensor.role,
        dtype="int32" if tensor.dtype == "int32" else "float32",
        shape=shape,
        offset=offset,
        size_bytes=layout.elements * 4,
    )


def _verification(path: Path, imported: ImportedModel) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = np.random.default_rng(VERIFICATION_SEED).standard_normal(imported.input_shape, dtype=np.float32)
    (expected,) = session.run([imported.output_name], {imported.input_name: given})
    return given, np.asarray(expected, np.float32)
