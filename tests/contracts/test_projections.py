"""What every Euclidean projection must do. A new projection is one more entry of `CASES`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from act.toolchain.granularity import BlockColumn, Channel, Column
from act.toolchain.projection import project_columns, project_combined, project_filters, project_unstructured

ROWS, CHANNELS, AREA = 3, 5, 2
SHAPE = (ROWS, CHANNELS, 1, AREA)
ALL_COLUMNS = CHANNELS * AREA

# Which columns form a block, written out independently of the code under test.
SINGLE = [[column] for column in range(ALL_COLUMNS)]
WHOLE_CHANNELS = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
PAIRS = [[0, 2], [1, 3], [4, 6], [5, 7], [8], [9]]  # two channels at one position; the fifth channel is alone


def supports(rows: int, blocks: list[list[int]], columns: int) -> Iterator[np.ndarray]:
    """Every largest support with so many rows and so many blocks of columns, `(ROWS, ALL_COLUMNS)`."""
    for some_rows in itertools.combinations(range(ROWS), rows):
        for some_blocks in itertools.combinations(blocks, columns):
            mask = np.zeros((ROWS, ALL_COLUMNS), dtype=bool)
            mask[np.ix_(some_rows, sorted(itertools.chain(*some_blocks)))] = True
            yield mask


def single_weights(keep: int) -> Iterator[np.ndarray]:
    for chosen in itertools.combinations(range(ROWS * ALL_COLUMNS), keep):
        mask = np.zeros(ROWS * ALL_COLUMNS, dtype=bool)
        mask[list(chosen)] = True
        yield mask.reshape(ROWS, ALL_COLUMNS)


def stacked(masks: Iterator[np.ndarray]) -> np.ndarray:
    return np.stack(list(masks))


@dataclass(frozen=True)
class Case:
    """A projection, every support it may choose, `(n, ROWS, ALL_COLUMNS)`, and the share of the norm that is proven."""

    name: str
    project: Callable[[torch.Tensor], torch.Tensor]
    supports: np.ndarray
    proven_share: float = 1.0


CASES = [
    Case("filters", lambda w: project_filters(w, 2), stacked(supports(2, SINGLE, ALL_COLUMNS))),
    Case("columns", lambda w: project_columns(w, 4), stacked(supports(ROWS, SINGLE, 4))),
    Case("channels", lambda w: project_columns(w, 2, Channel()), stacked(supports(ROWS, WHOLE_CHANNELS, 2))),
    Case("block columns", lambda w: project_columns(w, 3, BlockColumn(block=2)), stacked(supports(ROWS, PAIRS, 3))),
    Case("combined", lambda w: project_combined(w, 2, 4, Column()), stacked(supports(2, SINGLE, 4)), 2 / ROWS),
    Case("combined, channels", lambda w: project_combined(w, 1, 2, Channel()), stacked(supports(1, WHOLE_CHANNELS, 2))),
    Case(
        "combined, blocks",
        lambda w: project_combined(w, 2, 3, BlockColumn(block=2)),
        stacked(supports(2, PAIRS, 3)),
        2 / ROWS,
    ),
    Case("unstructured", lambda w: project_unstructured(w, 4), stacked(single_weights(4))),
]
every_projection = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def weight_of(seed: int, *, heavy_tailed: bool = False) -> torch.Tensor:
    weight = torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))
    return weight**3 if heavy_tailed else weight


def support_of(projected: torch.Tensor) -> np.ndarray:
    return (projected != 0).flatten(1).numpy()


def best_energy(case: Case, weight: torch.Tensor) -> float:
    squares = weight.flatten(1).double().square().numpy()
    return float((case.supports.reshape(len(case.supports), -1) @ squares.ravel()).max())


@every_projection
def test_it_is_feasible_and_keeps_entries_as_they_are(case: Case) -> None:
    for seed in range(5):
        weight = weight_of(seed)
        projected = case.project(weight)
        kept = support_of(projected)
        assert (case.supports | ~kept).all((1, 2)).any()
        assert torch.equal(projected[projected != 0], weight[projected != 0])


@every_projection
def test_it_is_nearest_or_keeps_the_share_that_is_proven(case: Case) -> None:
    for seed in range(20):
        weight = weight_of(seed, heavy_tailed=seed % 2 == 1)
        energy = float(case.project(weight).double().square().sum())
        best = best_energy(case, weight)
        assert energy <= best * (1 + 1e-6)
        assert energy >= case.proven_share * best * (1 - 1e-6)


@every_projection
def test_it_is_nearest_nearly_always(case: Case) -> None:
    ratios = []
    for seed in range(100, 150):
        weight = weight_of(seed)
        ratios.append(float(case.project(weight).double().square().sum()) / best_energy(case, weight))
    assert np.mean(np.array(ratios) > 1 - 1e-6) >= 0.9
    assert min(ratios) >= 0.9


@every_projection
def test_projecting_twice_changes_nothing(case: Case) -> None:
    once = case.project(weight_of(1))
    assert torch.equal(case.project(once), once)


@every_projection
def test_the_result_shares_no_memory_and_the_weight_stays(case: Case) -> None:
    weight = torch.nn.Parameter(weight_of(2))
    before = weight.detach().clone()
    projected = case.project(weight)
    assert not projected.requires_grad
    projected.fill_(7.0)
    assert torch.equal(weight.detach(), before)


@every_projection
def test_ties_go_to_the_lowest_index(case: Case) -> None:
    equal = torch.ones(SHAPE)
    kept = support_of(case.project(equal))
    assert np.array_equal(kept, support_of(case.project(equal)))
    # Equal blocks of unequal size are no tie; among the best supports the first one is taken.
    sizes = case.supports.sum((1, 2))
    assert np.array_equal(kept, case.supports[int(np.argmax(sizes))])


@every_projection
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_shape_type_and_device_are_kept(case: Case, dtype: torch.dtype) -> None:
    weight = weight_of(3).to(dtype)
    projected = case.project(weight)
    assert (projected.shape, projected.dtype, projected.device) == (weight.shape, dtype, weight.device)
    last = weight.to(memory_format=torch.channels_last)
    assert torch.equal(case.project(last), projected)


@pytest.mark.gpu
@every_projection
def test_it_stays_on_the_gpu(case: Case) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    projected = case.project(weight_of(3).cuda())
    assert projected.is_cuda
    assert torch.equal(projected.cpu(), case.project(weight_of(3)))
