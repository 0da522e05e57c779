import itertools

import numpy as np
import pytest
from act.compiler.codegen.device_functions import DeviceKernel
from act.compiler.lower import LoweredNetwork, LoweredStep, Tensor
from act.compiler.memory.execution_plan import (
    ALIGNMENT_BYTES,
    LARGEST_RATIO,
    place_weight,
    plan_memory,
    step_bytes,
    weight_blob,
)
from act.compiler.memory.layout import Layout

KERNEL = DeviceKernel(name="k", source="", global_size=(1, 1, 1), local_size=(1, 1, 1), arguments=())


def tensor(name, role="activation", *, shape=(1000,), dtype="float32", **layout):
    return Tensor(name=name, role=role, dtype=dtype, layout=Layout(shape=shape, **layout))


def step(*arguments):
    return LoweredStep(kernel=KERNEL, arguments=arguments, written=arguments[-1:], operator="", layer=None)


def chain(length, **layout):
    source, output = tensor("input", "input"), tensor("output", "output")
    inner = [tensor(f"t{index}", **layout) for index in range(length)]
    values = [source, *inner, output]
    steps = tuple(step(a, b) for a, b in itertools.pairwise(values))
    return LoweredNetwork(steps=steps, input=source, output=output), inner


def placed(network):
    plan = plan_memory(network)
    return plan, dict(zip(plan.tensors, plan.offsets, strict=True))


def check_alive_apart(network, plan, offsets):
    """No step may overwrite what a later one reads."""
    position = {t: [i for i, s in enumerate(network.steps) if t in s.arguments] for t in plan.tensors}
    arena = [t for t in plan.tensors if t.data is None]
    for a in arena:
        for b in arena:
            if a is b:
                continue
            alive = position[a][0] <= position[b][-1] and position[b][0] <= position[a][-1]
            apart = offsets[a] + a.size_bytes <= offsets[b] or offsets[b] + b.size_bytes <= offsets[a]
            assert apart or not alive


def test_a_chain_needs_two_buffers_beside_the_input():
    network, _ = chain(6)
    plan, offsets = placed(network)
    assert plan.arena_bytes == 3 * 4096
    assert all(offset % ALIGNMENT_BYTES == 0 for offset in plan.offsets)
    check_alive_apart(network, plan, offsets)


def test_a_residual_lives_until_it_is_read():
    source, output = tensor("input", "input"), tensor("output", "output")
    a, b, c = (tensor(name) for name in "abc")
    steps = (step(source, a), step(a, b), step(b, c), step(c, a, output))
    network = LoweredNetwork(steps=steps, input=source, output=output)
    plan, offsets = placed(network)
    check_alive_apart(network, plan, offsets)
    assert len({offsets[a], offsets[b], offsets[c]}) == 3


def test_the_input_is_never_overwritten():
    network, inner = chain(5)
    _, offsets = placed(network)
    assert offsets[network.input] not in {offsets[t] for t in inner}


def test_halos_share_only_with_their_own_layout_and_are_listed():
    source, output = tensor("input", "input"), tensor("output", "output")
    wide = [tensor(f"w{i}", shape=(1, 2, 4, 4), halo=(1, 1)) for i in range(4)]
    small = [tensor(f"s{i}", shape=(1, 2, 2, 2), halo=(1, 1)) for i in range(3)]
    values = [source, *wide, *small, output]
    steps = tuple(step(a, b) for a, b in itertools.pairwise(values))
    network = LoweredNetwork(steps=steps, input=source, output=output)
    plan, offsets = placed(network)
    assert len({offsets[t] for t in wide}) == 2
    assert len({offsets[t] for t in small}) == 2
    assert not {offsets[t] for t in wide} & {offsets[t] for t in small}
    (clearing,) = plan.clearings
    assert clearing.step == 0
    assert cleared(clearing) == {
        offsets[t] + 4 * cell for t in [*wide, *small] for cell in t.layout.halo_cells().tolist()
    }
    check_alive_apart(network, plan, offsets)


def test_weights_are_one_aligned_blob():
    weights = [
        Tensor(name=f"w{n}", role="weight", dtype="float32", layout=Layout(shape=(n,)), data=np.full(n, n, np.float32))
        for n in (3, 300)
    ]
    source, output = tensor("input", "input"), tensor("output", "output")
    network = LoweredNetwork(steps=(step(source, *weights, output),), input=source, output=output)
    plan, offsets = placed(network)
    blob = weight_blob(plan)
    assert len(blob) == plan.weight_bytes
    for weight in weights:
        read = np.frombuffer(blob, np.float32, weight.data.size, offsets[weight])
        assert np.array_equal(read, weight.data)
    assert step_bytes(network.steps[0]) == 4 * (1000 + 303 + 1000)


def cleared(clearing):
    """Byte addresses of the elements that a clearing sets to zero."""
    item = np.dtype(clearing.dtype).itemsize
    assert clearing.cells.min() >= 0
    assert (clearing.cells.max() + 1) * item <= clearing.size_bytes
    return {clearing.offset + item * cell for cell in clearing.cells.tolist()}


def pyramid(*, dtype="float32"):
    """Stages of falling size whose tensors all have a halo of their own layout: 4, 2 and 1 times as wide."""
    source, output = tensor("input", "input", shape=(1, 4, 8, 8)), tensor("output", "output", shape=(10,))
    sides = [side for side in (32, 16, 8) for _ in range(6)]
    inner = [
        tensor(f"t{index}", shape=(1, 1024 // side, side, side), dtype=dtype, halo=(1, 1))
        for index, side in enumerate(sides)
    ]
    steps = tuple(step(a, b) for a, b in itertools.pairwise([source, *inner, output]))
    return LoweredNetwork(steps=steps, input=source, output=output), inner


def random_network(seed):
    """Steps that read one or two earlier values; some of them have halos of three layouts."""
    rng = np.random.default_rng(seed)
    source, output = tensor("input", "input", shape=(1, 2, 16, 16)), tensor("output", "output")
    values, steps = [source], []
    for index in range(int(rng.integers(2, 40))):
        side = int(rng.choice([8, 16, 32]))
        halo = {"halo": (1, 1), "slack": 16} if rng.random() < 0.5 else {}
        made = tensor(f"t{index}", shape=(1, int(rng.integers(1, 9)), side, side), **halo)
        read = {values[-1], values[int(rng.integers(max(0, len(values) - 6), len(values)))]}
        steps.append(step(*sorted(read, key=lambda t: t.name), made))
        values.append(made)
    steps.append(step(values[-1], output))
    return LoweredNetwork(steps=tuple(steps), input=source, output=output)


@pytest.mark.parametrize("seed", range(40))
def test_random_networks_keep_what_is_alive_apart_and_their_halos_zero(seed):
    network = random_network(seed)
    plan, offsets = placed(network)
    check_alive_apart(network, plan, offsets)
    assert plan.peak_live_bytes <= plan.arena_bytes
    memory = np.full(plan.arena_bytes // 4, np.nan, np.float32)
    clearings = {clearing.step: clearing for clearing in plan.clearings}
    for index, current in enumerate(network.steps):
        if index in clearings:
            memory[clearings[index].offset // 4 + clearings[index].cells] = 0
        for argument in current.arguments:
            elements = memory[offsets[argument] // 4 :][: argument.layout.elements]
            assert not elements[argument.layout.halo_cells()].any()  # NaN counts as any
            if argument is current.arguments[-1]:  # the written one: its elements and its slack become something
                zeros = np.isin(np.arange(elements.size), argument.layout.halo_cells())
                elements[~zeros] = np.nan


def test_further_clearings_keep_the_arena_close_to_what_is_alive():
    network, inner = pyramid()
    plan, offsets = placed(network)
    check_alive_apart(network, plan, offsets)
    assert plan.arena_bytes <= LARGEST_RATIO * plan.peak_live_bytes
    assert len(plan.clearings) > 1
    first = min(network.steps.index(s) for s in network.steps if s.arguments[-1] is inner[0])
    assert plan.clearings[0].step == first


def test_half_halos_are_cleared_as_halves():
    network, inner = pyramid(dtype="float16")
    plan, offsets = placed(network)
    assert {clearing.dtype for clearing in plan.clearings} == {"float16"}
    expected = {offsets[t] + 2 * cell for t in inner for cell in t.layout.halo_cells().tolist()}
    assert set().union(*map(cleared, plan.clearings)) == expected
    whole, _ = placed(pyramid()[0])
    assert plan.peak_live_bytes < 0.6 * whole.peak_live_bytes


def test_a_late_weight_lies_behind_the_others():
    network, _ = chain(2)
    plan, _ = placed(network)
    late = Tensor(name="w", role="weight", dtype="int32", layout=Layout(shape=(3,)), data=np.arange(3, dtype=np.int32))
    for _ in range(2):
        plan = place_weight(plan, late)
    assert plan.offsets[-2:] == (0, ALIGNMENT_BYTES)
    assert np.frombuffer(weight_blob(plan), np.int32)[-3:].tolist() == [0, 1, 2]
