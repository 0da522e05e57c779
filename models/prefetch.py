"""Work done ahead in a background thread, handed out in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def prefetched(make: Callable[[_Key], _Value], keys: Iterable[_Key], *, ahead: int = 2) -> Iterator[_Value]:
    """Yield ``make(key)`` for every key, in order, while the next ones are made in another thread.

    The order and the values are those of a plain loop; only the time differs. ``make`` must not touch what the caller
    changes meanwhile, such as a random generator. An error of ``make`` is raised where its value would be yielded.

    Args:
        make: Runs in one thread, for one key at a time.
        keys: Taken in the caller's thread.
        ahead: Values that are made before they are asked for, at least 1; so many are held in memory.
    """
    waiting: deque[Future[_Value]] = deque()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as pool:
        try:
            for key in keys:
                waiting.append(pool.submit(make, key))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # Where the caller stops early, or `make` failed: leaving the pool waits for the one that runs.
            for future in waiting:
                future.cancel()
