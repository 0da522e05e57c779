"""Run methods one after another, each in a run folder of its own, and gather one row a run.

Everything resumes: a finished method is read from its folder, an interrupted one goes on where it stopped. A dense
network that must be trained first is trained once a seed, for all methods alike, and not counted in their time.
Baselines train for as many epochs as `act` did with the same seed, by the same recipe.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import CompressConfig
from ..config_file import load_resolved
from ..cost import CostTable
from ..environment import describe_environment
from ..extras import MissingExtraError
from ..goal import limits_of
from ..loading import save_network
from ..pipeline import Pipeline
from ..run_folder import RunFolder, RunFolderError, write_atomic
from ..workbench import Workbench
from .baselines import BASELINES, Baseline, BaselineError, Starting
from .methods import FIRST, METHODS, Method

if TYPE_CHECKING:
    from ..distributed import Processes
    from ..progress import Progress

__all__ = ["Comparison", "medians"]

Configure = Callable[[Method, int], CompressConfig]
Row = dict[str, Any]

_SECONDS = "seconds.json"
_BASELINE = "baseline.json"
_DENSE = "dense"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Methods and seeds to run.

    Attributes:
        methods: In order; `act` is the first.
        seeds: Each method runs with each.
        folder: Holds a run folder for every method and seed, and `compare.json`.
        configure: Configuration of a method with a seed.
        command: The command line, for the run folders.
        code: `package.module:factory` where the network is code, which came from a flag.
        progress: Shows stages.
        processes: Those that train together.
    """

    methods: Sequence[Method]
    seeds: Sequence[int]
    folder: Path
    configure: Configure
    command: str
    code: str | None
    progress: Progress
    processes: Processes

    def run(self) -> dict[str, Any]:
        """Do what is left and return the comparison, which is written after every run, too."""
        for seed in self.seeds:
            self._check_same(_DENSE, self.configure(METHODS[FIRST], seed))
            for method in self.methods:
                self._check_same(method.name, self.configure(method, seed))
        self.folder.mkdir(parents=True, exist_ok=True)
        rows: list[Row] = []
        for seed in self.seeds:
            for method in self.methods:
                rows.append(self._row(method, seed))
                found = {"schema_version": 1, "command": self.command, "rows": rows, **describe_environment()}
                write_atomic(self.folder / "compare.json", json.dumps(found, indent=2) + "\n")
        return found

    def _row(self, method: Method, seed: int) -> Row:
        path = self._path(method.name, seed)
        self.progress.note(f"{method.name}, seed {seed}: {method.text}")
        head = {"method": method.name, "text": method.text, "seed": seed}
        self._prepare(method, seed)
        try:
            with _timed(path):
                figures = self._baseline(method, seed) if method.baseline else self._run(method, seed)
        except (MissingExtraError, BaselineError) as error:
            self.progress.warn(f"{method.name}: {error}")
            return {**head, "problem": str(error)}
        return {**head, **figures, "seconds": _seconds(path)}

    def _check_same(self, name: str, config: CompressConfig) -> None:
        """Refuse to take another comparison's runs for this one's.

        Raises:
            RunFolderError: If the folder was made with another configuration.
        """
        file = self._path(name, config.seed) / "config.toml"
        if file.exists() and load_resolved(file, model_from_flag=self.code) != config:
            raise RunFolderError(
                f"{file.parent} holds a run with other settings than asked for: give the flags that it was made with, "
                "or choose another folder with --out"
            )

    def _run(self, method: Method, seed: int) -> Row:
        path = self._path(method.name, seed)
        report = path / "report.json"
        if not report.exists():
            self._pipeline(method.name, self.configure(method, seed)).run()
        found = json.loads(report.read_text(encoding="utf-8"))
        result, before = found["result"], found["baseline"]
        sizes = {key: result[key] for key in ("accuracy_top1", "params", "conv_params", "macs")}
        ratios = {f"{key}_x": found["ratios"][key] for key in ("params", "conv_params", "macs")}
        return {
            "accuracy_before": before["accuracy_top1"],
            **sizes,
            **ratios,
            "epochs": self._epochs(path),
            "met": found["constraint"]["met"],
        }

    def _baseline(self, method: Method, seed: int) -> Row:
        path = self._path(method.name, seed)
        file = path / _BASELINE
        if file.exists():
            row: Row = json.loads(file.read_text(encoding="utf-8"))
            return row
        pipeline = self._pipeline(method.name, self.configure(method, seed))
        bench, dense = pipeline.prepare()
        before = CostTable(dense)
        costs = {"params": float(before.count_params().total), "macs": float(before.count_macs())}
        limits = limits_of(bench.config.goal, costs)
        found = self._path(FIRST, seed)
        assert method.baseline is not None
        start = Starting(bench=bench, dense=dense, limits=limits, found=found, code=self.code)
        baseline = BASELINES[method.baseline](start)
        epochs = self._epochs(found)
        _train(bench, baseline, epochs)
        save_network(path / "weights.safetensors", baseline.network)
        after = CostTable(baseline.network)
        params, macs = after.count_params(), after.count_macs()
        row = {
            "note": baseline.note,
            "accuracy_before": pipeline.judge_on_test(bench, dense),
            "accuracy_top1": pipeline.judge_on_test(bench, baseline.network),
            "params": params.total,
            "conv_params": params.conv,
            "macs": macs,
            "params_x": costs["params"] / params.total,
            "conv_params_x": before.count_params().conv / max(params.conv, 1),
            "macs_x": costs["macs"] / macs,
            "epochs": epochs,
            "met": params.total <= limits.get("params", params.total) and macs <= limits.get("macs", macs),
        }
        write_atomic(file, json.dumps(row, indent=2) + "\n")
        return row

    def _prepare(self, method: Method, seed: int) -> None:
        """Make a method's run folder, with the dense network in it where that has no weights of its own.

        Its training is the same for all: methods differ in what they do to a dense network.
        """
        config = self.configure(method, seed)
        folder = self._folder(method.name, config)
        if config.network.weights is None and folder.result("dense") is None:
            dense = self._pipeline(_DENSE, self.configure(METHODS[FIRST], seed))
            dense.prepare()
            folder.take_over("dense", dense.folder)

    def _pipeline(self, name: str, config: CompressConfig) -> Pipeline:
        folder = self._folder(name, config)
        return Pipeline(config, folder, self.progress, allow_code=self.code is not None, processes=self.processes)

    def _folder(self, name: str, config: CompressConfig) -> RunFolder:
        path = self._path(name, config.seed)
        if not (path / "config.toml").exists():
            return RunFolder.create(path, config, describe_environment(), self.command)
        folder, _ = RunFolder.resume(path, model_from_flag=self.code)
        folder.remove_temporary_files()
        return folder

    def _path(self, name: str, seed: int) -> Path:
        return self.folder / f"{name}-seed{seed}"

    def _epochs(self, path: Path) -> int:
        """Epochs that a finished run trained what it compressed, the reference left out."""
        return sum(
            event["result"].get("epochs", 0)
            for event in RunFolder(path).events
            if event.get("event") == "finished" and event["stage"] not in ("dense", "reference")
        )


def _train(bench: Workbench, baseline: Baseline, epochs: int) -> None:
    rates = bench.config.train
    rate = rates.dense_learning_rate if baseline.from_scratch else rates.retrain_learning_rate
    recipe = replace(bench.recipe("baseline", epochs, rate), warmup_share=0.1 if baseline.from_scratch else 0.05)
    bench.train("baseline", baseline.network, recipe, title="train the baseline")


@contextlib.contextmanager
def _timed(path: Path) -> Iterator[None]:
    """Add the time spent inside to what earlier tries spent, unless the method was finished already."""
    finished = any((path / name).exists() for name in ("report.json", _BASELINE))
    began = time.perf_counter()
    try:
        yield
    finally:
        if path.is_dir() and not finished:
            spent = _seconds(path) + time.perf_counter() - began
            write_atomic(path / _SECONDS, json.dumps(spent) + "\n")


def _seconds(path: Path) -> float:
    file = path / _SECONDS
    return float(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else 0.0


def medians(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """One row a method: the median of every figure over its seeds, and how many seeds there are."""
    found = []
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        good = [row for row in own if "problem" not in row]
        head: Row = {"method": name, "text": own[0]["text"], "seeds": len(good)}
        if not good:
            found.append({**head, "problem": own[0]["problem"]})
            continue
        for key in ("accuracy_before", "accuracy_top1", "params_x", "conv_params_x", "macs_x", "epochs", "seconds"):
            head[key] = statistics.median(row[key] for row in good)
        found.append({**head, "met": all(row["met"] for row in good), "note": good[0].get("note", "")})
    return found
