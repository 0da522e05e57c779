"""TVM's MetaSchedule over the candidates of `act.compiler.tuning`: its evolutionary search, our builder and runner.

The weights' packing depends on the tile, so a candidate is no schedule of one fixed function. What MetaSchedule
schedules is a stand-in whose trace samples the four coordinates of a candidate and notes them on its block; what is
measured is the candidate's own kernel, in the same groups as our search measures. A mutator changes one coordinate. Its
gradient-boosted cost model needs a package that is not installed with TVM, and features of a real schedule; in its
place is the mean of the nearest measured candidates.
"""

import logging
import random
import sys
import time
import types
from collections.abc import Sequence

import numpy as np
import tvm
from act.compiler.tuning.search import GROUP, LayerSearch
from tvm import te
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms

BLOCK = "kernel"
INTRINSICS = "tvm.s_tir.tensor_intrin"
NOTE = "act.coordinate"
POPULATION = 64
NEAREST = 4
FAILED = 1e9  # what a candidate that is none, or fails, is said to take


@derived_object
class ChangeOne(ms.mutator.PyMutator):
    """Sample one coordinate anew."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)

    def _initialize_with_tune_context(self, context: ms.TuneContext) -> None:
        """Needs nothing of it."""

    def apply(self, trace, rand_state):
        """A trace that differs in one decision."""
        samples = [step for step in trace.insts if step.kind.name == "SampleCategorical"]
        chosen = self._random.choice([step for step in samples if len(step.attrs[0]) > 1])
        return trace.with_decision(chosen, self._random.randrange(len(chosen.attrs[0])), True)

    def clone(self) -> "ChangeOne":
        """Another with random numbers of its own."""
        return ChangeOne(self._random.randrange(1 << 30))


@derived_object
class Nearest(ms.cost_model.PyCostModel):
    """Scores by the mean of the measured candidates that are nearest; the better, the higher."""

    def __init__(self) -> None:
        super().__init__()
        self._measured: list[tuple[tuple[int, ...], float]] = []

    def load(self, path: str) -> None:
        """Nothing is kept."""

    def save(self, path: str) -> None:
        """Nothing is kept."""

    def update(self, context, candidates, results) -> None:
        """Remember what was measured."""
        for candidate, result in zip(candidates, results, strict=True):
            self._measured.append((decisions_of(candidate.sch), -float(result.run_secs[0])))

    def predict(self, context, candidates):
        """One score a candidate."""
        return np.array([self._score(decisions_of(candidate.sch)) for candidate in candidates], np.float64)

    def _score(self, here: tuple[int, ...]) -> float:
        if not self._measured:
            return 0.0
        distance = {there: sum(a != b for a, b in zip(here, there, strict=True)) for there, _ in self._measured}
        near = sorted(self._measured, key=lambda pair: distance[pair[0]])[:NEAREST]
        return sum(score for _, score in near) / len(near)


def decisions_of(sch: Schedule) -> tuple[int, ...]:
    """What a schedule of the stand-in notes."""
    notes = sch.get(sch.get_sblock(BLOCK)).annotations
    return tuple(int(notes[f"{NOTE}{axis}"]) for axis in range(4))


class MetaScheduleSearch:
    """One layer's search.

    Args:
        search: Measures and keeps what is proposed; its own proposals are not used.
        seed: Of the search.
    """

    def __init__(self, search: LayerSearch, *, seed: int = 0) -> None:
        logging.getLogger("tvm.s_tir.meta_schedule").setLevel(logging.WARNING)
        # A context imports intrinsics of CUDA and others, which takes a minute and serves nothing here.
        sys.modules.setdefault(INTRINSICS, types.ModuleType(INTRINSICS))
        self._search = search
        self._choices = search.space.by_place
        self._axes = [sorted({place[axis] for place in self._choices}, key=str) for axis in range(4)]
        x = te.placeholder((1,), name="x")
        stand_in = te.create_prim_func([x, te.compute((1,), lambda i: x[i], name=BLOCK)])
        self._module = tvm.IRModule({"main": stand_in})
        self._target = tvm.target.Target({"kind": "llvm", "num-cores": 1})
        space = ms.space_generator.ScheduleFn(
            self._sample, sch_rules=[], postprocs=[], mutator_probs={ChangeOne(seed): 1.0}
        )
        strategy = ms.search_strategy.EvolutionarySearch(
            population_size=POPULATION, init_min_unmeasured=POPULATION // 2, genetic_max_fail_count=10
        )
        self._context = ms.TuneContext(
            self._module,
            target=self._target,
            space_generator=space,
            search_strategy=strategy,
            rand_state=seed + 1,
            num_threads=1,
        )

    def run(self, seconds: float) -> None:
        """Search until the time is over; the result is in the search's records."""
        end = time.monotonic() + seconds
        database = ms.database.MemoryDatabase()
        workload = database.commit_workload(self._module)
        self._context.pre_tuning(
            max_trials=1 << 20,
            num_trials_per_iter=GROUP,
            design_spaces=self._context.generate_design_space(),
            database=database,
            cost_model=Nearest(),
        )
        self._search.measure([])  # the rule's kernel, which every group is compared with
        while time.monotonic() < end:
            candidates = self._context.generate_measure_candidates()
            if not candidates:
                break
            results = self._measured([decisions_of(candidate.sch) for candidate in candidates])
            for candidate, result in zip(candidates, results, strict=True):
                run = ms.database.TuningRecord(
                    candidate.sch.trace, workload, result.run_secs, self._target, candidate.args_info
                )
                database.commit_tuning_record(run)
            self._context.notify_runner_results(candidates, results)
        self._context.post_tuning()

    def _sample(self, sch: Schedule) -> None:
        block = sch.get_sblock(BLOCK)
        for axis, values in enumerate(self._axes):
            even = [1 / len(values)] * len(values)
            sch.annotate(block, f"{NOTE}{axis}", sch.sample_categorical(list(range(len(values))), even))

    def _measured(self, decisions: Sequence[tuple[int, ...]]) -> list[ms.runner.RunnerResult]:
        """Builder and runner: the candidates in one group; what is no candidate takes no time, and is told so."""
        places = [tuple(axis[index] for axis, index in zip(self._axes, own, strict=True)) for own in decisions]
        chosen = [self._choices.get(place) for place in places]
        trials = self._search.trials
        self._search.measure(
            [choice for choice in dict.fromkeys(chosen) if choice is not None and choice not in trials]
        )
        relative = [trials[choice].relative if choice in trials else float("inf") for choice in chosen]
        return [ms.runner.RunnerResult([min(value, FAILED)], None) for value in relative]
