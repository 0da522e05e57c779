import itertools

import numpy as np
import pytest
from act.compiler.codegen.device_functions import DeviceKernel
from act.compiler.lower import LoweredNetwork, LoweredStep, Tensor
from act.compiler.memory.execution_plan import (
    ALIGNMENT_BYTES,
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


def test_tensors_with_halos_share_memory_whatever_their_layouts_are():
    source, output = tensor("input", "input"), tensor("output", "output")
    wide = [tensor(f"w{i}", shape=(1, 2, 4, 4), halo=(1, 1)) for i in range(4)]
    small = [tensor(f"s{i}", shape=(1, 2, 2, 2), halo=(1, 1)) for i in range(3)]
    values = [source, *wide, *small, output]
    steps = tuple(step(a, b) for a, b in itertools.pairwise(values))
    network = LoweredNetwork(steps=steps, input=source, output=output)
    plan, offsets = placed(network)
    assert {offsets[t] for t in wide} & {offsets[t] for t in small}
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


def random_network(seed):
    """Steps that read one or two earlier values; some of them have halos."""
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
def test_random_networks_keep_what_is_alive_apart(seed):
    network = random_network(seed)
    plan, offsets = placed(network)
    check_alive_apart(network, plan, offsets)
    assert plan.peak_live_bytes <= plan.arena_bytes


def test_halves_take_half_the_memory():
    plans = [placed(chain(4, shape=(1, 8, 32, 32), dtype=dtype, halo=(1, 1))[0])[0] for dtype in ("float16", "float32")]
    assert plans[0].arena_bytes < 0.6 * plans[1].arena_bytes
