import pytest
from act.compiler.codegen.code_generation import build_kernels
from act.compiler.codegen.device_functions import with_layouts
from act.compiler.memory.layout import Layout
from act.compiler.schedules.generic import Spread
from act.compiler.schedules.halo import clear_cells
from act.compiler.targets import get_target


@pytest.mark.parametrize(("cells", "items"), [(3, 3), (64, 64), (100, 128)])
def test_one_work_item_per_cell(cells, items):
    function = with_layouts(clear_cells(cells, 500), [None, Layout(shape=(cells,))])
    (kernel,) = build_kernels(function, get_target("host-opencl"), name="clear").kernels
    assert kernel.global_size == (items, 1, 1)
    assert sorted(kernel.arguments) == ["a0", "a1"]
    assert ("if" in kernel.source) == (items > cells)


def test_several_cells_per_work_item():
    spread = Spread(work_items=32, elements=32)
    function = with_layouts(clear_cells(100, 500, spread), [None, Layout(shape=(100,))])
    (kernel,) = build_kernels(function, get_target("host-opencl"), name="clear").kernels
    assert kernel.global_size == (4, 1, 1)
    assert "for" in kernel.source
    assert "if" in kernel.source
