"""A realistic report, made by hand: ResNet-20 on the digits, three rounds."""

import math
import random
from typing import Any

_WIDTHS = [16] * 7 + [32] * 6 + [64] * 6
_NAMES = ["conv1"] + [f"layer{s}.{b}.conv{c}" for s in (1, 2, 3) for b in (0, 1, 2) for c in (1, 2)]


def _layers(rng: random.Random) -> list[dict[str, Any]]:
    rows = []
    for index, (name, width) in enumerate(zip(_NAMES, _WIDTHS, strict=True)):
        c_in = 1 if index == 0 else _WIDTHS[index - 1]
        side = {16: 8, 32: 4, 64: 2}[width]
        kept = width if index in (0, 5) else max(2, round(width * rng.uniform(0.25, 0.8)))
        columns = c_in * 9
        kept_columns = columns if index == 0 else max(3, round(columns * rng.uniform(0.1, 0.5)))
        macs = side * side
        rows.append(
            {
                "name": name,
                "kind": "conv",
                "filters_before": width,
                "filters_after": kept,
                "columns_before": columns,
                "columns_after": kept_columns,
                "macs_before": width * columns * macs,
                "macs_after": kept * kept_columns * macs,
            }
        )
    rows.append(
        {
            "name": "linear",
            "kind": "linear",
            "filters_before": 10,
            "filters_after": 10,
            "columns_before": 64,
            "columns_after": 31,
            "macs_before": 640,
            "macs_after": 310,
        }
    )
    return rows


def _kernels(rng: random.Random) -> list[dict[str, Any]]:
    reasons = {
        "column conv": "packed columns 6.1 µs, zero-filled dense 9.8 µs",
        "conv": "no columns removed",
        "conv 3x3": "dense 4.2 µs, packed columns 5.0 µs",
    }
    rows = []
    for index, name in enumerate(_NAMES):
        lowering = "conv" if index == 0 else rng.choice(["column conv", "column conv", "conv 3x3"])
        rows.append(
            {
                "name": f"fused_conv2d_add_relu_{index}",
                "source_operator": name,
                "lowering": lowering,
                "reason": reasons[lowering],
                "macs": rng.randrange(2_000, 40_000),
                "modelled_us": 6 + rng.expovariate(0.4),
                "measured_us": 9 + rng.expovariate(0.1),
            }
        )
    rows.append(
        {
            "name": "fused_matmul_add",
            "source_operator": "linear",
            "lowering": "linear",
            "reason": "",
            "macs": 310,
            "modelled_us": 6.2,
            "measured_us": 4.0,
        }
    )
    return rows


def _trials(rng: random.Random) -> list[dict[str, Any]]:
    rows = []
    for number, (limit, best) in enumerate(((0.62, 98.1), (0.40, 97.0), (0.27, 94.6)), start=1):
        for index in range(60):
            progress = 1 - math.exp(-index / 18)
            accuracy = best - (1 - progress) * rng.uniform(4, 30) - abs(rng.gauss(0, 1.2))
            rows.append(
                {
                    "round": f"round {number} search",
                    "index": index,
                    "accuracy": accuracy,
                    "cost": limit * rng.uniform(0.9, 1.0),
                }
            )
    return rows


def _latency(modelled: float, measured: float, rng: random.Random) -> list[dict[str, Any]]:
    samples = [measured * (1 + 0.04 * abs(rng.gauss(0, 1)) + (0.3 if rng.random() < 0.03 else 0)) for _ in range(400)]
    ordered = sorted(samples)
    return [
        {
            "kind": "modelled",
            "target": "adreno640",
            "model_version": "1",
            "p50": modelled,
            "batch": 1,
            "precision": "fp32",
        },
        {
            "kind": "measured",
            "device": "opencl:0",
            "device_name": "pthread-Intel(R) Xeon(R) Processor",
            "fingerprint": "pocl-3.0",
            "p50": ordered[200],
            "p90": ordered[360],
            "samples_ms": samples,
            "batch": 1,
            "precision": "fp32",
            "state": {"load before": 0.4, "load after": 0.6},
        },
    ]


def example_report() -> dict[str, Any]:
    """Return a new report; the same every time."""
    rng = random.Random(7)
    baseline = {
        "accuracy_top1": 98.89,
        "search_accuracy_top1": 98.51,
        "params": 271_690,
        "conv_params": 268_336,
        "column_indices": 0,
        "macs": 2_530_000,
        "file_bytes": 1_098_213,
        "latency": _latency(0.912, 1.31, rng),
        "reference": "the dense network fine-tuned for 2 epochs by the same recipe on the train part alone",
    }
    result = {
        "accuracy_top1": 98.22,
        "search_accuracy_top1": 98.14,
        "params": 24_180,
        "conv_params": 23_660,
        "column_indices": 1_204,
        "macs": 402_000,
        "file_bytes": 131_870,
        "latency": _latency(0.254, 0.388, rng),
    }
    return {
        "schema_version": 1,
        "act_version": "0.1.0",
        "created": "2026-03-02T14:25:31",
        "command": "act compress --target adreno640",
        "run": "digits-resnet20-adreno640",
        "seed": 0,
        "network": {"name": "resnet20", "arguments": {"num_classes": 10, "in_channels": 1, "stem": "cifar"}},
        "data": {
            "name": "digits",
            "description": "digits: 1078 train, 270 search, 449 test images of 1x8x8, 10 classes, seed 0",
            "classes": 10,
        },
        "target": {"name": "adreno640", "description": "Adreno 640, Snapdragon 855 (Galaxy S10, Pixel 4)"},
        "objective": "latency",
        "granularity": "combined",
        "baseline": baseline,
        "result": result,
        "accuracy_drop": 0.67,
        "ratios": {"params": 11.24, "conv_params": 11.34, "macs": 6.29, "latency": 3.59, "latency_measured": 3.38},
        "constraint": {
            "asked": {"max_accuracy_drop": 1.0},
            "reached": {"max_accuracy_drop": 0.37},
            "met": True,
        },
        "rounds": [
            {
                "round": n,
                "macs": m,
                "params": p,
                "latency_ms": t,
                "search_accuracy_top1": s,
                "accepted": n < 4,
            }
            for n, m, p, t, s in (
                (1, 1_400_000, 131_000, 0.601, 98.51),
                (2, 800_000, 60_400, 0.388, 98.14),
                (3, 402_000, 24_180, 0.254, 97.9),
                (4, 210_000, 11_700, 0.171, 96.3),
            )
        ],
        "trials": _trials(rng),
        "layers": _layers(rng),
        "frozen": [{"layer": "linear", "reason": "its outputs are the network's output"}],
        "kernels": _kernels(rng),
        "predictions": [
            {
                "name": "dense network",
                "predicted_ms": 1.18,
                "measured_ms": 1.31,
                "kernels_ms": 1.21,
                "relative_error": -0.0992,
                "device": "opencl:0",
                "problem": None,
            },
            {
                "name": "round 1 search",
                "predicted_ms": 0.7,
                "measured_ms": None,
                "kernels_ms": None,
                "relative_error": None,
                "device": "",
                "problem": "build failure: a kernel is too large",
            },
        ],
        "not_runnable": [
            {
                "layer": {"kind": "conv", "c_in": 16, "c_out": 13, "columns": 44, "output_hw": [8, 8]},
                "problem": "the runner crashed at 'time' (Segmentation fault)",
            }
        ],
        "equality": [
            {"pair": "masked = compact", "difference": 3.1e-7, "tolerance": 1e-4, "passed": True},
            {"pair": "compact = onnxruntime", "difference": 8.4e-7, "tolerance": 1e-4, "passed": True},
            {"pair": "onnxruntime = package on opencl:0", "difference": 1.2e-6, "tolerance": 1e-3, "passed": True},
        ],
        "environment": {
            "python": "3.11.7",
            "torch": "2.13.0+cpu",
            "onnxruntime": "1.22",
            "cpu": "2 cores",
            "precision": "fp32",
        },
        "files": {"model.onnx": "131.9 kB", "model.actpkg": "172 kB"},
    }
