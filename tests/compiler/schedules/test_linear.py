import numpy as np
import pytest
from act.compiler.schedules.linear import FEATURES_PER_ITEM, pack_linear_weight
from onnx import helper

from ..kernel_check import compile_model, verified_error
from ..onnx_networks import model_of, random


def classifier(features):
    nodes = [
        helper.make_node("Flatten", ["input"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["g"], name="fc", transB=1),
        helper.make_node("Relu", ["g"], ["output"]),
    ]
    return model_of(nodes, {"w": random(features, 192), "b": random(features)})


def test_packed_features_are_whole_vectors():
    packed = pack_linear_weight(np.ones((3, 5), np.float32))
    assert packed.shape == (3, 2 * FEATURES_PER_ITEM)
    assert packed[:, :5].all() and not packed[:, 5:].any()


@pytest.mark.opencl
@pytest.mark.parametrize(("features", "target"), [(10, "adreno640"), (64, "host-opencl")])
def test_linear_layers(features, target, tmp_path):
    assert verified_error(classifier(features), tmp_path, target=target, batch=3) < 1e-5


def test_a_linear_layer_reports_its_node_and_macs(tmp_path):
    (step,) = [s for s in compile_model(classifier(10), tmp_path).steps if s.kind == "linear"]
    assert (step.source_op, step.macs) == ("fc", 1920)
