import re
from pathlib import Path

from act.compiler.compile import compile_onnx
from act.compiler.layer_onnx import write_layer_onnx
from act.compiler.targets import get_target
from act.device.package_format import read_package
from onnx import helper

from ..onnx_networks import model_of, random, save
from .test_conv import shape


def conv_source(tmp_path: Path, *, output_is_read: bool) -> str:
    """Source of a convolution with rows of 14: its result is an activation, or the output of the network."""
    if output_is_read:
        nodes = [
            helper.make_node("Conv", ["input", "w"], ["c"], name="first", pads=[4, 4, 4, 4]),
            helper.make_node("Conv", ["c", "v"], ["output"], pads=[1, 1, 1, 1]),
        ]
        path = save(model_of(nodes, {"w": random(4, 3, 3, 3), "v": random(4, 4, 3, 3)}), tmp_path / "network.onnx")
    else:
        path = write_layer_onnx(shape(c_out=4, hw=14), tmp_path / "network.onnx")
    package = read_package(compile_onnx(path, get_target("host-opencl"), output=tmp_path / "p.actpkg").path)
    step = next(s for s in package.steps if s.macs)
    return package.kernels[step.kernel].source


def test_rows_with_room_behind_them_are_stored_as_vectors(tmp_path):
    source = conv_source(tmp_path, output_is_read=True)
    assert re.search(r"act_float8 \*\)\(\w+ \+ .*\) = select\(", source)
    assert "if (" not in source.rpartition("for (")[2]  # behind the loop over columns
