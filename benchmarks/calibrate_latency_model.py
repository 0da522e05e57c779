"""Calibrate the latency model on four published dense latencies of Adreno 640, and check it on the pruned ones.

    python benchmarks/calibrate_latency_model.py [--json | --sweep]

Two parameters (idle pixels, launch) minimise the squared log ratio of modelled to published. The paper does not say
its precision: fp32 is assumed. Launch is bound to the 6 to 40 us that phones show. The pruned rows take no part in the
fit; the shapes behind them are invented by the rule in published_networks.py, so their residuals are the model's and
the rule's together. `--sweep` shows why the arithmetic efficiency is not fitted: the dense rows hardly depend on it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Iterable

from act.compiler.latency_model import CALIBRATED, MODEL_VERSION, ModelParameters, modelled_latency_ms
from act.compiler.targets import get_target
from published_networks import DENSE_ROWS, PRUNED_ROWS, PublishedRow, row_layers
from scipy.optimize import least_squares

TARGET = get_target("adreno640")
START = (200.0, 20.0)
LOWER = (0.0, 6.0)
UPPER = (10_000.0, 40.0)
SWEEP = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def calibrate(efficiency: float = CALIBRATED.efficiency) -> ModelParameters:
    """The parameters that fit the dense rows best, given the arithmetic efficiency."""
    networks = [(row_layers(row), row.latency_ms) for row in DENSE_ROWS]

    def parameters_of(values: Iterable[float]) -> ModelParameters:
        idle_pixels, launch_us = (float(value) for value in values)
        return ModelParameters(efficiency=efficiency, idle_pixels=idle_pixels, launch_us=launch_us)

    def residuals(values: list[float]) -> list[float]:
        parameters = parameters_of(values)
        return [math.log(modelled_latency_ms(layers, TARGET, parameters) / ms) for layers, ms in networks]

    found = least_squares(residuals, START, bounds=(LOWER, UPPER), x_scale=(30.0, 10.0)).x
    return parameters_of(found)


def evaluate(rows: Iterable[PublishedRow], parameters: ModelParameters) -> list[dict[str, float | str]]:
    """Modelled beside published latency of each row."""
    results: list[dict[str, float | str]] = []
    for row in rows:
        layers = row_layers(row)
        modelled = modelled_latency_ms(layers, TARGET, parameters)
        results.append(
            {
                "network": row.network,
                "method": row.method,
                "published_ms": row.latency_ms,
                "modelled_ms": round(modelled, 2),
                "ratio": round(modelled / row.latency_ms, 2),
                "gmacs": round(sum(shape.macs for shape in layers if shape.kind == "conv") * 1e-9, 3),
            }
        )
    return results


def rms_log_ratio(rows: list[dict[str, float | str]]) -> float:
    """Root mean square of the logarithm of modelled over published; 0.1 is about 10 %."""
    return math.sqrt(sum(math.log(float(row["ratio"])) ** 2 for row in rows) / len(rows))


def print_rows(title: str, rows: list[dict[str, float | str]]) -> None:
    """One table."""
    print(f"\n{title} (rms log ratio {rms_log_ratio(rows):.3f})")
    print(f"{'network':18} {'method':30} {'GMACs':>8} {'published':>10} {'modelled':>9} {'ratio':>6}")
    for row in rows:
        cells = f"{row['gmacs']:8.3f} {row['published_ms']:8.2f}ms {row['modelled_ms']:7.2f}ms {row['ratio']:6.2f}"
        print(f"{row['network']:18} {row['method']:30} {cells}")


def print_sweep() -> None:
    """The fit at several efficiencies."""
    print(f"{'efficiency':>10} {'idle':>7} {'launch us':>9} {'dense rms':>10} {'pruned rms':>10}")
    for efficiency in SWEEP:
        found = calibrate(efficiency)
        dense, pruned = (rms_log_ratio(evaluate(rows, found)) for rows in (DENSE_ROWS, PRUNED_ROWS))
        print(f"{efficiency:10.1f} {found.idle_pixels:7.1f} {found.launch_us:9.1f} {dense:10.3f} {pruned:10.3f}")


def main() -> None:
    """Calibrate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--sweep", action="store_true", help="fit at several arithmetic efficiencies")
    arguments = parser.parse_args()
    if arguments.sweep:
        print_sweep()
        return
    found = calibrate()
    dense, pruned = evaluate(DENSE_ROWS, found), evaluate(PRUNED_ROWS, found)
    if arguments.json:
        values = dataclasses.asdict(found)
        print(json.dumps({"model_version": MODEL_VERSION, "found": values, "dense": dense, "pruned": pruned}))
        return
    print(f"latency model {MODEL_VERSION}, target {TARGET.name}, fp32, batch 1")
    print(f"found:    {found}\nin force: {CALIBRATED}")
    print_rows("dense rows, fitted", dense)
    print_rows("pruned rows, not fitted, invented shapes", pruned)


if __name__ == "__main__":
    main()
