"""Kill a small compression with SIGKILL at moments spread over all its stages, resume it, and compare the end.

    python benchmarks/kill_and_resume.py --kills 10

An uninterrupted run and the killed one must end with the same plan, the same weights and the same accuracy.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = """effort = "quick"
threads = 1
[data]
limit_train = 400
[prune]
max_rounds = 2
admm_epochs = 2
[train]
dense_epochs = 4
retrain_epochs = 2
final_epochs = 2
[search]
trials = 15
images = 100
recalibration_images = 100
[goal]
max_accuracy_drop = 60.0
"""


def command(folder: Path, out: Path, *, resume: bool) -> list[str]:
    """The command line of one start."""
    base = [sys.executable, "-m", "act.toolchain", "compress", "--target", "adreno640", "--quiet"]
    return [*base, "--config", str(folder / "small.toml"), "--out", str(out), *(["--resume"] if resume else [])]


def outcome(out: Path) -> dict[str, object]:
    """What must be equal: accuracies, plan, weights."""
    result = json.loads((out / "report.json").read_text())["result"]
    return {
        "test accuracy": result["accuracy_top1"],
        "search accuracy": result["search_accuracy_top1"],
        "plan": (out / "pruning_plan.json").read_bytes(),
        "weights": (out / "weights.safetensors").read_bytes(),
    }


def position(out: Path) -> str:
    """The last finished stage, and what is under way."""
    events = out / "events.jsonl"
    lines = events.read_text().split("\n")[:-1] if events.exists() else []  # a torn last line is no record
    records = [json.loads(line) for line in lines]
    finished = [record["stage"] for record in records if record["event"] == "finished"]
    inner = [path.name.removesuffix(".inner.pt") for path in (out / "checkpoints").glob("*.inner.pt")]
    return f"finished: {finished[-1] if finished else 'nothing'}; under way: {', '.join(inner) or 'no training'}"


def startup_seconds(folder: Path, whole: Path) -> float:
    """Seconds that a start needs before it works: resuming a finished run replays everything but the delivery."""
    began = time.perf_counter()
    subprocess.run([*command(folder, whole, resume=True), "--dry-run"], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Run, kill, resume, compare; exits with 1 where the ends differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "small.toml").write_text(CONFIG)
        whole, killed = folder / "whole", folder / "killed"
        began = time.perf_counter()
        subprocess.run(command(folder, whole, resume=False), check=True, capture_output=True)
        seconds = time.perf_counter() - began
        startup = startup_seconds(folder, whole)
        work = (seconds - startup) / (args.kills + 1)
        print(f"uninterrupted: {seconds:.1f} s, start-up {startup:.1f} s; a kill after every {work:.1f} s of work")
        kills = 0
        while True:
            process = subprocess.Popen(
                command(folder, killed, resume=kills > 0), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            try:
                _, errors = process.communicate(timeout=startup + work if kills < args.kills else None)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
                print(f"kill {kills}: {position(killed)}", flush=True)
        if process.returncode != 0:
            sys.exit(f"the resumed run failed with {process.returncode}: {errors.decode()}")
        ends = outcome(whole), outcome(killed)
        for key in ends[0]:
            print(f"{key}: {'equal' if ends[0][key] == ends[1][key] else 'DIFFERENT'}")
        sys.exit(0 if ends[0] == ends[1] else 1)


if __name__ == "__main__":
    main()
