import pytest
from act.toolchain.errors import UsageError
from act.toolchain.recipe import Recipe, resolve_batch_parts


@pytest.mark.parametrize(
    ("asked", "processes", "parts"), [(0, 1, 1), (0, 2, 2), (0, 3, 3), (1, 1, 1), (2, 1, 2), (4, 2, 4)]
)
def test_a_part_a_process_where_nothing_else_is_asked(asked: int, processes: int, parts: int) -> None:
    assert resolve_batch_parts(asked, batch_size=128, processes=processes) == parts


def test_parts_that_processes_cannot_share_are_refused() -> None:
    with pytest.raises(UsageError, match=r"batch_parts is 3.*multiple of the 2 processes"):
        resolve_batch_parts(3, batch_size=128, processes=2)
    with pytest.raises(UsageError, match=r"batch_size is 6.*at least 8 images"):
        resolve_batch_parts(4, batch_size=6, processes=4)


def test_the_rate_warms_up_and_falls_to_its_end() -> None:
    recipe = Recipe(epochs=1, learning_rate=0.1, warmup_share=0.1, final_rate_share=0.2)
    rates = [recipe.learning_rate_at(progress / 100) for progress in range(100)]
    assert max(rates) == pytest.approx(0.1)
    assert rates.index(max(rates)) == 10
    assert rates[0] < 0.002
    assert rates[-1] == pytest.approx(0.02, rel=0.01)
