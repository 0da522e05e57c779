"""What `act tune` prints: a table, or one JSON object."""

import argparse
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..output import milliseconds_text, print_fields, print_table, ratio_text

if TYPE_CHECKING:
    from ...compiler.targets import Target
    from ...compiler.tuning.pairs import PairedTimes
    from ...compiler.tuning.tuner import TunedLayer
    from ...device.devices import Device


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is tuned, where, and for what; `onnx` is None where there is only a package."""

    onnx: Path | None
    package: Path
    device: "Device"
    target: "Target"
    args: argparse.Namespace


def _ratio(layer: "TunedLayer") -> float | None:
    return layer.rule_us / layer.best_us if layer.rule_us and layer.best_us else None


def _next(job: Job) -> str:
    words = ["act", "compile", str(job.onnx or "MODEL.onnx"), "--target", job.target.name]
    if job.target.precision != "fp32":
        words += ["--precision", job.target.precision]
    if job.args.batch is not None:
        words += ["--batch", str(job.args.batch)]
    if job.args.input_shape is not None:
        words += ["--input-shape", ",".join(map(str, job.args.input_shape))]
    return shlex.join(words)


def values_of(job: Job, layers: "list[TunedLayer]", network: "PairedTimes | None", database: Path) -> dict[str, Any]:
    """The result as JSON values."""
    info = job.device.info
    return {
        "source": job.args.source,
        "device": job.device.id,
        "fingerprint": info.fingerprint,
        "target": job.target.name,
        "precision": job.target.precision,
        "kernels": [
            {
                "names": layer.task.names,
                "rule": layer.rule,
                "best": layer.best,
                "before_us": layer.rule_us,
                "after_us": layer.best_us,
                "ratio": _ratio(layer),
                "tried": layer.tried,
                "bad": layer.bad,
                "problem": layer.problem or None,
            }
            for layer in layers
        ],
        "network": None
        if network is None
        else {
            "before_ms": network.before_ms,
            "after_ms": network.after_ms,
            "ratio": network.ratio,
            "turns_ms": network.turns_ms,
        },
        "database": database,
    }


def print_result(job: Job, layers: "list[TunedLayer]", network: "PairedTimes | None", database: Path) -> None:
    """Print the kernels, the whole network, where all is kept, and what is next."""
    rows = [
        (
            layer.task.label,
            "" if layer.rule_us is None else f"{layer.rule_us:.1f}",
            "" if layer.best_us is None else f"{layer.best_us:.1f}",
            "" if layer.best_us is None else ratio_text(_ratio(layer)),
            f"{layer.tried}, {layer.bad} bad" if layer.bad else layer.tried,
            layer.problem or (layer.best if layer.is_tuned else "by the rule" if layer.best_us else "not reached"),
        )
        for layer in layers
    ]
    headings = ("kernel", "before µs", "after µs", "ratio", "tried", "chosen")
    print_table(headings, rows, right=("before µs", "after µs", "ratio", "tried"))
    print()
    info = job.device.info
    kept = f"{database}, for {job.target.name} in {job.target.precision}, as measured on {info.name}"
    fields: list[tuple[str, object]] = [("network", _network_text(job, layers, network)), ("kept in", kept)]
    print_fields([*fields, ("next", _next(job))])


def _network_text(job: Job, layers: "list[TunedLayer]", network: "PairedTimes | None") -> str:
    if network is not None:
        before, after = milliseconds_text(network.before_ms), milliseconds_text(network.after_ms)
        turns = f"{len(network.turns_ms)} turns on {job.device.id}"
        return f"{before} before, {after} after, {ratio_text(network.ratio)} as fast ({turns})"
    if not any(layer.is_tuned for layer in layers):
        return "as before: no kernel was faster than the rule's"
    return "not measured: tune the ONNX file, or keep it beside the package under the same name"
