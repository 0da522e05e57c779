import pytest
from act.compiler.codegen.device_functions import lower_function, with_layouts
from act.compiler.schedules.generic import Spread, schedule_generic, spread_for
from act.compiler.targets import get_target
from tvm import s_tir, te

LANES = get_target("host-vulkan")


CPU = get_target("host-opencl")


def test_only_cpus_get_several_elements():
    assert spread_for(get_target("adreno640-vulkan")) == spread_for(get_target("adreno640")) == Spread()
    assert spread_for(LANES).elements > 1
    assert spread_for(CPU).elements > 1


@pytest.mark.parametrize(
    ("target", "reduces", "work_items"), [(LANES, False, 12), (LANES, True, 1), (CPU, False, 8), (CPU, True, 4)]
)
def test_work_items_of_cpus_hold_several_elements(target, reduces, work_items):
    x = te.placeholder((4, 96), "float32", name="x")
    k = te.reduce_axis((0, 96), name="k")
    added = te.compute(x.shape, lambda i, j: x[i, j] + 1.0, name="added")
    total = te.compute((4,), lambda i: te.sum(x[i, k], axis=k), name="total")
    function = te.create_prim_func([x, total if reduces else added])
    scheduled = schedule_generic(s_tir.Schedule(function), spread_for(target))
    (kernel,) = lower_function(with_layouts(scheduled, [None, None]), target, name="f")
    assert kernel.groups[0] * kernel.local_size[0] == work_items
