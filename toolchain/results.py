"""The figures of a run as one dictionary, the schema of `report.json` and of `act compress --json`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..compiler.latency_model import MODEL_VERSION
from ..compiler.targets import Target
from ..device.harness import LatencyStats
from .capture import CapturedNetwork
from .cost import count_macs, count_params, layer_shapes
from .coupling import Coupling
from .plan import PruningPlan

SCHEMA_VERSION = 1
PLACE = ("kind", "target", "fingerprint", "batch", "precision")  # what two latencies that are compared agree in


def figures(
    network: CapturedNetwork, *, accuracy: float, search_accuracy: float, onnx: Path, latency: list[dict[str, Any]]
) -> dict[str, Any]:
    """Accuracy in percent, sizes and latencies of one network."""
    params = count_params(network)
    return {
        "accuracy_top1": accuracy,
        "search_accuracy_top1": search_accuracy,
        "params": params.total,
        "conv_params": params.conv,
        "column_indices": params.column_indices,
        "macs": count_macs(network),
        "file_bytes": onnx.stat().st_size,
        "latency": latency,
    }


def latencies(modelled_ms: float, target: Target, measured: LatencyStats | None) -> list[dict[str, Any]]:
    """The modelled latency on the target and, where there is one, the measured latency on a device."""
    entries: list[dict[str, Any]] = [
        {
            "kind": "modelled",
            "target": target.name,
            "model_version": MODEL_VERSION,
            "p50": modelled_ms,
            "batch": 1,
            "precision": target.precision,
        }
    ]
    if measured is not None:
        entries.append(measured.to_dict())
    return entries


def ratios(baseline: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, float]:
    """How many times smaller the result is; latencies only within one kind, place, batch and precision."""
    found = {key: baseline[key] / max(result[key], 1) for key in ("params", "conv_params", "macs", "file_bytes")}
    for before, after in zip(baseline["latency"], result["latency"], strict=False):
        if any(before.get(key) != after.get(key) for key in PLACE):
            continue
        name = "latency" if before["kind"] == "modelled" else "latency_measured"
        found[name] = before["p50"] / after["p50"]
    return found


def layer_rows(dense: CapturedNetwork, coupling: Coupling, plan: PruningPlan) -> list[dict[str, Any]]:
    """One row a layer: filters, columns and MACs before and after."""
    before, after = layer_shapes(dense), layer_shapes(dense, coupling, plan)
    return [
        {
            "name": b.name,
            "kind": b.kind,
            "filters_before": b.c_out,
            "filters_after": a.c_out,
            "columns_before": b.columns,
            "columns_after": a.columns,
            "macs_before": b.macs,
            "macs_after": a.macs,
        }
        for b, a in zip(before, after, strict=True)
        if b.kind in ("conv", "depthwise", "linear")
    ]
