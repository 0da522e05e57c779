"""Targets: what a network is compiled for, by name (`adreno640`, `adreno640-vulkan`, `host-opencl`).

A target is not a device: a device is one phone or local OpenCL or Vulkan device by its id. Importing this module
loads neither torch nor TVM; `Target.tvm_target` imports TVM when it is called.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from ..device.precision import PRECISIONS, STORAGE_BYTES, Precision
from ..device.specs import ADRENO_SPECS, AdrenoSpec

if TYPE_CHECKING:
    import tvm

    from ..device.devices import Backend

__all__ = ["HostSpec", "Machine", "Target", "TargetError", "get_target", "list_targets"]


KIB = 1024
L2_REFERENCE = "adreno640"
# CL_DEVICE_MAX_MEM_ALLOC_SIZE is a quarter of the memory on most drivers; 512 MiB is safe on all of these. Vulkan's
# maxStorageBufferRange is 128 MiB at least, and no more on lavapipe and on many phones.
MAX_BUFFER_BYTES: Final = MappingProxyType({"opencl": 512 * KIB * KIB, "vulkan": 128 * KIB * KIB})
# Of each side of an image in OpenCL on an Adreno, which its weights are read from; other targets have buffers alone.
MAX_IMAGE_SIZE: Final = 16384
# Elements of a buffer that kernels for lavapipe read through a texel buffer (its maxTexelBufferElements; Vulkan grants
# 65536 alone). It fetches texels eight at a time, and loads from storage buffers one by one.
MAX_TEXEL_ELEMENTS: Final = MappingProxyType({"opencl": 0, "vulkan": 1 << 27})
# lavapipe runs eight work-items in the lanes of a register; PoCL runs ours one by one.
CPU_WAVES: Final = MappingProxyType({"opencl": 1, "vulkan": 8})
# TVM emits no more than 128; maxPerStageDescriptorStorageBuffers of an Adreno 6xx is 24.
MAX_ARGUMENTS: Final = MappingProxyType({"opencl": 128, "vulkan": 24})


class TargetError(ValueError):
    """An unknown target, or an unknown precision."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What the latency model computes with.

    Attributes:
        peak_gflops: fp32 rate of the whole device.
        l2_gbps: Bandwidth of the second-level cache in GB/s.
        dram_gbps: Bandwidth of the memory in GB/s.
        compute_units: Parts that work-groups are spread over: shader processors, or cores.
        wave: Work-items that run as one.
    """

    peak_gflops: float
    l2_gbps: float
    dram_gbps: float
    compute_units: int
    wave: int


@dataclass(frozen=True, kw_only=True, slots=True)
class HostSpec:
    """A local device on a CPU: nominal rates of a small two-core machine, not measured.

    A modelled latency on this target orders candidates and says nothing of the machine at hand: bench measures it.
    """

    name: str = "host"
    peak_gflops: float = 100.0
    l2_gbps: float = 100.0
    dram_gbps: float = 15.0
    compute_units: int = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What a network is compiled for.

    Attributes:
        name: The name that commands take.
        description: One line for people.
        backend: Language of the kernels.
        device_spec: Figures of the hardware.
        max_work_group_size: Work-items per work-group that kernels may use.
        local_memory_bytes: Local memory per work-group.
        constant_memory_bytes: Memory for constant buffers.
        max_buffer_bytes: Largest single buffer; larger weights are split.
        max_arguments: Buffers and images that one kernel may take.
        max_image_size: Width and height of the largest image that weights are read from; 0 where buffers are better.
        max_texel_elements: Elements of the largest buffer that is read through a texel buffer; 0 where storage buffers
            are better (Vulkan alone has texel buffers).
        machine: Rates for the latency model.
        precision: How weights and activations are stored; arithmetic is fp32 either way.
    """

    name: str
    description: str
    backend: Backend
    device_spec: AdrenoSpec | HostSpec
    max_work_group_size: int
    local_memory_bytes: int
    constant_memory_bytes: int
    max_buffer_bytes: int
    max_arguments: int
    max_image_size: int
    max_texel_elements: int
    machine: Machine
    precision: Precision = "fp32"

    @property
    def storage_bytes(self) -> int:
        """Bytes of one stored weight or activation."""
        return STORAGE_BYTES[self.precision]

    @property
    def has_long_addresses(self) -> bool:
        """Whether addresses in kernels have 64 bits: fast on a CPU through OpenCL, emulated or absent elsewhere."""
        return self.backend == "opencl" and isinstance(self.device_spec, HostSpec)

    def tvm_target(self) -> tvm.target.Target:
        """The TVM target that functions are lowered for.

        Vulkan has the same: the wheel of TVM cannot generate SPIR-V, and what it lowers for OpenCL names built-in
        functions as `glsl` expects them.

        TVM's own figures for Adreno (256 threads, no local memory limit that fits) are wrong for the 6xx series.
        """
        from tvm.target import Target as TvmTarget

        is_adreno = isinstance(self.device_spec, AdrenoSpec)
        attributes = {
            "kind": "opencl",
            "keys": ["adreno", "opencl", "gpu"] if is_adreno else ["opencl", "gpu"],
            "max_num_threads": self.max_work_group_size,
            "max_threads_per_block": self.max_work_group_size,
            "max_shared_memory_per_block": self.local_memory_bytes,
        }
        if is_adreno:
            attributes["device"] = "adreno"
        return TvmTarget(attributes, host="llvm")


def list_targets() -> list[str]:
    """Names of all targets: those for OpenCL, then those for Vulkan, of each the phones first, oldest first."""
    return list(_TARGETS)


def get_target(name: str, *, precision: str = "fp32") -> Target:
    """The target of that name.

    Args:
        name: One of `list_targets`.
        precision: ``fp32``, or ``fp16`` for weights and activations of half the size.

    Raises:
        TargetError: If there is no such target or precision; names the nearest and all known ones.
    """
    if name not in _TARGETS:
        raise TargetError(f"{_unknown('target', name, list_targets())} (see 'act targets')")
    if precision not in PRECISIONS:
        raise TargetError(_unknown("precision", precision, list(PRECISIONS)))
    return replace(_TARGETS[name], precision=precision)


def _unknown(kind: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f": did you mean {near[0]!r}?" if near else ";"
    return f"unknown {kind} {name!r}{hint} known {kind}s: {', '.join(known)}"


def _adreno_target(spec: AdrenoSpec, backend: Backend) -> Target:
    # The L2 rate is measured on the 640 alone; caches run at the shaders' clock and grow with them.
    l2_gbps = spec.l2_gbps * spec.peak_gflops / ADRENO_SPECS[L2_REFERENCE].peak_gflops
    language = {"opencl": "OpenCL", "vulkan": "Vulkan"}[backend]
    return Target(
        name=spec.name if backend == "opencl" else f"{spec.name}-{backend}",
        description=f"Qualcomm Adreno {spec.name.removeprefix('adreno')} ({spec.soc}), {language}",
        backend=backend,
        device_spec=spec,
        max_work_group_size=spec.max_work_group_size,
        local_memory_bytes=spec.local_memory_kb * KIB,
        constant_memory_bytes=spec.constant_memory_kb * KIB,
        max_buffer_bytes=MAX_BUFFER_BYTES[backend],
        max_arguments=MAX_ARGUMENTS[backend],
        max_image_size=MAX_IMAGE_SIZE if backend == "opencl" else 0,
        max_texel_elements=0,
        machine=Machine(
            peak_gflops=spec.peak_gflops,
            l2_gbps=l2_gbps,
            dram_gbps=spec.dram_gbps,
            compute_units=spec.compute_units,
            wave=spec.wave_sizes[0],
        ),
    )


def _host_target(spec: HostSpec, backend: Backend) -> Target:
    what = {"opencl": "OpenCL device (PoCL on the CPU)", "vulkan": "Vulkan device (lavapipe on the CPU)"}[backend]
    return Target(
        name=f"host-{backend}",
        description=f"a local {what}: checks that results are right, predicts no phone",
        backend=backend,
        device_spec=spec,
        max_work_group_size=1024,
        local_memory_bytes=32 * KIB,
        constant_memory_bytes=64 * KIB,
        max_buffer_bytes=MAX_BUFFER_BYTES[backend],
        max_arguments=MAX_ARGUMENTS[backend],
        max_image_size=0,
        max_texel_elements=MAX_TEXEL_ELEMENTS[backend],
        machine=Machine(
            peak_gflops=spec.peak_gflops,
            l2_gbps=spec.l2_gbps,
            dram_gbps=spec.dram_gbps,
            compute_units=spec.compute_units,
            wave=CPU_WAVES[backend],
        ),
    )


def _targets_of(backend: Backend) -> list[Target]:
    return [*(_adreno_target(spec, backend) for spec in ADRENO_SPECS.values()), _host_target(HostSpec(), backend)]


_BACKENDS: Final[tuple[Backend, ...]] = ("opencl", "vulkan")
_TARGETS: Final = MappingProxyType({target.name: target for backend in _BACKENDS for target in _targets_of(backend)})
