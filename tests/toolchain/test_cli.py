import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest
from act.toolchain import cli, errors
from act.toolchain.cli import main
from act.toolchain.errors import UsageError, exit_code_of, explain


def test_help_lists_every_command_and_succeeds(capsys):
    assert main(["--help"]) == 0
    out, err = capsys.readouterr()
    assert all(f"\n    {name} " in out for name in cli.COMMANDS)
    assert err == ""


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_that_ends_with_an_example(name, capsys):
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"  act {name}" in re.split(r"\nexamples?:\n", out)[1]


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("act ")


def test_no_command_prints_help_to_stderr(capsys):
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "doctor" in err


def test_unknown_command_names_the_nearest(capsys):
    assert main(["targts"]) == 2
    assert "unknown command 'targts': did you mean 'targets'?" in capsys.readouterr().err


def test_unknown_option_names_the_nearest(capsys):
    assert main(["targets", "--jsno"]) == 2
    assert "unknown option '--jsno': did you mean '--json'?" in capsys.readouterr().err


def test_options_are_not_abbreviated(capsys):
    assert main(["targets", "--js"]) == 2
    assert "unknown option '--js'" in capsys.readouterr().err


def test_surplus_argument(capsys):
    assert main(["targets", "adreno640"]) == 2
    assert "unexpected argument 'adreno640'" in capsys.readouterr().err


def test_unknown_value_names_the_nearest(capsys):
    assert main(["devices", "chek"]) == 2
    assert "did you mean 'check'?" in capsys.readouterr().err


def test_completion_script(capsys):
    assert main(["--print-completion", "bash"]) == 0
    assert "doctor" in capsys.readouterr().out


def test_usage_imports_neither_torch_nor_tvm():
    code = (
        "import sys\n"
        "from act.toolchain.cli import main\n"
        "codes = [main(['--help']), main(['eval']), main(['nothing']), main(['targets'])]\n"
        "heavy = {'torch', 'tvm', 'onnx', 'onnxruntime', 'sklearn'} & set(sys.modules)\n"
        "print(codes, heavy, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[0, 2, 2, 0] set()"


def test_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "act.toolchain", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[0]) == (0, "act")


def _error(name: str, base: type[Exception], module: str) -> Exception:
    return type(name, (base,), {"__module__": module})("what is wrong")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (_error("DataError", ValueError, "act.models.data"), 2),
        (_error("PackageError", ValueError, "act.device.package_format"), 2),
        (_error("OnnxInputError", ValueError, "act.compiler.errors"), 2),
        (_error("DeviceError", RuntimeError, "act.device.devices"), 3),
        (_error("CompileError", RuntimeError, "act.compiler.errors"), 4),
        (UsageError("no"), 2),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/nowhere/x.onnx"), 2),
        (PermissionError(errno.EACCES, "Permission denied", "/locked/x"), 2),
        (OSError(errno.ENOSPC, "No space left on device"), 2),
        (ValueError("a bug"), 1),
        (RuntimeError("a bug"), 1),
        (FileNotFoundError("without a path"), 1),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 141),
    ],
)
def test_exit_code(error, code):
    assert exit_code_of(error) == code


def test_a_missing_file_of_ours_is_a_bug():
    ours = str(Path(errors.__file__).parent / "missing.py")
    assert exit_code_of(FileNotFoundError(errno.ENOENT, "No such file", ours)) == 1


def test_disk_full_names_the_place_and_resume():
    text = explain(OSError(errno.ENOSPC, "No space left on device", "runs/a/model.onnx"))
    assert "disk is full while writing runs/a/model.onnx" in text
    assert "--resume" in text


def test_interrupt_prints_how_to_resume():
    error = KeyboardInterrupt()
    error.resume_command = "act compress --resume --out runs/a"
    assert explain(error) == "interrupted; continue with:\n  act compress --resume --out runs/a"


def _raise_bug() -> None:
    raise TypeError("unexpected")


def test_bug_is_short_and_says_how_to_report(monkeypatch):
    monkeypatch.delenv("ACT_DEBUG", raising=False)
    with pytest.raises(TypeError) as caught:
        _raise_bug()
    text = explain(caught.value)
    assert "internal error: TypeError: unexpected" in text
    assert "act doctor" in text
    assert "Traceback" not in text
    monkeypatch.setenv("ACT_DEBUG", "1")
    assert "Traceback" in explain(caught.value)


def test_error_is_on_stderr_alone(capsys):
    assert main(["models", "zzz*"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: no network matches 'zzz*':")


def test_closed_pipe_is_silent():
    command = f"{sys.executable} -m act.toolchain --print-completion bash | head -c 10 > /dev/null"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""
