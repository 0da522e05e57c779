"""The devices and packages of the device tests, for the suite that every device must pass."""

# Fixtures are found by the name that they have here.
from ..device.adb.conftest import (  # noqa: F401
    adb_environment,
    make_phone,
    open_phone_now,
    private_adb,
    run_adb,
    table_runner,
    waits,
)
from ..device.conftest import device, elementwise, runner, vulkan_device, vulkan_elementwise, write  # noqa: F401
