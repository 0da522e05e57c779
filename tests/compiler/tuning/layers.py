"""Small layers to tune, and a device whose kernels take the times of a table."""

from math import log2, prod

import numpy as np
from act.compiler.layer_shape import LayerShape
from act.compiler.tuning.tasks import TuningTask
from act.device.devices import CandidateError, DeviceInfo, RawTiming
from act.device.package_format import read_package

SIZES = {
    "name": "",
    "kind": "conv",
    "c_in": 4,
    "c_out": 8,
    "kernel": (3, 3),
    "stride": (1, 1),
    "padding": (1, 1),
    "dilation": (1, 1),
    "groups": 1,
    "input_hw": (6, 6),
    "output_hw": (6, 6),
    "columns": 36,
}
CONV = LayerShape(**SIZES)
# In seven channels, and in blocks of four; a layer by itself has nearly as many.
COLUMNS = LayerShape(**{**SIZES, "c_in": 8, "columns": 24, "read_channels": 7, "blocks": 9})
DEPTHWISE = LayerShape(**{**SIZES, "kind": "depthwise", "c_in": 8, "groups": 8, "columns": 9})
GROUPED = LayerShape(**{**SIZES, "c_in": 8, "groups": 2, "columns": 36})
POINT = LayerShape(**{**SIZES, "kernel": (1, 1), "padding": (0, 0), "columns": 4})
LINEAR = LayerShape(
    **{**SIZES, "kind": "linear", "c_in": 8, "c_out": 90, "kernel": (1, 1), "padding": (0, 0), "columns": 8}
    | {"input_hw": (1, 1), "output_hw": (1, 1)}
)


def task(shape, *, batch=1, names=("layer",)):
    return TuningTask(shape=shape, batch=batch, names=names, modelled_us=1.0)


class TableDevice:
    """Times of a step by its work-group: fastest with ``best`` work-items; groups in ``broken`` do not start.

    Each call is slower than the one before by ``drift``, as on a device that gets hot. The first call finds groups in
    ``lucky`` fast; with a ``slope`` of 0 that is all that differs.
    """

    def __init__(self, *, best=8, broken=(), drift=1.0, lucky=(), slope=1.0, **named):
        device_id, target = named.get("device_id", "opencl:0"), named.get("target", "host-opencl")
        fields = dict.fromkeys(("name", "vendor", "platform", "driver", "version", "type"), "table")
        sizes = dict.fromkeys(("compute_units", "global_memory_bytes", "local_memory_bytes"), 1)
        info = {"max_work_group_size": 1024, "has_fp16": False, "fingerprint": f"table of {device_id}"}
        self.info = _Info(id=device_id, **fields, **sizes, **info, named=target)
        self.id, self.best, self.broken, self.drift = device_id, best, broken, drift
        self.lucky, self.slope, self.calls = lucky, slope, 0

    def time(self, package, options):
        content = read_package(package)
        groups = [prod(step.local_size) for step in content.steps]
        if set(groups) & set(self.broken):
            raise CandidateError("build failure: too many registers", reason="build_failure")
        self.calls += 1
        lucky, slow = self.lucky if self.calls == 1 else (), self.drift**self.calls
        table = [10 + self.slope * abs(log2(group / self.best)) for group in groups]
        step_us = [slow * (0.1 if group in lucky else time) for group, time in zip(groups, table, strict=True)]
        return RawTiming(
            single_ms=(1.0,), burst_ms=(), step_us=tuple(step_us), verified_error=0.0, build_ms=1.0, memory_bytes=1
        )

    def verify(self, package, *, tolerance=1e-3):
        return 0.0

    def run(self, package, inputs, output_values):
        return np.zeros((len(inputs), output_values), np.float32)

    def state(self):
        return {}


class _Info(DeviceInfo):
    """A device that says what its target is, as a phone does."""

    def __init__(self, *, named, **fields):
        super().__init__(**fields)
        object.__setattr__(self, "_named", named)

    @property
    def backends(self):
        return ("opencl",)

    @property
    def target(self):
        return self._named
