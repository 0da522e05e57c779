import copy

import numpy as np
import pytest
import torch
from act.toolchain.coupling import find_coupling
from act.toolchain.folding import plain_weights
from act.toolchain.keep_indices import PruningPlan, normalize_plan, resolve_plan
from act.toolchain.masking import make_masks, masked_weights
from torch import nn

NAMES = ["resnet20", "padded_shortcut", "concatenated", "depthwise", "mobilenet_v2"]


def norm_outputs(network, module, x):
    """Output of every batch norm, by name."""
    found, hooks = {}, []
    for name, norm in module.named_modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            hooks.append(norm.register_forward_hook(lambda m, i, o, name=name: found.update({name: o.detach()})))
    module(x)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("name", NAMES)
def test_removed_channels_stay_zero_after_batch_norm_while_training(network_of, random_plan, images_for, name):
    network = network_of(name)
    coupling = find_coupling(network)
    plan = normalize_plan(coupling, random_plan(coupling, np.random.default_rng(0), "combined"))
    masks, kept = make_masks(network, coupling, plan), resolve_plan(coupling, plan)
    module = network.module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    x = images_for(network, 4)
    masks.apply_(module)
    for _ in range(3):
        optimizer.zero_grad()
        module(x).square().sum().backward()
        masks.apply_gradients_(module)
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
    # Masked gradients alone keep removed entries at zero: no momentum, no decay moves them.
    for key, mask in masks.removed.items():
        assert not dict(module.named_parameters())[key][mask].any()
    outputs = norm_outputs(network, module, x)
    assert outputs.keys() == coupling.norms.keys()
    for norm, units in coupling.norms.items():
        gone = ~kept.units[units]
        channels = outputs[norm].transpose(0, 1).flatten(1).abs().sum(1)
        assert (channels[gone] == 0).all(), norm
        assert (channels[~gone] > 0).any()


def test_optimizer_state_from_before_is_undone_by_applying_again(network_of, random_plan, images_for):
    network = network_of("resnet20")
    coupling = find_coupling(network)
    module = network.module.train()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    masks = make_masks(network, coupling, random_plan(coupling, np.random.default_rng(0), "combined"))
    module(images_for(network)).square().sum().backward()
    optimizer.step()
    masks.apply_(module)
    optimizer.step()  # moments of the dense gradients move removed entries
    parameters = dict(module.named_parameters())
    assert any(parameters[key][mask].any() for key, mask in masks.removed.items())
    masks.apply_(module)
    assert not any(parameters[key][mask].any() for key, mask in masks.removed.items())


def test_masks_cover_rows_biases_norms_columns_and_removed_inputs(network_of):
    network = network_of("depthwise")
    coupling = find_coupling(network)
    plan = PruningPlan(
        keep_filters={"expand": np.array([0, 2, 5], np.int32), "project": np.array([0, 4], np.int32)},
        keep_columns={"project": np.arange(0, 108, 2, dtype=np.int32)},
    )
    removed = make_masks(network, coupling, plan).removed
    gone = [2, 3, 6, 7, 8, 9]  # two depthwise filters a unit
    assert torch.nonzero(removed["expand.weight"].flatten(1).all(1)).flatten().tolist() == [1, 3, 4]
    for key in ("depthwise.bias", "bn.weight", "bn.bias", "pre.weight", "pre.bias"):
        assert torch.nonzero(removed[key]).flatten().tolist() == gone
    project = removed["project.weight"].flatten(1)
    assert project[1].all()
    assert project[0].view(12, 9).all(1).nonzero().flatten().tolist() == gone
    assert project[0].view(12, 9)[0].tolist() == [False, True] * 4 + [False]
    assert removed["features.weight"][:, 4:16].all()
    assert not removed["features.weight"][:, :4].any()
    assert "features.bias" not in removed


def test_masked_weights_are_new_tensors_without_aliasing(network_of, random_plan):
    network = network_of("resnet20")
    coupling = find_coupling(network)
    plan = random_plan(coupling, np.random.default_rng(0), "combined")
    weights = plain_weights(network)
    before = {name: value.clone() for name, value in weights.items()}
    masked = masked_weights(weights, coupling, plan)
    some = masked_weights({"conv1": weights["conv1"]}, coupling, plan)
    assert list(some) == ["conv1"]
    assert torch.equal(some["conv1"], masked["conv1"])
    module = copy.deepcopy(network.module)
    make_masks(network, coupling, plan).apply_(module)
    for name, value in masked.items():
        assert torch.equal(value, module.get_submodule(name).weight)
        value.fill_(7.0)
        assert torch.equal(weights[name], before[name])


def test_an_empty_plan_masks_nothing_and_foreign_masks_are_refused(network_of, random_plan):
    network = network_of("resnet20")
    coupling = find_coupling(network)
    assert not make_masks(network, coupling, PruningPlan()).removed
    masks = make_masks(network, coupling, random_plan(coupling, np.random.default_rng(0), "filter"))
    with pytest.raises(ValueError, match="another network"):
        masks.apply_(nn.Linear(2, 2))
