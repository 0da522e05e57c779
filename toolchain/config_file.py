"""Configurations in files: merged with presets and flags, written to a run folder, read back.

Defaults < effort preset < file < flags. `config.toml` of a run folder is what `--resume` reads. A file holds data only:
a network given as `package.module:factory` (which runs code) must come from a flag.
"""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .config import PRESETS, CompressConfig, ConfigError, Effort, RatesConfig, explain, merge, validate


def resolve(effort: Effort | None, file: Path | None, flags: Mapping[str, Any]) -> CompressConfig:
    """Merge defaults, preset, file and flags, and validate.

    Args:
        effort: Preset from the command line; wins over the file's `effort`.
        file: TOML file, or None.
        flags: Nested mapping of the values given on the command line (`{"goal": {"macs_x": 2.0}}`).

    Raises:
        ConfigError: For an unreadable file, an unknown key (with the nearest match), or a bad value.
    """
    from_file = _read_toml(file) if file is not None else {}
    chosen = effort or from_file.get("effort", "normal")
    if chosen not in PRESETS:
        raise ConfigError(f"effort is {chosen!r}; allowed: {', '.join(PRESETS)}")
    merged: dict[str, Any] = {}
    for layer in (PRESETS[chosen], from_file, flags, {"effort": chosen}):
        merged = merge(merged, layer)
    return validate(merged, source=str(file) if file else "the command line")


def load_resolved(path: Path, *, model_from_flag: str | None = None) -> CompressConfig:
    """Read the `config.toml` of a run folder.

    Args:
        path: The file.
        model_from_flag: The network named on the command line; a network that is code must be named there again.

    Raises:
        ConfigError: If it is missing or damaged, or names code that the command line does not.
    """
    return validate(_read_toml(path, allowed_code=model_from_flag), source=str(path))


def read_rates(path: Path) -> dict[str, Any]:
    """Read the rates of a manual search from a TOML file, or a JSON file where its name ends in `.json`.

    Returns:
        The `[search.rates]` section, complete.

    Raises:
        ConfigError: If the file is missing or damaged, or has an unknown key or a bad rate.
    """
    kind = "JSON" if path.suffix == ".json" else "TOML"
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if kind == "JSON" else tomllib.loads(text)
        return RatesConfig.model_validate(values).model_dump()
    except FileNotFoundError:
        raise ConfigError(f"rates file {path} does not exist") from None
    except ValidationError as error:
        items = [{**item, "loc": ("search", "rates", *item["loc"])} for item in error.errors()]
        raise ConfigError(f"rates file {path}: " + "; ".join(map(explain, items))) from None
    except ValueError as error:
        raise ConfigError(f"rates file {path} is not {kind}: {error}") from None


def to_toml(config: CompressConfig) -> str:
    """Write a configuration as TOML; keys that are None are left out."""
    values = config.model_dump(mode="json", exclude_none=True)
    top = {key: value for key, value in values.items() if not isinstance(value, dict)}
    lines = [f"{key} = {_toml_value(value)}" for key, value in top.items()]
    for name, section in values.items():
        if not isinstance(section, dict):
            continue
        lines += ["", f"[{name}]"]
        lines += [f"{key} = {_toml_value(value)}" for key, value in section.items()]
    return "\n".join(lines) + "\n"


def _read_toml(path: Path, *, allowed_code: str | None = None) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"configuration file {path} does not exist") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration file {path} is not TOML: {error}") from None
    network = values.get("network")
    model = network.get("model") if isinstance(network, dict) else None
    if ":" in str(model) and model != allowed_code:
        raise ConfigError(
            f"configuration file {path} names code ({model!r}): a file may name registered networks only; "
            f"give your own network on the command line: act compress {model}"
        )
    return values


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, dict):
        inside = ", ".join(f"{_toml_string(str(key))} = {_toml_value(item)}" for key, item in value.items())
        return "{ " + inside + " }" if inside else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    return _toml_string(str(value))


def _toml_string(text: str) -> str:
    escaped = "".join(
        {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}.get(c, c if c.isprintable() else f"\\u{ord(c):04x}")
        for c in text
    )
    return f'"{escaped}"'
