"""Two real processes, started by torchrun: they do what one does, and a lost one ends the run cleanly."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from act.toolchain.distributed import join_processes
from act.toolchain.errors import UsageError

from .small_training import RECIPE, train_small

SCRIPT = Path(__file__).parent / "small_training.py"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
CONFIG = """effort = "quick"
threads = 1
[data]
limit_train = 300
[prune]
max_rounds = 2
admm_epochs = 1
[train]
batch_parts = 2
dense_epochs = 3
retrain_epochs = 1
final_epochs = 1
[search]
trials = 10
images = 100
recalibration_images = 100
"""


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def start(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TORCHRUN, *arguments], env=environment(**more), capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.usefixtures("one_thread")
def test_two_processes_do_bit_for_bit_what_one_does(tmp_path: Path) -> None:
    together, alone = tmp_path / "together", tmp_path / "alone"
    together.mkdir(), alone.mkdir()
    done = start(str(SCRIPT), str(together))
    assert done.returncode == 0, done.stderr
    assert_equal(torch.load(together / "weights.pt"), train_small(alone)[0])


@pytest.mark.usefixtures("one_thread")
def test_a_killed_process_ends_the_others_and_one_process_can_go_on(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir(), whole.mkdir()
    done = start(str(SCRIPT), str(killed), "--lose", "kill")
    assert done.returncode != 0
    assert "error: process 0 of 2" in done.stderr
    assert not (killed / "weights.pt").exists()
    assert_equal(train_small(killed)[0], train_small(whole)[0])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_frozen_process_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    began = time.monotonic()
    # torchrun waits half a minute for a process that does not end when it is asked to.
    done = start(str(SCRIPT), str(tmp_path), "--lose", "stop", ACT_PROCESS_TIMEOUT_S="5")
    assert done.returncode != 0
    assert "error: process 0 of 2 has lost another one" in done.stderr
    assert time.monotonic() - began < 80


def test_parts_change_batch_norm_and_random_numbers_alone(tmp_path: Path) -> None:
    for parts in (1, 4):
        (tmp_path / str(parts)).mkdir()
    whole, quarters = (
        train_small(tmp_path / str(parts), recipe=replace(RECIPE, batch_parts=parts))[1].loss for parts in (1, 4)
    )
    assert whole == pytest.approx(quarters, rel=0.25)


def test_half_of_torchruns_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UsageError, match=r"RANK.*torchrun --nproc-per-node"), join_processes():
        pass


def test_a_single_process_needs_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_processes() as processes:
        assert processes.main
        assert processes.goes_on(True)
        assert processes.parts_of(4) == range(4)
        value = torch.ones(2)
        processes.all_reduce(value)
        assert value.tolist() == [1.0, 1.0]


def compress(folder: Path, out: Path, *more: str) -> list[str]:
    (folder / "small.toml").write_text(CONFIG)
    base = ["-m", "act.toolchain", "compress", "--target", "adreno640", "--quiet", "--out", str(out)]
    return [*base, *(more or ("--config", str(folder / "small.toml"), "--macs-x", "3"))]


def finish_alone(arguments: list[str]) -> None:
    subprocess.run([sys.executable, *arguments], env=environment(), check=True, capture_output=True, timeout=300)


def assert_same_end(out: Path, expected: Path) -> None:
    for name in ("pruning_plan.json", "weights.safetensors"):
        assert (out / name).read_bytes() == (expected / name).read_bytes(), name
    trials = [[json.loads(line) for line in (path / "trials.jsonl").open()] for path in (out, expected)]
    assert trials[0] == trials[1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_on_two_processes_decides_as_one_process_does(tmp_path: Path) -> None:
    done = start(*compress(tmp_path, tmp_path / "together"))
    assert done.returncode == 0, done.stderr
    finish_alone(compress(tmp_path, tmp_path / "alone"))
    assert_same_end(tmp_path / "together", tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_run_that_lost_a_process_is_resumed_to_the_same_end(tmp_path: Path, rank: str) -> None:
    out = tmp_path / "killed"
    command = [*TORCHRUN, *compress(tmp_path, out)]
    run = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    sign = out / "checkpoints" / "dense.inner.pt"
    while not sign.exists():
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.01)
    workers = [child for child in psutil.Process(run.pid).children() if child.environ().get("RANK") == rank]
    assert len(workers) == 1
    workers[0].send_signal(signal.SIGKILL)
    _, errors = run.communicate(timeout=120)
    assert run.returncode != 0
    survivor = 1 - int(rank)
    assert f"error: process {survivor} of 2" in errors
    if rank == "1":
        assert f"torchrun --nproc-per-node 2 -m act.toolchain compress --resume --out {out}" in errors
    assert not sign.with_name("dense.safetensors").exists()
    finish_alone(compress(tmp_path, out, "--resume"))
    finish_alone(compress(tmp_path, tmp_path / "whole"))
    assert_same_end(out, tmp_path / "whole")
