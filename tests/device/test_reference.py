import pytest
from act.device.package_format import read_package
from act.device.reference import GLSL, reference_name, reference_package


@pytest.mark.parametrize("backend", ["opencl", "vulkan"])
def test_it_is_written_once_under_a_name_of_its_content(backend, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = reference_package(backend)
    assert path.stem == reference_name(backend) and backend in path.stem
    written = path.stat().st_mtime_ns
    assert reference_package(backend).stat().st_mtime_ns == written
    assert read_package(path).backend == backend
    assert path.stat().st_size < 100_000  # sent to every phone


@pytest.mark.vulkan
def test_its_spirv_is_what_its_source_says(vulkan_device, glsl, tmp_path):
    """The bytes kept in the source, and what the compiler makes of the text beside them, compute the same."""
    import dataclasses

    from act.device.package_format import Kernel, write_package

    path = reference_package("vulkan")
    package = read_package(path)
    again = dataclasses.replace(package, kernels=(Kernel(name="reference", source=glsl(GLSL)),))
    write_package(tmp_path / "again.actpkg", again)
    assert vulkan_device.verify(path) < 1e-4
    assert vulkan_device.verify(tmp_path / "again.actpkg") < 1e-4


@pytest.mark.opencl
def test_the_opencl_one_computes_what_it_says(device):
    assert device.verify(reference_package("opencl")) < 1e-4
