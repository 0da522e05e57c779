"""A user's own network, ``package.module:factory``: imports the module and calls the factory.

This runs code. Only :func:`act.models.registry.create_model` comes here, and only with ``allow_code``.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

from torch import nn

from .naming import unknown_name
from .registry import ModelError, Scalar
from .torchvision_compat import import_torchvision, is_mismatch


def create_from_code(name: str, arguments: Mapping[str, Scalar]) -> nn.Module:
    """Make the network that ``package.module:factory`` makes.

    Args:
        name: Module and attribute; the attribute is a function or class that returns an ``nn.Module``, or a module
            object (copied).
        arguments: Those that the factory does not take are dropped. A factory with ``**kwargs`` gets them all, except
            ``in_channels=3``, which is every network's default and few factories' keyword.

    Raises:
        ModelError: If the name is malformed, or importing, calling or the result fails.
    """
    module_name, _, attribute = name.partition(":")
    if not attribute.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise ModelError(f"network {name!r} must be package.module:factory, two names of Python joined by ':'")
    module = _import(module_name, name)
    if not hasattr(module, attribute):
        public = [key for key in vars(module) if not key.startswith("_")]
        raise ModelError(unknown_name(f"name in module {module_name!r}", attribute, public, plural="names"))
    factory = getattr(module, attribute)
    if isinstance(factory, nn.Module):
        return copy.deepcopy(factory)
    if not callable(factory):
        raise ModelError(f"{name!r} must be a function or class that makes a network, but is {type(factory).__name__}")
    try:
        network = factory(**_taken(factory, arguments))
    except (Exception, SystemExit) as error:
        raise ModelError(f"{name!r} failed to make a network: {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise ModelError(f"{name!r} must return a torch.nn.Module, but returned {type(network).__name__}")
    return network


def _import(module_name: str, name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does; it stays, for imports that the user's code makes later
    importlib.invalidate_caches()
    try:
        try:
            return importlib.import_module(module_name)
        except RuntimeError as error:
            if not is_mismatch(error):
                raise
            import_torchvision()
            return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"network {name!r}: there is no module {error.name!r}; it is looked up in {here} and among the "
            "installed packages"
        ) from error
    except (Exception, SystemExit) as error:
        raise ModelError(f"network {name!r}: importing failed: {type(error).__name__}: {error}") from error


def _taken(factory: Callable[..., object], arguments: Mapping[str, Scalar]) -> dict[str, Scalar]:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # some built-in callables have no signature
        return {}
    keywords = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return {
        key: value
        for key, value in arguments.items()
        if key in keywords or (takes_any and (key, value) != ("in_channels", 3))
    }
