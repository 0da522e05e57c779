import numpy as np
import pytest
import torch
from act.toolchain.capture import capture
from act.toolchain.compaction import compact
from act.toolchain.coupling import find_coupling
from act.toolchain.keep_indices import PlanError, PruningPlan, compose_plans, normalize_plan, resolve_plan
from torch import nn


def indices(*values):
    return np.array(values, dtype=np.int32)


@pytest.fixture
def chain():
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.ReLU(), nn.Conv2d(3, 2, 1))
    network = capture(model, (2, 5, 5))
    return network, find_coupling(network)


def test_a_plan_compares_by_its_indices():
    first = PruningPlan(keep_filters={"a": indices(0, 2)})
    assert first == PruningPlan(keep_filters={"a": indices(0, 2)})
    assert hash(first) == hash(PruningPlan(keep_filters={"a": indices(0, 2)}))
    assert first != PruningPlan(keep_filters={"a": indices(0, 1)})
    assert first != PruningPlan(keep_columns={"a": indices(0, 2)})


def test_keys_that_keep_everything_are_left_out(chain):
    _, coupling = chain
    plan = PruningPlan(keep_filters={"0": indices(0, 1, 2, 3)}, keep_columns={"2": indices(0, 1, 2, 3)})
    assert normalize_plan(coupling, plan) == PruningPlan()


def test_columns_of_removed_channels_go(chain):
    _, coupling = chain
    plan = PruningPlan(keep_filters={"0": indices(0, 2)}, keep_columns={"2": indices(0, 1, 2)})
    assert normalize_plan(coupling, plan) == PruningPlan(keep_filters={"0": indices(0, 2)})


def test_filters_that_nobody_reads_go(chain):
    _, coupling = chain
    plan = PruningPlan(keep_columns={"2": indices(1, 3)})
    assert normalize_plan(coupling, plan) == PruningPlan(keep_filters={"0": indices(1, 3)})


def test_a_unit_stays_while_one_consumer_reads_it(network_of):
    coupling = find_coupling(network_of("concatenated"))
    # b reads only channel 0 of a, but c reads them all.
    assert normalize_plan(coupling, PruningPlan(keep_columns={"b": indices(0, 4)})).keep_filters == {}


def test_a_layer_keeps_a_column_with_its_channel(chain):
    _, coupling = chain
    plan = PruningPlan(keep_filters={"0": indices(0)}, keep_columns={"2": indices(2, 3)})
    normal = normalize_plan(coupling, plan)
    assert len(resolve_plan(coupling, normal).columns("2")) == 1
    assert normal.keep_filters["0"].tolist() == [2]


def test_normal_form_is_stable(network_of, random_plan):
    for name in ("concatenated", "depthwise", "mobilenet_v2"):
        coupling = find_coupling(network_of(name))
        for seed in range(5):
            plan = normalize_plan(coupling, random_plan(coupling, np.random.default_rng(seed), "combined"))
            assert normalize_plan(coupling, plan) == plan


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (PruningPlan(keep_filters={"1": indices(0)}), "no coupling group '1'"),
        (PruningPlan(keep_filters={"4": indices(0)}), "network's output"),
        (PruningPlan(keep_filters={"0": indices(0, 4)}), r"0\.\.3"),
        (PruningPlan(keep_filters={"0": indices(2, 1)}), "sorted"),
        (PruningPlan(keep_filters={"0": indices(1, 1)}), "without repetition"),
        (PruningPlan(keep_filters={"0": indices()}), "empty"),
        (PruningPlan(keep_filters={"0": indices(-1, 1)}), r"0\.\.3"),
        (PruningPlan(keep_columns={"0": indices(18)}), r"0\.\.17"),
        (PruningPlan(keep_columns={"3": indices(0)}), "no layer with removable columns '3'"),
    ],
)
def test_plans_that_do_not_fit_are_refused(chain, plan, message):
    _, coupling = chain
    with pytest.raises(PlanError, match=message):
        normalize_plan(coupling, plan)


def test_a_plan_for_a_compact_network_cannot_name_lost_columns(chain):
    network, coupling = chain
    small = compact(network, coupling, PruningPlan(keep_columns={"0": indices(0, 5, 9)}))
    again = find_coupling(small)
    assert again.layers["0"].columns.tolist() == [0, 5, 9]
    with pytest.raises(PlanError, match="no longer has"):
        normalize_plan(again, PruningPlan(keep_columns={"0": indices(0, 1)}))
    with pytest.raises(PlanError, match="no longer has"):
        compose_plans(
            coupling, PruningPlan(keep_columns={"0": indices(0, 5, 9)}), PruningPlan(keep_columns={"0": indices(1)})
        )


def test_a_layer_must_keep_a_filter(network_of):
    coupling = find_coupling(network_of("padded_shortcut"))
    stem = {ref.layer: set(ref.units.tolist()) for ref in coupling.by_name["stem"].producers}
    outside = indices(*sorted(stem["conv2"] - stem["stem"]))
    with pytest.raises(PlanError, match="every filter of layer 'stem'"):
        normalize_plan(coupling, PruningPlan(keep_filters={"stem": outside}))


def test_composing_with_nothing_changes_nothing(network_of, random_plan):
    network = network_of("resnet20")
    coupling = find_coupling(network)
    plan = normalize_plan(coupling, random_plan(coupling, np.random.default_rng(0), "combined"))
    assert compose_plans(network, plan, PruningPlan()) == plan
    assert compose_plans(coupling, PruningPlan(), plan) == plan


def test_composition_is_associative_over_three_rounds(network_of, random_plan):
    for name in ("resnet20", "concatenated", "depthwise"):
        networks, plans, rng = [network_of(name)], [], np.random.default_rng(3)
        for _ in range(3):
            coupling = find_coupling(networks[-1])
            plans.append(normalize_plan(coupling, random_plan(coupling, rng, "combined")))
            networks.append(compact(networks[-1], coupling, plans[-1]))
        left = compose_plans(networks[0], compose_plans(networks[0], plans[0], plans[1]), plans[2])
        right = compose_plans(networks[0], plans[0], compose_plans(networks[1], plans[1], plans[2]))
        assert left == right
        direct = compact(networks[0], find_coupling(networks[0]), left).module.state_dict()
        stepwise = networks[-1].module.state_dict()
        assert direct.keys() == stepwise.keys()
        assert all(torch.equal(direct[key], stepwise[key]) for key in direct)


def test_groups_that_come_apart_compose(network_of):
    network = network_of("partly_shared")
    coupling = find_coupling(network)
    assert next((group.name, group.size) for group in coupling.prunable) == ("a", 8)
    units = {ref.layer: ref.units for ref in coupling.by_name["a"].producers}
    shared = np.intersect1d(units["b"], units["c"])  # only these connect {a, c} with {b, d}
    first = PruningPlan(keep_filters={"a": np.setdiff1d(np.arange(8), shared).astype(np.int32)})
    small = compact(network, coupling, first)
    apart = find_coupling(small)
    assert [(group.name, group.size) for group in apart.prunable][:2] == [("a", 3), ("b", 3)]
    second = PruningPlan(keep_filters={"a": indices(0, 2), "b": indices(1)})
    composed = compose_plans(coupling, first, second)
    stepwise = compact(small, apart, second).module.state_dict()
    direct = compact(network, coupling, composed).module.state_dict()
    assert all(torch.equal(direct[key], stepwise[key]) for key in direct)
