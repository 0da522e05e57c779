import pytest
from act.compiler.kernels import KernelBuilder
from act.compiler.memory.layout import Layout
from act.compiler.targets import get_target
from tvm import te

FLOATS = ("float32", "float32")


def scaled(factor, shape=(1, 2, 4, 4)):
    x = te.placeholder(shape, "float32", name="x")
    return te.create_prim_func([x, te.compute(shape, lambda *i: x[i] * factor, name="y")])


@pytest.fixture
def builder():
    return KernelBuilder(target=get_target("host-opencl"), layers=())


def test_equal_functions_with_equal_layouts_are_built_once(builder):
    layouts = (Layout(shape=(1, 2, 4, 4), halo=(1, 1)), None)
    first, layer = builder.build(scaled(2.0), layouts, FLOATS, "first")
    second, _ = builder.build(scaled(2.0), layouts, FLOATS, "second")
    assert layer is None
    assert first is second


def test_other_layouts_or_functions_are_other_kernels(builder):
    plain, _ = builder.build(scaled(2.0), (None, None), FLOATS, "k")
    halo, _ = builder.build(scaled(2.0), (Layout(shape=(1, 2, 4, 4), halo=(1, 1)), None), FLOATS, "k")
    other, _ = builder.build(scaled(3.0), (None, None), FLOATS, "k")
    assert len({group.kernels[0].source for group in (plain, halo, other)}) == 3


def test_each_type_in_memory_is_another_kernel(builder):
    sources = set()
    for dtypes in (FLOATS, ("float32", "float16"), ("float16", "float16")):
        group, _ = builder.build(scaled(2.0), (None, None), dtypes, "k")
        sources.add(group.kernels[0].source)
    assert len(sources) == 3
