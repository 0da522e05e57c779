"""A pool of interchangeable devices: work is done by whichever is free, and what one cannot finish another takes over.

Devices are interchangeable when their fingerprints are equal: their times then mean the same. Each has a thread of its
own that takes the next piece of work, so results never depend on the number of devices, nor on which one was faster.

- A device that fails (lost, hot for longer than its patience, refused by its settings) gives its work back and pauses.
  It is looked at again and again, and goes on when it is well and still the same. It is given up when it fails after
  every return, or when no device at all has worked for ``give_up_s``.
- A candidate that fails (see ``CandidateError``) fails on every device alike: its future gets the error, nothing else.
- When no device is left, all work ends with :class:`NoDeviceLeftError`.

What happens to devices is told as notices, in the thread that waits for results.
"""

import concurrent.futures
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import chain, repeat
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

from .devices import Device, DeviceInfo
from .errors import CandidateError, DeviceError, RunnerDiedError
from .package_format import PackageError
from .pool_types import NoDeviceLeftError, Notice, ReturnPolicy

Result = TypeVar("Result")
_POLL_S: Final = 0.2


@dataclass(kw_only=True)
class _Member:
    device: Device
    state: Literal["working", "paused", "given up"] = "working"
    problem: str = ""
    failures: int = 0


@dataclass(kw_only=True)
class _Task:
    work: Callable[[Device], Any]
    future: "Future[Any]" = field(default_factory=Future)
    died: bool = False


class DevicePool:
    """Devices of one fingerprint that share work. Use it as a context manager, or close it.

    Args:
        device_id: As it was asked for: that of the one device, or ``adb:all``.
        devices: At least one; ``open_pool`` finds them.
        reopen: Opens a device again by its id.
        policy: For devices that go away.
        left_out: Devices that were meant, too, but cannot be used with these.
        on_notice: Receives what happens to devices.

    Raises:
        ValueError: If there is no device, or their fingerprints differ.
    """

    def __init__(
        self,
        device_id: str,
        devices: Sequence[Device],
        *,
        reopen: Callable[[str], Device],
        policy: ReturnPolicy | None = None,
        left_out: Sequence[Notice] = (),
        on_notice: Callable[[Notice], None] | None = None,
    ) -> None:
        prints = {device.info.fingerprint for device in devices}
        if len(prints) != 1:
            raise ValueError(f"a pool needs devices of one fingerprint, got {sorted(prints) or 'no device'}")
        self.id = device_id
        self.info: DeviceInfo = devices[0].info
        self.on_notice = on_notice
        self._members = [_Member(device=device) for device in devices]
        self._reopen, self._policy = reopen, policy or ReturnPolicy()
        self._tasks: deque[_Task] = deque()
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._notices: queue.SimpleQueue[Notice] = queue.SimpleQueue()
        self._started = False
        self._alone_since: float | None = None
        for notice in left_out:
            self._notices.put(notice)

    @property
    def fingerprint(self) -> str:
        """What all of its devices share."""
        return self.info.fingerprint

    @property
    def ids(self) -> tuple[str, ...]:
        """Its devices, in their order."""
        return tuple(member.device.id for member in self._members)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop work that was not begun; what a device is at ends by itself and is thrown away."""
        self._closing.set()
        with self._changed:
            while self._tasks:
                _drop(self._tasks.popleft())
            self._changed.notify_all()

    def submit(self, work: Callable[[Device], Result]) -> "Future[Result]":
        """Let the next free device do a piece of work.

        Args:
            work: Called with a device, in its thread; after a failure of the device called again with another one.

        Returns:
            What :meth:`result` takes.
        """
        self._start()
        task = _Task(work=work)
        with self._changed:
            self._tasks.append(task)
            self._end_if_deserted()
            self._changed.notify()
        return task.future

    def result(self, future: "Future[Result]") -> Result:
        """Wait for a piece of work, and tell meanwhile what happens to devices.

        Raises:
            CandidateError, PackageError: If the candidate is at fault.
            NoDeviceLeftError: If no device is left.
        """
        while not concurrent.futures.wait([future], timeout=_POLL_S).done:
            self.tell()
        self.tell()
        return future.result()

    def run(self, work: Callable[[Device], Result]) -> Result:
        """Do one piece of work and wait for it; raises as :meth:`result`."""
        return self.result(self.submit(work))

    def tell(self) -> None:
        """Pass on what has happened to devices since the last time."""
        while True:
            try:
                notice = self._notices.get_nowait()
            except queue.Empty:
                return
            if self.on_notice is not None:
                self.on_notice(notice)

    def _start(self) -> None:
        """One thread a device, which neither a hanging device nor an interrupt keeps from ending with the process."""
        if self._started:
            return
        self._started = True
        for member in self._members:
            name = f"device {member.device.id}"
            threading.Thread(target=self._serve, args=(member,), name=name, daemon=True).start()

    def _serve(self, member: _Member) -> None:
        while (task := self._next()) is not None:
            try:
                value = task.work(member.device)
            except (CandidateError, PackageError) as error:
                task.future.set_exception(error)
            except RunnerDiedError as error:
                self._died(task, error)
            except DeviceError as error:
                self._give_back(task)
                if not self._returned(member, error):
                    return
                continue
            except BaseException as error:  # a bug belongs to who handed the work in, not to a thread
                task.future.set_exception(error)
            else:
                task.future.set_result(value)
            member.failures = 0

    def _next(self) -> _Task | None:
        """The next piece of work, waited for; None where the pool is closed."""
        with self._changed:
            while not self._closing.is_set():
                if self._tasks:
                    return self._tasks.popleft()
                self._changed.wait()
        return None

    def _give_back(self, task: _Task) -> None:
        """First in line again, so that work ends in about the order in which it was handed in."""
        with self._changed:
            if self._closing.is_set():
                _drop(task)
                return
            self._tasks.appendleft(task)
            self._changed.notify()

    def _died(self, task: _Task, error: RunnerDiedError) -> None:
        """The runner died: once may be chance, twice is the candidate's fault."""
        if task.died:
            task.future.set_exception(CandidateError(f"{error} (twice)", reason="crash"))
            return
        task.died = True
        self._give_back(task)

    def _returned(self, member: _Member, error: DeviceError) -> bool:
        """Pause a device until it is well again; False where it is given up."""
        member.failures += 1
        self._pause(member, error)
        if member.failures < self._policy.failures:
            for wait_s in chain(self._policy.look_s, repeat(self._policy.look_s[-1])):
                if self._closing.wait(wait_s):
                    return False
                if self._is_back(member):
                    return True
                if self._is_over():
                    break
        self._give_up(member)
        return False

    def _pause(self, member: _Member, error: DeviceError) -> None:
        with self._changed:
            member.state, member.problem = "paused", str(error)
            if not self._working() and self._alone_since is None:
                self._alone_since = time.monotonic()
            then = "another one takes its work over"
            if self._alone_since is not None:
                then = f"the work waits up to {self._policy.give_up_s:g} s for a device to come back"
        self._notices.put(Notice(device=member.device.id, happened="paused", text=f"{error}; {then}"))

    def _is_back(self, member: _Member) -> bool:
        name = member.device.id
        try:
            device = self._reopen(name)
            check_ready(device, self.fingerprint)
        except DeviceError as error:
            member.problem = str(error)
            return False
        with self._changed:
            member.device, member.state, self._alone_since = device, "working", None
        self._notices.put(Notice(device=name, happened="returned", text="it is back and goes on"))
        return True

    def _working(self) -> bool:
        return any(member.state == "working" for member in self._members)

    def _is_over(self) -> bool:
        """Whether every device has been away for as long as they are waited for."""
        since = self._alone_since
        return since is not None and time.monotonic() - since > self._policy.give_up_s

    def _give_up(self, member: _Member) -> None:
        self._notices.put(Notice(device=member.device.id, happened="given up", text=member.problem))
        with self._changed:
            member.state = "given up"
            self._end_if_deserted()

    def _end_if_deserted(self) -> None:
        """With the lock held: work that no device will ever do ends now."""
        if any(member.state != "given up" for member in self._members):
            return
        reasons = "\n".join(f"  {member.device.id}: {member.problem}" for member in self._members)
        while self._tasks:
            future = self._tasks.popleft().future
            future.set_exception(NoDeviceLeftError(f"no device is left to measure on:\n{reasons}"))


def _drop(task: _Task) -> None:
    """End a piece of work that was not done, for those who wait for it, too."""
    task.future.cancel()
    task.future.set_running_or_notify_cancel()


def check_ready(device: Device, fingerprint: str) -> None:
    """Refuse a device whose times would mean something else now.

    Raises:
        DeviceError: If it has another fingerprint, or is in no state to be timed.
    """
    found = device.info.fingerprint
    if found != fingerprint:
        raise DeviceError(
            f"{device.id} is another device now, or has another driver: fingerprint {found} in place of {fingerprint}"
        )
    problems = device.state().get("problems")
    if problems:
        raise DeviceError(f"{device.id}: {'; '.join(map(str, problems))}")
