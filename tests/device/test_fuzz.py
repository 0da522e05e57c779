"""A short fuzzing of the C runtime; ``benchmarks/fuzz_runtime.py`` runs long ones and renews the corpus."""

import importlib.util
import json
import os
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from act.device.errors import CandidateError
from act.device.package_format import c_header
from act.device.package_records import FORMAT_VERSION, HEADER, KERNEL, SECTIONS
from act.device.runner import call_runner

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "fuzz_runtime.py"
STATUSES = {"0": "ran", "10": "bad package", "12": "not built", "13": "not launched", "15": "out of memory"}


@pytest.fixture(scope="module")
def fuzzing():
    specification = importlib.util.spec_from_file_location("fuzz_runtime", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def program(fuzzing, tmp_path_factory):
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc with its sanitizers")
    try:
        return fuzzing.build(tmp_path_factory.mktemp("fuzz") / "sanitized")
    except SystemExit as error:
        pytest.skip(f"gcc has no sanitizers here: {str(error)[-300:]}")


def execute(program, *arguments):
    done = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-4000:]
    first, *rest = done.stdout.splitlines()
    return int(first.split()[0]), {line.split()[1].rstrip(":"): int(line.split()[2]) for line in rest}


def test_the_corpus_is_of_this_format(fuzzing):
    files = sorted(fuzzing.CORPUS.glob("*"))
    assert len(files) > 50
    versions = [struct.unpack_from("<I", path.read_bytes().ljust(12, b"\0"), 8)[0] for path in files]
    renew = "the format has changed: python benchmarks/fuzz_runtime.py --executions 200000 --renew-corpus"
    assert versions.count(FORMAT_VERSION) > len(files) / 2, renew


def test_no_mutation_breaks_the_runtime(program, fuzzing, tmp_path):
    inputs = [*sorted(fuzzing.CORPUS.glob("*")), *fuzzing.write_seeds(tmp_path / "seeds")]
    executions, statuses = execute(program, "-runs=6000", *inputs)
    assert executions == 6000
    assert set(STATUSES) <= set(statuses)  # every kind of end is reached
    assert statuses["0"] > 20
    assert execute(program, "-runs=6000", *inputs)[1] == statuses  # the same every time


def test_no_cut_bit_or_nasty_number_breaks_the_runtime(program, fuzzing, tmp_path):
    seeds = {path.name: path for path in fuzzing.write_seeds(tmp_path / "seeds")}
    executions, statuses = execute(program, "-each", seeds["vulkan"])
    assert executions > 10000
    assert statuses["0"] > 100  # texts and figures may have any value
    assert statuses["10"] > 5000


def test_a_finding_ends_the_program_and_leaves_its_input(fuzzing, tmp_path, monkeypatch):
    """A runtime that forgets one check: the fuzzer must see it."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc with its sanitizers")
    careless = tmp_path / "runtime"
    shutil.copytree(fuzzing.RUNTIME, careless, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    loader = careless / "act_package.c"
    check = "package->arguments[step->first_argument + i] >= header->buffer_count"
    assert check in loader.read_text()
    loader.write_text(loader.read_text().replace(check, "false"))
    sources = [path for path in sorted(careless.glob("act_*.c")) if path.name != "act_runner.c"]
    monkeypatch.setattr(fuzzing, "runtime_sources", lambda: sources)
    try:
        code = fuzzing.main(
            ["--executions", "20000", "--driver", "own", "--no-coverage", "--out", str(tmp_path / "out")]
        )
    except SystemExit as error:
        pytest.skip(f"gcc has no sanitizers here: {str(error)[-300:]}")
    assert code == 1
    assert (tmp_path / "out" / "finding").stat().st_size > 0


def test_packages_load_in_several_threads(fuzzing, tmp_path):
    """The first ones open the GPU library, all of them make checksums: nothing of it is shared unguarded."""
    compiler = shutil.which("gcc") or pytest.skip("needs gcc with its thread sanitizer")
    (tmp_path / "act_package.h").write_text(c_header())
    stub, program = tmp_path / "stub.so", tmp_path / "threads"
    flags = [*fuzzing.FLAGS, "-O1", f"-I{tmp_path}", f"-I{fuzzing.RUNTIME}"]
    stubs = [str(fuzzing.FUZZ / name) for name in ("stub_opencl.c", "stub_vulkan.c")]
    subprocess.run([compiler, *flags, "-fPIC", "-shared", *stubs, "-o", str(stub)], check=True)
    sources = [*map(str, fuzzing.runtime_sources()), str(Path(__file__).with_name("threads.c"))]
    command = [compiler, *flags, "-fsanitize=thread", *sources, "-o", str(program), "-ldl", "-lm", "-lpthread"]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("gcc has no thread sanitizer here")
    environment = {**os.environ, "ACT_OPENCL_LIBRARY": str(stub), "ACT_VULKAN_LIBRARY": str(stub)}
    for seed in fuzzing.write_seeds(tmp_path / "seeds"):
        done = subprocess.run([str(program), str(seed)], env=environment, capture_output=True, text=True, timeout=60)
        if "unexpected memory mapping" in done.stderr:
            pytest.skip("the thread sanitizer does not run on this kernel")
        assert done.returncode == 0, done.stderr[-3000:]


# ---- what SPIR-V programs say of themselves ----


def damaged_vulkan(fuzzing, reseal, write, change):
    """The seed with texel buffers with the words of its first program changed."""
    data = bytearray(write(fuzzing.vulkan_seed(texels=True)).read_bytes())
    program = fuzzing.spirv(half=False, shared_items=16, texels=True)
    start = bytes(data).index(program)
    words = list(struct.unpack(f"<{len(program) // 4}I", program))
    change(words)
    data[start : start + len(program)] = struct.pack(f"<{len(words)}I", *words)
    return reseal(bytes(data))


def find(words, *wanted):
    """Where a run of words begins."""
    return next(i for i in range(len(words)) if tuple(words[i : i + len(wanted)]) == wanted)


def set_word(*wanted, index, value):
    def change(words):
        words[find(words, *wanted) + index] = value

    return change


def cut_image(words):
    """The image type ends before it says that it is sampled; what was left of it is an instruction without meaning."""
    start = find(words, 9 << 16 | 25, 21, 27, 5)
    words[start], words[start + 7] = 7 << 16 | 25, 2 << 16


NO_BUFFER = "neither a storage buffer nor a texel buffer of 32-bit values"
DAMAGES = {
    "other group size in a constant": (
        set_word(4 << 16 | 43, 3, 16, 4, index=3, value=1024),
        "several entry points or work",
    ),
    "size constant that is none": (
        set_word(4 << 16 | 71, 15, 11, 25, index=1, value=3),
        "several entry points or work",
    ),
    "execution mode by ids": (set_word(1 << 16 | 253, index=0, value=1 << 16 | 331), "several entry points or work"),
    "endless shared memory": (set_word(4 << 16 | 28, 7, 2, 18, index=2, value=7), "shared memory has an unknown size"),
    "unknown capability": (set_word(2 << 16 | 17, 1, index=1, value=11), "capability that the runtime does not ask"),
    "binding out of range": (set_word(4 << 16 | 71, 12, 33, 2, index=3, value=256), "a binding is out of range"),
    "storage buffer among texels of four": (set_word(4 << 16 | 71, 12, 33, 2, index=3, value=130), NO_BUFFER),
    "texels of two types": (set_word(4 << 16 | 71, 11, 33, 129, index=3, value=0), "a binding has two types"),
    "texels in two dimensions": (set_word(9 << 16 | 25, 21, 27, 5, index=3, value=1), NO_BUFFER),
    "array of texels": (set_word(9 << 16 | 25, 21, 27, 5, index=5, value=1), NO_BUFFER),
    "texels of several samples": (set_word(9 << 16 | 25, 21, 27, 5, index=6, value=1), NO_BUFFER),
    "texels that are written": (set_word(9 << 16 | 25, 21, 27, 5, index=7, value=2), NO_BUFFER),
    "unsigned texels": (set_word(4 << 16 | 21, 27, 32, 1, index=3, value=0), NO_BUFFER),
    "texels of 64 bits": (set_word(4 << 16 | 21, 27, 32, 1, index=2, value=64), NO_BUFFER),
    "texels of half floats": (set_word(3 << 16 | 22, 2, 32, index=2, value=16), NO_BUFFER),
    "texels without a type": (set_word(9 << 16 | 25, 21, 27, 5, index=2, value=99), NO_BUFFER),
    "sampled image without an image": (set_word(3 << 16 | 27, 22, 21, index=2, value=22), NO_BUFFER),
    "texels behind no pointer": (set_word(4 << 16 | 59, 23, 10, 0, index=1, value=22), NO_BUFFER),
    "image cut short": (cut_image, NO_BUFFER),
    "gap in the bindings": (set_word(4 << 16 | 71, 12, 33, 2, index=3, value=3), "bindings have a gap"),
    "other descriptor set": (set_word(4 << 16 | 71, 12, 34, 0, index=3, value=1), "another descriptor set"),
    "instruction without end": (set_word(1 << 16 | 56, index=0, value=9 << 16 | 56), "reaches beyond its end"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_spirv_that_hides_its_needs_is_refused(fuzzing, runner, write, reseal, tmp_path, name):
    change, expected = DAMAGES[name]
    path = tmp_path / "x.actpkg"
    path.write_bytes(damaged_vulkan(fuzzing, reseal, write, lambda words: None))
    assert subprocess.run([str(runner), "check", str(path)], capture_output=True, timeout=10).returncode == 0
    path.write_bytes(damaged_vulkan(fuzzing, reseal, write, change))
    done = subprocess.run([str(runner), "check", str(path)], capture_output=True, text=True, timeout=10)
    assert done.returncode == 10
    assert expected in json.loads(done.stdout.split(" ", 4)[4])["message"]


@pytest.mark.parametrize(
    ("buffer", "changes", "expected"),
    [
        (0, {}, None),
        (4, {"shape": (65537,), "size_bytes": 4 * 65537}, "has 65537 texels, kernels on this device see at most 65536"),
        (5, {"offset": 640}, "is at offset 640, texels on this device need multiples of 256 bytes"),
        (2, {"shape": (3,), "size_bytes": 12}, "has 12 bytes, a kernel reads texels of 16"),
    ],
)
def test_texels_beyond_the_limits_of_a_device_are_refused(fuzzing, runner, write, tmp_path, buffer, changes, expected):
    """On the stub, whose limits are small; it computes nothing, so that verification fails where nothing is refused."""
    (tmp_path / "act_package.h").write_text(c_header())
    stub = tmp_path / "stub.so"
    sources = [str(fuzzing.FUZZ / name) for name in ("stub_opencl.c", "stub_vulkan.c")]
    flags = [*fuzzing.FLAGS, f"-I{tmp_path}", f"-I{fuzzing.RUNTIME}", "-fPIC", "-shared"]
    subprocess.run([shutil.which("gcc") or pytest.skip("needs gcc"), *flags, *sources, "-o", str(stub)], check=True)
    package = fuzzing.vulkan_seed(texels=True)
    buffers = list(package.buffers)
    # Integer texels of the first argument are the last weight, so that it can be longer.
    buffers[buffer] = replace(buffers[buffer], **changes)
    first, *rest = package.steps
    package = replace(
        package,
        arena_bytes=1024,
        buffers=tuple(buffers),
        steps=(replace(first, arguments=(4, 2, 5)), *rest),
        weights=package.weights + bytes(4 * 65537),
    )
    command = [str(runner), "verify", str(write(package))]
    environment = {**os.environ, "ACT_VULKAN_LIBRARY": str(stub)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20)
    assert done.returncode != 0
    assert (expected or "output differs") in done.stderr


@pytest.mark.opencl
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_expected_values_that_are_no_numbers_verify_nothing(
    device, runner, elementwise, write, reseal, value, tmp_path
):
    """A comparison with NaN is false: it must not read as a right output."""
    data = write(elementwise()).read_bytes()
    expected = elementwise().verification_output.tobytes()
    start = data.rindex(expected)
    path = tmp_path / "x.actpkg"
    path.write_bytes(reseal(data[:start] + struct.pack("<f", value) + data[start + 4 :]))
    environment = {**os.environ, **device.info.library.environment}
    with pytest.raises(CandidateError, match="output differs"):
        call_runner(runner, ["verify", str(path)], environment=environment, timeout_s=30)


def change_kernel(data, index, **values):
    """Write fields of a kernel's record."""
    names = [name for name, _, _ in HEADER.fields]
    before = struct.calcsize(
        "<" + "".join(f"{count}{code}" for _, code, count in HEADER.fields[: names.index("sections")])
    )
    (start,) = struct.unpack_from("<Q", data, before + 16 * SECTIONS.index("kernels"))
    changed = bytearray(data)
    for place, (name, _, _) in enumerate(KERNEL.fields):
        if name in values:
            struct.pack_into("<I", changed, start + index * KERNEL.size + 4 * place, values[name])
    return bytes(changed)


def test_shared_bytes_cannot_make_a_small_file_take_hours(runner, conv_path, conv_package, reseal, tmp_path):
    """Many records that name one long program or text would multiply the time to check it."""
    path = tmp_path / "x.actpkg"
    data = conv_path.read_bytes()
    first = len(conv_package.kernels[0].source.encode())
    for change, expected in (
        ({"program_offset": 0, "program_length": first}, "programs are longer than their section"),
        ({"options_length": 65536}, "a text is outside the string table"),
    ):
        path.write_bytes(reseal(change_kernel(data, 1, **change)))
        done = subprocess.run([str(runner), "check", str(path)], capture_output=True, text=True, timeout=10)
        assert (done.returncode, expected in done.stderr) == (10, True), done.stderr
