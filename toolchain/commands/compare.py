"""`act compare`: baselines and ablations beside `act compress`, with the same data, constraint, recipe and budget."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import CompressConfig, merge
from ..config_file import resolve
from ..errors import ExitCode, UsageError
from ..output import print_json, print_table
from ..progress import Progress
from .compress import add_network_arguments, check_names, flags_of
from .together import together

if TYPE_CHECKING:
    from ..compare.methods import Method
    from ..distributed import Processes

NAME = "compare"
HELP = "run baselines beside act compress, same recipe and budget, and print one table"

EXAMPLES = """examples:
  act compare --macs-x 4 --effort quick --methods filter manual scratch
      on the demonstration's digits
  act compare resnet20 --weights r20.safetensors --data cifar10:DIR --macs-x 2 --seeds 0 1 2 --out runs/compare

Interrupted, the same command goes on where it stopped.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = EXAMPLES
    add_network_arguments(parser)
    goal = parser.add_argument_group("goal, the same for every method; one of the first two is needed")
    goal.add_argument("--params-x", type=float, metavar="X", help="X times fewer parameters")
    goal.add_argument("--macs-x", type=float, metavar="X", help="X times fewer multiply-accumulates")
    goal.add_argument("--target", metavar="T", help="what is compiled for; default adreno640")
    how = parser.add_argument_group("how")
    how.add_argument("--methods", nargs="+", metavar="NAME", help="what to run beside 'act' (see --list)")
    how.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N", help="default 0; figures are medians")
    how.add_argument("--effort", choices=("quick", "normal", "thorough"), help="epochs and trials; default normal")
    how.add_argument("--config", type=Path, metavar="FILE", help="TOML file with any setting; flags win over it")
    parser.add_argument("--list", action="store_true", help="list the methods and stop")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default runs/compare-NETWORK-DATA")
    parser.add_argument("--json", action="store_true", help="print every run as JSON")
    parser.set_defaults(seed=None)


def run(args: argparse.Namespace, progress: Progress) -> int:
    """Run or resume the comparison."""
    if args.list:
        return _list(args)
    return together(lambda processes: _run(args, progress, processes))


def _run(args: argparse.Namespace, progress: Progress, processes: "Processes") -> int:
    from ..compare.methods import DEFAULT_METHODS, METHODS, methods_named

    methods = methods_named(args.methods or DEFAULT_METHODS)
    if args.params_x is None and args.macs_x is None:
        raise UsageError("act compare needs a cost that every method must meet: --params-x X or --macs-x X")
    flags = flags_of(args)

    def configure(method: "Method", seed: int) -> CompressConfig:
        return resolve(args.effort, args.config, merge(merge(flags, method.settings), {"seed": seed}))

    first = configure(METHODS["act"], args.seeds[0])
    seeds = list(dict.fromkeys(args.seeds))
    for method in methods:  # a bad value is told now, not after hours
        for seed in seeds:
            configure(method, seed)
    check_names(first, processes.size)
    folder = (
        args.out or Path("runs") / f"compare-{first.network.model.rsplit(':', 1)[-1]}-{first.data.spec.split(':')[0]}"
    )
    from ..compare.comparison import Comparison, medians

    comparison = Comparison(
        methods=methods,
        seeds=seeds,
        folder=folder,
        configure=configure,
        command=shlex.join(["act", *sys.argv[1:]]),
        code=args.model if args.model and ":" in args.model else None,
        progress=progress,
        processes=processes,
    )
    found = comparison.run()
    if args.json:
        print_json(found)
    else:
        _print(medians(found["rows"]), first)
        print(f"every run  {folder / 'compare.json'}")
    return ExitCode.OK


def _print(rows: list[dict[str, Any]], config: CompressConfig) -> None:
    headings = ("method", "accuracy", "change", "params", "conv", "MACs", "epochs", "minutes", "seeds", "")
    cells = []
    for row in rows:
        if "problem" in row:
            cells.append((row["method"], "–", "", "", "", "", "", "", "", row["problem"]))
            continue
        change = row["accuracy_top1"] - row["accuracy_before"]
        sizes = [f"{row[key]:.2f}×" for key in ("params_x", "conv_params_x", "macs_x")]
        note = row["note"] if row["met"] else f"{row['note']} constraint NOT met".strip()
        cells.append(
            (
                row["method"],
                f"{row['accuracy_top1']:.2f} %",
                f"{change:+.2f}",
                *sizes,
                f"{row['epochs']:g}",
                f"{row['seconds'] / 60:.1f}",
                row["seeds"],
                note,
            )
        )
    title = f"{config.network.model} on {config.data.spec}: test accuracy, medians over the seeds"
    print_table(headings, cells, title=title, right=headings[1:-1])


def _list(args: argparse.Namespace) -> int:
    from ..compare.methods import DEFAULT_METHODS, METHODS

    if args.json:
        print_json([{"name": m.name, "text": m.text, "default": m.name in DEFAULT_METHODS} for m in METHODS.values()])
    else:
        rows = [(m.name, "yes" if m.name in DEFAULT_METHODS else "", m.text) for m in METHODS.values()]
        print_table(("method", "default", "what it does"), rows)
    return ExitCode.OK
