"""`act compress`: the main job, from a network and data to a smaller network, its package and its report."""

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ...device.precision import PRECISIONS
from ..config import CompressConfig, ConfigError, SearchStrategy
from ..config_file import read_rates, resolve
from ..errors import ExitCode, LostProcessError
from ..granularity import GRANULARITY_NAMES
from ..progress import Progress
from ..run_folder import RunFolder, RunFolderError
from .arguments import add_path_to_group, positive
from .together import together

if TYPE_CHECKING:
    from ..distributed import Processes

NAME = "compress"
HELP = "search, prune, compact, export, compile and measure a network"

EXAMPLES = """examples:
  act compress --target adreno640
      the demonstration: handwritten digits and a ResNet-20 that it trains first
  act compress resnet20 --weights r20.safetensors --data cifar10:DIR --target adreno640 --macs-x 2
  act compress my_package.nets:make_net --weights net.pt --data npz:images.npz --target adreno640
  act compress efficientnet_b0 --weights net.pth --data images:photos --image-size 224 --max-accuracy-drop 1

Without --params-x, --macs-x or --latency-ms the objective is made as small as --max-accuracy-drop allows (1 point).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = EXAMPLES
    add_network_arguments(parser)
    goal = parser.add_argument_group("goal")
    goal.add_argument("--target", metavar="T", help="what to compile for (see 'act targets'); default adreno640")
    goal.add_argument(
        "--precision", choices=PRECISIONS, help="how the package stores weights and activations; default fp32"
    )
    goal.add_argument("--device", metavar="ID", help="a device whose measured latency is the cost (see 'act devices')")
    goal.add_argument("--objective", choices=("params", "macs", "latency"), help="what is made small; default latency")
    goal.add_argument("--params-x", type=float, metavar="X", help="constraint: X times fewer parameters")
    goal.add_argument("--macs-x", type=float, metavar="X", help="constraint: X times fewer multiply-accumulates")
    goal.add_argument("--latency-ms", type=float, metavar="MS", help="constraint: at most MS milliseconds")
    goal.add_argument("--max-accuracy-drop", type=float, metavar="P", help="constraint: at most P points lost")
    how = parser.add_argument_group("how")
    how.add_argument("--granularity", choices=GRANULARITY_NAMES, metavar="G", help=", ".join(GRANULARITY_NAMES[:-1]))
    how.add_argument("--search", choices=get_args(SearchStrategy), help="how ratios are searched; default annealing")
    add_path_to_group(how, "--search-rates", help="TOML or JSON file with the rates of a manual search")
    how.add_argument("--solver", choices=("admm", "slr", "magnitude"), help="what drives weights to zero; default admm")
    how.add_argument("--effort", choices=("quick", "normal", "thorough"), help="epochs and trials; default normal")
    how.add_argument("--config", type=Path, metavar="FILE", help="TOML file with any setting; flags win over it")
    how.add_argument("--seed", type=int, metavar="N", help="seed of everything random; default 0")
    run = parser.add_argument_group("run")
    run.add_argument("--out", type=Path, metavar="DIR", help="run folder; default runs/NETWORK-DATA-TARGET")
    run.add_argument("--resume", action="store_true", help="continue the run in --out, or the newest of that name")
    run.add_argument("--dry-run", action="store_true", help="resolve and check everything, write nothing")
    run.add_argument("--json", action="store_true", help="print the report as JSON")


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that name a network and its data; shared with `act train`."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help="name (see 'act models') or package.module:factory")
    source = parser.add_argument_group("network and data")
    source.add_argument(
        "--weights", type=Path, metavar="FILE", help="safetensors or torch file; without it, trains first"
    )
    source.add_argument("--data", metavar="SPEC", help="digits, cifar10:DIR, npz:FILE or images:DIR; default digits")
    source.add_argument(
        "--image-size",
        type=positive,
        metavar="N",
        help="side that images of images:DIR are brought to; default 224, or as --weights say",
    )
    source.add_argument("--search-data", metavar="SPEC", help="data that decides, in place of a part of --data")
    source.add_argument("--download", action="store_true", help="fetch the data set where it is missing")
    source.add_argument(
        "--argument", action="append", default=[], metavar="NAME=VALUE", help="constructor argument of the network"
    )


def run(args: argparse.Namespace, progress: Progress) -> int:
    """Run or resume a compression; returns 5 where the constraint is not met."""
    return together(lambda processes: _run(args, progress, processes))


def _run(args: argparse.Namespace, progress: Progress, processes: "Processes") -> int:
    if args.resume:
        folder, config = _resumed(args)
    else:
        config = resolve(args.effort, args.config, flags_of(args))
        folder = None
    if args.model is None and config.network.model == "resnet20" and config.data.spec == "digits":
        progress.note("no network given: this is the demonstration, handwritten digits and a ResNet-20 trained first")
        progress.note("your own: act compress MODEL --weights FILE --data SPEC --target " + config.goal.target)
    if args.dry_run:
        return _dry_run(config, args, progress, processes)
    check_names(config, processes.size)
    if folder is None:
        folder = _create(config, args)
    progress.note(f"run folder: {folder.path}")
    return _compress(config, folder, args, progress, processes)


def _compress(
    config: CompressConfig, folder: RunFolder, args: argparse.Namespace, progress: Progress, processes: "Processes"
) -> int:
    from ..distributed import resume_launcher
    from ..pipeline import Pipeline
    from ..report import print_summary

    try:
        report = Pipeline(config, folder, progress, allow_code=args.model is not None, processes=processes).run()
    except (KeyboardInterrupt, LostProcessError) as stop:
        model = [args.model] if args.model else []
        command = [*resume_launcher(), "compress", *model, "--resume", "--out", str(folder.path)]
        stop.resume_command = shlex.join(command)  # type: ignore[union-attr]
        raise
    if args.json:
        print(json.dumps(report))
    else:
        print_summary(report)
        print(f"report   {folder.path / 'report.html'}")
        files = [folder.path / name for name in ("model.onnx", "model.actpkg") if (folder.path / name).exists()]
        print(f"network  {', '.join(map(str, files))}")
        bench = f"act bench {folder.path}    " if len(files) == 2 else ""
        print(f"next     {bench}act eval {folder.path} --data {config.data.spec}")
    if not report["constraint"]["met"]:
        progress.warn("the constraint is not met; the best result is saved in the run folder")
        return ExitCode.CONSTRAINT
    return ExitCode.COMPILE if report.get("package_problem") else ExitCode.OK


def flags_of(args: argparse.Namespace) -> dict[str, Any]:
    """The values given on the command line, nested as the configuration is."""
    network = {"model": args.model, "weights": args.weights, "arguments": _constructor_arguments(args.argument) or None}
    data = {
        "spec": args.data,
        "search_data": args.search_data,
        "download": args.download or None,
        "image_size": args.image_size,
    }
    goal_names = ("target", "precision", "device", "objective", "params_x", "macs_x", "latency_ms", "max_accuracy_drop")
    goal = {name: getattr(args, name, None) for name in goal_names}
    prune = {name: getattr(args, name, None) for name in ("granularity", "solver")}
    search = _search_flags(args)
    sections = {"network": network, "data": data, "goal": goal, "prune": prune, "search": search}
    nested: dict[str, Any] = {
        name: {key: value for key, value in section.items() if value is not None} for name, section in sections.items()
    }
    if args.seed is not None:
        nested["seed"] = args.seed
    return nested


def _search_flags(args: argparse.Namespace) -> dict[str, Any]:
    """Rates are read here: the run folder keeps them, so that resuming needs no file."""
    path = getattr(args, "search_rates", None)
    rates = None if path is None else read_rates(path)
    strategy = getattr(args, "search", None) or (None if rates is None else "manual")
    return {"strategy": strategy, "rates": rates}


def check_names(config: CompressConfig, processes: int = 1) -> None:
    """Refuse what cannot work before a folder is made: unknown names, missing files, batches that cannot be shared."""
    from ...compiler.targets import get_target
    from ..coupling import find_coupling
    from ..pipeline import load_source, load_splits
    from ..recipe import resolve_batch_parts
    from ..search.strategies import make_strategy
    from ..solvers.base import rho_by_layer

    target = get_target(config.goal.target, precision=config.goal.precision)
    if config.goal.device is not None:
        from ...device.devices import open_device

        device = open_device(config.goal.device)
        if target.backend not in device.info.backends:
            raise ConfigError(
                f"{device.id} runs {device.info.backend} packages, target {target.name} makes {target.backend} ones: "
                "choose another --device or --target"
            )
    train = config.train
    resolve_batch_parts(train.batch_parts, batch_size=train.batch_size, processes=processes)
    coupling = find_coupling(load_source(config, load_splits(config), allow_code=True).network)
    make_strategy(config.search, coupling)
    rho_by_layer(config.prune.layer_rho, list(coupling.layers))


def _dry_run(config: CompressConfig, args: argparse.Namespace, progress: Progress, processes: "Processes") -> int:
    from ..config_file import to_toml

    check_names(config, processes.size)
    progress.note(f"dry run: nothing is written; the run folder would be {args.out or _default_folder(config)}")
    sys.stdout.write(json.dumps(config.model_dump(mode="json")) + "\n" if args.json else to_toml(config))
    return ExitCode.OK


def _create(config: CompressConfig, args: argparse.Namespace) -> RunFolder:
    from ..environment import describe_environment

    path = args.out or _free(_default_folder(config))
    return RunFolder.create(path, config, describe_environment(), shlex.join(["act", *sys.argv[1:]]))


def _resumed(args: argparse.Namespace) -> tuple[RunFolder | None, CompressConfig]:
    config = resolve(args.effort, args.config, flags_of(args))
    path = args.out or _newest(_default_folder(config))
    if RunFolder.is_unstarted(path):
        return None, config
    folder, saved = RunFolder.resume(path, model_from_flag=args.model)
    given = flags_of(args)
    kept = saved.model_dump(mode="json")
    for section, values in given.items():
        for key, value in values.items() if isinstance(values, dict) else ():
            if json.loads(json.dumps(value, default=str)) != kept[section].get(key):
                raise ConfigError(
                    f"--resume continues a run as it was configured, but {section}.{key} was "
                    f"{kept[section].get(key)!r} and is now {value!r}: leave that flag out, or start another run"
                )
    folder.remove_temporary_files()
    return folder, saved


def _constructor_arguments(texts: list[str]) -> dict[str, bool | int | float | str]:
    parsed: dict[str, bool | int | float | str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ConfigError(f"--argument {text!r} is not NAME=VALUE")
        parsed[name] = _scalar(value)
    return parsed


def _scalar(text: str) -> bool | int | float | str:
    if text in ("true", "false"):
        return text == "true"
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def _default_folder(config: CompressConfig) -> Path:
    model = config.network.model.rsplit(":", 1)[-1]
    data = config.data.spec.split(":", 1)[0]
    return Path("runs") / f"{model}-{data}-{config.goal.target}"


def _numbered(path: Path) -> list[Path]:
    """The folders `path`, `path-2`, `path-3`, … that exist, in order."""
    found, number = [], 1
    candidate = path
    while candidate.exists():
        found.append(candidate)
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return found


def _free(path: Path) -> Path:
    existing = _numbered(path)
    return path.with_name(f"{path.name}-{len(existing) + 1}") if existing else path


def _newest(path: Path) -> Path:
    existing = _numbered(path)
    if not existing:
        raise RunFolderError(f"there is no run to resume at {path}: give its folder with --out")
    return existing[-1]
