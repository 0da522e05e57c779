"""The DDPG agent itself: stable-baselines3 with AMC's settings. Imported only where the search is asked for."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from gymnasium.spaces import Box
from stable_baselines3 import DDPG
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv

from .ddpg import STATE_SIZE, LayerWalk

HIDDEN = (300, 300)
ACTOR_RATE, CRITIC_RATE = 1e-4, 1e-3
TAU = 0.01
BATCH = 64
BUFFER_EPISODES = 100
# The agent's actions lie in [-1, 1], twice as wide as ratios.
NOISE, NOISE_DECAY = 2 * 0.5, 0.95

Array = npt.NDArray[np.float32]


def train_agent(walk: LayerWalk, *, episodes: int, warm_up_episodes: int, seed: int) -> None:
    """Let an agent make `episodes` candidates; the walk judges and keeps them.

    Args:
        walk: Where it acts.
        episodes: Candidates.
        warm_up_episodes: Of these, the first ones with random actions and no learning.
        seed: Of everything random.
    """
    with _own_randomness():
        agent = _Agent(
            "MlpPolicy",
            DummyVecEnv([lambda: _Environment(walk)]),
            learning_rate=CRITIC_RATE,
            buffer_size=max(BATCH, BUFFER_EPISODES * walk.steps),
            learning_starts=warm_up_episodes * walk.steps,
            batch_size=BATCH,
            tau=TAU,
            gamma=1.0,
            train_freq=(1, "episode"),
            gradient_steps=-1,
            action_noise=_DecayingNoise(np.random.default_rng(seed), warm_up_episodes),
            policy_kwargs={"net_arch": list(HIDDEN)},
            seed=seed,
            device="cpu",
        )
        agent.learn(total_timesteps=episodes * walk.steps, log_interval=episodes + 1)


class _Environment(gymnasium.Env[Array, Array]):
    """A walk as gymnasium wants it."""

    def __init__(self, walk: LayerWalk) -> None:
        self._walk = walk
        self.observation_space = Box(0.0, 1.0, (STATE_SIZE,), np.float32)
        self.action_space = Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin a candidate; everything random lies in the agent."""
        return self._walk.restart(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Choose one ratio."""
        state, reward, finished, taken = self._walk.step((float(action[0]) + 1) / 2)
        return state, reward, finished, False, {"taken": 2 * taken - 1}


class _Agent(DDPG):
    """DDPG that learns from the actions really taken, with a slower actor."""

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: npt.NDArray[Any],
        new_obs: npt.NDArray[Any] | dict[str, npt.NDArray[Any]],
        reward: npt.NDArray[Any],
        dones: npt.NDArray[Any],
        infos: list[dict[str, Any]],
    ) -> None:
        # Clipping for the budget changes actions: the critic must see what had the effect.
        taken = np.asarray([[info["taken"]] for info in infos], dtype=buffer_action.dtype)
        super()._store_transition(replay_buffer, taken, new_obs, reward, dones, infos)

    def _update_learning_rate(self, optimizers: list[torch.optim.Optimizer] | torch.optim.Optimizer) -> None:
        super()._update_learning_rate(optimizers)
        for group in self.actor.optimizer.param_groups:
            group["lr"] = ACTOR_RATE


class _DecayingNoise(ActionNoise):
    """Normal noise that decays from episode to episode; none during the warm-up, whose actions are random anyway."""

    def __init__(self, rng: np.random.Generator, warm_up_episodes: int) -> None:
        super().__init__()
        self._rng = rng
        self._episode = -warm_up_episodes

    def __call__(self) -> Array:
        scale = NOISE * NOISE_DECAY**self._episode if self._episode >= 0 else 0.0
        return np.asarray(self._rng.normal(0.0, 1.0, 1) * scale, dtype=np.float32)

    def reset(self) -> None:
        """Called at the end of an episode."""
        self._episode += 1


@contextmanager
def _own_randomness() -> Iterator[None]:
    """The library seeds the global generators: give them back as they were."""
    python, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
