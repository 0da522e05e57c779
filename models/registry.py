"""Networks by name: our own families, torchvision's, and a user's ``package.module:factory``.

A factory is a function whose keyword arguments are plain numbers, strings and booleans, so that a file can say how a
network was made (:class:`ModelSpec`). A file may name registered networks only; a name with ``:`` runs code and is
accepted only where the caller says so (``allow_code``), which the command line does for its own flag alone.
"""

from __future__ import annotations

import fnmatch
import importlib
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from .naming import unknown_name

if TYPE_CHECKING:
    from torch import nn

Scalar = int | float | str | bool
Factory = Callable[..., "nn.Module"]
_F = TypeVar("_F", bound=Factory)

_FAMILIES = ("lenet", "mobilenet", "resnet", "resnet_cifar", "vgg")
_CIFAR_STEM_LIMIT = 64
_factories: dict[str, Factory] = {}


class ModelError(ValueError):
    """An unknown network, an argument it does not take, or code that may not or cannot be run."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What rebuilds an untrained network: its name and the arguments of its factory."""

    name: str
    arguments: dict[str, Scalar] = field(default_factory=dict)

    @property
    def is_code(self) -> bool:
        """Whether the name is ``package.module:factory``."""
        return ":" in self.name

    def to_dict(self) -> dict[str, Any]:
        """The spec as JSON types."""
        return {"name": self.name, "arguments": dict(self.arguments)}

    @classmethod
    def from_dict(cls, record: object) -> ModelSpec:
        """Read what :meth:`to_dict` wrote.

        Raises:
            ModelError: If a key is missing, unknown or of the wrong type. The name itself is not looked up here.
        """
        if not isinstance(record, Mapping):
            raise ModelError(f"a network's record must be an object with 'name' and 'arguments', but is {record!r}")
        for key in record:
            if key not in ("name", "arguments"):
                raise ModelError(
                    unknown_name("key of a network's record", str(key), ("name", "arguments"), plural="keys")
                )
        name, arguments = record.get("name"), record.get("arguments", {})
        if not isinstance(name, str) or not name:
            raise ModelError(f"a network's name must be a non-empty string, but is {name!r}")
        if not isinstance(arguments, Mapping):
            raise ModelError(f"the arguments of network {name!r} must be an object, but are {arguments!r}")
        for key, value in arguments.items():
            if not isinstance(key, str) or not isinstance(value, int | float | str):
                raise ModelError(
                    f"argument {key!r} of network {name!r} must be a number, string or boolean, but is {value!r}"
                )
        return cls(name=name, arguments=dict(arguments))


def register_model(factory: _F) -> _F:
    """Decorator: make ``factory`` known under its own name.

    Raises:
        ModelError: If the name is taken.
    """
    name = factory.__name__
    if name in _factories:
        raise ModelError(f"a network named {name!r} is registered already")
    _factories[name] = factory
    return factory


def list_models(pattern: str = "*") -> list[str]:
    """Our own names that match a shell pattern such as ``resnet*``, sorted naturally (resnet20 after resnet18)."""
    return _matching(_registered(), pattern)


def list_torchvision_models(pattern: str = "*") -> list[str]:
    """The names of torchvision's classification networks that match, sorted likewise; imports torchvision.

    A network whose name one of ours has is ``torchvision.NAME``.

    Raises:
        ModelError: If torchvision cannot be imported.
    """
    return _matching(_torchvision_names(), pattern)


def create_model(name: str, *, allow_code: bool = False, **arguments: Scalar) -> nn.Module:
    """Make a network with random weights.

    Args:
        name: Registered name, or ``package.module:factory`` where ``allow_code``. Such a module is looked up in the
            working directory first, and arguments that its factory does not take are dropped.
        allow_code: Whether ``name`` may run a user's code. Never set it for a name that comes from a file.
        **arguments: Of the factory.

    Raises:
        ModelError: If the network is unknown, an argument is wrong, or code is refused or fails.
    """
    if ":" in name:
        if not allow_code:
            raise ModelError(
                f"network {name!r} names code, which runs only when it is given by a flag (--model "
                "package.module:factory), never because a file names it"
            )
        from .user_code import create_from_code

        return create_from_code(name, arguments)
    factory = _find(name)
    _check_arguments(name, factory, arguments)
    try:
        return factory(**arguments)
    except ModelError:
        raise
    except (ValueError, RuntimeError, MemoryError) as error:  # a dropout of 2, a layer larger than the memory
        reason = str(error).splitlines()[0] if str(error) else "not enough memory"
        raise ModelError(f"network {name!r} cannot be made with {arguments}: {reason}") from error


def default_arguments(name: str, *, num_classes: int, image_shape: tuple[int, int, int]) -> dict[str, Scalar]:
    """Arguments that fit a network to a data set.

    Args:
        name: Registered name or ``package.module:factory`` (which is not imported for this).
        num_classes: Classes of the data.
        image_shape: ``(c, h, w)`` of the images.

    Returns:
        ``in_channels`` and ``num_classes``; for registered networks also ``stem`` (``"cifar"`` for images of at most
        64 pixels on the shorter side, else ``"imagenet"``), ``image_height`` and ``image_width``, as the factory
        takes them.

    Raises:
        ModelError: If the network is unknown.
    """
    channels, height, width = image_shape
    fitting: dict[str, Scalar] = {"in_channels": channels, "num_classes": num_classes}
    if ":" in name:
        return fitting
    fitting["stem"] = "cifar" if min(height, width) <= _CIFAR_STEM_LIMIT else "imagenet"
    fitting["image_height"] = height
    fitting["image_width"] = width
    taken = inspect.signature(_find(name)).parameters
    return {key: value for key, value in fitting.items() if key in taken}


def _registered() -> dict[str, Factory]:
    for family in _FAMILIES:
        importlib.import_module(f".{family}", __package__)
    return _factories


def _torchvision_names() -> list[str]:
    from .torchvision_networks import torchvision_names

    return torchvision_names(_registered())


def _find(name: str) -> Factory:
    known = _registered()
    if name in known:
        return known[name]
    stock = _torchvision_names()
    if name in stock:
        from .torchvision_networks import torchvision_factory

        return torchvision_factory(name)
    raise ModelError(
        f"{unknown_name('model', name, sorted(known, key=_natural), unlisted=stock)}, and torchvision's (see 'act "
        "models'); or package.module:factory for a network of your own"
    )


def _matching(names: Iterable[str], pattern: str) -> list[str]:
    return sorted((name for name in names if fnmatch.fnmatchcase(name, pattern)), key=_natural)


def _check_arguments(name: str, factory: Factory, arguments: Mapping[str, Scalar]) -> None:
    taken = inspect.signature(factory, eval_str=True).parameters
    for key, value in arguments.items():
        if key not in taken:
            raise ModelError(unknown_name(f"argument of {name}", key, taken, plural="arguments"))
        problem = _value_problem(value, taken[key].annotation)
        if problem is not None:
            raise ModelError(f"argument {key} of {name} must be {problem}, but is {value!r}")


def _value_problem(value: Scalar, annotation: object) -> str | None:
    """What the value must be instead, or ``None`` if it fits. Every whole number of a network is a count or a size."""
    if typing.get_origin(annotation) is typing.Literal:
        allowed = typing.get_args(annotation)
        return None if value in allowed else "one of " + ", ".join(map(repr, allowed))
    if annotation is bool:
        return None if isinstance(value, bool) else "true or false"
    if annotation in (int, int | None):
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        return None if fits else "a whole number of at least 1"
    if annotation is float:
        return None if isinstance(value, int | float) and not isinstance(value, bool) else "a number"
    return None


def _natural(name: str) -> tuple[str, int, str]:
    letters = name.rstrip("0123456789")
    digits = name[len(letters) :]
    return letters, int(digits or 0), name
