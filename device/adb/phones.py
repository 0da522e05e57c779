"""Phones by their device ids: ``adb:SERIAL``, ``adb:all``, and either with ``@host:port`` for another adb server."""

import difflib
from dataclasses import dataclass
from typing import Any

from ..errors import DeviceError
from .client import AdbClient, AttachedPhone, list_attached
from .device import AdbDevice
from .failures import Patience, PhoneError, TransientError, UnusablePhoneError, classify_failure
from .phone import PhoneProperties, PhoneState, read_properties, read_state
from .program import AdbProgram, AdbServer, find_adb

_NO_PHONE = (
    "no phone is attached: enable USB debugging in its developer options and plug it in, "
    "or 'adb connect ADDRESS:PORT' for one on the network"
)


@dataclass(frozen=True, kw_only=True)
class PhoneListing:
    """One attached phone, as far as it answers.

    Attributes:
        id: ``adb:SERIAL``.
        state: As adb names it; ``device`` is one that answers.
        properties: What it is.
        phone_state: How it is doing.
        problems: Why it cannot be timed now; empty for a usable phone.
    """

    id: str
    state: str
    properties: PhoneProperties | None = None
    phone_state: PhoneState | None = None
    problems: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether a measurement may start now."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """JSON values, for ``act devices list --json``."""
        known = self.properties
        fields = ("model", "soc", "gpu", "android", "build")
        return {
            "id": self.id,
            "name": known.model if known is not None else None,
            "platform": "Android",
            "driver": known.gpu_driver if known is not None else None,
            "state": self.state,
            **{name: getattr(known, name) if known is not None else None for name in fields},
            "abis": list(known.abis) if known is not None else [],
            "condition": self.phone_state.to_dict() if self.phone_state is not None else None,
            "usable": self.usable,
            "problems": list(self.problems),
        }

    def row(self) -> tuple[str, str, str, str, str, str]:
        """Cells of the table: id, model, SoC, GPU, Android version, state."""
        known = self.properties
        cells = (known.model, known.soc, known.gpu or "unknown", known.android) if known is not None else ("",) * 4
        return self.id, *cells, "; ".join(self.problems) or "ready"


def list_phones(server: AdbServer | None = None) -> list[PhoneListing]:
    """All attached phones, in the server's order.

    Raises:
        DeviceError: If there is no usable adb program, or its server does not answer.
    """
    adb = find_adb(server)
    return [_look_at(adb, phone) for phone in list_attached(adb)]


def open_phone(device_id: str) -> AdbDevice:
    """One phone by its id; ``adb:all`` where exactly one is usable.

    Raises:
        DeviceError: If it is not attached, with those that are; if it cannot be used now, with what to do; or if
            several are meant.
    """
    serial, _ = parse_phone_id(device_id)
    found = open_phones(device_id)
    if len(found) > 1:
        names = ", ".join(device.id for device in found)
        raise DeviceError(f"{device_id!r} names {len(found)} phones, choose one: {names} (see 'act devices list')")
    assert serial != "all" or len(found) == 1
    return found[0]


def open_phones(device_id: str) -> list[AdbDevice]:
    """The phones that an id names: one, or for ``adb:all`` every one that can be used.

    Raises:
        DeviceError: If there is none; the message says why of each.
    """
    return list(open_phones_of(device_id).phones)


@dataclass(frozen=True, kw_only=True)
class OpenedPhones:
    """The phones that an id names.

    Attributes:
        phones: Those that can be used, at least one.
        problems: Why of each other one, by id.
        single: Whether the id names one phone.
    """

    phones: tuple[AdbDevice, ...]
    problems: dict[str, str]
    single: bool


def open_phones_of(device_id: str, *, patience: Patience | None = None) -> OpenedPhones:
    """The phones that an id names, and why others cannot be used.

    Args:
        device_id: ``adb:SERIAL`` or ``adb:all``.
        patience: Their waits between attempts.

    Raises:
        DeviceError: If there is none; the message says why of each.
    """
    serial, server = parse_phone_id(device_id)
    adb = find_adb(server)
    attached = list_attached(adb)
    if not attached:
        raise DeviceError(f"device {device_id!r}: {_NO_PHONE}")
    if serial != "all":
        return OpenedPhones(phones=(_open(adb, _named(serial, attached), patience),), problems={}, single=True)
    opened, problems = [], {}
    for phone in attached:
        try:
            opened.append(_open(adb, phone, patience))
        except PhoneError as error:
            problems[_id(adb, phone.serial)] = str(error)
    if not opened:
        raise DeviceError("no attached phone can be used:\n" + "\n".join(problems.values()))
    return OpenedPhones(phones=tuple(opened), problems=problems, single=False)


def parse_phone_id(device_id: str) -> tuple[str, AdbServer | None]:
    """Serial (or ``all``) and server of ``adb:SERIAL`` or ``adb:SERIAL@host:port``.

    Raises:
        DeviceError: If there is no serial, or the server is not of the form host:port.
    """
    serial, at, server = device_id.partition(":")[2].partition("@")
    if not serial:
        known = "" if at else f"; {_choices()}"
        raise DeviceError(f"device {device_id!r} names no phone: adb:SERIAL or adb:all (see 'act devices list'){known}")
    return serial, AdbServer.parse(server) if at else None


def _choices() -> str:
    """The phones that may be named, or how to attach one."""
    names = [f"adb:{phone.serial}" for phone in list_attached(find_adb())]
    return f"attached: {', '.join(names)}" if names else _NO_PHONE


def _named(serial: str, attached: list[AttachedPhone]) -> AttachedPhone:
    known = {phone.serial: phone for phone in attached}
    if serial in known:
        return known[serial]
    near = difflib.get_close_matches(serial, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise DeviceError(f"unknown phone {serial!r}: {hint}attached phones: {', '.join(known)} (see 'act devices list')")


def _id(adb: AdbProgram, serial: str) -> str:
    return f"adb:{serial}" if adb.server is None else f"adb:{serial}@{adb.server}"


def _open(adb: AdbProgram, phone: AttachedPhone, patience: Patience | None) -> AdbDevice:
    problem = _state_problem(phone)
    if problem is not None:
        raise problem
    client = AdbClient(adb, phone.serial)
    properties = read_properties(client)
    return AdbDevice(client, device_id=_id(adb, phone.serial), properties=properties, patience=patience)


def _state_problem(phone: AttachedPhone) -> PhoneError | None:
    """Why adb does not reach a phone that it knows."""
    if phone.state == "device":
        return None
    known = classify_failure(phone.serial, 1, phone.state)
    if isinstance(known, UnusablePhoneError):
        return known
    advice = "wait a moment, then plug it in again or 'adb reconnect'"
    return TransientError(phone.serial, f"adb reports it as {phone.state}: {advice}")


def _look_at(adb: AdbProgram, phone: AttachedPhone) -> PhoneListing:
    problem = _state_problem(phone)
    name = _id(adb, phone.serial)
    if problem is None:
        try:
            client = AdbClient(adb, phone.serial)
            properties, state = read_properties(client), read_state(client)
            texts = tuple(entry.text for entry in state.problems())
            return PhoneListing(id=name, state="device", properties=properties, phone_state=state, problems=texts)
        except DeviceError as error:
            return PhoneListing(id=name, state="failing", problems=(str(error),))
    return PhoneListing(id=name, state=phone.state, problems=(problem.problem,))
