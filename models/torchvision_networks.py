"""torchvision's classification networks by name, untrained, all called alike.

Every one takes ``num_classes``, ``in_channels`` (3 and nothing else: their first layer is fixed), ``image_height`` and
``image_width``. Most networks work at any size from a smallest one on, which is checked; ViT and MaxViT are built for
one size. The networks have one output: the auxiliary classifiers of GoogLeNet and Inception v3, which only training
uses, are left out. Published weights load strictly (those of the auxiliary classifiers are dropped).

Where a name is taken by one of our own networks, torchvision's is ``torchvision.NAME``: its ``vgg16`` has no batch
norm, ours has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from types import ModuleType
from typing import Any

from torch import nn

from .registry import ModelError
from .torchvision_compat import import_torchvision

QUALIFIER = "torchvision."
"""What a name begins with, where one of our own networks has the plain name."""

_USUAL_SIDE = 224
_MAXVIT_STEP = 224  # five halvings, each to a multiple of its 7 x 7 windows
_SWIN_SMALLEST = 4  # one patch; windows are padded
# Without init_weights=False both networks warn, and draw their weights for a minute.
_ONE_OUTPUT: dict[str, Any] = {"aux_logits": False, "init_weights": False}
_RESCALING = ("googlenet", "inception_v3")


def torchvision_names(taken: Collection[str]) -> list[str]:
    """Names of all classification networks; those in ``taken`` begin with ``torchvision.``.

    Raises:
        ModelError: If torchvision cannot be imported.
    """
    models = _models()
    return [QUALIFIER + name if name in taken else name for name in models.list_models(module=models)]


def torchvision_factory(name: str) -> Callable[..., nn.Module]:
    """The factory of a network that :func:`torchvision_names` lists."""
    stock = name.removeprefix(QUALIFIER)

    def make(
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        image_height: int | None = None,
        image_width: int | None = None,
    ) -> nn.Module:
        return _make(stock, num_classes, in_channels, (image_height, image_width), {})

    def make_rescaling(
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        image_height: int | None = None,
        image_width: int | None = None,
        transform_input: bool = True,
    ) -> nn.Module:
        # The published weights of these two expect values around 0.5 ± 0.5; with `transform_input` the network itself
        # turns ImageNet's usual normalisation into that.
        fixed = {**_ONE_OUTPUT, "transform_input": transform_input}
        return _make(stock, num_classes, in_channels, (image_height, image_width), fixed)

    return make_rescaling if stock in _RESCALING else make


def usual_side(name: str) -> int:
    """Height and width in pixels that a network's published weights are judged at; 224 for unknown names."""
    models = _models()
    stock = name.removeprefix(QUALIFIER)
    if stock not in models.list_models(module=models):
        return _USUAL_SIDE
    sides = [getattr(weights.transforms, "keywords", {}).get("crop_size") for weights in _published(models, stock)]
    return min((side for side in sides if isinstance(side, int)), default=_USUAL_SIDE)


def _models() -> ModuleType:
    try:
        models: ModuleType = import_torchvision().models
    except ImportError as error:
        raise ModelError(f"torchvision's networks cannot be had: {error}") from error
    return models


def _make(
    name: str, num_classes: int, in_channels: int, size: tuple[int | None, int | None], fixed: dict[str, Any]
) -> nn.Module:
    if in_channels != 3:
        raise ModelError(
            f"network {name!r} of torchvision takes images of 3 channels, RGB, but in_channels is {in_channels}: give "
            "color images (--data), or choose one of act's own networks (see 'act models')"
        )
    models = _models()
    height = size[0] or size[1] or _USUAL_SIDE
    width = size[1] or height
    sized = _size_arguments(name, height, width)
    if not sized and size != (None, None):
        _check_size(name, height, width, _smallest(models, name))
    network: nn.Module = models.get_model(name, weights=None, num_classes=num_classes, **fixed, **sized)
    return network


def _size_arguments(name: str, height: int, width: int) -> dict[str, Any]:
    """What the builders of networks for one size take; nothing for the others."""
    if name.startswith("vit_"):
        patch = int(name.rpartition("_")[2])
        if height != width or height % patch:
            raise ModelError(
                f"network {name!r} takes square images whose side is a multiple of {patch}, but these are "
                f"{height}×{width}"
            )
        return {"image_size": height}
    if name.startswith("maxvit_"):
        if height % _MAXVIT_STEP or width % _MAXVIT_STEP:
            raise ModelError(
                f"network {name!r} takes images whose sides are multiples of {_MAXVIT_STEP}, but these are "
                f"{height}×{width}"
            )
        return {"input_size": (height, width)}
    return {}


def _check_size(name: str, height: int, width: int, smallest: int) -> None:
    if min(height, width) < smallest:
        raise ModelError(
            f"network {name!r} takes images of at least {smallest}×{smallest} pixels, but these are {height}×{width}"
        )


def _smallest(models: ModuleType, name: str) -> int:
    if name.startswith("swin_"):
        return _SWIN_SMALLEST
    return min((min(weights.meta["min_size"]) for weights in _published(models, name)), default=1)


def _published(models: ModuleType, name: str) -> list[Any]:
    """Descriptions of the weights that torchvision publishes for a network; nothing is downloaded."""
    return list(models.get_model_weights(name))
