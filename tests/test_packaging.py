"""What a clone or a wheel must hold, and that `act --help` stays light."""

import subprocess
import sys
import tomllib
from pathlib import Path

import act.toolchain
import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("toolchain", "compiler", "device", "models")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_package_list_is_the_tree() -> None:
    found = {
        "act." + ".".join(init.parent.relative_to(ROOT).parts)
        for folder in FOLDERS
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])


def test_every_folder_with_python_files_is_a_package() -> None:
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*.py"):
            assert (file.parent / "__init__.py").exists(), file


def test_the_version_is_the_same_everywhere() -> None:
    assert PROJECT["project"]["version"] == act.toolchain.__version__


def test_pins_of_the_project_are_the_tested_ones() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    for requirement in PROJECT["project"]["dependencies"]:
        if "==" in requirement.split(";")[0]:
            name, version = requirement.split("==")
            assert pins[name] == version
    assert {"torch", "torchvision", "onnxruntime", "pytest", "mypy", "ruff"} <= set(pins)


@pytest.mark.parametrize("arguments", [["--help"], ["targets"], ["compress", "--help"]])
def test_light_commands_import_neither_torch_nor_tvm(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from act.toolchain.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'torch', 'tvm', 'onnxruntime'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
