"""What a phone tells of its GPU, for devices that tests make up."""

from act.device.devices import DeviceInfo

PHONE = DeviceInfo(
    id="adb:a",
    name="Adreno 640",
    vendor="Q",
    platform="Q",
    driver="1",
    version="2.0",
    type="gpu",
    compute_units=2,
    global_memory_bytes=1,
    max_work_group_size=1,
    local_memory_bytes=1,
    has_fp16=True,
    fingerprint="same",
)
