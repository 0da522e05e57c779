"""Fit the latency model to a device's own kernels, and see how well it prices kernels that it was not shown.

    python benchmarks/refit_latency_model.py --device opencl:0 --out benchmarks/results/refit_latency_model.json

Layers of ResNet-18, ResNet-50 and VGG-16, dense and with fewer channels, columns or blocks, are compiled and timed one
by one, in an order drawn from a seed. Of every two, one is fitted (`act.compiler.latency_fit`) and one is held out.
Every row shows the modelled time with the target's default constants and with those fitted, over the measured one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import random
import statistics
import tempfile
from pathlib import Path

from act.compiler.compile import compile_onnx
from act.compiler.latency_fit import fit_parameters
from act.compiler.latency_model import MODEL_VERSION, ModelParameters, default_parameters, modelled_kernels
from act.compiler.layer_onnx import write_layer_onnx
from act.compiler.layer_shape import LayerShape
from act.compiler.targets import Target, get_target
from act.device.devices import Device, TimingOptions, open_device
from act.toolchain.environment import describe_environment
from published_networks import NETWORKS
from realised_share import described

WEIGHTED = ("conv", "depthwise", "linear")


def main() -> None:
    """Measure, fit, and print row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="opencl:0")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    device, target = open_device(args.device), get_target(f"host-{args.device.partition(':')[0]}")
    layers = layers_of(args.layers, random.Random(args.seed))
    measured = []
    for index, layer in enumerate(layers):
        measured.append(kernel_us(layer, device, target, args.runs))
        print(f"{index + 1}/{len(layers)} {describe(layer)}: {measured[-1]:.1f} us", flush=True)
    start = default_parameters(target)
    found = fit_parameters(layers[::2], measured[::2], target)
    rows = [row(layer, value, target, (start, found)) for layer, value in zip(layers, measured, strict=True)]
    print(f"\n{target.name} on {args.device}\ndefault: {start}\nfitted:  {found}")
    errors = {}
    for title, part in (("fitted", rows[::2]), ("held out", rows[1::2])):
        errors[title] = {key: rms_log([float(line[key]) for line in part]) for key in ("default", "refitted")}
        print_rows(title, part, errors[title])
    if args.out is not None:
        results = {
            "device": described(device),
            "target": target.name,
            "model_version": MODEL_VERSION,
            "fitted_constants": dataclasses.asdict(found),
            "rms_log_ratio": errors,
            "fitted": rows[::2],
            "held_out": rows[1::2],
            **describe_environment(),
        }
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(results, indent=2) + "\n")


def layers_of(count: int, rng: random.Random) -> list[LayerShape]:
    """Different layers of the networks, every second one pruned, in random order."""
    known = {
        dataclasses.replace(layer, name=""): None
        for make in NETWORKS.values()
        for layer in make()
        if layer.kind in WEIGHTED and layer.weight_count < 5_000_000 and layer.macs < 150_000_000
    }
    chosen = rng.sample(list(known), min(count, len(known)))
    return [pruned(layer, rng) if index % 4 > 1 else layer for index, layer in enumerate(chosen)]


def pruned(layer: LayerShape, rng: random.Random) -> LayerShape:
    """With fewer filters, and of a convolution fewer columns, scattered or in blocks."""
    filters = max(4, round(layer.c_out * rng.uniform(0.3, 0.9)))
    if layer.kind != "conv" or layer.c_in < 8:
        return dataclasses.replace(layer, c_out=filters)
    cells = layer.c_in // 4 * layer.kernel[0] * layer.kernel[1]
    blocks = max(1, round(cells * rng.uniform(0.1, 0.7)))
    scattered = rng.random() < 0.5
    return dataclasses.replace(layer, c_out=filters, columns=4 * blocks, blocks=None if scattered else blocks)


def kernel_us(layer: LayerShape, device: Device, target: Target, runs: int) -> float:
    """Median device time of the layer's own kernel, without those that prepare its input."""
    options = TimingOptions(runs=1, warmup=2, warmup_ms=20.0, bursts=0, profile_runs=runs)
    with tempfile.TemporaryDirectory() as folder:
        onnx = write_layer_onnx(layer, Path(folder) / "layer.onnx", inside=True)
        compiled = compile_onnx(onnx, target, output=Path(folder) / "layer.actpkg")
        timing = device.time(compiled.path, options)
    return sum(us for step, us in zip(compiled.steps, timing.step_us, strict=True) if step.kind in WEIGHTED)


def row(
    layer: LayerShape, measured_us: float, target: Target, constants: tuple[ModelParameters, ModelParameters]
) -> dict[str, float | str]:
    """A layer with both models' ratios to what was measured."""
    default, refitted = (modelled_kernels([layer], target, value)[0].modelled_us / measured_us for value in constants)
    return {
        "layer": describe(layer),
        "measured_us": round(measured_us, 1),
        "default": round(default, 3),
        "refitted": round(refitted, 3),
    }


def describe(layer: LayerShape) -> str:
    """A layer in a few words."""
    form = "x".join(str(size) for size in (layer.c_in, layer.c_out, *layer.kernel, *layer.output_hw))
    kept = "" if layer.is_dense else f" {layer.columns}/{layer.dense_columns} columns"
    return f"{layer.kind} {form}{kept}{' in blocks' if layer.blocks else ''}"


def rms_log(ratios: list[float]) -> float:
    """Root mean square of the logarithms; 0.1 is about 10 %."""
    return math.sqrt(statistics.fmean(math.log(ratio) ** 2 for ratio in ratios))


def print_rows(title: str, rows: list[dict[str, float | str]], errors: dict[str, float]) -> None:
    """One table, modelled over measured."""
    print(f"\n{title}: rms log ratio {errors['default']:.3f} by default, {errors['refitted']:.3f} refitted")
    print(f"{'layer':52} {'measured':>11} {'default':>8} {'refitted':>9}")
    for line in rows:
        print(f"{line['layer']:52} {line['measured_us']:9.1f}us {line['default']:8.2f} {line['refitted']:9.2f}")


if __name__ == "__main__":
    main()
