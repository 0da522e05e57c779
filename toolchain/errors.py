"""What the command line says and returns when something goes wrong.

The folder that an error type is defined in decides its exit code, so this module needs to import none of them:

======  ==============================================================================================
code    meaning
======  ==============================================================================================
0       done
1       a bug of act
2       usage, configuration or input: any `ValueError` type of act, an unreadable path, a full disk
3       device: a `RuntimeError` type of `act.device`
4       compile: a `RuntimeError` type of `act.compiler`
5       the constraint cannot be met (returned by `act compress`; the best result is saved)
130     interrupted, or one of several processes lost: the run can be resumed
141     the reader of the output went away (as for any program in a pipe)
======  ==============================================================================================
"""

import difflib
import errno
import os
import traceback
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """Exit codes of `act`."""

    OK = 0
    BUG = 1
    INPUT = 2
    DEVICE = 3
    COMPILE = 4
    CONSTRAINT = 5
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class UsageError(ValueError):
    """Flags or arguments that do not go together; the message says what is allowed."""


class LostProcessError(RuntimeError):
    """One of the processes that train together is gone; what was finished is kept, and the run can be resumed."""


_PACKAGE = __name__.split(".")[0]  # `act`
_SOURCE = Path(__file__).resolve().parent.parent
_PATH_ERRORS = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


def nearest_match(name: str, known: Iterable[str]) -> str:
    """Return ` did you mean 'x'?` for the nearest of `known`, or an empty text where nothing is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" did you mean {near[0]!r}?" if near else ""


def exit_code_of(error: BaseException) -> ExitCode:
    """Return the exit code for an error that reached the command line."""
    if isinstance(error, KeyboardInterrupt | LostProcessError):
        return ExitCode.INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return ExitCode.BROKEN_PIPE
    if isinstance(error, ValueError) and _defined_in(error, _PACKAGE):
        return ExitCode.INPUT
    if isinstance(error, RuntimeError) and _defined_in(error, f"{_PACKAGE}.device"):
        return ExitCode.DEVICE
    if isinstance(error, RuntimeError) and _defined_in(error, f"{_PACKAGE}.compiler"):
        return ExitCode.COMPILE
    if isinstance(error, OSError) and (error.errno in _DISK_FULL or _is_users_path(error)):
        return ExitCode.INPUT
    return ExitCode.BUG


def explain(error: BaseException) -> str:
    """Return what the command line prints to stderr for an error; empty for a broken pipe.

    `ACT_DEBUG=1` in the environment adds the whole traceback.
    """
    code = exit_code_of(error)
    if code is ExitCode.BROKEN_PIPE:
        return ""
    trace = "".join(traceback.format_exception(error)) if os.environ.get("ACT_DEBUG") == "1" else ""
    if code is ExitCode.INTERRUPTED:
        what = "interrupted" if isinstance(error, KeyboardInterrupt) else f"error: {error}"
        return trace + what + _resume_hint(error)
    if code is ExitCode.BUG:
        return trace + _explain_bug(error)
    if isinstance(error, OSError):
        return trace + "error: " + _explain_os_error(error)
    return trace + f"error: {error}" + _resume_hint(error)


def _defined_in(error: BaseException, package: str) -> bool:
    modules = (cls.__module__ for cls in type(error).__mro__)
    return any(module == package or module.startswith(package + ".") for module in modules)


def _is_users_path(error: OSError) -> bool:
    """Whether the path of the error was named by the user; a missing file of ours is a bug."""
    if not isinstance(error, _PATH_ERRORS) or error.filename is None:
        return False
    return not Path(os.fsdecode(error.filename)).resolve().is_relative_to(_SOURCE)


def _explain_os_error(error: OSError) -> str:
    where = os.fsdecode(error.filename) if error.filename is not None else ""
    if error.errno in _DISK_FULL:
        place = f" while writing {where}" if where else ""
        return f"the disk is full{place}: nothing finished is lost; free some space and repeat, a run with --resume"
    return f"{where}: {error.strerror}"


def _resume_hint(error: BaseException) -> str:
    command = getattr(error, "resume_command", None)
    return f"; continue with:\n  {command}" if command else ""


def _explain_bug(error: BaseException) -> str:
    lines = [f"internal error: {type(error).__name__}: {error}"]
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(str(_SOURCE))]
    lines += [f"  at {Path(f.filename).relative_to(_SOURCE)}:{f.lineno} in {f.name}" for f in ours[-3:]]
    lines.append("This is a bug of act. Please report it with the command line and the output of 'act doctor';")
    lines.append("ACT_DEBUG=1 in the environment prints the whole traceback.")
    return "\n".join(lines)
