"""`act report`: the summary of a run, and its page written again from `report.json`."""

import argparse

from ..output import print_json
from ..progress import Progress
from .arguments import add_json, add_path, examples

NAME = "report"
HELP = "show a run's figures and write its page again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_path(parser, "run", help="folder of a finished run", folder=True)
    add_path(parser, "--out", help="where to write the page (default: report.html in the run's folder)")
    parser.add_argument("--open-path", action="store_true", help="print the page's path alone, to open it")
    add_json(parser)
    parser.epilog = examples(
        "act report runs/digits-resnet20", "xdg-open $(act report runs/digits-resnet20 --open-path)"
    )


def run(args: argparse.Namespace, progress: Progress) -> int:
    """Write the page and print the figures."""
    from ..report import print_summary, read_report, write_html

    values = read_report(args.run)
    folder = args.run if args.run.is_dir() else args.run.parent
    page = write_html(args.out or folder / "report.html", values)
    if args.open_path:
        print(page)
    elif args.json:
        print_json(values)
    else:
        print_summary(values)
        print(f"report: {page}")
    return 0
