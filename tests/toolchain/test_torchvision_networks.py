"""A sample of torchvision's networks: coupling, plan, masked = compact = ONNX. All of them: benchmarks/."""

import copy

import numpy as np
import onnxruntime
import pytest
import torch
from act.models.torchvision_compat import import_torchvision
from act.toolchain.capture import capture
from act.toolchain.compaction import compact
from act.toolchain.coupling import find_coupling
from act.toolchain.equality import relative_difference
from act.toolchain.export import make_onnx
from act.toolchain.masking import make_masks

ARGUMENTS = {"googlenet": {"aux_logits": False, "init_weights": False}}


def torchvision_network(name, randomize, size):
    torch.manual_seed(0)
    model = import_torchvision().models.get_model(name, weights=None, num_classes=10, **ARGUMENTS.get(name, {}))
    return capture(randomize(model).eval(), (3, size, size))


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v3_small",
        "shufflenet_v2_x0_5",
        "squeezenet1_1",
        "regnet_y_400mf",
        "densenet121",
        "googlenet",
        "efficientnet_b0",
        "convnext_tiny",
    ],
)
def test_masked_compact_and_onnx_are_equal(name, randomize, random_plan, images_for):
    network = torchvision_network(name, randomize, 64)
    coupling = find_coupling(network)
    if name == "convnext_tiny":  # layer norms freeze all but the hidden channels of its 18 blocks
        assert [group.name.endswith("block.3") for group in coupling.prunable] == [True] * 18
    else:
        assert [reason for _, reason in coupling.frozen] == ["its channels are the network's output"]
    plan = random_plan(coupling, np.random.default_rng(0), "combined")
    images = images_for(network, 2)
    small = compact(network, coupling, plan)
    assert sum(p.numel() for p in small.module.parameters()) < sum(p.numel() for p in network.module.parameters())
    masked = copy.deepcopy(network.module)
    make_masks(network, coupling, plan).apply_(masked)
    with torch.no_grad():
        expected, found = masked.eval()(images).numpy(), small.module.eval()(images).numpy()
    assert relative_difference(found, expected) <= 1e-4
    session = onnxruntime.InferenceSession(make_onnx(small).SerializeToString(), providers=["CPUExecutionProvider"])
    assert relative_difference(session.run(None, {"input": images.numpy()})[0], expected) <= 1e-4
