import pytest
from act.compiler.codegen.code_generation import build_kernels
from act.compiler.codegen.device_functions import with_layouts
from act.compiler.codegen.half_storage import is_half, store_parameters
from act.compiler.codegen.opencl_half import spell_halves, without_extension
from act.compiler.errors import CompileError
from act.compiler.schedules.generic import schedule_generic
from act.compiler.targets import get_target
from tvm import s_tir, te, tirx

HOST = get_target("host-opencl")


def halved(lanes=1, stride=1):
    """One work-item for each ``lanes`` elements: y[i] = x[i * stride] / 2, vectorized over lanes."""
    x = te.placeholder((64 * stride,), "float32", name="x")
    y = te.compute((64,), lambda i: x[i * stride] * 0.5, name="y")
    schedule = s_tir.Schedule(te.create_prim_func([x, y]))
    (loop,) = schedule.get_loops(schedule.get_sblock("y"))
    group, lane = schedule.split(loop, [None, lanes])
    schedule.bind(group, "threadIdx.x")
    if lanes > 1:
        schedule.vectorize(lane)
    return schedule.mod["main"]


def source(function, dtypes=("float16", "float16")):
    stored = store_parameters(with_layouts(function, [None, None]), dtypes)
    (kernel,) = build_kernels(stored, HOST, name="halved").kernels
    return kernel.source


def test_single_elements():
    text = source(halved())
    assert "vload_half(0" in text
    assert "vstore_half(" in text
    assert "half*" in text
    assert "cl_khr_fp16" not in text


@pytest.mark.parametrize("lanes", [2, 4, 8])
def test_neighbours_are_one_load_and_one_store(lanes):
    text = source(halved(lanes))
    assert text.count(f"vload_half{lanes}(0") == 1
    assert text.count(f"vstore_half{lanes}(") == 1


def test_strided_elements_are_loaded_one_by_one():
    text = source(halved(4, stride=2))
    assert text.count("vload_half(0") == 4
    assert "(float4)(" in text
    assert text.count("vstore_half4(") == 1


def test_each_parameter_has_its_own_type():
    text = source(halved(4), ("float32", "float16"))
    assert "vload_half" not in text
    assert "vstore_half4(" in text
    assert "half" not in source(halved(4), ("float32", "float32"))


def test_registers_stay_float32():
    x = te.placeholder((8, 100), "float32", name="x")
    k = te.reduce_axis((0, 100), name="k")
    total = te.compute((8,), lambda i: te.sum(x[i, k], axis=k), name="total")
    y = te.compute((8,), lambda i: total[i] * 2.0, name="y")
    function = schedule_generic(s_tir.Schedule(te.create_prim_func([x, y])))
    text = source(function)
    assert "float total" in text
    assert "half total" not in text


def test_integers_cannot_become_halves_by_their_number():
    function = with_layouts(halved(), [None, None])
    with pytest.raises(ValueError, match="1 types for 2 parameters"):
        store_parameters(function, ["float16"])
    assert store_parameters(function, ["float32", "float32"]) is function


def test_a_function_without_halves_is_left_alone():
    function = with_layouts(halved(), [None, None])
    assert spell_halves(function) is function
    assert not any(is_half(parameter) for parameter in function.params)


def test_scattered_halves_are_refused():
    buffer = tirx.decl_buffer((64,), "float16", name="y")
    value = tirx.Cast("float16x4", tirx.Broadcast(tirx.FloatImm("float32", 1.0), 4))
    store = tirx.BufferStore(buffer, value, [tirx.Ramp(0, 2, 4)])
    with pytest.raises(CompileError, match="neighbours only"):
        spell_halves(tirx.PrimFunc([buffer], store))


def test_only_the_demand_for_half_arithmetic_is_dropped():
    text = "// Function: f\n#ifdef cl_khr_fp16\n#pragma A\n#else\n#error no\n#endif\n\n__kernel void f() {}\n"
    assert without_extension(text) == "// Function: f\n__kernel void f() {}\n"
    assert without_extension("int i;") == "int i;"
