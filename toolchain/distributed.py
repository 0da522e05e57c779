"""Several processes that train together, started by torchrun; one process is the plain case.

    torchrun --nproc-per-node 2 -m act.toolchain compress ...

Process 0 runs the program: it alone decides, prints, and writes files and journals. The others wait until it sends them
a training (see `training.serve`), and take their parts of every batch; gradients are summed over all processes. So a
search, whichever it is, sees one process, and a run may be continued with another number of them.

gloo carries tensors on the CPU and every message, nccl those on GPUs. Waiting for a message has no time limit, because
a search may take hours, but ends with the store that torchrun keeps; a collective operation that takes longer than
`ACT_PROCESS_TIMEOUT_S` seconds (600 by default) fails. A process that ends is noticed by torchrun, which stops the
others, or by whoever waits for its gradients, whichever is first.
"""

import io
import os
import pickle
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .errors import LostProcessError, UsageError

if TYPE_CHECKING:
    import torch
    from torch.distributed import Store  # type: ignore[attr-defined]

DEFAULT_TIMEOUT_S = 600.0
POLL_S = 0.02
_CHUNK_BYTES = 1 << 28
_VARIABLES = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


class Processes:
    """The processes of a run, as one of them sees them.

    Args:
        rank: Number of this process, from 0.
        size: How many there are.
        store: The key-value store that they share; not needed by a single process.

    Attributes:
        sent: On process 0, what the others hold already, by the number under which they hold it.
    """

    def __init__(self, *, rank: int = 0, size: int = 1, store: "Store | None" = None) -> None:
        self.rank = rank
        self.size = size
        self.sent: dict[int, object] = {}
        self._store = store
        self._messages = 0

    @property
    def main(self) -> bool:
        """Whether this is process 0, which decides, prints and writes."""
        return self.rank == 0

    def parts_of(self, parts: int) -> range:
        """Which of `parts` equal parts of every batch this process takes; `parts` is a multiple of `size`."""
        each = parts // self.size
        return range(self.rank * each, (self.rank + 1) * each)

    def all_reduce(self, tensor: "torch.Tensor") -> None:
        """Replace `tensor` by its sum over all processes, in place.

        Raises:
            LostProcessError: If another process is gone, or takes longer than the time limit.
        """
        if self.size == 1:
            return
        import torch.distributed as dist

        with self._watched():
            dist.all_reduce(tensor)

    def goes_on(self, decision: bool = False) -> bool:
        """Process 0's `decision`, in every process; what the others give is not counted."""
        if self.size == 1:
            return decision
        import torch

        told = torch.tensor(float(decision and self.main))
        self.all_reduce(told)
        return bool(told > 0)

    def send(self, message: object) -> None:
        """Give `message` to every other process; only process 0 does. Tensors arrive on the receivers' devices."""
        import torch
        import torch.distributed as dist

        buffer = io.BytesIO()
        try:
            torch.save(message, buffer)
        except (AttributeError, TypeError, pickle.PicklingError) as error:
            raise UsageError(
                f"the network cannot be sent to the other processes, train it in one: {error} (modules must not hold "
                "lambdas, open files or classes defined inside functions)"
            ) from error
        data = torch.frombuffer(buffer.getbuffer(), dtype=torch.uint8)
        with self._watched():
            self._announce(len(data))
            for chunk in torch.split(data, _CHUNK_BYTES):
                dist.broadcast(chunk, src=0)

    def receive(self, device: "torch.device") -> Any:  # noqa: ANN401 - whatever was sent
        """Wait for the next message; None once process 0 has ended.

        Args:
            device: Where the message's tensors go.

        Raises:
            LostProcessError: If process 0 or torchrun is gone.
        """
        import torch
        import torch.distributed as dist

        assert self._store is not None
        self._messages += 1
        key = str(self._messages)
        with self._watched():
            while not self._store.check([key]):
                time.sleep(POLL_S)
            size = int(self._store.get(key))
            if size == 0:
                return None
            data = torch.empty(size, dtype=torch.uint8)
            for chunk in torch.split(data, _CHUNK_BYTES):
                dist.broadcast(chunk, src=0)
        # Not from a file, but from process 0 of this very run: it holds networks, which are code.
        return torch.load(io.BytesIO(data.numpy().tobytes()), map_location=device, weights_only=False)

    def dismiss(self) -> None:
        """Let the other processes end; only process 0 does."""
        if self.size > 1 and self.main:
            with suppress(RuntimeError):  # they may be gone already
                self._announce(0)

    def _announce(self, size: int) -> None:
        assert self._store is not None
        self._messages += 1
        self._store.set(str(self._messages), str(size))

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except LostProcessError:
            raise
        except RuntimeError as error:  # what gloo, nccl and the store raise
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise LostProcessError(f"process {self.rank} of {self.size} has lost another one: {reason}") from error


@contextmanager
def join_processes() -> Iterator[Processes]:
    """Join the processes that torchrun started with this one; without torchrun, a single process.

    Raises:
        UsageError: If the environment is half of torchrun's, or a machine has fewer GPUs than processes.
        LostProcessError: If the processes do not find each other, or one is lost later.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size < 2:
        yield Processes()
        return
    missing = [name for name in _VARIABLES if name not in os.environ]
    if missing:
        raise UsageError(
            f"WORLD_SIZE is {size}, but {', '.join(missing)} is not set: start several processes with "
            "'torchrun --nproc-per-node N -m act.toolchain …', or unset WORLD_SIZE"
        )
    previous = signal.signal(signal.SIGTERM, _stopped)
    try:
        processes = _connect(size)
        try:
            yield processes
        finally:
            processes.dismiss()
    finally:
        signal.signal(signal.SIGTERM, previous)
    import torch.distributed as dist

    dist.destroy_process_group()


def resume_launcher() -> list[str]:
    """How this program was started, for the command that continues a run: `act`, or torchrun with as many processes."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return ["act"]
    here = os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"])
    return ["torchrun", "--nproc-per-node", here, "-m", "act.toolchain"]


def _connect(size: int) -> Processes:
    import torch
    import torch.distributed as dist
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]
    from torch.distributed.rendezvous import rendezvous

    backend = "gloo"
    if torch.cuda.is_available():
        _take_own_gpu()
        backend = "cpu:gloo,cuda:nccl"
    timeout = timedelta(seconds=_timeout_s())
    try:
        store, rank, size = next(rendezvous("env://", timeout=timeout))
        dist.init_process_group(backend, store=PrefixStore("torch", store), rank=rank, world_size=size, timeout=timeout)
    except (RuntimeError, ValueError) as error:
        if isinstance(error, LostProcessError):
            raise
        raise LostProcessError(f"the {size} processes do not find each other: {error}") from error
    return Processes(rank=rank, size=size, store=PrefixStore("act", store))


def _take_own_gpu() -> None:
    import torch

    number, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= count:
        raise UsageError(
            f"this is process {number + 1} on a machine with {count} GPUs: give torchrun --nproc-per-node {count}"
        )
    torch.cuda.set_device(number)


def _timeout_s() -> float:
    text = os.environ.get("ACT_PROCESS_TIMEOUT_S", str(DEFAULT_TIMEOUT_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise UsageError(f"ACT_PROCESS_TIMEOUT_S must be a number of seconds above 0, but is {text!r}")
    return seconds


def _stopped(number: int, frame: object) -> None:
    rank, size = os.environ["RANK"], os.environ["WORLD_SIZE"]
    raise LostProcessError(
        f"process {rank} of {size} was stopped (SIGTERM): another process of the run has ended, or someone stopped it"
    )
