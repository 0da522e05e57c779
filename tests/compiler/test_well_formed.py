"""Damaged models that onnx's checker accepts are refused with a message, whatever byte is wrong."""

import random

import pytest
from act.compiler.errors import CompileError, OnnxInputError
from act.compiler.importer import load_onnx
from act.compiler.passes.well_formed import check_well_formed

from . import onnx_networks as networks


def test_a_whole_model_passes():
    check_well_formed(networks.conv_model())


def test_a_tensor_whose_bytes_do_not_fill_its_shape_is_named():
    model = networks.conv_model()
    model.graph.initializer[0].dims[0] = 5
    with pytest.raises(OnnxInputError, match="tensor 'w' cannot be read"):
        check_well_formed(model)


def test_a_type_without_a_number_format_is_refused():
    model = networks.conv_model()
    model.graph.initializer[0].data_type = 107
    with pytest.raises(OnnxInputError, match="tensor 'w' cannot be read"):
        check_well_formed(model)


def test_a_node_without_an_output_is_refused():
    model = networks.conv_model()
    del model.graph.node[1].output[:]
    with pytest.raises(OnnxInputError, match="node 1 of the model"):
        check_well_formed(model)


@pytest.mark.parametrize("seed", range(4))
def test_changed_bytes_never_end_in_another_error(tmp_path, seed):
    generator = random.Random(seed)
    models = [networks.conv_model(), networks.column_conv_model(columns=[1, 2, 10, 26])]
    sources = [model.SerializeToString() for model in models]
    path = tmp_path / "damaged.onnx"
    refused = 0
    for _ in range(150):
        data = bytearray(generator.choice(sources))
        for _ in range(generator.choice([1, 1, 2, 5])):
            data[generator.randrange(len(data))] = generator.randrange(256)
        path.write_bytes(data)
        try:
            load_onnx(path)
        except (OnnxInputError, CompileError) as error:
            refused += 1
            assert str(error)
    assert refused > 50
