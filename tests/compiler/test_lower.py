import pytest
from act.compiler.importer import import_onnx
from act.compiler.lower import lower
from act.compiler.targets import get_target
from onnx import helper

from .onnx_networks import conv_model, model_of, random, save

TARGET = get_target("host-opencl")


def lowered(tmp_path, model, *, batch=1):
    path = save(model, tmp_path / "network.onnx")
    return lower(import_onnx(path, batch=batch).relax_module, TARGET, names={})


def test_steps_are_a_line_from_input_to_output(tmp_path):
    network = lowered(tmp_path, conv_model(), batch=2)
    assert network.input.layout.shape == (2, 3, 8, 8)
    assert network.output.layout.shape == (2, 4, 8, 8)
    written = {network.input}
    for step in network.steps:
        read = [t for t in step.arguments if t not in step.written and t.data is None]
        assert set(read) <= written
        written |= set(step.written)
    assert network.output in written


def test_arguments_are_as_many_as_the_kernel_has(tmp_path):
    for step in lowered(tmp_path, conv_model()).steps:
        assert len(step.arguments) == len(step.kernel.arguments)
        assert all(
            size % group == 0 for size, group in zip(step.kernel.global_size, step.kernel.local_size, strict=True)
        )


def test_views_of_plain_values_are_the_values(tmp_path):
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Unsqueeze", ["f", "axes"], ["u"]),
        helper.make_node("Sigmoid", ["u"], ["output"]),
    ]
    first, second = lowered(tmp_path, model_of(nodes, {"axes": [1]})).steps
    assert set(first.written) <= set(second.arguments)


def test_a_view_of_the_input_is_copied_since_the_input_stays(tmp_path):
    nodes = [helper.make_node("Flatten", ["input"], ["output"])]
    (step,) = lowered(tmp_path, model_of(nodes, {})).steps
    assert step.operator == "copy"


def test_equal_constants_are_one_tensor(tmp_path):
    weight = random(3, 3, 3, 3)
    nodes = [
        helper.make_node("Conv", ["input", "a"], ["x"], pads=[1] * 4),
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("Conv", ["y", "b"], ["z"], pads=[1] * 4),
        helper.make_node("Relu", ["z"], ["output"]),
    ]
    network = lowered(tmp_path, model_of(nodes, {"a": weight, "b": weight}))
    weights = {t for step in network.steps for t in step.arguments if t.role == "weight"}
    assert len(weights) == 2  # packed weight and offset table
    convs = [step for step in network.steps if step.layer is not None]
    assert len({len({t for t in step.arguments if t.role == "weight"}) for step in convs}) == 1


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
def test_temporaries_lie_between_the_kernels_of_one_operator(operator, tmp_path):
    nodes = [helper.make_node(operator, ["input"], ["output"], axis=1)]
    network = lowered(tmp_path, model_of(nodes, {}))
    assert len(network.steps) >= 2
    assert {step.operator for step in network.steps} == {network.steps[0].operator}
    assert all(t.role == "activation" for step in network.steps[:-1] for t in step.written)
