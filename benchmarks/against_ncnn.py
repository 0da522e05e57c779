"""The same dense network on the same Vulkan device, by ncnn and by act; and the compact one by act.

    pip install ncnn pnnx
    python benchmarks/against_ncnn.py --out benchmarks/results/against_ncnn.json

Random weights, fp32, batch 1, images of 224 by 224. Runs of ncnn, of our dense and of our compact package (a combined
plan of `plans.json`) alternate in one process; ratios are those of each turn, and their median is printed. ncnn's time
is from input to output; ours leaves both on the device, which spares it a copy of 0.6 MB. Outputs are compared before
anything is timed.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from act.compiler.compile import compile_onnx
from act.compiler.targets import get_target
from act.device.devices import TimingOptions, open_device
from act.device.harness import run_inputs
from act.toolchain.compaction import compact
from act.toolchain.coupling import find_coupling
from act.toolchain.environment import describe_environment
from act.toolchain.export import export_onnx
from realised_share import PLANS, action_of, network_of, space_of

NETWORKS = ("resnet18", "resnet50", "vgg16", "mobilenet_v2")
TOLERANCE = 1e-3


def main() -> None:
    """Compare every network in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"default all: {', '.join(NETWORKS)}")
    parser.add_argument("--device", default="vulkan:0")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--runs", type=int, default=5, help="inferences a turn")
    parser.add_argument("--plan", default="combined 4x", help="of plans.json, for the compact network")
    parser.add_argument("--one", action="store_true", help="compare in this process, and print the row as JSON")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(compared(args.networks[0], args)))
        return
    rows = []
    for name in args.networks or NETWORKS:
        command = [sys.executable, __file__, name, "--one", "--device", args.device, "--plan", args.plan]
        command += ["--turns", str(args.turns), "--runs", str(args.runs)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        row = rows[-1]
        print(
            f"{name:14s} ncnn {row['ncnn_ms']:8.1f} ms  act {row['dense_ms']:8.1f} ms {row['dense_x']:5.2f}x as fast"
            f"  compact {row['compact_ms']:8.1f} ms {row['compact_x']:5.2f}x",
            flush=True,
        )
        if args.out is not None:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(
                json.dumps({"plan": args.plan, "rows": rows, **describe_environment()}, indent=2) + "\n"
            )


def compared(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """One network: outputs compared, then timed by turns."""
    dense = network_of(f"{name}-imagenet")
    space = space_of(dense, "combined")
    plan = space.plan(action_of(space, json.loads(PLANS.read_text())[f"{name}-imagenet"][args.plan]))
    device, target = open_device(args.device), get_target(f"host-{args.device.partition(':')[0]}")
    image = np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        peer = Ncnn(dense.module, place, image)
        packages = {}
        for kind, network in (("dense", dense), ("compact", compact(dense, find_coupling(dense), plan))):
            export_onnx(network, place / f"{kind}.onnx", preprocessing=None)
            packages[kind] = place / f"{kind}.actpkg"
            compile_onnx(place / f"{kind}.onnx", target, output=packages[kind])
        ours, theirs = run_inputs(packages["dense"], device, image)[0], peer.run()
        difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
        if difference > TOLERANCE:
            sys.exit(f"{name}: outputs differ by {difference:.1e} of the largest")
        options = TimingOptions(runs=args.runs, warmup=2, warmup_ms=0.0, bursts=0, profile_runs=0, max_seconds=60.0)
        turns = []
        for _ in range(args.turns):
            turn = {"ncnn": peer.milliseconds(args.runs)}
            for kind, package in packages.items():
                turn[kind] = statistics.median(device.time(package, options).single_ms)
            turns.append(turn)
    return {
        "network": name,
        "difference": difference,
        **{f"{kind}_ms": statistics.median(turn[kind] for turn in turns) for kind in ("ncnn", "dense", "compact")},
        **{
            f"{kind}_x": statistics.median(turn["ncnn"] / turn[kind] for turn in turns) for kind in ("dense", "compact")
        },
        "turns_ms": turns,
    }


class Ncnn:
    """A torch network in ncnn on its first Vulkan device, fp32."""

    def __init__(self, module: torch.nn.Module, folder: Path, image: np.ndarray) -> None:
        import ncnn
        import pnnx

        self._ncnn = ncnn
        traced = torch.jit.trace(module, torch.from_numpy(image))
        file = folder / "peer.pt"
        traced.save(str(file))
        subprocess.run(
            [pnnx.EXEC_PATH, str(file), "inputshape=[1,3,224,224]", "fp16=0"],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        self._net = ncnn.Net()
        options = self._net.opt
        options.use_vulkan_compute = True
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        self._net.load_param(str(folder / "peer.ncnn.param"))
        self._net.load_model(str(folder / "peer.ncnn.bin"))
        self._image = ncnn.Mat(image[0]).clone()

    def run(self) -> np.ndarray:
        """One inference, output as an array."""
        with self._net.create_extractor() as extractor:
            extractor.input(self._net.input_names()[0], self._image)
            _, found = extractor.extract(self._net.output_names()[0])
            return np.array(found)

    def milliseconds(self, runs: int) -> float:
        """Median of single inferences, two before them not counted."""
        self.run(), self.run()
        samples = []
        for _ in range(runs):
            began = time.perf_counter()
            self.run()
            samples.append(1e3 * (time.perf_counter() - began))
        return statistics.median(samples)


if __name__ == "__main__":
    main()
