"""Tuning of all layers of a package within a budget, and what later compiles take from the records.

The next group of candidates goes to the layer where most time may be saved: the time of all its steps, over the number
of groups that have gone by there without a faster kernel.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...device.devices import Device, DeviceInfo
from ...device.specs import ADRENO_SPECS
from ...device.tuning_records import TuningRecords, Winner
from ..kernel_choice import LayerKey, TunedKernel, TunedKernels
from ..targets import HostSpec, Target, TargetError
from .bench import UntunableLayerError
from .search import GROUP, LayerSearch, Proposals, best_first, parse_candidate, target_text
from .space import Space
from .tasks import TuningTask, parse_layer

__all__ = ["Budget", "TunedLayer", "check_tuning_target", "tune_layers", "tuned_kernels"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """When to stop: after so many seconds, or so many candidates of each layer, those of earlier runs included."""

    seconds: float | None = None
    trials: int | None = None

    def __post_init__(self) -> None:
        if (self.seconds is None) == (self.trials is None):
            raise ValueError(f"a budget is of seconds or of trials, got {self}")


@dataclass(frozen=True, kw_only=True)
class TunedLayer:
    """What tuning a layer led to; times are None where it was not reached or cannot be tuned, which `problem` says."""

    task: TuningTask
    rule: str
    best: str
    rule_us: float | None
    best_us: float | None
    tried: int
    bad: int
    problem: str = ""

    @property
    def is_tuned(self) -> bool:
        """Whether another kernel than the rule's was found."""
        return self.best != self.rule


def tune_layers(
    tasks: Sequence[TuningTask],
    target: Target,
    device: Device,
    records: TuningRecords,
    budget: Budget,
    *,
    on_step: Callable[[LayerSearch, int], None] = lambda search, tried: None,
    proposals: Proposals = best_first,
) -> list[TunedLayer]:
    """Search for the best kernel of each layer.

    Args:
        tasks: The layers.
        target: What kernels are compiled for.
        device: Where they run.
        records: Where every result is kept at once.
        budget: When to stop.
        on_step: Called after each group of candidates with their number.
        proposals: Which candidates come next.

    Raises:
        TargetError: If what is tuned on the device would not be for the target.
        DeviceError: If the device failed; what was found is kept.
    """
    check_tuning_target(target, device.info)
    with tempfile.TemporaryDirectory(prefix="act-tune-") as name:
        folders = [Path(name) / str(number) for number in range(len(tasks))]
        for folder in folders:
            folder.mkdir()
        searches = [
            LayerSearch(task, target, device, records, folder, proposals=proposals)
            for task, folder in zip(tasks, folders, strict=True)
        ]
        problems = _search(searches, budget, on_step)
    return [_result(search, problems.get(search, "")) for search in searches]


def check_tuning_target(target: Target, info: DeviceInfo) -> None:
    """Tiles belong to a target: a local device serves its own alone, a phone those of its GPU.

    Raises:
        TargetError: If the device is none for that target.
    """
    local = not info.id.startswith("adb:")
    fits = target.backend in info.backends
    if local or isinstance(target.device_spec, HostSpec):
        fits = fits and local and target.name == info.target
    else:
        gpu = _gpu_of(info)
        fits = fits and (gpu is None or gpu == target.device_spec.name)
    if not fits:
        own = info.target if local or _gpu_of(info) else "the target of its GPU"
        raise TargetError(
            f"what is tuned on {info.id} is not for {target.name}: tiles belong to a target; tune for {own} there, or "
            f"for {target.name} on a device of its own"
        )


def tuned_kernels(records: TuningRecords, target: Target, *, fingerprint: str | None = None) -> TunedKernels:
    """What was tuned for a target in its precision.

    Args:
        records: From which.
        target: What is compiled for.
        fingerprint: The device whose choice comes first, where one is named; for a local target, whose choice alone
            counts, since that target names no hardware.
    """
    found: dict[LayerKey, TunedKernel] = {}
    only = fingerprint if isinstance(target.device_spec, HostSpec) else None
    for winner in records.winners(target_text(target), fingerprint):
        key, choice = parse_layer(winner.layer), parse_candidate(winner.trial.candidate)
        if key is None or choice is None or only not in (None, winner.fingerprint):
            continue
        space = Space(*key, target)
        if choice in space:  # else limits or templates have changed
            found[key] = TunedKernel(choice=choice, reason=_reason(winner, by_rule=choice == space.rule))
    return TunedKernels(kernels=found)


def _reason(winner: Winner, *, by_rule: bool) -> str:
    trial = winner.trial
    if by_rule:
        return f"by the rule; of {winner.tried - 1} others on {winner.device} none was faster"
    return f"tuned on {winner.device}: {trial.latency_us:.1f} us against {trial.rule_us:.1f} us by the rule"


def _gpu_of(info: DeviceInfo) -> str | None:
    """The GPU of a phone as a target's name; None where it is none of the known ones."""
    try:
        return next((name for name in ADRENO_SPECS if info.target in (name, f"{name}-vulkan")), None)
    except RuntimeError:
        return None


def _search(
    searches: Sequence[LayerSearch], budget: Budget, on_step: Callable[[LayerSearch, int], None]
) -> dict[LayerSearch, str]:
    """Go on until the budget is spent; returns why some layers cannot be tuned."""
    end = None if budget.seconds is None else time.monotonic() + budget.seconds
    idle = dict.fromkeys(searches, 0)
    problems: dict[LayerSearch, str] = {}
    while end is None or time.monotonic() < end:
        open_ones = [search for search in searches if search not in problems and _left(search, budget)]
        if not open_ones:
            break
        search = max(open_ones, key=lambda search: _promise(search, idle[search]))
        best = search.best_choice
        try:
            tried = search.step(_left(search, budget))
        except UntunableLayerError as error:
            problems[search] = str(error)
            continue
        idle[search] = idle[search] + 1 if search.best_choice == best else 0
        on_step(search, tried)
    return problems


def _left(search: LayerSearch, budget: Budget) -> int:
    """Candidates that may still be tried for a layer."""
    if search.is_exhausted:
        return 0
    return GROUP if budget.trials is None else max(0, budget.trials - search.candidates_tried)


def _promise(search: LayerSearch, idle: int) -> tuple[bool, float]:
    """Layers that were never measured come first, those that the model calls slowest before the others."""
    best = search.best
    if best is None or best.latency_us is None:
        return True, search.task.modelled_us
    return False, len(search.task.names) * best.latency_us / (1 + idle)


def _result(search: LayerSearch, problem: str) -> TunedLayer:
    best = search.best
    return TunedLayer(
        task=search.task,
        rule=search.space.rule.describe(),
        best=search.best_choice.describe(),
        rule_us=best.rule_us if best is not None else None,
        best_us=best.latency_us if best is not None else None,
        tried=search.candidates_tried,
        bad=sum(trial.status == "bad" for trial in search.trials.values()),
        problem=problem,
    )
