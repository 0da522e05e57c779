import threading

import pytest
from act.models.prefetch import prefetched


@pytest.mark.parametrize("ahead", [1, 2, 100])
def test_values_come_in_order_from_another_thread(ahead: int) -> None:
    threads: set[int] = set()

    def square(number: int) -> int:
        threads.add(threading.get_ident())
        return number * number

    assert list(prefetched(square, range(20), ahead=ahead)) == [number * number for number in range(20)]
    assert threading.get_ident() not in threads
    assert list(prefetched(square, [])) == []


def test_a_failure_is_raised_in_its_place() -> None:
    values = prefetched(lambda number: 1 // (3 - number), range(10))
    assert [next(values) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(values)
    assert list(values) == []


def test_stopping_early_leaves_no_thread_and_little_work() -> None:
    made: list[int] = []
    values = prefetched(made.append, range(1000))
    next(values)
    values.close()  # type: ignore[attr-defined]
    assert len(made) <= 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]
