"""Replacements for functions missing from older supported versions of torch. No other module depends on the version.

The oldest supported version is 2.3, the first that works with NumPy 2. Each function has the same result in all
versions up to rounding.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["bf16_units", "has_fused", "no_autocast", "total_norm"]

BF16_UNITS = ("amx_bf16", "avx512_bf16")
PROCESSOR = Path("/proc/cpuinfo")
VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])
MPS_AUTOCAST_SINCE = (2, 5)
FUSED_SINCE = {"cuda": (2, 0), "cpu": (2, 4), "mps": (2, 5)}  # of Adam, AdamW and SGD


def total_norm(tensors: Iterable[Tensor]) -> Tensor:
    """The 2-norm of all `tensors` together: a scalar, 0 for no tensors."""
    if hasattr(torch.nn.utils, "get_total_norm"):  # from torch 2.6 on; one kernel for all tensors on CUDA
        return torch.nn.utils.get_total_norm(tensors)
    norms = [torch.linalg.vector_norm(tensor) for tensor in tensors]
    return torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.tensor(0.0)


def no_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """A context that turns autocast off on a device; an empty context where torch has no autocast for it."""
    known = not hasattr(torch.amp, "is_autocast_available") or torch.amp.is_autocast_available(device.type)
    if not known or (device.type == "mps" and VERSION < MPS_AUTOCAST_SINCE):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def bf16_units() -> list[str]:
    """The CPU's instruction sets for fast bf16 products, out of `BF16_UNITS`.

    Older versions of torch do not list them. Then Linux's `/proc/cpuinfo` is read, which uses the same names; on other
    systems the result is empty.
    """
    if hasattr(torch.cpu, "get_capabilities"):
        able = torch.cpu.get_capabilities()
        return [unit for unit in BF16_UNITS if able.get(unit)]
    try:
        flags = set(PROCESSOR.read_text().split())
    except OSError:
        return []
    return [unit for unit in BF16_UNITS if unit in flags]


def has_fused(kind: Callable[..., torch.optim.Optimizer], parameters: Iterable[Tensor]) -> bool:
    """True if this optimiser has a fused kernel on the devices of all `parameters`. RMSprop has none."""
    devices = {parameter.device.type for parameter in parameters}
    return "fused" in inspect.signature(kind).parameters and all(
        device in FUSED_SINCE and FUSED_SINCE[device] <= VERSION for device in devices
    )
