"""What a phone is and how it is doing, read without root from Android's own services and the GPU's files.

What a service does not tell, or an unprivileged user may not read, is None and disturbs nothing.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from ..devices import Backend, DeviceInfo
from ..errors import DeviceError
from ..specs import ADRENO_SPECS
from .client import AdbClient
from .failures import MeasurementError, UnusablePhoneError

MAX_BATTERY_C: Final = 40.0
MAX_SKIN_C: Final = 42.0
MIN_BATTERY_PERCENT: Final = 15
MAX_GPU_BUSY_PERCENT: Final = 20

_PROPERTIES: Final = r"""
getprop
printf '\n== gpu\n'
dumpsys SurfaceFlinger 2>/dev/null | grep -m 1 '^ *GLES:'
printf '\n== boot\n'
cat /proc/sys/kernel/random/boot_id 2>/dev/null
exit 0
"""
_STATE: Final = r"""
printf '\n== thermal\n'; dumpsys thermalservice 2>/dev/null
printf '\n== battery\n'; dumpsys battery 2>/dev/null
printf '\n== power\n'; dumpsys power 2>/dev/null | grep -m 1 'mWakefulness='
printf '\n== saver\n'; settings get global low_power 2>/dev/null
for name in gpuclk max_gpuclk gpu_available_frequencies gpu_busy_percentage temp; do
  printf '\n== %s\n' "$name"
  { read -r value <"/sys/class/kgsl/kgsl-3d0/$name"; } 2>/dev/null && echo "$value"
done
exit 0
"""


@dataclass(frozen=True, kw_only=True)
class PhoneProperties:
    """What a phone is, known without running anything of ours on it.

    Attributes:
        serial: Its name for adb.
        model: As the maker calls it, e.g. ``SM-G973U``.
        soc: Marketing or part name of the chip, e.g. ``SM8150``.
        android: Version, e.g. ``12``.
        abis: Of programs that it runs, best first.
        build: Fingerprint of its software.
        gpu: As OpenGL ES names it; empty if it does not say.
        gpu_driver: OpenGL ES version with the driver's build.
        boot_id: Changes when it restarts.
    """

    serial: str
    model: str
    soc: str
    android: str
    abis: tuple[str, ...]
    build: str
    gpu: str
    gpu_driver: str
    boot_id: str


@dataclass(frozen=True, kw_only=True)
class PhoneInfo(DeviceInfo):
    """A phone as a device: its GPU, as the first of the ``interfaces`` describes it, and the phone around it."""

    properties: PhoneProperties
    interfaces: tuple[Backend, ...]

    @property
    def backend(self) -> Backend:
        """What packages are best compiled for to run here."""
        return self.interfaces[0]

    @property
    def backends(self) -> tuple[Backend, ...]:
        """All ways to its GPU."""
        return self.interfaces

    @property
    def target(self) -> str:
        """Name of the target for its GPU.

        Raises:
            DeviceError: If it is none of the known ones.
        """
        gpu = re.search(r"Adreno ?\(TM\) ?(\d+)", f"{self.properties.gpu} {self.name} {self.version}")
        name = f"adreno{gpu[1]}" if gpu else ""
        if name not in ADRENO_SPECS:
            found = self.properties.gpu or self.name
            raise DeviceError(
                f"{self.id} has the GPU {found!r}, for which there is no target: choose one with --target"
            )
        return name if self.backend == "opencl" else f"{name}-{self.backend}"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Why a phone cannot be timed now; ``wait`` ones pass by themselves, ``act`` ones need someone."""

    kind: Literal["wait", "act"]
    text: str


@dataclass(frozen=True, kw_only=True)
class PhoneState:
    """What disturbs a measurement; None where it cannot be read.

    Attributes:
        thermal_status: Android's, 0 (none) to 6 (shutdown); from 1 on the system slows down.
        thermal_override: Whether someone has set that status by hand, so that it says nothing.
        skin_c: Temperature of the case, °C.
        battery_c: Temperature of the battery, °C.
        battery_percent: Its charge.
        charging: Whether it is plugged in.
        screen_on: Whether the phone is awake.
        power_save: Whether the battery saver is on.
        gpu_clock_mhz: Now.
        gpu_max_clock_mhz: Allowed now.
        gpu_top_clock_mhz: The highest that it has.
        gpu_busy_percent: Share of time that the GPU works.
        gpu_c: Its temperature, °C.
    """

    thermal_status: int | None = None
    thermal_override: bool | None = None
    skin_c: float | None = None
    battery_c: float | None = None
    battery_percent: int | None = None
    charging: bool | None = None
    screen_on: bool | None = None
    power_save: bool | None = None
    gpu_clock_mhz: float | None = None
    gpu_max_clock_mhz: float | None = None
    gpu_top_clock_mhz: float | None = None
    gpu_busy_percent: int | None = None
    gpu_c: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)

    def problems(self) -> tuple[Problem, ...]:
        """What makes timing pointless now, the worst first."""
        found = [*_settings(self), *_heat(self)]
        if (self.gpu_busy_percent or 0) > MAX_GPU_BUSY_PERCENT:
            found.append(Problem(kind="wait", text=f"its GPU is busy with something else ({self.gpu_busy_percent} %)"))
        return tuple(found)


def _settings(state: PhoneState) -> list[Problem]:
    found = []
    if state.thermal_override:
        text = "its thermal status is set by hand: 'adb shell cmd thermalservice reset' ends that"
        found.append(Problem(kind="act", text=text))
    if state.power_save:
        found.append(Problem(kind="act", text="its battery saver is on: turn it off"))
    if state.battery_percent is not None and state.battery_percent < MIN_BATTERY_PERCENT:
        text = f"its battery is at {state.battery_percent} %, needed are {MIN_BATTERY_PERCENT} %: charge it"
        found.append(Problem(kind="act", text=text))
    return found


def _heat(state: PhoneState) -> list[Problem]:
    found = []
    if state.thermal_status:
        found.append(Problem(kind="wait", text=f"it is throttled (thermal status {state.thermal_status} of 6)"))
    allowed, top = state.gpu_max_clock_mhz, state.gpu_top_clock_mhz
    if allowed is not None and top is not None and allowed < top:
        found.append(Problem(kind="wait", text=f"its GPU is throttled (to {allowed:g} of {top:g} MHz)"))
    temperatures = (("battery", state.battery_c, MAX_BATTERY_C), ("case", state.skin_c, MAX_SKIN_C))
    for part, value, limit in temperatures:
        if value is not None and value >= limit:
            found.append(Problem(kind="wait", text=f"it is hot ({part} {value:g} °C, allowed are {limit:g} °C)"))
    return found


def read_properties(client: AdbClient) -> PhoneProperties:
    """Ask a phone what it is.

    Raises:
        PhoneError: If it does not answer.
    """
    head, *rest = client.script(_PROPERTIES).split("\n== ")
    sections = {name: text.strip() for name, _, text in (part.partition("\n") for part in rest)}
    values = dict(re.findall(r"^\[(.+?)\]: \[(.*?)\]$", head, re.MULTILINE))
    gpu = re.match(r"GLES: [^,]*, ([^,]+), (.+)", sections.get("gpu", ""))
    abis = values.get("ro.product.cpu.abilist") or values.get("ro.product.cpu.abi", "")
    return PhoneProperties(
        serial=client.serial,
        model=values.get("ro.product.model", "unknown"),
        soc=values.get("ro.soc.model") or values.get("ro.board.platform") or values.get("ro.hardware", "unknown"),
        android=values.get("ro.build.version.release", "unknown"),
        abis=tuple(abi for abi in abis.split(",") if abi),
        build=values.get("ro.build.fingerprint", "unknown"),
        gpu=gpu[1].strip() if gpu else "",
        gpu_driver=gpu[2].strip() if gpu else "",
        boot_id=sections.get("boot", ""),
    )


def read_state(client: AdbClient) -> PhoneState:
    """Ask a phone how it is doing.

    Raises:
        PhoneError: If it does not answer.
    """
    parts = client.script(_STATE).split("\n== ")[1:]
    text = {name: rest for name, _, rest in (part.partition("\n") for part in parts)}
    thermal, battery, power = (text.get(name, "") for name in ("thermal", "battery", "power"))
    current = thermal.partition("Current temperatures from HAL")[2] or thermal  # the cached ones may be old
    clock, most = (_number(r"(\d+)", text.get(name, "")) for name in ("gpuclk", "max_gpuclk"))
    tenths, heat = _number(r"temperature: (-?\d+)", battery), _number(r"(-?\d+)", text.get("temp", ""))
    clocks = [int(value) / 1e6 for value in re.findall(r"\d+", text.get("gpu_available_frequencies", ""))]
    skin = [float(value) for value in re.findall(r"mValue=(-?[\d.]+), mType=3\b", current)]
    return PhoneState(
        thermal_status=_integer(r"Thermal Status: (\d+)", thermal),
        thermal_override=_flag(r"IsStatusOverride: (\w+)", thermal, "true"),
        skin_c=max(skin) if skin else None,
        battery_c=None if tenths is None else tenths / 10,
        battery_percent=_integer(r"level: (\d+)", battery),
        charging=bool(re.search(r"powered: true", battery)) if battery.strip() else None,
        screen_on=_flag(r"mWakefulness=(\w+)", power, "Awake"),
        power_save=_flag(r"^(\d+)$", text.get("saver", ""), "1"),
        gpu_clock_mhz=None if clock is None else clock / 1e6,
        gpu_max_clock_mhz=None if most is None else most / 1e6,
        gpu_top_clock_mhz=max(clocks, default=None),
        gpu_busy_percent=_integer(r"(\d+)", text.get("gpu_busy_percentage", "")),
        gpu_c=None if heat is None else heat / 1000,
    )


def check_state(serial: str, state: PhoneState) -> None:
    """Refuse to time a phone that is in no state for it.

    Raises:
        UnusablePhoneError: If someone must change something first.
        MeasurementError: If waiting helps.
    """
    problems = state.problems()
    texts = "; ".join(problem.text for problem in problems)
    if any(problem.kind == "act" for problem in problems):
        raise UnusablePhoneError(serial, texts)
    if problems:
        raise MeasurementError(serial, texts)


def describe_phone(
    device_id: str, properties: PhoneProperties, interfaces: tuple[Backend, ...], values: dict[str, Any]
) -> PhoneInfo:
    """The phone as a device.

    Args:
        device_id: Its id.
        properties: What the phone is.
        interfaces: Ways in which the runner reached its GPU.
        values: Fields of :class:`DeviceInfo` as the runner found them through the first.
    """
    identity = [properties.model, properties.build, *(values[name] for name in ("name", "driver", "version"))]
    return PhoneInfo(
        **{**values, "name": f"{properties.model} ({values['name']})"},
        id=device_id,
        fingerprint=hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16],
        properties=properties,
        interfaces=interfaces,
    )


def _number(pattern: str, text: str) -> float | None:
    match = re.search(pattern, text, re.MULTILINE)
    return None if match is None else float(match[1])


def _integer(pattern: str, text: str) -> int | None:
    value = _number(pattern, text)
    return None if value is None else int(value)


def _flag(pattern: str, text: str, yes: str) -> bool | None:
    match = re.search(pattern, text, re.MULTILINE)
    return None if match is None else match[1] == yes
