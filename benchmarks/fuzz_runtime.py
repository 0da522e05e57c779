"""Fuzzes the C runtime: how many executions, what was found, how much of the loader they reach.

    python benchmarks/fuzz_runtime.py --executions 1000000 --out fuzz

Builds the runtime with the address and the undefined-behaviour sanitizer and a stub GPU library
(``tests/device/fuzz``), executes the corpus there and small packages made here, then mutates them. Every execution
loads a package, whose checksums are made right again, and takes what is accepted through a session on the stub:
place, verify, time, free, with calls of the GPU library and allocations that fail. With ``clang`` the mutations are
driven by libFuzzer, else by a driver of its own (coverage-guided as well), which for one seed and compiler does the
same every time. The inputs that reached new code are then run once more under gcov.

Exit code 1 means a finding: its input is in ``OUT/finding`` and its report is printed.
"""

import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from act.device.package_format import Buffer, Kernel, Package, Step, c_header, write_package
from act.device.runtime.build import SANITIZERS, runtime_sources

ROOT = Path(__file__).resolve().parent.parent
FUZZ = ROOT / "tests" / "device" / "fuzz"
CORPUS = FUZZ / "corpus"
RUNTIME = ROOT / "device" / "runtime"
FLAGS = ("-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror", "-g")
WRAP = "-Wl,--wrap=malloc,--wrap=calloc,--wrap=free"
LOADER = ("act_package.c", "act_spirv.c", "act_common.c")


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz; the summary is one JSON object on stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=100_000, help="how many (100000)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (0)")
    parser.add_argument("--each", action="store_true", help="first every cut, bit and nasty number in every input")
    parser.add_argument("--out", type=Path, help="folder for the inputs that reach new code (default: a temporary one)")
    parser.add_argument("--no-coverage", action="store_true", help="skip the run under gcov")
    parser.add_argument("--driver", choices=("own", "libfuzzer"), help="(libfuzzer where clang can build it)")
    parser.add_argument(
        "--renew-corpus", action="store_true", help="put the fewest inputs that reach as much into the corpus"
    )
    parser.add_argument("--json", type=Path, help="also write the summary to this file")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="act-fuzz-") as name:
        folder = Path(name)
        out = args.out or folder / "out"
        out.mkdir(parents=True, exist_ok=True)
        summary = fuzz(args, folder, out)
    text = json.dumps(summary, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")
    return 1 if summary["findings"] else 0


def fuzz(args: argparse.Namespace, folder: Path, out: Path) -> dict[str, object]:
    """Build, run, measure the coverage."""
    inputs = [*sorted(CORPUS.glob("*")), *write_seeds(folder / "seeds")]
    clang = shutil.which("clang") if args.driver != "own" else None
    driver = "libfuzzer" if clang is not None else "own"
    if args.driver == "libfuzzer" and clang is None:
        raise SystemExit("no clang here: apt-get install clang")
    program = build(folder / "sanitized", clang=clang)
    followed = None if args.no_coverage else build(folder / "coverage", coverage=True)  # of the same sources
    start = time.monotonic()
    if driver == "own":
        command = [str(program), f"-runs={args.executions}", f"-seed={args.seed}", f"-out={out}"]
        command += [*(["-each"] if args.each else []), *map(str, inputs)]
    else:
        copies = folder / "inputs"
        copies.mkdir()
        for path in inputs:
            shutil.copy(path, copies)
        command = [str(program), f"-runs={args.executions}", f"-seed={args.seed + 1}", "-max_len=32768", "-timeout=20"]
        command += [f"-artifact_prefix={out}/", str(out), str(copies)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    seconds = time.monotonic() - start
    if done.returncode == 2:
        raise SystemExit(done.stderr[-4000:])
    if done.returncode != 0:
        sys.stderr.write(done.stderr[-8000:])
    counts = done.stdout.splitlines() if driver == "own" and done.returncode == 0 else []
    executions = int(counts[0].split()[0]) if counts else args.executions
    summary: dict[str, object] = {
        "driver": driver,
        "seed": args.seed,
        "executions": executions,
        "findings": int(done.returncode != 0),
        "seconds": round(seconds, 2),
        "seconds_per_10000": round(seconds / executions * 1e4, 3),
        "inputs_kept": len(list(out.glob("*"))),
        "statuses": {line.split()[1].rstrip(":"): int(line.split()[2]) for line in counts[1:]},
    }
    if args.renew_corpus and done.returncode == 0:
        renew_corpus(folder / "reduced", program if driver == "own" else build(folder / "own"), out)
    if followed is not None and done.returncode == 0:
        summary["line_coverage"] = coverage(followed, sorted(out.glob("*")))
    return summary


def build(folder: Path, *, clang: str | None = None, coverage: bool = False) -> Path:
    """Compile the runtime, the stub GPU library and the fuzz target.

    Raises:
        SystemExit: If the compiler refuses; with its words.
    """
    folder.mkdir(parents=True)
    (folder / "act_package.h").write_text(c_header())
    compiler = clang or shutil.which("gcc") or "gcc"
    mode = ("-O0",) if coverage else ("-O1", *SANITIZERS)
    flags = [*FLAGS, *mode, f"-I{folder}", f"-I{RUNTIME}", f'-DFUZZ_STUB="{folder / "stub.so"}"']
    stubs = [str(FUZZ / "stub_opencl.c"), str(FUZZ / "stub_vulkan.c")]
    call([compiler, *flags, "-fPIC", "-shared", *stubs, "-o", str(folder / "stub.so")], folder)
    guided = (
        ["--coverage"] if coverage else ["-fsanitize=fuzzer-no-link"] if clang else ["-fsanitize-coverage=trace-pc"]
    )
    for source in runtime_sources():  # checksums have the same branches for all inputs
        followed = guided if coverage or source.name != "act_common.c" else []
        call([compiler, *flags, *followed, "-c", str(source)], folder)
    parts = [str(FUZZ / name) for name in ("target.c", "mutator.c", *(() if clang else ("driver.c",)))]
    objects = [f"{path.stem}.o" for path in runtime_sources()]
    link = ["-fsanitize=fuzzer"] if clang else ["--coverage"] if coverage else []
    link += [WRAP, str(folder / "stub.so"), f"-Wl,-rpath,{folder}", "-ldl", "-lm"]
    call([compiler, *flags, *parts, *objects, *link, "-o", "fuzz"], folder)
    return folder / "fuzz"


def call(command: Sequence[str], folder: Path) -> str:
    """Run a command in a folder; its standard output."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise SystemExit(f"{command[0]} cannot be started: {error}") from error
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} failed: {done.stderr[-3000:]}")
    return done.stdout


def renew_corpus(folder: Path, program: Path, out: Path) -> None:
    """Replace the corpus by those inputs, short ones first, that reach branches which no one before them reaches."""
    folder.mkdir()
    inputs = sorted(out.glob("*"), key=lambda path: (path.stat().st_size, path.name))
    call([str(program), "-reduce", f"-out={folder}", *map(str, inputs)], folder)
    shutil.rmtree(CORPUS, ignore_errors=True)
    shutil.copytree(folder, CORPUS)


def coverage(program: Path, inputs: Sequence[Path]) -> dict[str, float]:
    """Share of the lines of each C file that the inputs reach, in percent; `loader` is what reads a package."""
    folder = program.parent
    for first in range(0, len(inputs), 500):
        call([str(program), *map(str, inputs[first : first + 500])], folder)  # gcov adds the counts up
    reached: dict[str, tuple[int, int]] = {}
    for source in runtime_sources():
        text = call(["gcov", "--json-format", "--stdout", f"{source.stem}.gcno"], folder)
        for file in json.loads(text)["files"]:
            if Path(file["file"]).name == source.name:
                lines = {line["line_number"]: line["count"] for line in file["lines"]}
                reached[source.name] = (sum(count > 0 for count in lines.values()), len(lines))
    shares = {name: round(100 * hit / total, 1) for name, (hit, total) in reached.items()}
    hit, total = (sum(reached[name][i] for name in LOADER) for i in (0, 1))
    return {"loader": round(100 * hit / total, 1), **shares}


# ---- packages to begin with ----


def write_seeds(folder: Path) -> list[Path]:
    """Small packages of both backends that use every table, and some that no device takes."""
    folder.mkdir(parents=True)
    seeds = {
        "opencl": opencl_seed(""),
        "declared": opencl_seed("reqd_work_group_size(4, 1, 1)"),
        "images": with_images(opencl_seed("")),
        "vulkan": vulkan_seed(),
        "texels": vulkan_seed(texels=True),
        "wide": vulkan_seed((512, 1, 1)),
        "large": vulkan_seed((32, 16, 1)),
    }
    for name, package in seeds.items():
        write_package(folder / name, package)
    return sorted(folder.glob("*"))


def opencl_seed(attribute: str) -> Package:
    """Two inputs and outputs, two kernels, four steps."""
    source = f"__kernel {attribute} void f(__global float *a, __global float *b, __global float *c) {{}}"
    return seed_package("opencl", (Kernel(name="f", source=source), Kernel(name="g", source=source, options="-w")))


def with_images(package: Package) -> Package:
    """The same with weights in images."""
    buffers = [
        replace(buffer, storage="image", shape=(1, 1, 4))
        if buffer.role == "weight" and buffer.dtype != "int32"
        else buffer
        for buffer in package.buffers
    ]
    return replace(package, buffers=tuple(buffers))


def vulkan_seed(group: Sequence[int] = (4, 1, 1), *, texels: bool = False) -> Package:
    """The same with SPIR-V: not a whole program, but all declarations that the runtime reads."""
    half = spirv(half=True, shared_items=0, group=group)
    whole = spirv(half=False, shared_items=16, group=group, texels=texels)
    return seed_package("vulkan", (Kernel(name="f", source=whole), Kernel(name="g", source=half)), group)


def seed_package(backend: str, kernels: tuple[Kernel, ...], group: Sequence[int] = (4, 1, 1)) -> Package:
    """Buffers of each role and type, and steps that depend on each other."""
    roles = (
        ("x", "input", "float32", 0),
        ("y", "input", "float32", 128),
        ("w", "weight", "float32", 0),
        ("v", "weight", "float16", 16),
        ("n", "weight", "int32", 24),
        ("s", "activation", "float32", 256),
        ("t", "activation", "float16", 384),
        ("p", "output", "float32", 512),
        ("q", "output", "float32", 640),
    )
    size = {"float32": 16, "float16": 8, "int32": 16}
    buffers = tuple(
        Buffer(name=name, role=role, dtype=dtype, shape=(1, 4), offset=offset, size_bytes=size[dtype], alignment=128)
        for name, role, dtype, offset in roles
    )
    uses = ((0, (0, 2, 5)), (1, (1, 3, 6)), (0, (5, 4, 7)), (1, (6, 2, 8)))
    steps = tuple(
        Step(
            kernel=kernel,
            arguments=arguments,
            global_size=(2 * group[0], group[1], group[2]),
            local_size=(group[0], group[1], group[2]),
            source_operator=f"o{i}",
        )
        for i, (kernel, arguments) in enumerate(uses)
    )
    return Package(
        target=f"host-{backend}",
        backend=backend,
        arena_bytes=768,
        buffers=buffers,
        kernels=kernels,
        steps=steps,
        weights=bytes(range(40)),
        inputs=(0, 1),
        outputs=(7, 8),
        verification_input=np.arange(8, dtype=np.float32),
        verification_output=np.arange(8, dtype=np.float32) / 8,
    )


def spirv(*, half: bool, shared_items: int, group: Sequence[int] = (4, 1, 1), texels: bool = False) -> bytes:
    """Declarations of a compute program ``main`` with three arguments.

    They are storage buffers; or the first is a texel buffer of integers, and the second one of floats, four at a time.
    """
    main_id, number, count, array, block, pointer, shared_type, shared_pointer, shared, variable = range(1, 11)
    size_type, size_id, sizes = 14, 15, (16, 17, 20)
    texel_types = ((21, 22, 23), (24, 25, 26))  # image, sampled image, pointer
    signed, bindings = 27, (0, 129, 2) if texels else (0, 1, 2)
    words = [0x07230203, 0x10300, 0, 21, 0]

    def add(opcode: int, *operands: int) -> None:
        words.extend([(len(operands) + 1) << 16 | opcode, *operands])

    add(17, 1)  # OpCapability Shader
    if half:
        add(17, 4433)
    if texels:
        add(17, 46)
    add(15, 5, main_id, *struct.unpack("<2I", b"main\0\0\0\0"))  # OpEntryPoint GLCompute
    add(16, main_id, 17, *group)  # OpExecutionMode LocalSize
    for argument, binding in enumerate(bindings):
        add(71, variable + argument, 34, 0)  # OpDecorate DescriptorSet
        add(71, variable + argument, 33, binding)
    add(71, variable, 24)  # NonWritable
    add(72, block, 0, 24)  # OpMemberDecorate
    add(71, size_id, 11, 25)  # BuiltIn WorkgroupSize
    add(21, count, 32, 0)  # OpTypeInt
    add(22, number, 32)  # OpTypeFloat
    add(23, size_type, count, 3)  # OpTypeVector
    for name, size in zip(sizes, group, strict=True):
        add(43, count, name, size)  # OpConstant
    add(44, size_type, size_id, *sizes)  # OpConstantComposite
    add(29, array, number)  # OpTypeRuntimeArray
    add(30, block, array)  # OpTypeStruct
    add(32, pointer, 12, block)  # OpTypePointer StorageBuffer
    if texels:
        add(21, signed, 32, 1)
        for (image, sampled, texel_pointer), element in zip(texel_types, (signed, number), strict=True):
            add(25, image, element, 5, 0, 0, 0, 1, 0)  # OpTypeImage Buffer
            add(27, sampled, image)  # OpTypeSampledImage
            add(32, texel_pointer, 0, sampled)  # UniformConstant
    for argument, binding in enumerate(bindings):
        if texels and binding != 2:
            add(59, texel_types[argument][2], variable + argument, 0)
        else:
            add(59, pointer, variable + argument, 12)  # OpVariable
    if shared_items:
        add(43, count, 18, shared_items)
        add(28, shared_type, number, 18)  # OpTypeArray
        add(32, shared_pointer, 4, shared_type)
        add(59, shared_pointer, shared, 4)
    add(54, 19, main_id, 0, 19)  # OpFunction
    add(253)
    add(56)
    return struct.pack(f"<{len(words)}I", *words)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
