"""Search for the best kernel of one layer: from the rule's, along neighbours of the best, measured in small groups.

A group is one package with the rule's kernel, the best one and new candidates. One that is faster than the best by a
margin is compared again, by turns with the best; only who wins there by the margin takes its place. Every result goes
to the records at once: a search that is begun again goes on with them and measures nothing twice.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from ...device.devices import Device
from ...device.errors import DeviceError
from ...device.tuning_records import Status, Trial, TuningRecords
from ..kernel_choice import KernelChoice
from ..targets import Target
from .bench import BadCandidateError, LayerBench
from .space import Space
from .tasks import TuningTask

__all__ = ["LayerSearch", "Proposals", "best_first", "candidate_text", "parse_candidate", "random_order", "target_text"]

MARGIN: Final = 0.03
GROUP: Final = 6
RANDOM_SHARE: Final = 4  # one of so many proposals comes from anywhere

# Space, time relative to the rule's of those measured, how many, generator -> new candidates, the best first.
Proposals: TypeAlias = Callable[[Space, Mapping[KernelChoice, float], int, random.Random], list[KernelChoice]]


def best_first(
    space: Space, measured: Mapping[KernelChoice, float], count: int, generator: random.Random
) -> list[KernelChoice]:
    """Neighbours of the best, then of the next best; now and then one from anywhere."""
    found: dict[KernelChoice, None] = {}
    strangers = count // RANDOM_SHARE if len(measured) > 1 else 0
    for choice in sorted(measured, key=lambda choice: measured[choice]):
        if len(found) >= count - strangers or not math.isfinite(measured[choice]):
            break
        near = [other for other in space.neighbours(choice) if other not in measured and other not in found]
        generator.shuffle(near)
        found.update(dict.fromkeys(near[: count - strangers - len(found)]))
    return [*found, *random_order(space, {**measured, **dict.fromkeys(found, 0.0)}, count - len(found), generator)]


def random_order(
    space: Space, measured: Mapping[KernelChoice, float], count: int, generator: random.Random
) -> list[KernelChoice]:
    """Any candidates that were not measured."""
    rest = [choice for choice in space.candidates if choice not in measured]
    return generator.sample(rest, min(count, len(rest)))


class LayerSearch:
    """The search for one layer on one device.

    Args:
        task: The layer.
        target: What kernels are compiled for.
        device: Where they run.
        records: Where results are kept; what is there already is not measured again.
        folder: For files that may be overwritten.
        proposals: Which candidates come next.
    """

    def __init__(
        self,
        task: TuningTask,
        target: Target,
        device: Device,
        records: TuningRecords,
        folder: Path,
        *,
        proposals: Proposals = best_first,
    ) -> None:
        self.task = task
        self._target, self._device, self._records, self._folder = target, device, records, folder
        self._proposals = proposals
        self._bench: LayerBench | None = None
        self.space = Space(task.shape, task.batch, target)
        self.trials: dict[KernelChoice, Trial] = {}
        for trial in records.trials(target_text(target), task.text, device.info.fingerprint):
            choice = parse_candidate(trial.candidate)
            if choice is not None and choice in self.space:
                self.trials[choice] = trial

    @property
    def best(self) -> Trial | None:
        """The winner so far; None before the first comparison."""
        return next((trial for trial in self.trials.values() if trial.status == "winner"), None)

    @property
    def best_choice(self) -> KernelChoice:
        """The winner's kernel; before the first comparison, the rule's."""
        found = (choice for choice, trial in self.trials.items() if trial.status == "winner")
        return next(found, self.space.rule)

    @property
    def candidates_tried(self) -> int:
        """Candidates beside the rule's that were measured or found bad."""
        return len(self.trials) - (self.space.rule in self.trials)

    @property
    def is_exhausted(self) -> bool:
        """Whether there is nothing left to try."""
        return len(self.trials) == len(self.space.candidates)

    def step(self, most: int = GROUP) -> int:
        """Measure one group of new candidates, ``most`` at most; returns how many were tried.

        Raises:
            UntunableLayerError: If the layer cannot be tuned.
            DeviceError: If the device failed.
        """
        generator = random.Random(f"{self.task.text} {len(self.trials)}")
        relative = {choice: trial.relative for choice, trial in self.trials.items()} or {self.space.rule: 1.0}
        return self.measure(self._proposals(self.space, relative, min(most, GROUP), generator))

    def measure(self, proposed: Sequence[KernelChoice]) -> int:
        """Measure new candidates, in as many groups as their memory asks for; returns how many were tried.

        Raises:
            UntunableLayerError: If the layer cannot be tuned.
            DeviceError: If the device failed.
        """
        bench = self._open_bench()
        bench.build(self.space.rule)
        before = self.candidates_tried
        group: list[KernelChoice] = []
        for choice in proposed:
            try:
                bench.build(choice)
            except BadCandidateError as error:
                self._keep_bad(choice, error)
                continue
            if group and not bench.room([*self._base, *group], choice):
                self._measure(bench, group)
                group = []
            group.append(choice)
        if group or self.space.rule not in self.trials:
            self._measure(bench, group)
        return self.candidates_tried - before

    @property
    def _base(self) -> list[KernelChoice]:
        """What each group is compared with: the rule's kernel and, as the last, the best."""
        return list(dict.fromkeys((self.space.rule, self.best_choice)))

    def _open_bench(self) -> LayerBench:
        if self._bench is None:
            self._bench = LayerBench(self.task, self._target, self._device, self._folder)
        return self._bench

    def _measure(self, bench: LayerBench, group: Sequence[KernelChoice]) -> None:
        """Compare a group; where it fails, each by itself, so that the one at fault is found."""
        base = self._base
        try:
            times = dict(zip((*base, *group), bench.times((*base, *group)), strict=True))
        except BadCandidateError as error:
            if not group:
                raise DeviceError(f"the kernel that the rule chose for {self.task.label!r} fails: {error}") from error
            if len(group) > 1:
                for choice in group:
                    self._measure(bench, [choice])
                return
            self._measure(bench, [])  # raises where the device is at fault
            self._keep_bad(group[0], error)
            return
        rule_us = times[self.space.rule]
        if self.space.rule not in self.trials:
            self._keep(self.space.rule, rule_us, rule_us, winner=True)
        for choice in group:
            self._keep(choice, times[choice], rule_us)
        fastest = min(group, key=lambda choice: times[choice], default=None)
        if fastest is not None and times[fastest] < (1 - MARGIN) * times[base[-1]]:
            self._confirm(bench, base[-1], fastest)

    def _confirm(self, bench: LayerBench, best: KernelChoice, challenger: KernelChoice) -> None:
        """Compare with the best once more, by turns; the rule's kernel is there for its time."""
        try:
            times = bench.times((self.space.rule, best, challenger, challenger, best, self.space.rule))
        except BadCandidateError as error:  # it ran once, and does not run again
            self._keep_bad(challenger, error)
            return
        rule_us, best_us, own_us = ((times[i] + times[-1 - i]) / 2 for i in range(3))
        self._keep(challenger, own_us, rule_us, winner=own_us < (1 - MARGIN) * best_us)

    def _keep(self, choice: KernelChoice, latency_us: float, rule_us: float, *, winner: bool = False) -> None:
        if winner:
            for other, trial in self.trials.items():
                if trial.status == "winner":
                    self.trials[other] = Trial(
                        candidate=trial.candidate, status="tried", latency_us=trial.latency_us, rule_us=trial.rule_us
                    )
        status: Status = "winner" if winner else "tried"
        self._put(
            choice,
            Trial(candidate=candidate_text(choice), status=status, latency_us=latency_us, rule_us=rule_us),
        )

    def _keep_bad(self, choice: KernelChoice, error: Exception) -> None:
        self._put(choice, Trial(candidate=candidate_text(choice), status="bad", reason=str(error)))

    def _put(self, choice: KernelChoice, trial: Trial) -> None:
        self.trials[choice] = trial
        fingerprint = self._device.info.fingerprint
        self._records.put(target_text(self._target), self.task.text, fingerprint, trial, device=self._device.id)


def candidate_text(choice: KernelChoice) -> str:
    """A candidate as the records keep it."""
    return json.dumps(choice.to_dict(), sort_keys=True)


def parse_candidate(text: str) -> KernelChoice | None:
    """The inverse of `candidate_text`; None for what is none."""
    try:
        return KernelChoice.from_dict(json.loads(text))
    except (ValueError, KeyError, TypeError):
        return None


def target_text(target: Target) -> str:
    """A target with its precision as the records keep it."""
    return f"{target.name} {target.precision}"
