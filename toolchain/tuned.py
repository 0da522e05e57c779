"""What `act tune` found, for everything that compiles."""

from collections.abc import Callable

from ..compiler.kernel_choice import UNTUNED, TunedKernels
from ..compiler.targets import Target
from ..compiler.tuning.tuner import tuned_kernels
from ..device.database import DatabaseError, default_path
from ..device.devices import Device
from ..device.tuning_records import TuningRecords


def tuned_for(target: Target, warn: Callable[[str], None], *, device: Device | None = None) -> TunedKernels:
    """Kernels that were tuned for a target in its precision; none where there is no database, or it cannot be read.

    Args:
        target: What is compiled for.
        warn: Told what is wrong with the database: a compile goes on by the rule.
        device: Whose choices come first.
    """
    path = default_path()
    if not path.is_file():
        return UNTUNED
    try:
        with TuningRecords(path) as records:
            return tuned_kernels(records, target, fingerprint=None if device is None else device.info.fingerprint)
    except DatabaseError as error:
        warn(f"tuned kernels are not used: {error}")
        return UNTUNED
