"""External data is read from inside the model's folder, and from nowhere else."""

import numpy as np
import onnx
import pytest
from act.compiler.errors import OnnxInputError
from act.compiler.importer import load_onnx
from act.compiler.passes.external_data import load_external_data

from . import onnx_networks as networks


def external_model(location, **entries):
    model = networks.conv_model()
    data = networks.with_external_data(model, "w", location, **entries)
    return model, data


def test_data_beside_the_model_is_read(tmp_path):
    model, data = external_model("weights/w.bin", offset=16, length=4 * 3 * 9 * 4)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.bin").write_bytes(b"x" * 16 + data + b"rest")
    loaded = load_onnx(networks.save(model, tmp_path / "model.onnx"))
    weight = next(t for t in loaded.graph.initializer if t.name == "w")
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(weight), networks.random(4, 3, 3, 3))


@pytest.mark.parametrize("location", ["../secret.bin", "weights/../../secret.bin", "..\\secret.bin", "C:\\secret.bin"])
def test_a_path_out_of_the_folder_is_refused(tmp_path, location):
    model, data = external_model(location)
    (tmp_path / "secret.bin").write_bytes(data)
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(OnnxInputError, match="outside the model's folder"):
        load_onnx(networks.save(model, folder / "model.onnx"))


def test_an_absolute_path_is_refused(tmp_path):
    secret = tmp_path / "secret.bin"
    model, data = external_model(str(secret))
    secret.write_bytes(data)
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(OnnxInputError, match="outside the model's folder"):
        load_external_data(model, folder)


def test_a_symbolic_link_out_of_the_folder_is_refused(tmp_path):
    model, data = external_model("w.bin")
    (tmp_path / "secret.bin").write_bytes(data)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "w.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(OnnxInputError, match="outside the model's folder"):
        load_external_data(model, folder)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(OnnxInputError, match="'w' is missing"):
        load_external_data(external_model("w.bin")[0], tmp_path)


def test_a_file_that_ends_early_is_refused(tmp_path):
    model, data = external_model("w.bin")
    (tmp_path / "w.bin").write_bytes(data[:-1])
    with pytest.raises(OnnxInputError, match="cut short"):
        load_external_data(model, tmp_path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [({"offset": -4}, "whole number"), ({"offset": "1e3"}, "whole number"), ({"length": 4}, "ask for 432 bytes")],
)
def test_sizes_that_do_not_fit_are_refused(tmp_path, entries, message):
    model, data = external_model("w.bin", **entries)
    (tmp_path / "w.bin").write_bytes(data)
    with pytest.raises(OnnxInputError, match=message):
        load_external_data(model, tmp_path)


def test_an_offset_beyond_the_file_is_refused(tmp_path):
    model, data = external_model("w.bin", offset=10**15)
    (tmp_path / "w.bin").write_bytes(data)
    with pytest.raises(OnnxInputError, match="cut short"):
        load_external_data(model, tmp_path)


def test_tensors_of_attributes_are_covered(tmp_path):
    model = networks.conv_model()
    tensor = onnx.TensorProto(name="t", data_type=onnx.TensorProto.FLOAT, dims=[1], data_location=1)
    tensor.external_data.add(key="location", value="../t.bin")
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["t"], value=tensor))
    with pytest.raises(OnnxInputError, match="outside the model's folder"):
        load_external_data(model, tmp_path)


def test_a_model_without_external_data_reads_nothing(tmp_path):
    assert load_external_data(networks.conv_model(), tmp_path) == 0
