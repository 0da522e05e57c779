import pytest
from act.compiler.codegen.device_functions import lower_function, with_layouts
from act.compiler.schedules.generic import Spread, schedule_generic, spread_for
from act.compiler.targets import get_target
from tvm import s_tir, te

LANES = get_target("host-vulkan")


def test_only_lanes_of_a_cpu_get_several_elements():
    assert spread_for(get_target("adreno640-vulkan")) == spread_for(get_target("host-opencl")) == Spread()
    assert spread_for(LANES).elements > 1


@pytest.mark.parametrize(("reduces", "work_items"), [(False, 12), (True, 1)])
def test_work_items_of_lanes_hold_several_elements(reduces, work_items):
    x = te.placeholder((4, 96), "float32", name="x")
    k = te.reduce_axis((0, 96), name="k")
    added = te.compute(x.shape, lambda i, j: x[i, j] + 1.0, name="added")
    total = te.compute((4,), lambda i: te.sum(x[i, k], axis=k), name="total")
    function = te.create_prim_func([x, total if reduces else added])
    scheduled = schedule_generic(s_tir.Schedule(function), spread_for(LANES))
    (kernel,) = lower_function(with_layouts(scheduled, [None, None]), LANES, name="f")
    assert kernel.groups[0] * kernel.local_size[0] == work_items
