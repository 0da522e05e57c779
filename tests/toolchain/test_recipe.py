import pytest
import torch
from act.toolchain.errors import UsageError
from act.toolchain.recipe import Recipe, resolve_batch_parts

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("asked", "batch_size", "device", "processes", "parts"),
    [
        (0, 128, CPU, 1, 2),  # one process does what two do
        (0, 128, CPU, 2, 2),
        (0, 128, CPU, 3, 3),
        (0, 32, CPU, 1, 1),  # too few images to be divided without need
        (0, 128, GPU, 1, 1),
        (0, 128, GPU, 4, 4),
        (1, 128, CPU, 1, 1),
        (4, 128, CPU, 2, 4),
    ],
)
def test_parts_by_device_and_processes(
    asked: int, batch_size: int, device: torch.device, processes: int, parts: int
) -> None:
    found = resolve_batch_parts(asked, batch_size=batch_size, device=device, processes=processes)
    assert found == parts


def test_parts_that_processes_cannot_share_are_refused() -> None:
    with pytest.raises(UsageError, match=r"batch_parts is 3.*multiple of the 2 processes"):
        resolve_batch_parts(3, batch_size=128, device=CPU, processes=2)
    with pytest.raises(UsageError, match=r"batch_size is 6.*at least 8 images"):
        resolve_batch_parts(4, batch_size=6, device=CPU, processes=4)


def test_the_rate_warms_up_and_falls_to_its_end() -> None:
    recipe = Recipe(epochs=1, learning_rate=0.1, warmup_share=0.1, final_rate_share=0.2)
    rates = [recipe.learning_rate_at(progress / 100) for progress in range(100)]
    assert max(rates) == pytest.approx(0.1)
    assert rates.index(max(rates)) == 10
    assert rates[0] < 0.002
    assert rates[-1] == pytest.approx(0.02, rel=0.01)
