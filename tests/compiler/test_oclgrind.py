"""Every schedule template under oclgrind, an OpenCL simulator: no access out of bounds, no data race, no misuse."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from act.device.package_format import Buffer, Kernel, Package, Step, write_package
from act.device.precision import TOLERANCES
from act.device.runner import call_runner
from act.device.runtime.build import build_runner
from onnx import helper

from .kernel_check import TARGETS, compile_model
from .onnx_networks import model_of, random
from .random_networks import random_network

LIBRARY = "liboclgrind-rt.so"
PLACES = ("lib/oclgrind", "lib/*/oclgrind", "lib64/oclgrind", "lib", "lib64", "lib/*")


def oclgrind():
    """The program and its OpenCL library."""
    program = shutil.which("oclgrind")
    if program is None:
        pytest.skip("oclgrind is not installed: apt install oclgrind, or see github.com/jrprice/Oclgrind")
    root = Path(program).resolve().parent.parent
    found = [path for place in PLACES for path in sorted(root.glob(f"{place}/{LIBRARY}"))]
    if not found:
        pytest.skip(f"{program} has no {LIBRARY} below {root}")
    return program, found[0]


def log_of(package, folder, *, tolerance=1e-4):
    """Run a package's verification input; returns what oclgrind logged."""
    program, library = oclgrind()
    log = folder / "log"
    options = ["--check-api", "--data-races", "--max-errors", "20", "--log", str(log)]
    result = call_runner(
        Path(program),
        [*options, str(build_runner()), "verify", str(package), "--device", "opencl:0", "--tolerance", repr(tolerance)],
        environment={**os.environ, "ACT_OPENCL_LIBRARY": str(library)},
        timeout_s=110,
    )
    assert result["device"]["platform"] == "Oclgrind"
    return log.read_text() if log.is_file() else ""


def pruned(filters, channels, kept):
    """A weight with these columns left."""
    weight = random(filters, channels, 3, 3) * 0.3  # outputs stay within fp16
    removed = np.setdiff1d(np.arange(channels * 9), kept)
    weight.reshape(filters, -1)[:, removed] = 0
    return weight


def block(first, position):
    return [(first + channel) * 9 + position for channel in range(4)]


def convolutions():
    """Dense, columns, blocks, channels, grouped, depthwise, 1x1, strided; pooled, joined in place, classified."""

    def conv(source, result, **attributes):
        return helper.make_node("Conv", [source, f"{result}.w"], [result], name=result, **attributes)

    nodes = [
        conv("input", "stem", pads=[1] * 4),
        conv("stem", "column", pads=[1] * 4),
        conv("column", "block", pads=[1] * 4),
        conv("block", "channel", pads=[1] * 4),
        helper.make_node("Add", ["channel", "block"], ["mixed"]),  # all channels are read
        conv("mixed", "grouped", group=2, pads=[1] * 4),
        conv("grouped", "depthwise", group=8, pads=[1] * 4, strides=[2, 2]),
        conv("depthwise", "point"),
        helper.make_node("MaxPool", ["depthwise"], ["pool"], kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4),
        helper.make_node("Concat", ["point", "pool"], ["joined"], axis=1),
        helper.make_node("Split", ["joined"], ["left", "right"], axis=1),
        conv("right", "last", pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["last"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "fc"], ["output"], name="fc"),
    ]
    weights = {
        "stem.w": random(8, 3, 3, 3),
        "column.w": pruned(8, 8, np.arange(0, 72, 7)),
        "block.w": pruned(8, 8, [*block(0, 0), *block(0, 8), *block(3, 4), *block(4, 2)]),
        "channel.w": pruned(8, 8, [*range(9, 18), *range(54, 63)]),
        "grouped.w": random(8, 4, 3, 3),
        "depthwise.w": random(8, 1, 3, 3),
        "point.w": random(5, 8, 1, 1),
        "last.w": random(6, 6, 3, 3),
        "fc": random(6, 5),
    }
    nodes[10] = helper.make_node("Split", ["joined", "sizes"], ["left", "right"], axis=1)
    return model_of(nodes, {**weights, "sizes": np.array([7, 6])})


def everything_else():
    """Softmax, layer norm, gathers, resize, averages of windows, slices: the generic schedule."""
    nodes = [
        helper.make_node("Resize", ["input", "", "scales"], ["up"], mode="linear"),
        helper.make_node("Gather", ["up", "table"], ["gathered"], axis=1),
        helper.make_node("Transpose", ["gathered"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("LayerNormalization", ["last", "gamma", "beta"], ["norm"], axis=-1),
        helper.make_node("Transpose", ["norm"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["first"], ["pool"], kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Softmax", ["pool"], ["soft"], axis=3),
        helper.make_node("Concat", ["soft", "pool"], ["output"], axis=2),
    ]
    weights = {
        "scales": np.array([1, 1, 2, 2], np.float32),
        "table": np.array([2, 0, 1, 1]),
        "gamma": random(4),
        "beta": random(4, seed=1),
    }
    return model_of(nodes, weights)


@pytest.mark.opencl
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("network", [convolutions, everything_else])
def test_kernels_are_clean(network, precision, target, tmp_path):
    package = compile_model(network(), tmp_path, target=target, precision=precision).path
    assert log_of(package, tmp_path, tolerance=TOLERANCES[precision]) == ""


@pytest.mark.opencl
@pytest.mark.parametrize("seed", range(1, 7))
def test_random_networks_are_clean(seed, tmp_path):
    """Many parts of tensors in each other's memory; the output is compared, too."""
    network = random_network(seed)
    assert (
        log_of(compile_model(network, tmp_path, target=TARGETS[seed % 2], batch=1 + seed // 2 % 2).path, tmp_path) == ""
    )


@pytest.mark.parametrize("target", TARGETS)
def test_the_sample_has_every_template(target, tmp_path):
    steps = compile_model(convolutions(), tmp_path, target=target).steps
    assert {step.kind for step in steps} == {"conv", "depthwise", "linear", "pool", "elementwise"}
    more = {"channel"} if target == "adreno640" else set()  # a CPU computes columns or blocks of those channels
    assert {step.lowering for step in steps} == {"dense", "column", "block", "generic"} | more


@pytest.mark.opencl
@pytest.mark.parametrize(
    ("statement", "found"), [("y[i] = x[i + 4096];", "Invalid read"), ("y[i / 2] = x[i];", "data race")]
)
def test_an_unclean_kernel_is_found(statement, found, tmp_path):
    values = np.arange(1, 5, dtype=np.float32)[None]
    source = f"__kernel void f(__global const float* x, __global float* y) {{ int i = get_global_id(0); {statement} }}"
    package = Package(
        target="host-opencl",
        arena_bytes=2048,
        buffers=(
            Buffer(name="x", role="input", dtype="float32", shape=(1, 4), offset=0, size_bytes=16),
            Buffer(name="y", role="output", dtype="float32", shape=(1, 4), offset=1024, size_bytes=16),
        ),
        kernels=(Kernel(name="f", source=source),),
        steps=(Step(kernel=0, arguments=(0, 1), global_size=(4, 1, 1), local_size=(4, 1, 1)),),
        weights=b"",
        inputs=(0,),
        outputs=(1,),
        verification_input=values,
        verification_output=values,
    )
    write_package(tmp_path / "p.actpkg", package)
    assert found in log_of(tmp_path / "p.actpkg", tmp_path, tolerance=10.0)
