import numpy as np
import pytest
from act.compiler.schedules.linear import LinearTile, choose_linear_tile, pack_linear_weight
from act.compiler.targets import get_target
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


def test_packed_weights_hold_each_block_side_by_side():
    weight = np.arange(15, dtype=np.float32).reshape(3, 5)
    packed = pack_linear_weight(weight, LinearTile(vectors=1, lanes=2, work_items=2, block=2))
    assert packed.shape == (4, 3, 2)  # two work-items of two features, twice
    assert packed[1].tolist() == [[2, 3], [7, 8], [12, 13]]
    assert packed[2].tolist() == [[4, 0], [9, 0], [14, 0]]
    assert not packed[3].any()


def test_a_block_is_a_work_item_on_a_cpu_and_a_work_group_on_a_gpu():
    cpu, gpu = (choose_linear_tile(1000, get_target(name)) for name in ("host-opencl", "adreno640"))
    assert cpu.block == cpu.vectors * cpu.lanes
    assert gpu.block == gpu.vectors * gpu.lanes * gpu.work_items
    assert choose_linear_tile(3, get_target("host-opencl")).vectors == 1


@pytest.mark.opencl
@pytest.mark.parametrize(("features", "target"), [(10, "adreno640"), (64, "host-opencl"), (45, "host-opencl")])
def test_linear_layers(features, target, tmp_path):
    assert verified_error(classifier(features), tmp_path, target=target, batch=3) < 1e-5


def test_a_linear_layer_reports_its_node_and_macs(tmp_path):
    (step,) = [s for s in compile_model(classifier(10), tmp_path).steps if s.kind == "linear"]
    assert (step.source_op, step.macs) == ("fc", 1920)


@pytest.mark.opencl
def test_linear_layers_of_rows_in_several_dimensions(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["input", "w"], ["m"], name="tokens"),
        helper.make_node("Add", ["m", "b"], ["a"]),
        helper.make_node("Relu", ["a"], ["output"]),
    ]
    model = model_of(nodes, {"w": random(8, 10), "b": random(10)})
    (step,) = [s for s in compile_model(model, tmp_path).steps if s.kind == "linear"]
    assert (step.source_op, step.macs) == ("tokens", 24 * 80)
    assert verified_error(model, tmp_path, batch=2) < 1e-5
