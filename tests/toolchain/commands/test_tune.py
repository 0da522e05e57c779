"""`act tune` on a real local device, and what the other commands then say."""

import contextlib
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest
from act.device.errors import DeviceError
from act.device.local import list_local_devices
from act.device.tuning_records import Trial, TuningRecords
from act.toolchain.cli import main
from onnx import TensorProto, helper, numpy_helper

from .json_output import json_of


@pytest.fixture(autouse=True)
def own_database(tmp_path, monkeypatch):
    monkeypatch.setenv("ACT_DATABASE", str(tmp_path / "latency.sqlite"))
    return tmp_path / "latency.sqlite"


@pytest.fixture(scope="module")
def device():
    try:
        found = list_local_devices("opencl")
    except DeviceError:
        found = []
    if not found:
        pytest.skip("needs a C compiler and an OpenCL device: pip install pyopencl pocl-binary-distribution")
    return found[0]


@pytest.fixture
def model(tmp_path):
    """Two equal convolutions and a linear layer."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.standard_normal((4, 4, 3, 3)),
        "w2": rng.standard_normal((4, 4, 3, 3)),
        "w3": rng.standard_normal((4, 10)),
    }
    nodes = [
        helper.make_node("Conv", ["input", "w1"], ["a"], name="first", pads=[1] * 4),
        helper.make_node("Conv", ["a", "w2"], ["b"], name="second", pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["b"], ["c"], name="pool"),
        helper.make_node("Flatten", ["c"], ["d"], name="flat"),
        helper.make_node("MatMul", ["d", "w3"], ["output"], name="classes"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 4, 8, 8])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    )
    return path


@pytest.mark.opencl
def test_a_network_is_tuned_and_a_second_time_measures_nothing(model, device, own_database, capsys):
    found = json_of(capsys, "tune", model, "--device", device.id, "--trials", "3")
    assert (found["target"], found["precision"], found["fingerprint"]) == ("host-opencl", "fp32", device.fingerprint)
    assert found["database"] == str(own_database)
    assert {tuple(kernel["names"]) for kernel in found["kernels"]} == {("first", "second"), ("classes",)}
    for kernel in found["kernels"]:
        assert kernel["tried"] == 3 and kernel["problem"] is None
        assert 0 < kernel["after_us"] <= kernel["before_us"]
    changed = any(kernel["best"] != kernel["rule"] for kernel in found["kernels"])
    assert (found["network"] is not None) == changed
    if changed:
        assert len(found["network"]["turns_ms"]) == 5 and found["network"]["ratio"] > 0
    assert main(["tune", str(model), "--device", device.id, "--trials", "3"]) == 0
    out, err = capsys.readouterr()
    assert "candidates" not in err.partition("tune 2 layers")[2].partition("s\n")[0]
    assert "first (+1)" in out and "kept in" in out
    assert f"act compile {model} --target host-opencl" in out


@pytest.mark.opencl
def test_a_tuned_kernel_is_used_and_said_by_the_commands_that_compile(model, device, own_database, tmp_path, capsys):
    from act.compiler.kernel_choice import KernelChoice
    from act.compiler.schedules.tile import Tile
    from act.compiler.targets import get_target
    from act.compiler.tuning.search import candidate_text
    from act.compiler.tuning.tasks import tasks_of
    from act.device.package_format import read_package

    package = tmp_path / "model.actpkg"
    assert main(["compile", str(model), "--target", "host-opencl"]) == 0
    assert "by the rule (act tune measures others)" in capsys.readouterr().out
    tasks = tasks_of(read_package(package))
    conv = next(task for task in tasks if task.shape.kind == "conv")
    chosen = KernelChoice(lowering="dense", tile=Tile(filters=2, pixels=4, work_items=8))
    trial = Trial(candidate=candidate_text(chosen), status="winner", latency_us=2.0, rule_us=3.0)
    with TuningRecords() as records:
        records.put("host-opencl fp32", conv.text, device.fingerprint, trial, device="opencl:7")
    why = "tuned on opencl:7: 2.0 us against 3.0 us by the rule"
    told = json_of(capsys, "compile", model, "--target", "host-opencl")
    steps = {step["source_operator"]: step for step in told["steps"]}
    assert steps["first"]["tile_reason"] == steps["second"]["tile_reason"] == why
    assert steps["first"]["tile"] == "2 filters × 4 pixels, 8 work-items"
    assert steps["classes"]["tile_reason"] == "by the rule"
    assert main(["inspect", str(package)]) == 0
    assert "tuned on opencl:7: 2.0 us" in " ".join(capsys.readouterr().out.split())
    shown = json_of(capsys, "inspect", package)
    assert [step["tile_reason"] for step in shown["steps"]].count(why) == 2
    assert "act.kernels" not in shown["metadata"]
    assert json_of(capsys, "bench", package, "--runs", "3", "--device", device.id)["verified_error"] < 1e-4
    phone = json_of(capsys, "compile", model, "--target", "adreno640")
    assert not any("tuned" in step["tile_reason"] for step in phone["steps"])
    assert get_target("host-opencl").name == told["target"]


def _has_trials(database):
    try:
        with contextlib.closing(sqlite3.connect(database)) as connection:
            return connection.execute("SELECT COUNT(*) FROM tuning").fetchone()[0] > 0
    except sqlite3.OperationalError:  # not there yet
        return False


@pytest.mark.opencl
def test_an_interrupted_tuning_says_how_to_go_on(model, device, own_database):
    arguments = ["tune", str(model), "--device", device.id, "--trials", "5000", "--kernel", "*"]
    command = [sys.executable, "-m", "act.toolchain", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=_interruptible
    )
    try:
        while process.poll() is None and not _has_trials(own_database):
            time.sleep(0.1)
        for _ in range(5):  # TVM loses an interrupt that comes while it calls Python
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
                break
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert f"continue with:\n  act tune {model} --device {device.id} --trials 5000 --kernel '*'" in said


def _interruptible():
    """A shell makes what it runs in the background, and all that it starts, deaf to interrupts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.opencl
def test_a_package_is_tuned_by_what_it_says_of_its_layers(model, device, tmp_path, capsys):
    package = tmp_path / "model.actpkg"
    assert main(["compile", str(model), "--target", "host-opencl", "--out", str(package), "--quiet"]) == 0
    capsys.readouterr()
    found = json_of(capsys, "tune", package, "--trials", "1", "--kernel", "cl*")
    assert [kernel["names"] for kernel in found["kernels"]] == [["classes"]]
    assert found["device"] == device.id


def _refused(capsys, *arguments, message, code=2):
    assert main(["tune", *map(str, arguments)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "internal error" not in err


@pytest.mark.opencl
def test_a_local_device_does_not_tune_for_a_phone(model, device, tmp_path, capsys):
    _refused(capsys, model, "--target", "adreno640", "--device", device.id, message="tiles belong to a target")
    package = tmp_path / "model.actpkg"
    assert main(["compile", str(model), "--target", "adreno640", "--quiet"]) == 0
    capsys.readouterr()
    _refused(capsys, package, message="is not for adreno640")
    _refused(capsys, package, "--batch", "2", message="--batch: a package is compiled already")
    _refused(capsys, package, "--target", "host-opencl", message="is for adreno640, not for host-opencl")


@pytest.mark.opencl
def test_unknown_names_get_the_nearest(model, device, capsys):
    _refused(capsys, model, "--kernel", "frist", message="did you mean 'first'?")
    _refused(capsys, model, "--device", "opencl:99", message="known devices:", code=3)


def test_wrong_budgets_and_sources(model, capsys):
    _refused(capsys, model, "--trials", "0", message="must be at least 1")
    _refused(capsys, model, "--trials", "3", "--budget-seconds", "3", message="not allowed with")
    _refused(capsys, "resnet20", message="act export resnet20")
    _refused(capsys, "missing.onnx", message="there is no file missing.onnx")


def test_a_database_that_cannot_be_read_stops_tuning_but_no_compile(model, own_database, capsys):
    own_database.write_text("this is no database, and long enough to be noticed as such " * 40)
    _refused(capsys, model, message="ACT_DATABASE", code=3)
    assert main(["compile", str(model)]) == 0
    assert "tuned kernels are not used" in capsys.readouterr().err
