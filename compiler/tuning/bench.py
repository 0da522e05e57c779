"""Builds candidates of one layer and times them by turns on a device.

The layer is a network of its own with random weights; all candidates of a comparison are one package, whose steps the
device profiles in passes: in each pass every candidate runs once, right after the copy of the input into its own
memory, so that a busy or drifting device slows all of them. Outputs are compared with onnxruntime's before any time
is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from ...device.devices import Device, TimingOptions
from ...device.errors import CandidateError, DeviceError
from ...device.package_format import PackageError, write_package
from ...device.precision import TOLERANCES
from ..compile import Assembled, assemble, operator_names, source_of
from ..errors import CompileError
from ..importer import import_onnx
from ..kernel_choice import UNTUNED, KernelChoice, LayerKey, TunedKernel, TunedKernels, layer_key
from ..layer_onnx import write_layer_onnx
from ..lower import LoweredNetwork, lower
from ..targets import Target
from .join import join_packages, joined_bytes
from .tasks import TuningTask

__all__ = ["BadCandidateError", "LayerBench", "UntunableLayerError"]

MOST_PACKAGE_BYTES: Final = 256 << 20  # beside the two that any comparison needs
KEPT_BYTES: Final = 256 << 20
PROFILE_RUNS: Final = 9
MAX_SECONDS: Final = 1.0


class BadCandidateError(CompileError):
    """A candidate that does not build, does not run, or computes something else."""


class UntunableLayerError(CompileError):
    """A layer that cannot be a network of its own, or is too large to compare two kernels of."""


class LayerBench:
    """Times kernels of one layer.

    Args:
        task: The layer.
        target: What kernels are compiled for.
        device: Where they run.
        folder: For files that may be overwritten.

    Raises:
        UntunableLayerError: If the layer by itself is not the one of the network.
    """

    def __init__(self, task: TuningTask, target: Target, device: Device, folder: Path) -> None:
        self._task, self._target, self._device = task, target, device
        onnx = write_layer_onnx(task.shape, folder / "layer.onnx", inside=True)
        self._path = folder / "candidates.actpkg"
        try:
            imported = import_onnx(onnx, batch=task.batch)
        except (CompileError, ValueError) as error:
            raise UntunableLayerError(f"layer {task.label!r} by itself is refused: {error}") from error
        self._module, self._names = imported.relax_module, operator_names(imported.onnx_model)
        self._source = source_of(onnx, imported)
        self._key = self._own_key()
        self._built: dict[KernelChoice, Assembled] = {}

    def _own_key(self) -> LayerKey:
        """The layer as it is by itself; its columns fill other channels and blocks than in the network, nearly as many.

        Raises:
            UntunableLayerError: If it differs in anything else.
        """
        steps = self._lower(UNTUNED).steps
        layers = [step.layer for step in steps if step.layer is not None and step.layer.kernel is not None]
        shape, batch = layer_key(layers[0].shape, layers[0].batch)
        asked = self._task.shape
        if (replace(shape, read_channels=asked.read_channels, blocks=asked.blocks), batch) != (asked, self._task.batch):
            raise UntunableLayerError(
                f"layer {self._task.label!r} by itself is another: its padding differs between two sides"
            )
        return shape, batch

    def _lower(self, tuned: TunedKernels) -> LoweredNetwork:
        names = {key: list(values) for key, values in self._names.items()}
        return lower(self._module, self._target, names=names, tuned=tuned)

    def build(self, choice: KernelChoice) -> None:
        """Compile a candidate.

        Raises:
            BadCandidateError: If it cannot be compiled.
        """
        if choice in self._built:
            return
        tuned = TunedKernels(kernels={self._key: TunedKernel(choice=choice, reason="candidate")})
        try:
            assembled = assemble(self._lower(tuned), self._source, self._target)
        except RuntimeError as error:  # TVM's own errors are RuntimeErrors, too
            raise BadCandidateError(_first_line(error)) from error
        while self._built and sum(_bytes(kept) for kept in self._built.values()) > KEPT_BYTES:
            del self._built[next(iter(self._built))]
        self._built[choice] = assembled

    def room(self, needed: Sequence[KernelChoice], more: KernelChoice) -> bool:
        """Whether one more candidate fits into a package with those that are needed."""
        packages = [self._assembled(choice).package for choice in dict.fromkeys((*needed, more))]
        arena, weights = joined_bytes(packages)
        return arena <= self._target.max_buffer_bytes and arena + weights <= MOST_PACKAGE_BYTES

    def times(self, choices: Sequence[KernelChoice]) -> list[float]:
        """Microseconds of each, all in the same passes; one that is named several times runs as often.

        Raises:
            BadCandidateError: If one of them is at fault.
            UntunableLayerError: If they do not fit into the target's memory together.
            DeviceError: If the device failed, or has no clock for kernels.
        """
        different = list(dict.fromkeys(choices))
        assembled = [self._assembled(choice) for choice in different]
        turns = [different.index(choice) for choice in choices]
        packages = [built.package for built in assembled]
        if joined_bytes(packages)[0] > self._target.max_buffer_bytes:
            raise UntunableLayerError(
                f"layer {self._task.label!r}: {len(different)} kernels of it need {joined_bytes(packages)[0]} bytes in "
                f"one buffer; buffers on {self._target.name} have at most {self._target.max_buffer_bytes}"
            )
        write_package(self._path, join_packages(packages, turns))
        step_us = self._profile()
        result, start = [], 0
        for turn in turns:
            steps = assembled[turn].steps
            layer = next(info.source_op for info in steps if info.tile)
            own = step_us[start : start + len(steps)]
            result.append(sum(time for time, info in zip(own, steps, strict=True) if info.source_op == layer))
            start += len(steps)
        return result

    def _profile(self) -> tuple[float, ...]:
        options = TimingOptions(
            runs=1,
            warmup=1,
            bursts=0,
            profile_runs=PROFILE_RUNS,
            max_seconds=MAX_SECONDS,
            tolerance=TOLERANCES[self._target.precision],
        )
        try:
            step_us = self._device.time(self._path, options).step_us
        except (CandidateError, PackageError) as error:
            raise BadCandidateError(_first_line(error)) from error
        except DeviceError as error:
            if type(error) is not DeviceError:  # a phone that is hot or gone says nothing of the candidate
                raise
            raise BadCandidateError(_first_line(error)) from error  # the runner crashed or hung
        if not step_us:
            raise DeviceError(f"{self._device.id} has no clock for kernels: kernels cannot be tuned on it")
        return step_us

    def _assembled(self, choice: KernelChoice) -> Assembled:
        self.build(choice)
        return self._built[choice]


def _bytes(assembled: Assembled) -> int:
    return len(assembled.package.weights) + assembled.package.verification_output.nbytes


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
