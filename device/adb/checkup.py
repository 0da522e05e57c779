"""The part of a phone's checklist that needs no package: adb, shell, runner, GPU and state."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Final

from ..checkup import CheckedItem, Outcome
from ..devices import Backend
from ..errors import DeviceError, NoDeviceError
from .client import AdbClient
from .device import AdbDevice
from .phone import PhoneState, read_state
from .runner import runner_for

TOOLS: Final = ("sha256sum", "stat", "grep", "tail", "touch", "chmod", "mv", "rm", "mkdir", "env")
"""Programs of the phone that pushing and tidying up rely on."""
_MISSING: Final = 'for name; do command -v "$name" >/dev/null || echo "$name"; done'
_RESTART: Final = "restart the phone, and check again"


def check_phone(device: AdbDevice) -> Iterator[CheckedItem]:
    """Look at a phone; after an item that the others need, and that failed, there are no more.

    Raises:
        DeviceError: If the phone goes away.
    """
    adb = device.client.adb
    yield CheckedItem(name="adb", outcome="pass", found=f"{adb.release} at {adb.path}")
    yield _shell(device.client)
    tools = _tools(device.client)
    yield tools
    opencl = _describe(device, "opencl")
    runner = _runner(device, opencl)
    yield runner
    if "fail" in (tools.outcome, runner.outcome):
        return
    found = {"opencl": _gpu("opencl", opencl), "vulkan": _gpu("vulkan", _describe(device, "vulkan"))}
    usable = [backend for backend, item in found.items() if item.outcome == "pass"]
    for item in found.values():
        if usable or item.outcome == "pass":
            yield item
        else:
            yield CheckedItem(name=item.name, outcome="fail", found=item.found, next_step="use another phone")
    yield from _state(read_state(device.client))


def _shell(client: AdbClient) -> CheckedItem:
    if "shell_v2" in client.features():
        return CheckedItem(name="shell", outcome="pass", found="version 2")
    return CheckedItem(name="shell", outcome="pass", found="version 1: exit codes are read from the output")


def _tools(client: AdbClient) -> CheckedItem:
    missing = client.script(_MISSING, *TOOLS).split()
    if not missing:
        return CheckedItem(name="tools", outcome="pass", found=f"{', '.join(TOOLS)} are there")
    step = "they are part of Android from version 8 on: update the phone, or use another one"
    return CheckedItem(name="tools", outcome="fail", found=f"{', '.join(missing)} are missing", next_step=step)


def _describe(device: AdbDevice, backend: Backend) -> dict[str, Any] | DeviceError:
    """What the runner says of the GPU, or what came of the attempt."""
    try:
        return device.describe_backend(backend)
    except DeviceError as error:
        return error


def _runner(device: AdbDevice, found: dict[str, Any] | DeviceError) -> CheckedItem:
    """Whether it starts; that it finds no GPU is another matter."""
    if isinstance(found, DeviceError) and not isinstance(found, NoDeviceError):
        return CheckedItem(name="runner", outcome="fail", found=_first_line(found), next_step=_RESTART)
    abi, size = (
        device.properties.abis[0] if device.properties.abis else "?",
        runner_for(device.properties).stat().st_size,
    )
    return CheckedItem(name="runner", outcome="pass", found=f"starts; {size / 1000:.0f} kB, the phone prefers {abi}")


def _gpu(backend: Backend, values: dict[str, Any] | DeviceError) -> CheckedItem:
    if isinstance(values, NoDeviceError):
        step = "packages for it do not run here; those for the other one do"
        return CheckedItem(name=backend, outcome="skip", found=str(values), next_step=step)
    if isinstance(values, DeviceError):
        return CheckedItem(name=backend, outcome="fail", found=_first_line(values), next_step=_RESTART)
    halves = "with half floats" if values["has_fp16"] else "without arithmetic on half floats"
    found = f"{values['name']}, {values['version']}, driver {values['driver']}, {halves}"
    return CheckedItem(name=backend, outcome="pass", found=found)


def _state(state: PhoneState) -> Iterator[CheckedItem]:
    """What can be read of its state, and whether it allows timing."""
    names = [entry.name for entry in fields(state)]
    known = {name: getattr(state, name) for name in names if getattr(state, name) is not None}
    for part, prefixes in (("thermal", ("thermal", "skin", "gpu_c")), ("battery", ("battery", "charging"))):
        yield _readable(part, names, known, prefixes)
    yield _readable("clocks", names, known, ("gpu_clock", "gpu_max", "gpu_top", "gpu_busy"))
    yield _readable("screen", names, known, ("screen", "power_save"))
    problems = state.problems()
    steps = {"wait": "wait, and check again", "act": "do that, and check again"}
    yield CheckedItem(
        name="ready",
        outcome="fail" if problems else "pass",
        found="; ".join(problem.text for problem in problems) or "nothing forbids timing now",
        next_step=steps[problems[0].kind] if problems else "",
    )


def _readable(part: str, names: list[str], known: dict[str, object], prefixes: tuple[str, ...]) -> CheckedItem:
    asked = [name for name in names if name.startswith(prefixes)]
    found = [f"{name} {known[name]}" for name in asked if name in known]
    missing = [name for name in asked if name not in known]
    outcome: Outcome = "pass" if found else "skip"
    text = ", ".join(found) + (("; " if found else "") + f"not told: {', '.join(missing)}" if missing else "")
    step = "" if found else "it is not watched then; nothing needs to be done"
    return CheckedItem(name=part, outcome=outcome, found=text, next_step=step)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
