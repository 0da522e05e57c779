"""`act targets`: what a network can be compiled for."""

import argparse

from ..output import print_json, print_table
from ..progress import Progress
from .arguments import add_json, examples

NAME = "targets"
HELP = "list the targets a network can be compiled for"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_json(parser)
    parser.epilog = examples("act targets", "act compress resnet20 --weights w.safetensors --target adreno640")


def run(args: argparse.Namespace, progress: Progress) -> int:
    """Print every target."""
    from ...compiler.targets import get_target, list_targets

    targets = [get_target(name) for name in list_targets()]
    if args.json:
        print_json([{"name": t.name, "backend": t.backend, "description": t.description} for t in targets])
        return 0
    print_table(("target", "backend", "description"), [(t.name, t.backend, t.description) for t in targets])
    return 0
