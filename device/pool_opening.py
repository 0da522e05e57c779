"""Opens the pool that a device id names: one device, or all phones of one kind for ``adb:all``.

Times compare within a fingerprint (model, software and driver) alone. Of the phones of ``adb:all`` those of the most
frequent fingerprint are used, among equals that of the phone which adb lists first; a run that is resumed uses those of
the fingerprint that it began with. Every phone left out is named with the reason.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from .adb.failures import Patience
from .devices import Device, open_device
from .errors import DeviceError
from .pool import DevicePool
from .pool_types import Notice, ReturnPolicy

# A pool waits for its phones itself and gives their work to others meanwhile: shorter than a lone phone's patience.
PHONE_PATIENCE: Final = Patience(retry_s=(0.5, 2.0, 8.0), cool_down_s=(5.0, 30.0, 60.0))


@dataclass(frozen=True, kw_only=True)
class _Found:
    devices: list[Device]
    left_out: list[Notice]


def open_pool(
    device_id: str,
    *,
    fingerprint: str | None = None,
    policy: ReturnPolicy | None = None,
    on_notice: Callable[[Notice], None] | None = None,
) -> DevicePool:
    """Open the devices that an id names.

    Args:
        device_id: ``opencl:N``, ``vulkan:N``, ``adb:SERIAL`` or ``adb:all``, the latter two also with ``@host:port``.
        fingerprint: What the devices must have, where a run is resumed.
        policy: For devices that go away.
        on_notice: Receives what happens to devices; those left out are told of with the first result, or by ``tell``.

    Raises:
        DeviceError: If there is no such device, it cannot be used, or it has another fingerprint; with what to do.
    """
    found = (
        _phones(device_id) if device_id.startswith("adb:") else _Found(devices=[open_device(device_id)], left_out=[])
    )
    used, others = choose_kind(found.devices, fingerprint)
    if not used:
        names = ", ".join(f"{device.id} ({device.info.fingerprint})" for device in found.devices)
        raise DeviceError(
            f"this run was measured on devices of fingerprint {fingerprint}, now there is {names}: times of different "
            "devices or drivers do not compare; attach one as before, or start another run"
        )
    return DevicePool(
        device_id,
        used,
        reopen=_reopen,
        policy=policy,
        left_out=[*found.left_out, *(_another_kind(device, used) for device in others)],
        on_notice=on_notice,
    )


def choose_kind(devices: Sequence[Device], fingerprint: str | None = None) -> tuple[list[Device], list[Device]]:
    """Devices whose times compare, and the others.

    Args:
        devices: In the order in which they were found.
        fingerprint: Of those to use; by default the most frequent one, the first among equals.
    """
    prints = [device.info.fingerprint for device in devices]
    chosen = fingerprint or Counter(prints).most_common(1)[0][0]
    used = [device for device, found in zip(devices, prints, strict=True) if found == chosen]
    return used, [device for device in devices if device not in used]


def _phones(device_id: str) -> _Found:
    """The phones of an id that can be described; of several, those that cannot are left out."""
    from .adb.phones import open_phones_of

    opened = open_phones_of(device_id, patience=PHONE_PATIENCE)
    if opened.single:
        return _Found(devices=list(opened.phones), left_out=[])
    devices: list[Device] = []
    left_out = [Notice(device=name, happened="left out", text=text) for name, text in opened.problems.items()]
    for phone in opened.phones:
        try:
            _ = phone.info
        except DeviceError as error:
            left_out.append(Notice(device=phone.id, happened="left out", text=str(error)))
        else:
            devices.append(phone)
    if not devices:
        raise DeviceError("no attached phone can be used:\n" + "\n".join(notice.text for notice in left_out))
    return _Found(devices=devices, left_out=left_out)


def _reopen(device_id: str) -> Device:
    if device_id.startswith("adb:"):
        from .adb.phones import open_phones_of

        return open_phones_of(device_id, patience=PHONE_PATIENCE).phones[0]
    return open_device(device_id)


def _another_kind(device: Device, used: Sequence[Device]) -> Notice:
    ids = ", ".join(other.id for other in used)
    text = (
        f"it is {device.info.name} with driver {device.info.driver}, another kind than {ids} ({used[0].info.name} with "
        f"driver {used[0].info.driver}): their times do not compare; --device {device.id} uses it alone"
    )
    return Notice(device=device.id, happened="left out", text=text)
