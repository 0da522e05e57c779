"""What can go wrong with a device, by who is to blame; all are ``DeviceError`` and end the command with exit code 3."""


class DeviceError(RuntimeError):
    """A device is unknown, missing, or failed."""


class RunnerBuildError(DeviceError):
    """The program that runs packages cannot be built on this machine."""


class NoDeviceError(DeviceError):
    """The OpenCL library or the device is not there."""


class RunnerDiedError(DeviceError):
    """The runner of a local device died of a signal: a driver's or a kernel's fault."""


class CandidateError(DeviceError):
    """The package, not the device, is at fault: it does not build, does not fit, or computes something else.

    Attributes:
        reason: ``bad_package``, ``build_failure``, ``launch_failure``, ``wrong_output`` or ``out_of_memory``; on a
            phone also ``crash`` (of the runner, twice, or of the phone) and ``hang``.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
