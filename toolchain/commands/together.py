"""Commands that train: alone, or in the processes that torchrun started."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import ExitCode

if TYPE_CHECKING:
    from ..distributed import Processes


def together(work: Callable[["Processes"], int]) -> int:
    """Run `work` in process 0 and return its exit code; the other processes take their parts of its trainings.

    Raises:
        LostProcessError: If a process is gone.
    """
    from ..distributed import join_processes

    with join_processes() as processes:
        if processes.main:
            return work(processes)
        from ..training import serve

        serve(processes)
    return ExitCode.OK
