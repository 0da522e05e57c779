"""`act models`: the networks that are known by name."""

import argparse

from ..errors import UsageError, nearest_match
from ..output import print_json
from ..progress import Progress
from .arguments import add_json, examples

NAME = "models"
HELP = "list the networks that are known by name"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("pattern", nargs="?", default="*", help="show the names that match, as in 'resnet*'")
    add_json(parser)
    parser.epilog = (
        examples("act models", "act models 'resnet*'")
        + "\n\nYour own network is package.module:factory, found from the current folder on:\n"
        + "  act inspect mypackage.nets:build --input-shape 3,64,64"
    )


def run(args: argparse.Namespace, progress: Progress) -> int:
    """Print the names that match.

    Raises:
        UsageError: If none does.
    """
    from ...models.registry import list_models

    names = list_models(args.pattern)
    if not names:
        known = list_models()
        hint = nearest_match(args.pattern, known)
        raise UsageError(f"no network matches {args.pattern!r}:{hint} known networks: {', '.join(known)}")
    if args.json:
        print_json(names)
    else:
        print("\n".join(names))
    return 0
