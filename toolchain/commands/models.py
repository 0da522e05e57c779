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
        examples("act models", "act models 'resnet*'", "act models 'efficientnet_*' --json")
        + "\n\nact's own networks come first, then torchvision's; one of torchvision's whose name act's own has is\n"
        + "torchvision.NAME. Your own network is package.module:factory, found from the current folder on:\n"
        + "  act inspect mypackage.nets:build --input-shape 3,64,64"
    )


def run(args: argparse.Namespace, progress: Progress) -> int:
    """Print the names that match: act's own, then torchvision's under a line that says so.

    Raises:
        UsageError: If none does.
    """
    from ...models.registry import list_models, list_torchvision_models

    names = {"own": list_models(args.pattern), "torchvision": list_torchvision_models(args.pattern)}
    if not any(names.values()):
        own = list_models()
        hint = nearest_match(args.pattern, [*own, *list_torchvision_models()])
        raise UsageError(
            f"no network matches {args.pattern!r}:{hint} known networks: {', '.join(own)}, and torchvision's, which "
            "'act models' lists"
        )
    if args.json:
        print_json(names)
        return 0
    sections = ["\n".join(names["own"]), "torchvision's:\n" + "\n".join(names["torchvision"])]
    print("\n\n".join(text for text, found in zip(sections, names.values(), strict=True) if found))
    return 0
