"""A device whose kernels take times that their content decides: the same on every such device."""

import threading
from dataclasses import replace

from act.device.database import kernel_key
from act.device.devices import RawTiming
from act.device.package_format import read_package

from ..phone_info import PHONE


class TableDevice:
    """Every kernel takes microseconds that its content decides; ``scatter`` is that of whole inferences."""

    def __init__(self, name="opencl:a", *, fails=None, waits_for=None, scatter=0.0):
        self.scatter = scatter
        self.info, self.id = replace(PHONE, id=name), name
        self.fails, self.waits_for, self.calls, self.begun = fails, waits_for, 0, threading.Event()

    def state(self):
        return {}

    def time(self, package, options):
        self.calls += 1
        self.begun.set()
        if self.waits_for is not None:
            assert self.waits_for.wait(20)
        content = read_package(package)
        if self.fails is not None and (error := self.fails(content)) is not None:
            raise error
        times = tuple(10 + int(kernel_key(content, index)[:2], 16) / 10 for index in range(len(content.steps)))
        total = sum(times) / 1000
        samples = tuple(total * (1 + self.scatter * (run % 3)) for run in range(options.runs))
        return RawTiming(
            single_ms=samples, burst_ms=(), step_us=times, verified_error=0.0, build_ms=1.0, memory_bytes=1
        )
