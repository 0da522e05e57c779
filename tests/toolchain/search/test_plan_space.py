import copy

import pytest
import torch
from act.toolchain.compaction import compact
from act.toolchain.coupling import find_coupling
from act.toolchain.folding import folded_weights
from act.toolchain.granularity import GRANULARITY_NAMES, GranularityError, Unstructured, granularity_from_name
from act.toolchain.masking import make_masks
from act.toolchain.search.action import Action
from act.toolchain.search.plan_space import PlanSpace

STRUCTURED = [name for name in GRANULARITY_NAMES if name != "unstructured"]


def space_of(network, name):
    return PlanSpace(
        network,
        find_coupling(network),
        folded_weights(network),
        granularity=granularity_from_name(name),
        latency_of=None,
    )


@pytest.mark.parametrize("name", STRUCTURED)
@pytest.mark.parametrize("model", ["resnet20", "concatenated", "depthwise"])
def test_every_granularity_prunes_what_it_says_and_compacts_exactly(network_of, images_for, model, name):
    network = network_of(model)
    space = space_of(network, name)
    granularity = granularity_from_name(name)
    assert bool(space.actions.group_share) == granularity.filters
    assert bool(space.actions.layer_share) == (granularity.columns is not None)
    action = Action(
        filter_ratio=dict.fromkeys(space.actions.group_share, 0.4),
        column_ratio=dict.fromkeys(space.actions.layer_share, 0.5),
    )
    plan, costs = space.priced(action)
    assert costs["macs"] < 0.75 * space.costs()["macs"]
    masked = copy.deepcopy(network.module)
    make_masks(network, space.coupling, plan).apply_(masked)
    small = compact(network, space.coupling, plan)
    images = images_for(network)
    with torch.no_grad():
        expected = masked.eval()(images)
        assert torch.allclose(small.module.eval()(images), expected, atol=1e-5 * float(expected.abs().max()))
    assert space_of(small, name).costs()["params"] == costs["params"]


def test_single_weights_are_refused(network_of):
    network = network_of("lenet5")
    with pytest.raises(GranularityError, match="no pruning plan removes single weights"):
        PlanSpace(network, find_coupling(network), {}, granularity=Unstructured(), latency_of=None)
