"""What this machine computes with: device, threads and number format of training."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

SMALL_IMAGE_PIXELS = 256
VECTOR_CHANNELS = 16


def compute_device() -> torch.device:
    """CUDA where a device is present, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def supports_bf16(device: torch.device) -> bool:
    """Whether bf16 matrix arithmetic runs in hardware on `device`."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and torch.cpu._is_avx512_bf16_supported()


def training_threads(image_pixels: int) -> int:
    """Threads for images of so many pixels; tiny layers spend more on handing work out than they gain by it."""
    return 1 if image_pixels < SMALL_IMAGE_PIXELS else torch.get_num_threads()


def training_precision(asked: str, device: torch.device, image_pixels: int) -> str:
    """Resolve `auto` to `bf16` or `fp32`.

    Args:
        asked: `auto`, `bf16` or `fp32`.
        device: Where the training runs.
        image_pixels: Height times width; for small images the casts cost more than bf16 saves.
    """
    if asked != "auto":
        return asked
    return "bf16" if image_pixels >= SMALL_IMAGE_PIXELS and supports_bf16(device) else "fp32"


def training_layout(module: nn.Module, device: torch.device, precision: str) -> torch.memory_format:
    """The memory format a network trains fastest in.

    Channels last, but not in bf16 on a CPU where pruning has left a number of channels that does not fill vectors:
    torch's batch norm then takes five times as long as in rows of pixels.
    """
    uneven = any(m.num_features % VECTOR_CHANNELS for m in module.modules() if isinstance(m, nn.BatchNorm2d))
    if device.type == "cpu" and precision == "bf16" and uneven:
        return torch.contiguous_format
    return torch.channels_last


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Autocast to bf16 where `precision` says so; nothing otherwise."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
