import itertools
import operator

import numpy as np
import pytest
from act.compiler.codegen.device_functions import lower_function, with_layouts
from act.compiler.codegen.halo_stores import store_halos
from act.compiler.memory.layout import Layout
from act.compiler.schedules.generic import Spread, schedule_generic
from act.compiler.targets import get_target
from tvm import s_tir, te, tirx

TARGET = get_target("host-opencl")
OPERATIONS = {
    tirx.Add: operator.add,
    tirx.Sub: operator.sub,
    tirx.Mul: operator.mul,
    tirx.Div: operator.floordiv,
    tirx.Mod: operator.mod,
    tirx.LT: operator.lt,
    tirx.EQ: operator.eq,
}
WHOLE = Layout(shape=(2, 5, 3, 4), halo=(1, 2), row=8, align=4)


def function(layout, *, elements=1, work_items=16):
    x = te.placeholder(layout.shape, "float32", name="x")
    doubled = te.compute(layout.shape, lambda *i: x[i] * 2.0, name="doubled")
    schedule = s_tir.Schedule(te.create_prim_func([x, doubled]))
    scheduled = schedule_generic(schedule, Spread(work_items=work_items, elements=elements))
    (found,) = lower_function(with_layouts(scheduled, [None, layout]), TARGET, name="f")
    return found


def stored_addresses(before, after):
    """What the statements that were added store to, over all work-items."""
    old = list(inner_statements(before))
    added = [node for node in inner_statements(after) if not any(node.same_as(other) for other in old)]
    axes = [(node.node.var, int(node.value)) for node in statements(after.function.body) if is_axis(node)]
    found = []
    for values in itertools.product(*(range(extent) for _, extent in axes)):
        known = {axis: value for (axis, _), value in zip(axes, values, strict=True)}
        for node in added:
            found += run(node, known)
    return found


def inner_statements(found):
    inner = [node for node in statements(found.function.body) if is_axis(node)][-1].body
    return inner.seq if isinstance(inner, tirx.SeqStmt) else [inner]


def statements(node):
    yield node
    for child in [*getattr(node, "seq", []), getattr(node, "body", None)]:
        if child is not None:
            yield from statements(child)


def is_axis(node):
    return isinstance(node, tirx.AttrStmt) and node.attr_key == "thread_extent"


def run(node, known):
    if isinstance(node, tirx.SeqStmt):
        return [address for child in node.seq for address in run(child, known)]
    if isinstance(node, tirx.For):
        turns = [{**known, node.loop_var: turn} for turn in range(int(node.extent))]
        return [address for turn in turns for address in run(node.body, turn)]
    if isinstance(node, tirx.IfThenElse):
        branch = node.then_case if evaluated(node.condition, known) else node.else_case
        return run(branch, known) if branch is not None else []
    return [evaluated(node.indices[0], known)]


def evaluated(expr, known):
    """The value of an expression of non-negative integers."""
    if isinstance(expr, tirx.IntImm):
        return int(expr.value)
    operation = OPERATIONS.get(type(expr))
    return operation(evaluated(expr.a, known), evaluated(expr.b, known)) if operation else known[expr]


def around(layout):
    """Addresses within a halo's reach of an element, less the elements: what a padded convolution may read."""
    pixels = {int(index) for index in np.add.outer(layout.lead, offsets(layout)).ravel()}
    rows, columns = WHOLE.halo
    reach = [row * layout.pitch + column for row in range(-rows, rows + 1) for column in range(-columns, columns + 1)]
    return {pixel + step for pixel in pixels for step in reach} - pixels, pixels


def offsets(layout):
    indices = np.indices(layout.shape).reshape(4, -1)
    return np.asarray(layout.strides) @ indices


@pytest.mark.parametrize("elements", [1, 4, 60])
@pytest.mark.parametrize("layout", [WHOLE, WHOLE.part(1, 0, 2), WHOLE.part(1, 2, 3)])
def test_every_cell_that_padding_reads_is_stored_and_no_element(layout, elements):
    before = function(layout, elements=elements)
    found = stored_addresses(before, store_halos(before, [None, layout]))
    assert len(found) == len(set(found))
    read, pixels = around(layout)
    assert read <= set(found)
    assert not pixels & set(found)


def test_a_halo_of_rows_alone():
    layout = Layout(shape=(1, 1, 2, 2), halo=(1, 0))
    before = function(layout)
    assert sorted(stored_addresses(before, store_halos(before, [None, layout]))) == [0, 1, 6, 7]


@pytest.mark.parametrize("layout", [Layout(shape=(1, 2, 4, 4)), Layout(shape=(1, 2, 4, 6), row=8)])
def test_without_a_halo_nothing_is_added(layout):
    before = function(layout)
    assert store_halos(before, [None, None if layout.is_plain else layout]) is before
