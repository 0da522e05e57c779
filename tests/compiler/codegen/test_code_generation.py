import pytest
from act.compiler.codegen.code_generation import build_kernels
from act.compiler.codegen.device_functions import with_layouts
from act.compiler.errors import CompileError
from act.compiler.memory.layout import Layout
from act.compiler.schedules.generic import schedule_generic
from act.compiler.targets import get_target
from tvm import s_tir, te, tirx

HOST, PHONE = (get_target(name) for name in ("host-opencl", "adreno640"))


def shift():
    x = te.placeholder((1, 4, 6, 6), "float32", name="x")
    y = te.compute(x.shape, lambda n, c, i, j: x[n, c, i, j - 1] + 1.0, name="y")
    return te.create_prim_func([x, y])


def built(function, layouts, target=HOST):
    scheduled = schedule_generic(s_tir.Schedule(function))
    return build_kernels(with_layouts(scheduled, layouts), target, name="shift")


def test_arguments_are_named_by_their_position():
    (kernel,) = built(shift(), [None, None]).kernels
    assert sorted(kernel.arguments) == ["a0", "a1"]
    assert kernel.name in kernel.source
    assert kernel.global_size[0] == 144


def test_a_layout_changes_addresses_and_nothing_else():
    layout = Layout(shape=(1, 4, 6, 6), halo=(1, 1))
    (plain,), (strided,) = built(shift(), [None, None]).kernels, built(shift(), [layout, None]).kernels
    assert plain.global_size == strided.global_size
    assert str(layout.strides[1]) in strided.source
    assert str(layout.strides[1]) not in plain.source


def test_two_layouts_for_three_parameters_are_refused():
    with pytest.raises(ValueError, match="3 layouts for 2 parameters"):
        with_layouts(shift(), [None, None, None])


def test_phones_get_no_64_bit_addresses():
    x = te.placeholder((8, 100), "float32", name="x")
    table = te.placeholder((100,), "int32", name="table")
    y = te.compute((8, 100), lambda i, j: x[i, table[j]], name="y")
    (kernel,) = built(te.create_prim_func([x, table, y]), [None] * 3, PHONE).kernels
    assert "long" not in kernel.source


def test_a_local_opencl_device_gets_64_bit_addresses_that_are_never_widened_in_a_loop():
    x = te.placeholder((64, 100), "float32", name="x")
    k = te.reduce_axis((tirx.IntImm("int64", 0), tirx.IntImm("int64", 64)), name="k")
    y = te.compute((tirx.IntImm("int64", 100),), lambda j: te.sum(x[k, j], axis=k), name="y")
    (kernel,) = built(te.create_prim_func([x, y], index_dtype_override="int64"), [None, None]).kernels
    assert "for (long" in kernel.source and "for (int" not in kernel.source


def test_kernels_of_one_function_come_in_order_with_their_temporaries():
    x = te.placeholder((8, 16), "float32", name="x")
    k, m = te.reduce_axis((0, 16), name="k"), te.reduce_axis((0, 16), name="m")
    largest = te.compute((8,), lambda i: te.max(x[i, k], axis=k), name="largest")
    total = te.compute((8,), lambda i: te.sum(x[i, m] - largest[i], axis=m), name="total")
    y = te.compute((8, 16), lambda i, j: x[i, j] / total[i], name="y")
    group = built(te.create_prim_func([x, y]), [None, None])
    assert len(group.kernels) == 3
    (first, second) = (temporary.name for temporary in group.temporaries)
    assert first in group.kernels[0].arguments
    assert {first, second} <= set(group.kernels[1].arguments)
    assert "a1" in group.kernels[2].arguments


def test_more_buffers_than_the_target_allows_are_refused():
    inputs = [te.placeholder((8,), "float32", name=f"x{i}") for i in range(24)]
    total = te.compute((8,), lambda i: sum(x[i] for x in inputs), name="total")
    function = te.create_prim_func([*inputs, total])
    assert len(built(function, [None] * 25, PHONE).kernels[0].arguments) == 25
    with pytest.raises(CompileError, match=r"takes 25 buffers, host-vulkan allows 24"):
        built(function, [None] * 25, get_target("host-vulkan"))


def test_a_function_without_work_items_is_refused():
    with pytest.raises(CompileError, match="no kernel for 'unbound': its loops are not bound"):
        build_kernels(with_layouts(shift(), [None, None]), HOST, name="unbound")
