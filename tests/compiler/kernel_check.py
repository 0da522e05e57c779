"""Compile small networks and run them on the local OpenCL device; the harness compares with onnxruntime."""

import pytest
from act.compiler.compile import compile_onnx
from act.compiler.targets import get_target
from act.device.devices import open_device
from act.device.harness import measure
from act.device.local import list_local_devices

from .onnx_networks import save

TARGETS = ("host-opencl", "adreno640")


def local_device():
    devices = list_local_devices()
    if not devices:
        pytest.skip("no local OpenCL device: install pyopencl and pocl-binary-distribution")
    return open_device(devices[0].id)


def compile_model(model, folder, *, target="host-opencl", batch=1, precision="fp32"):
    path = save(model, folder / "network.onnx")
    return compile_onnx(path, get_target(target, precision=precision), output=folder / "network.actpkg", batch=batch)


def verified_error(model, folder, *, target="host-opencl", batch=1, precision="fp32"):
    """Largest error on the device, relative to the largest output."""
    device = local_device()
    compiled = compile_model(model, folder, target=target, batch=batch, precision=precision)
    return measure(compiled.path, device, runs=1, warmup=0, profile_runs=0).verified_error
