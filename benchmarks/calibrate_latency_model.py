"""Calibrate the latency model on four published dense latencies of Adreno 640, and check it on the pruned ones.

    python benchmarks/calibrate_latency_model.py [--json | --sweep]

Two parameters (wait, resident waves) minimise the squared log ratio of modelled to published. The paper does not say
its precision: fp32 is assumed. The pruned rows take no part in the fit; the shapes behind them are invented by the
rule of published_networks.py, which is printed, so their residuals are the model's and the rule's together. `speed-up`
is the modelled speed-up over the dense row of the network, relative to the published one. `--sweep` shows how little
the dense rows depend on what is not fitted: arithmetic efficiency and launch cost.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Iterable

import published_networks
from act.compiler.latency_model import CALIBRATED, MODEL_VERSION, ModelParameters, modelled_latency_ms
from act.compiler.targets import get_target
from published_networks import DENSE_ROWS, PRUNED_ROWS, PublishedRow, row_layers
from scipy.optimize import least_squares

TARGET = get_target("adreno640")
START = (0.15, 16.0)
LOWER = (0.0, 1.0)
UPPER = (2.0, 200.0)
# What ArchProbe measured for a dependent load: from a buffer in L2, and from an image in memory.
MEASURED_WAIT_US = (0.113, 0.203)
EFFICIENCIES = (0.4, 0.6, 0.8, 1.0)
LAUNCHES_US = (6.0, 12.0, 20.0, 40.0)

Row = dict[str, float | str]


def calibrate(efficiency: float = CALIBRATED.efficiency, launch_us: float = CALIBRATED.launch_us) -> ModelParameters:
    """The parameters that fit the dense rows best, given those that are not fitted."""
    networks = [(row_layers(row), row.latency_ms) for row in DENSE_ROWS]

    def parameters_of(values: Iterable[float]) -> ModelParameters:
        wait_us, resident_waves = (float(value) for value in values)
        return ModelParameters(
            wait_us=wait_us, resident_waves=resident_waves, efficiency=efficiency, launch_us=launch_us
        )

    def residuals(values: list[float]) -> list[float]:
        parameters = parameters_of(values)
        return [math.log(modelled_latency_ms(layers, TARGET, parameters) / ms) for layers, ms in networks]

    found = least_squares(residuals, START, bounds=(LOWER, UPPER), x_scale=START, diff_step=1e-3).x
    return parameters_of(found)


def evaluate(rows: Iterable[PublishedRow], parameters: ModelParameters) -> list[Row]:
    """Modelled beside published latency of each row."""
    dense = {
        row.network: modelled_latency_ms(row_layers(row), TARGET, parameters) / row.latency_ms for row in DENSE_ROWS
    }
    results: list[Row] = []
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
                "speedup_ratio": round(dense[row.network] * row.latency_ms / modelled, 2),
                "gmacs": round(sum(shape.macs for shape in layers if shape.kind == "conv") * 1e-9, 3),
            }
        )
    return results


def rms_log(rows: list[Row], key: str) -> float:
    """Root mean square of the logarithm of a ratio; 0.1 is about 10 %."""
    return math.sqrt(sum(math.log(float(row[key])) ** 2 for row in rows) / len(rows))


def print_rows(title: str, rows: list[Row]) -> None:
    """One table."""
    print(f"\n{title} (rms log ratio {rms_log(rows, 'ratio'):.3f}, of speed-ups {rms_log(rows, 'speedup_ratio'):.3f})")
    print(f"{'network':18} {'method':30} {'GMACs':>8} {'published':>10} {'modelled':>9} {'ratio':>6} {'speed-up':>9}")
    for row in rows:
        cells = f"{row['gmacs']:8.3f} {row['published_ms']:8.2f}ms {row['modelled_ms']:7.2f}ms {row['ratio']:6.2f}"
        print(f"{row['network']:18} {row['method']:30} {cells} {row['speedup_ratio']:9.2f}")


def print_sweep() -> None:
    """The fit at several efficiencies and launch costs."""
    print(f"{'efficiency':>10} {'launch us':>9} {'wait us':>8} {'waves':>6} {'dense rms':>10} {'pruned rms':>10}")
    for efficiency, launch_us in [
        *((value, CALIBRATED.launch_us) for value in EFFICIENCIES),
        *((CALIBRATED.efficiency, value) for value in LAUNCHES_US),
    ]:
        found = calibrate(efficiency, launch_us)
        dense, pruned = (rms_log(evaluate(rows, found), "ratio") for rows in (DENSE_ROWS, PRUNED_ROWS))
        constants = f"{efficiency:10.1f} {launch_us:9.1f} {found.wait_us:8.3f} {found.resident_waves:6.1f}"
        print(f"{constants} {dense:10.3f} {pruned:10.3f}")


def main() -> None:
    """Calibrate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--sweep", action="store_true", help="fit at several efficiencies and launch costs")
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
    print(f"a dependent load measured {MEASURED_WAIT_US[0]} to {MEASURED_WAIT_US[1]} us; not used")
    print_rows("dense rows, fitted", dense)
    print_rows("pruned rows, not fitted, invented shapes", pruned)
    print(f"\n{(published_networks.__doc__ or '').strip()}")


if __name__ == "__main__":
    main()
