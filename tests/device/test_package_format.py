import dataclasses
import json

import numpy as np
import pytest
from act.device.package_format import Kernel, PackageError, decode_package, read_package, write_package
from act.device.package_records import MAX_IO, SECTIONS

SPIRV = b"\x03\x02\x23\x07" + bytes(16)


def test_programs_of_both_backends_keep_every_byte(tmp_path, conv_package):
    kernels = (Kernel(name="a", source=SPIRV), Kernel(name="b", source=SPIRV + bytes(4)))
    package = dataclasses.replace(conv_package, backend="vulkan", kernels=kernels)
    write_package(tmp_path / "a.actpkg", package)
    found = read_package(tmp_path / "a.actpkg")
    assert (found.backend, found.kernels) == ("vulkan", kernels)


def test_images_keep_their_storage(tmp_path, conv_package):
    package = with_buffer(1, storage="image", shape=(6, 3, 4))(conv_package)
    write_package(tmp_path / "a.actpkg", package)
    assert read_package(tmp_path / "a.actpkg").buffers == package.buffers


def test_round_trip_keeps_everything(tmp_path, conv_package):
    digest = write_package(tmp_path / "a.actpkg", conv_package)
    found = read_package(tmp_path / "a.actpkg")
    for field in dataclasses.fields(conv_package):
        expected, value = getattr(conv_package, field.name), getattr(found, field.name)
        if isinstance(expected, np.ndarray):
            np.testing.assert_array_equal(value, expected)
            assert value.shape == expected.shape
        else:
            assert value == expected, field.name
    assert write_package(tmp_path / "b.actpkg", found) == digest
    assert (found.batch, found.precision, found.macs) == (1, "fp32", 2592)
    assert found.input_shape == (1, 2, 6, 6)


def test_weight_array_is_a_view_in_the_shape_of_its_buffer(conv_package):
    assert conv_package.weight_array(1).shape == (4, 2, 3, 3)
    bias = conv_package.weight_array(3)
    np.testing.assert_array_equal(bias, np.frombuffer(conv_package.weights[-16:], np.float32))


def with_buffer(index, **changes):
    def change(package):
        buffers = list(package.buffers)
        buffers[index] = dataclasses.replace(buffers[index], **changes)
        return dataclasses.replace(package, buffers=tuple(buffers))

    return change


def with_step(**changes):
    return lambda package: dataclasses.replace(package, steps=(dataclasses.replace(package.steps[0], **changes),))


def with_fields(**changes):
    return lambda package: dataclasses.replace(package, **changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_buffer(0, offset=3), "not a multiple"),
        (with_buffer(0, offset=-1024), "not a multiple"),
        (with_buffer(0, offset=4096), "the arena have 4096"),
        (with_buffer(3, offset=292), "the weights have"),
        (with_buffer(0, alignment=3), "power of two"),
        (with_buffer(0, size_bytes=4), "its shape and type need 288"),
        (with_buffer(0, shape=(0, 2)), "at least 1"),
        (with_buffer(0, shape=(1,) * 9, size_bytes=4), "up to 8 sizes"),
        (with_buffer(0, role="activation"), "buffers with that role are"),
        (with_buffer(2, role="input"), "buffers with that role are"),
        (with_buffer(0, dtype="int32"), "must be float32"),
        (with_buffer(0, dtype="bfloat16"), "unknown role"),
        (with_buffer(1, storage="texture"), "unknown storage 'texture', known: buffer, image"),
        (with_buffer(0, storage="image"), "not float32 as input of one for opencl"),
        (with_buffer(1, storage="image"), r"an image of shape \(4, 2, 3, 3\)"),
        (with_buffer(1, storage="image", shape=(6, 6, 2)), "4 values a texel"),
        (with_buffer(1, storage="image", shape=(1 << 17, 1, 4)), "up to 65536"),
        (with_step(kernel=2), "kernel 2 of 2"),
        (with_step(arguments=(0, 9)), "there are 5 buffers"),
        (with_step(arguments=()), "allowed are 1 to 128"),
        (with_step(arguments=(0,) * 129), "129 arguments"),
        (with_step(local_size=(4, 1, 1)), "must divide"),
        (with_step(global_size=(0, 1, 1)), "must divide"),
        (with_step(global_size=(8192, 1, 1), local_size=(8192, 1, 1)), "at most 4096"),
        (with_step(modelled_us=float("nan")), "modelled_us nan"),
        (with_step(source_operator="a\0b"), "zero character"),
        (with_fields(steps=()), "0 steps"),
        (with_fields(inputs=(0,) * (MAX_IO + 1)), "allowed are 1 to 64"),
        (with_fields(inputs=(7,)), "inputs are buffers"),
        (with_fields(backend="cuda"), "unknown backend 'cuda', known: opencl, vulkan"),
        (with_fields(kernels=(Kernel(name="a b", source="x"),) * 2), "C identifier"),
        (with_fields(kernels=(Kernel(name="a", source="x\0y"),) * 2), "zero character"),
        (with_fields(kernels=(Kernel(name="a", source=SPIRV),) * 2), "OpenCL C is text"),
        (with_fields(backend="vulkan"), "is no SPIR-V"),
        (with_fields(backend="vulkan", kernels=(Kernel(name="a", source=SPIRV + b"x"),) * 2), "is no SPIR-V"),
        (with_fields(verification_output=np.zeros(3, np.float32)), "3 values, the outputs have 144"),
        (with_fields(verification_input=np.full((1, 2, 6, 6), np.inf, np.float32)), "NaN or infinite"),
        (with_fields(metadata={"a": 1}), "texts to texts"),
    ],
)
def test_inconsistent_packages_are_not_written(tmp_path, conv_package, change, message):
    path = tmp_path / "a.actpkg"
    write_package(path, conv_package)
    before = path.read_bytes()
    with pytest.raises(PackageError, match=message):
        write_package(path, change(conv_package))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_tensors_of_one_step_must_not_overlap(conv_package):
    from act.device.package_checks import check_package

    with pytest.raises(PackageError, match=r"input and sum, which overlap"):
        check_package(with_buffer(2, offset=0)(conv_package), origin="package")


def test_foreign_and_missing_files_are_named(tmp_path):
    (tmp_path / "a.actpkg").write_bytes(b"PK\3\4 something else")
    with pytest.raises(PackageError, match=r"a\.actpkg is not a package"):
        read_package(tmp_path / "a.actpkg")
    with pytest.raises(PackageError, match="cannot read package"):
        read_package(tmp_path / "b.actpkg")
    with pytest.raises(PackageError, match="cannot read package"):
        read_package(tmp_path)


def test_another_version_asks_to_compile_again(conv_path):
    data = bytearray(conv_path.read_bytes())
    data[8] = 9
    with pytest.raises(PackageError, match="format version 9, this program reads 2"):
        decode_package(bytes(data), origin="x")


def test_any_truncation_and_any_flipped_byte_is_refused(conv_path):
    data = conv_path.read_bytes()
    for size in range(len(data)):
        with pytest.raises(PackageError):
            decode_package(data[:size], origin="x")
    with pytest.raises(PackageError, match="grown"):
        decode_package(data + b"\0", origin="x")
    for position in range(len(data)):
        altered = bytearray(data)
        altered[position] ^= 0x10
        with pytest.raises(PackageError):
            decode_package(bytes(altered), origin="x")


def test_altered_tables_with_right_checksums_raise_nothing_but_package_error(conv_path, reseal):
    """Every byte of every table, set to what breaks index arithmetic, with the checksums made right again."""
    data = conv_path.read_bytes()
    refused = 0
    for position in range(len(data)):
        for value in (0x00, 0x7F, 0xFF):
            altered = bytearray(data)
            altered[position] = value
            try:
                decode_package(reseal(altered), origin="x")
            except PackageError:
                refused += 1
    assert refused > 1000  # the rest changed weights, texts or figures that may have any value


def test_altered_metadata_is_refused(conv_package, reseal, tmp_path):
    path = tmp_path / "a.actpkg"
    write_package(path, conv_package)
    old = json.dumps({"preprocessing": conv_package.preprocessing, "metadata": conv_package.metadata}, sort_keys=True)
    for new in ("[" * len(old), "[" + " " * (len(old) - 2) + "]"):
        with pytest.raises(PackageError):
            decode_package(reseal(path.read_bytes().replace(old.encode(), new.encode())), origin="x")


def test_sections_are_those_of_the_layout():
    assert SECTIONS[0] == "strings"
    assert SECTIONS[-1] == "weights"
