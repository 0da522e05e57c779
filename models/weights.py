"""Trained weights: read from safetensors or ``torch.save`` files, written as safetensors.

A ``torch.save`` file is a pickle. It is read with ``weights_only=True``, which rebuilds tensors and plain containers;
a file that names anything else is refused, and what it names is never executed. What a file is, its content says, not
its name.

Metadata of a safetensors file: ``act.preprocessing`` holds our preprocessing record as JSON; otherwise an informal
``normalization`` such as ``mean 0.485,0.456,0.406 std 0.229,0.224,0.225 on [0,1] RGB`` is understood.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from .normalization import Normalization, parse_normalization
from .preprocessing import Preprocessing, PreprocessingError
from .published_weights import adapt_keys

PREPROCESSING_KEY = "act.preprocessing"
_NORMALIZATION_KEY = "normalization"
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")
_NAMED_IN_ERRORS = 3
_OPTIONAL_SUFFIX = ".num_batches_tracked"


class WeightsError(ValueError):
    """A weights file that is missing, damaged or refused, or that does not fit the network."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """Content of a weights file.

    Attributes:
        state: Tensors by state-dict key, on the CPU, in the file's own dtypes.
        metadata: Strings of the file; empty for ``torch.save`` files.
        preprocessing: Our record, where the file carries one.
        normalization: The informal note, where it carries that and no record.
        path: Where it was read, for messages.
    """

    state: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)
    preprocessing: Preprocessing | None = None
    normalization: Normalization | None = None
    path: Path | None = None

    def preprocessing_for(self, data: Preprocessing) -> Preprocessing:
        """The preprocessing that these weights expect, on some data.

        Args:
            data: The data's own record.

        Returns:
            The file's record; or the data's with the normalisation that the file notes; or the data's. Class names
            come from the data where the file has none.

        Raises:
            WeightsError: If the noted normalisation does not fit the data's channels.
        """
        if self.preprocessing is not None:
            names = self.preprocessing.class_names or data.class_names
            return replace(self.preprocessing, class_names=names)
        note = self.normalization
        if note is None:
            return data
        try:
            return Preprocessing.from_dict(
                {
                    **data.to_dict(),
                    "channel_order": note.channel_order or data.channel_order,
                    "scale": note.scale,
                    "mean": note.mean,
                    "std": note.std,
                }
            )
        except PreprocessingError as error:
            raise WeightsError(f"the normalization noted in {self.path} does not fit the data: {error}") from error


def load_weights(path: str | Path) -> Weights:
    """Read a weights file.

    Args:
        path: safetensors, or a state dict written by ``torch.save`` (also under ``state_dict``, ``model`` or
            ``model_state_dict``, and with keys that begin with ``module.`` or ``_orig_mod.``).

    Raises:
        WeightsError: If it is missing, cut short, refused, or no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}" + (" (it is a folder)" if path.is_dir() else ""))
    try:
        with path.open("rb") as stream:
            head = stream.read(9)
    except OSError as error:
        raise WeightsError(f"weights file {path} cannot be read: {error.strerror}") from error
    # safetensors first: the length before its header may begin with a pickle's byte.
    if head[8:9] == b"{":
        return _read_safetensors(path)
    if head[:4] == b"PK\x03\x04" or head[:1] == b"\x80":
        return Weights(state=_read_torch(path), path=path)
    raise WeightsError(
        f"{path} is neither a safetensors nor a torch.save file, or was cut short at the beginning "
        f"({path.stat().st_size} bytes): give a file of one of these formats"
    )


def load_into(model: nn.Module, weights: Weights) -> None:
    """Copy weights into a network, converting to the network's dtypes. Either all fit, or nothing is changed.

    Args:
        model: The network; its ``num_batches_tracked`` may be missing in the file.
        weights: From :func:`load_weights`; published files of torchvision's networks may have old keys and auxiliary
            classifiers (see ``published_weights``).

    Raises:
        WeightsError: If keys or shapes differ, or a value is not finite.
    """
    place = weights.path or "the state dict"
    own = model.state_dict()
    state = adapt_keys(weights.state, own)
    missing = [key for key in own if key not in state and not key.endswith(_OPTIONAL_SUFFIX)]
    unexpected = [key for key in state if key not in own]
    shapes = [
        f"{key} is {tuple(value.shape)}, not {tuple(own[key].shape)}"
        for key, value in state.items()
        if key in own and value.shape != own[key].shape
    ]
    problems = [
        f"{title}: {_few(names)}"
        for title, names in (("missing", missing), ("not in the network", unexpected), ("shapes", shapes))
        if names
    ]
    if problems:
        raise WeightsError(
            f"{place} does not fit the network: {'; '.join(problems)}; check the network's name and arguments "
            "(number of classes, channels, stem)"
        )
    broken = [key for key, value in state.items() if not _is_finite(value)]
    if broken:
        raise WeightsError(f"{place} holds values that are not finite, in {_few(broken)}: the training diverged")
    _copy(model, state, str(place))


def save_weights(path: str | Path, state: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None) -> None:
    """Write safetensors: to a temporary name in the same folder first, then renamed.

    Args:
        path: Where to; its folder exists.
        state: State dict; tensors that share memory are written separately.
        metadata: Strings; put the preprocessing record there with :func:`preprocessing_metadata`.

    Raises:
        OSError: If the file cannot be written; what was at ``path`` stays.
    """
    path = Path(path)
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
    content = safetensors.torch.save(tensors, metadata=dict(metadata) if metadata else None)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def preprocessing_metadata(preprocessing: Preprocessing) -> dict[str, str]:
    """Metadata entry that carries a preprocessing record in a safetensors file."""
    return {PREPROCESSING_KEY: json.dumps(preprocessing.to_dict())}


def _read_safetensors(path: Path) -> Weights:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is not a whole safetensors file ({error}): copy or download it again") from error
    _require_tensors(state, path)
    preprocessing, normalization = _noted(metadata, path)
    return Weights(
        state=_unprefixed(state),
        metadata=metadata,
        preprocessing=preprocessing,
        normalization=normalization,
        path=path,
    )


def _noted(metadata: Mapping[str, str], path: Path) -> tuple[Preprocessing | None, Normalization | None]:
    if PREPROCESSING_KEY in metadata:
        try:
            return Preprocessing.from_dict(json.loads(metadata[PREPROCESSING_KEY])), None
        except ValueError as error:  # not JSON, or not a record
            raise WeightsError(f"the preprocessing record in {path} is not valid: {error}") from error
    if _NORMALIZATION_KEY in metadata:
        try:
            return None, parse_normalization(metadata[_NORMALIZATION_KEY])
        except ValueError as error:
            raise WeightsError(f"the normalization noted in {path} is {error}") from error
    return None, None


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        # From a stream: given a path, torch.load goes by its ending.
        with warnings.catch_warnings(), path.open("rb") as stream:
            warnings.simplefilter("ignore")
            content = torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path} is refused: {_refusal(error)}") from error
    except Exception as error:  # a damaged file ends in almost any builtin exception
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path} is not a whole torch.save file ({reason}): copy or download it again") from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    _require_tensors(content, path)
    return _unprefixed(dict(content))


def _refusal(error: Exception) -> str:
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    what = f"it names {named[1]}, " if named else "it holds something "
    return (
        f"{what}which is code or data other than tensors; that was never executed. Save only the state dict, with "
        "torch.save(model.state_dict(), …) or as safetensors"
    )


def _require_tensors(content: object, path: Path) -> None:
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path} holds {type(content).__name__}, but a state dict with tensors is expected")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise WeightsError(
                f"{path} is no state dict: entry {key!r} is {type(value).__name__}, but must be a tensor; save "
                "model.state_dict()"
            )
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise WeightsError(f"{path}: tensor {key} is not a plain dense tensor with values; save it as one")


def _unprefixed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop what DataParallel and torch.compile put before every key."""
    for prefix in _PREFIXES * 2:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _is_finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())


def _few(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_IN_ERRORS
    return ", ".join(names[:_NAMED_IN_ERRORS]) + (f" and {more} more" if more > 0 else "")


def _copy(model: nn.Module, state: Mapping[str, Tensor], place: str) -> None:
    # state_dict() carries the versions of the layers, without which MNASNet refuses any state.
    before, after = model.state_dict(), model.state_dict()
    before.update({key: value.clone() for key, value in before.items()})
    after.update(state)
    try:
        model.load_state_dict(after, strict=True)
    except RuntimeError as error:  # a layer refuses its values, such as column indices out of range
        model.load_state_dict(before, strict=True)
        reason = "; ".join(line.strip() for line in str(error).splitlines()[1:]) or str(error)
        raise WeightsError(f"{place} does not fit the network: {reason}") from error
