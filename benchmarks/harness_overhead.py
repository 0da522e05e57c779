"""What a measurement costs beyond its runs, how well it repeats, and whether a load beside it is noticed.

    python benchmarks/harness_overhead.py --out benchmarks/results/harness_overhead.json

Each device measures each network again and again: the local OpenCL and Vulkan devices, and an emulated phone on this
machine that the real adb talks to and that runs the real runner. The overhead is the wall-clock time of `measure` less
that of warm-up, samples and profile: it holds building the kernels, verification, the reference, adb. The first
measurement is told apart: it copies files to the phone and fills the drivers' caches. Then a process counts on every
processor, and every measurement should be flagged as noisy. Run it on an idle machine.
"""

import argparse
import contextlib
import importlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from act.compiler.compile import compile_onnx
from act.compiler.targets import get_target
from act.device.devices import Device, open_device
from act.device.harness import PRESETS, LatencyStats, measure
from act.device.local import LocalDevice
from act.toolchain.commands.export import export_checked
from act.toolchain.commands.sources import open_named
from act.toolchain.environment import describe_environment

PHONE = "emulated phone"
TESTS = Path(__file__).resolve().parent.parent / "tests" / "device"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", nargs="+", default=["opencl:0", "vulkan:0", PHONE])
    parser.add_argument("--networks", nargs="+", default=["lenet5", "resnet20"])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--loaded-repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for device_id in args.devices:
            with opened(device_id, Path(name)) as device:
                for network in args.networks:
                    rows.append(row_of(device, device_id, network, Path(name), args))
                    print(json.dumps(rows[-1]), flush=True)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps({"rows": rows, **describe_environment()}, indent=2) + "\n")


def row_of(device: Device, name: str, network: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """One network on one device."""
    package = package_of(network, device, folder)
    first_s, _ = timed(package, device)
    found = [timed(package, device) for _ in range(args.repeats)]
    with load():
        loaded = [timed(package, device)[1] for _ in range(args.loaded_repeats)]
    p50s, overheads = [stats.p50 for _, stats in found], [seconds for seconds, _ in found]
    return {
        "device": name,
        "network": network,
        "repeats": args.repeats,
        "p50_ms": statistics.median(p50s),
        "p50s_ms": p50s,
        "spread_percent": 100 * (max(p50s) / min(p50s) - 1),
        "from_median_percent": 100 * max(abs(p50 / statistics.median(p50s) - 1) for p50 in p50s),
        "flagged": sum(bool(stats.flags) for _, stats in found),
        "flags": [stats.flags for _, stats in found],
        "drifts": [stats.drift for _, stats in found],
        "other_cores": [stats.other_cores for _, stats in found],
        "overhead_s": statistics.median(overheads),
        "overhead_most_s": max(overheads),
        "first_overhead_s": first_s,
        "loaded_repeats": args.loaded_repeats,
        "loaded_flagged": sum("noisy" in stats.flags for stats in loaded),
    }


def timed(package: Path, device: Device) -> tuple[float, LatencyStats]:
    """Seconds beyond warm-up and samples, and the measurement."""
    preset, start = PRESETS["standard"], time.perf_counter()
    stats = measure(
        package,
        device,
        runs=preset.runs,
        warmup=preset.warmup,
        min_seconds=preset.min_seconds,
        max_seconds=preset.max_seconds,
    )
    return time.perf_counter() - start - stats.timed_s, stats


def package_of(network: str, device: Device, folder: Path) -> Path:
    """The network with random weights, compiled for the device."""
    onnx = folder / f"{network}.onnx"
    if not onnx.exists():
        export_checked(open_named(network), onnx, dense=False)
    target = get_target(device.info.target)
    output = folder / f"{network}-{target.name}.actpkg"
    compile_onnx(onnx, target, output=output)
    return output


@contextlib.contextmanager
def load() -> Iterator[None]:
    """A process on every processor that does nothing but count."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def opened(name: str, folder: Path) -> Iterator[Device]:
    """A device by its id, or the emulated phone with an adb server of its own."""
    if name != PHONE:
        yield open_device(name)
        return
    sys.path.insert(0, str(TESTS))
    emulation = importlib.import_module("adb.emulated_phone")
    local = open_device("opencl:0")
    assert isinstance(local, LocalDevice)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    from act.device.runtime.build import build_runner

    os.environ |= {"ADB_SERVER_SOCKET": f"tcp:localhost:{port}", "ACT_PHONE_RUNNER": str(build_runner())}
    hidden = {"VK_DRIVER_FILES": "/missing.json", "VK_ICD_FILENAMES": "/missing.json"}
    phone = emulation.EmulatedPhone(
        folder / "phone", table=None, environment={**local.info.library.environment, **hidden}
    )
    call = {"env": {**os.environ, "HOME": str(folder), "ADB_MDNS": "0"}, "capture_output": True, "timeout": 60}
    try:
        subprocess.run(["adb", "connect", phone.address], check=True, **call)
        yield open_device(f"adb:{phone.serial}")
    finally:
        subprocess.run(["adb", "kill-server"], check=False, **call)
        phone.close()


if __name__ == "__main__":
    main()
