"""Arguments that several commands share, and the checks of their values."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError

ScalarArgument = bool | int | float | str

_FILE_COMPLETION = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}
_FOLDER_COMPLETION = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"}


def examples(*lines: str) -> str:
    """Return the text that ends a command's help."""
    return "examples:\n" + "\n".join(f"  {line}" for line in lines)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


def add_path(parser: argparse._ActionsContainer, *names: str, help: str, folder: bool = False) -> None:
    """Add a path argument that the shell completes."""
    metavar = "DIR" if folder else "FILE"
    action = parser.add_argument(*names, type=Path, metavar=metavar, help=help)
    action.complete = _FOLDER_COMPLETION if folder else _FILE_COMPLETION  # type: ignore[attr-defined]


def add_network(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how a network named on the command line is built."""
    group = parser.add_argument_group("network")
    add_path_to_group(group, "--weights", help="safetensors file, or one of torch.save (read without running code)")
    group.add_argument(
        "--argument",
        dest="arguments",
        action="append",
        default=[],
        type=key_value,
        metavar="NAME=VALUE",
        help="argument of the network's constructor; may be repeated",
    )
    group.add_argument(
        "--input-shape", type=image_shape, metavar="C,H,W", help="image size (default: from the weights or the data)"
    )
    group.add_argument("--model", metavar="CODE", help="package.module:factory, for a run of a network that is code")
    group.add_argument("--classes", type=positive, metavar="N", help="number of classes (default: as for the size)")


def add_path_to_group(group: argparse._ArgumentGroup, name: str, *, help: str) -> None:
    """Add a file argument to an argument group."""
    action = group.add_argument(name, type=Path, metavar="FILE", help=help)
    action.complete = _FILE_COMPLETION  # type: ignore[attr-defined]


def add_data(parser: argparse.ArgumentParser, *, default: str | None = None) -> None:
    """Add `--data`, `--image-size`, `--download` and `--seed`."""
    note = f" (default: {default})" if default else ""
    forms = "digits, cifar10:DIR, npz:FILE or images:DIR"
    parser.add_argument("--data", metavar="SPEC", default=default, help=f"{forms}{note}")
    parser.add_argument(
        "--image-size",
        type=positive,
        metavar="N",
        help="side that images of images:DIR are brought to (default: as the network expects)",
    )
    parser.add_argument("--download", action="store_true", help="fetch the data where it is missing")
    parser.add_argument("--seed", type=natural, default=None, metavar="N", help="seed of the split into parts")


def refuse_existing_folder(path: Path) -> None:
    """Check early that a result can be written to `path`.

    Raises:
        UsageError: If it is a folder, or its folder does not exist.
    """
    if path.is_dir():
        raise UsageError(f"--out {path} is a folder; give a file's name")
    if not path.parent.is_dir():
        raise UsageError(f"--out {path}: there is no folder {path.parent}")


def positive(text: str) -> int:
    """Parse an integer of at least 1."""
    value = _integer(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def natural(text: str) -> int:
    """Parse an integer of at least 0."""
    value = _integer(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {text}")
    return value


def image_shape(text: str) -> tuple[int, int, int]:
    """Parse `C,H,W` (or `CxHxW`)."""
    parts = text.replace("x", ",").split(",")
    sizes = [int(part) if part.strip().isdecimal() else 0 for part in parts]
    if len(sizes) != 3 or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; give channels, height and width, as in 3,32,32")
    return sizes[0], sizes[1], sizes[2]


def sizes(text: str) -> tuple[int, ...]:
    """Parse `C,H,W` (or `CxHxW`), or one number of features."""
    return image_shape(text) if "," in text or "x" in text else (positive(text),)


def key_value(text: str) -> tuple[str, ScalarArgument]:
    """Parse `key=value`; the value becomes a bool, int or float where it reads as one."""
    key, sign, value = text.partition("=")
    if not sign or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not an argument; give NAME=VALUE, as in width=2")
    return key, _scalar(value)


def arguments_of(pairs: Sequence[tuple[str, ScalarArgument]]) -> dict[str, ScalarArgument]:
    """Collect repeated `NAME=VALUE` flags; the last of equal keys counts."""
    return dict(pairs)


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _scalar(text: str) -> ScalarArgument:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for parse in (int, float):
        try:
            return parse(text)
        except ValueError:
            continue
    return text
