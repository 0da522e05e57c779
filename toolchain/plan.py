"""``pruning_plan.json``: a plan with all that rebuilds its compact network, beside ``weights.safetensors``.

The file names a registered network and its constructor arguments, the image size, the preprocessing, and the kept
indices. Nothing in it is trusted: types, order, ranges and keys are checked, and a name that would run code
(``package.module:factory``) is refused unless the caller gives the same name from a flag. The algebra of plans is in
``keep_indices``.
"""

from __future__ import annotations

import difflib
import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..models.preprocessing import Preprocessing, PreprocessingError
from ..models.registry import ModelError, ModelSpec
from .coupling import IntArray
from .keep_indices import PlanError, PruningPlan, compose_plans, normalize_plan, resolve_plan

__all__ = [
    "SCHEMA_VERSION",
    "PlanError",
    "PruningPlan",
    "SavedPlan",
    "compose_plans",
    "load_plan",
    "normalize_plan",
    "plan_from_dict",
    "plan_to_dict",
    "resolve_plan",
    "save_plan",
]

SCHEMA_VERSION = 1
MAX_INDEX = 2**31 - 1
MAX_FILE_BYTES = 256 * 1024 * 1024

_PLAN_KEYS = ("keep_filters", "keep_columns")
_FILE_KEYS = ("schema_version", "network", "input_shape", "preprocessing", *_PLAN_KEYS, "extra")


@dataclass(frozen=True, kw_only=True)
class SavedPlan:
    """What a plan file holds.

    Attributes:
        plan: In the indices of the network that ``spec`` makes.
        spec: The dense network.
        input_shape: ``(channels, height, width)``.
        preprocessing: How images become inputs, with class names.
        extra: Anything else that was saved with the plan, JSON values.
    """

    plan: PruningPlan
    spec: ModelSpec
    input_shape: tuple[int, int, int]
    preprocessing: Preprocessing
    extra: Mapping[str, Any] = field(default_factory=dict)


def plan_to_dict(plan: PruningPlan) -> dict[str, dict[str, list[int]]]:
    """A plan as JSON values."""
    return {key: {name: keep.tolist() for name, keep in getattr(plan, key).items()} for key in _PLAN_KEYS}


def plan_from_dict(record: object) -> PruningPlan:
    """Read what :func:`plan_to_dict` made.

    Raises:
        PlanError: If a key is unknown or missing, or indices are not sorted, unique, non-negative 32-bit integers.
    """
    fields = _mapping("the plan", record)
    _check_keys("the plan", fields, _PLAN_KEYS, required=_PLAN_KEYS)
    return PruningPlan(
        **{
            key: {name: _indices(f"{key}[{name!r}]", keep) for name, keep in _mapping(key, fields[key]).items()}
            for key in _PLAN_KEYS
        }
    )


def save_plan(
    path: Path,
    plan: PruningPlan,
    *,
    spec: ModelSpec,
    input_shape: tuple[int, int, int],
    preprocessing: Preprocessing,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a plan file, atomically.

    Args:
        path: File to write or replace.
        plan: In the indices of the network that ``spec`` makes.
        spec: The dense network.
        input_shape: ``(channels, height, width)``.
        preprocessing: How images become inputs.
        extra: JSON values to save beside.
    """
    record = {
        "schema_version": SCHEMA_VERSION,
        "network": spec.to_dict(),
        "input_shape": list(input_shape),
        "preprocessing": preprocessing.to_dict(),
        **plan_to_dict(plan),
        "extra": dict(extra or {}),
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(record, indent=None, separators=(",", ":")) + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_plan(path: Path, *, code_from_flag: str | None = None) -> SavedPlan:
    """Read and check a plan file.

    Args:
        path: The file.
        code_from_flag: A ``package.module:factory`` that the user named; the file may then name the same one.

    Returns:
        The plan. Whether it fits the network is checked where it is applied.

    Raises:
        PlanError: If the file is missing, damaged, of another schema, or names code.
    """
    record = _read(path)
    where = f"plan file {str(path)!r}"
    try:
        return _saved_plan(record, code_from_flag)
    except (PlanError, ModelError, PreprocessingError) as error:
        raise PlanError(f"{where}: {error}") from error


def _saved_plan(record: object, code_from_flag: str | None) -> SavedPlan:
    fields = _mapping("the file", record)
    version = fields.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise PlanError(f"schema_version is {version!r}, this version reads {SCHEMA_VERSION}; was it written by act?")
    _check_keys("the file", fields, _FILE_KEYS, required=tuple(key for key in _FILE_KEYS if key != "extra"))
    spec = ModelSpec.from_dict(_mapping("network", fields["network"]))
    if ":" in spec.name and spec.name != code_from_flag:
        raise PlanError(
            f"it names code, {spec.name!r}, which is never run from a file; name the network by a flag instead"
        )
    return SavedPlan(
        plan=plan_from_dict({key: fields[key] for key in _PLAN_KEYS}),
        spec=spec,
        input_shape=_input_shape(fields["input_shape"]),
        preprocessing=Preprocessing.from_dict(_mapping("preprocessing", fields["preprocessing"])),
        extra=_mapping("extra", fields.get("extra", {})),
    )


def _read(path: Path) -> object:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise PlanError(f"plan file {str(path)!r} is larger than {MAX_FILE_BYTES} bytes; it is no plan of ours")
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"cannot read plan file {str(path)!r}: {error.strerror or error}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise PlanError(f"plan file {str(path)!r} is no JSON or cut short: {error}") from error


def _mapping(what: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PlanError(f"{what} must be a JSON object, got {type(value).__name__}")
    return value


def _check_keys(what: str, fields: Mapping[str, Any], known: tuple[str, ...], *, required: tuple[str, ...]) -> None:
    for key in fields:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise PlanError(f"{what} has an unknown key {key!r}: {hint}known keys: {', '.join(known)}")
    missing = [key for key in required if key not in fields]
    if missing:
        raise PlanError(f"{what} lacks {', '.join(missing)}; it may be damaged")


def _indices(what: str, value: object) -> IntArray:
    if not isinstance(value, list) or not value or not all(type(index) is int for index in value):
        raise PlanError(f"{what} must be a list of at least one whole number")
    if value[0] < 0 or max(value) > MAX_INDEX or any(a >= b for a, b in itertools.pairwise(value)):
        raise PlanError(f"{what} must be sorted, without repetition, and in 0..{MAX_INDEX}")
    return np.array(value, dtype=np.int32)


def _input_shape(value: object) -> tuple[int, int, int]:
    if not isinstance(value, list) or len(value) != 3 or not all(type(size) is int and size > 0 for size in value):
        raise PlanError(f"input_shape must be [channels, height, width], each at least 1, got {value!r}")
    channels, height, width = value
    return channels, height, width
