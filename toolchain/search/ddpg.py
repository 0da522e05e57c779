"""The agent of AMC (arXiv:1802.03494), the reinforcement-learning baseline: one episode is one candidate.

The agent walks over the knobs in execution order and gives each its ratio, clipped so that what is left can still reach
the budget when it is pruned as hard as it may be. At the end the candidate is judged; its negative energy is the
reward. AMC hands every step of an episode that reward; here the last step has it and the discount is 1, which gives
the critic the same target without a running baseline.

Settings of AMC: actor and critic 300-300, learning rates 1e-4 and 1e-3, tau 0.01, batch 64, the first eighth of the
episodes random, then noise of 0.5 (on ratios in [0, 1]) that decays by 0.95 an episode.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..extras import require
from .action import MAX_RATIO
from .budget import Proposal
from .problem import Knob, SearchProblem
from .strategy import SearchResult
from .trials import TrialJournal, Trials

WARM_UP_SHARE = 1 / 8
BISECTIONS = 5
STATE_SIZE = 12

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Ddpg:
    """DDPG of stable-baselines3 on the CPU, seeded.

    Raises:
        MissingExtraError: If stable-baselines3 is not installed.
    """

    def __post_init__(self) -> None:
        require("stable_baselines3", extra="rl", what="the DDPG search")

    def run(self, problem: SearchProblem, trials: int, rng: np.random.Generator, journal: TrialJournal) -> SearchResult:
        """See `Strategy.run`."""
        from .ddpg_agent import train_agent

        log = Trials(problem.evaluate, trials, journal)
        if problem.knobs:
            walk = LayerWalk(problem, log)
            warm_up = max(1, round(WARM_UP_SHARE * trials))
            train_agent(walk, episodes=trials, warm_up_episodes=warm_up, seed=int(rng.integers(2**31)))
        else:
            log.run(problem.project(problem.uniform()))
        return SearchResult(best=log.best.candidate, outcome=log.best.outcome)


class LayerWalk:
    """One candidate, knob by knob: what the agent sees and what its actions do.

    Args:
        problem: What is searched; it has knobs.
        log: Judges finished candidates.
    """

    def __init__(self, problem: SearchProblem, log: Trials[Proposal]) -> None:
        self._problem = problem
        self._log = log
        self._features = _features(problem.knobs)
        shares = np.asarray([knob.share for knob in problem.knobs])
        self._shares = shares / max(float(shares.sum()), 1e-9)
        self._ratios: list[float] = []

    @property
    def steps(self) -> int:
        """Actions of an episode."""
        return len(self._problem.knobs)

    def restart(self) -> FloatArray:
        """Begin a candidate; returns the first state."""
        self._ratios = []
        return self._state()

    def step(self, wanted: float) -> tuple[FloatArray, float, bool, float]:
        """Give the next knob its ratio.

        Args:
            wanted: In [0, 1], of the largest ratio.

        Returns:
            The next state in [0, 1], shape ``(12,)``, the reward, whether the candidate is finished, and the action
            that was really taken, in [0, 1].
        """
        ratio = self._clipped(wanted * MAX_RATIO)
        self._ratios.append(ratio)
        finished = len(self._ratios) == self.steps
        reward = -self._judge() if finished else 0.0
        return self._state(), reward, finished, ratio / MAX_RATIO

    def _judge(self) -> float:
        proposal = self._problem.restrict(self._problem.action_of(self._ratios))
        return self._log.run(proposal).outcome.energy

    def _clipped(self, ratio: float) -> float:
        """The least ratio from `ratio` on with which the knobs after it can still reach the budget."""
        later = [MAX_RATIO] * (self.steps - len(self._ratios) - 1)

        def reaches(value: float) -> bool:
            return self._excess([*self._ratios, value, *later]) <= 0

        if reaches(ratio):
            return ratio
        low, high = ratio, MAX_RATIO
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (low, middle) if reaches(middle) else (middle, high)
        return high

    def _excess(self, ratios: list[float]) -> float:
        return self._problem.budget.excess(self._problem.priced(self._problem.action_of(ratios)).costs)

    def _state(self) -> FloatArray:
        done = len(self._ratios)
        here = min(done, self.steps - 1)
        reduced = float(self._shares[:done] @ np.asarray(self._ratios))
        last = self._ratios[-1] / MAX_RATIO if self._ratios else 0.0
        moving = [done / self.steps, reduced, float(self._shares[here:].sum()), last]
        return np.asarray(np.clip(np.concatenate([self._features[here], moving]), 0.0, 1.0), dtype=np.float32)


def _features(knobs: tuple[Knob, ...]) -> npt.NDArray[np.float64]:
    """What does not change of each state, each feature over its largest: ``(knobs, 8)``."""
    rows = [
        (
            float(knob.kind == "column"),
            knob.layer.c_in,
            knob.layer.c_out,
            max(knob.layer.stride),
            max(knob.layer.kernel),
            knob.layer.output_hw[0] * knob.layer.output_hw[1],
            knob.layer.weight_count,
            knob.layer.macs,
        )
        for knob in knobs
    ]
    values = np.asarray(rows, dtype=np.float64)
    return np.asarray(values / np.maximum(values.max(0), 1e-9))
