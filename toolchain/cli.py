"""The command `act`: parses the command line, runs one command, turns errors into messages and exit codes.

A command is a module of `commands/` with `NAME`, `HELP`, `add_arguments(parser)` and `run(args, progress)`. It
imports what is heavy (torch, TVM) inside `run`, so that help and usage errors come at once. stdout is for results.
"""

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn, Protocol, cast

from . import __version__
from .errors import ExitCode, exit_code_of, explain, nearest_match
from .progress import Progress

# In the order of `act --help`: first what a user comes for.
COMMANDS: tuple[str, ...] = (
    "compress",
    "compare",
    "train",
    "eval",
    "export",
    "compile",
    "bench",
    "tune",
    "inspect",
    "report",
    "devices",
    "targets",
    "models",
    "doctor",
)

_DESCRIPTION = (
    "Make a trained vision network small and fast for a phone's GPU: search, prune, compact, compile, measure"
)


class Command(Protocol):
    """What a module of `commands/` has."""

    NAME: str
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""

    def run(self, args: argparse.Namespace, progress: Progress) -> int:
        """Do the work and return the exit code."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors name the nearest match, and that prints no usage dump before them."""

    def error(self, message: str) -> NoReturn:
        """Print the message and where help is, and exit with 2."""
        self.exit(ExitCode.INPUT, f"error: {message}\nsee '{self.prog} --help'\n")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        what = "command" if isinstance(action, argparse._SubParsersAction) else "value"
        hint = nearest_match(str(value), known)
        raise argparse.ArgumentError(
            None if what == "command" else action, f"unknown {what} {value!r}:{hint} known {what}s: {', '.join(known)}"
        )

    def strict(self) -> "Parser":
        """Refuse abbreviated options, and keep the line breaks of the examples; returns the parser."""
        self.allow_abbrev = False
        self.formatter_class = _HelpFormatter
        return self

    def option_names(self) -> list[str]:
        """Return every option of this parser, as typed."""
        return [name for action in self._actions for name in action.option_strings]


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        # Narrow for the list of commands, so that each keeps to one line.
        super().__init__(prog, max_help_position=14 if prog == "act" else 30)


def build_parser() -> Parser:
    """Build the parser of all commands."""
    import shtab

    parser = Parser(prog="act", description=_DESCRIPTION, epilog="see 'act COMMAND --help' for one command").strict()
    parser.add_argument("--version", action="version", version=f"act {__version__}")
    shtab.add_argument_to(parser, ["--print-completion"], help="print the completion script of bash, zsh or tcsh")
    parser._option_string_actions["--print-completion"].metavar = "SHELL"
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=Parser)
    for name in COMMANDS:
        command = _load(name)
        child = commands.add_parser(command.NAME, help=command.HELP, description=command.HELP)
        command.add_arguments(child.strict())
        child.add_argument("-q", "--quiet", action="store_true", help="no progress on stderr, warnings only")
        child.set_defaults(command_module=command, command_parser=child)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Args:
        argv: Arguments without the program's name; those of the process by default.
    """
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        return int(_report(error))
    return code


def entry_point() -> NoReturn:
    """Run as the console script `act`."""
    sys.exit(main())


def _run(argv: Sequence[str]) -> int:
    try:
        args = _parse(build_parser(), argv)
    except SystemExit as stop:  # help, version, usage error: already printed
        return int(stop.code or 0)
    return int(args.command_module.run(args, Progress(quiet=args.quiet)))


def _parse(parser: Parser, argv: Sequence[str]) -> argparse.Namespace:
    args, rest = parser.parse_known_args(argv)
    used: Parser = getattr(args, "command_parser", parser)
    if rest:
        name = rest[0].partition("=")[0]
        if name.startswith("-"):
            hint = nearest_match(name, used.option_names())
            used.error(f"unknown option {name!r}{':' + hint if hint else ''}")
        used.error(f"unexpected argument {name!r}")
    if args.command is None:
        parser.print_help(sys.stderr)
        parser.exit(ExitCode.INPUT)
    return args


def _load(name: str) -> Command:
    return cast(Command, importlib.import_module(f".commands.{name}", __package__))


def _report(error: BaseException) -> ExitCode:
    """Print what went wrong; the reader of stdout or stderr may be gone."""
    code = exit_code_of(error)
    if code is ExitCode.BROKEN_PIPE:
        # Python flushes stdout at exit and would complain there again.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code
    with contextlib.suppress(BrokenPipeError):
        print(explain(error), file=sys.stderr, flush=True)
    return code
