"""Devices, number formats, and torch's settings for a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from sparring.base.choices import DEVICES
from sparring.base.compat import bf16_units
from sparring.base.errors import UserError, check_choice

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def find_device(name: str) -> torch.device:
    """The device with a name; `auto` takes the first available of CUDA, MPS and CPU. UserError: it is not available.

    Each process that torchrun started on a machine has a GPU of its own, by its `LOCAL_RANK`.
    """
    check_choice("device", "device", name, DEVICES)
    has = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(device for device in ("cuda", "mps", "cpu") if has[device])
    if not has[name]:
        here = ", ".join(device for device, there in has.items() if there)
        raise UserError(f"device={name!r} is not on this machine; choose one of: {here}")
    local_rank = os.environ.get("LOCAL_RANK", "")
    return torch.device(name, int(local_rank)) if name == "cuda" and local_rank.isdecimal() else torch.device(name)


def find_precision(name: str, device: torch.device) -> str:
    """`fp32` or `bf16`; `auto` takes bf16 where the device has fast bf16 matrix products."""
    if name != "auto":
        return name
    if device.type == "cpu":
        return "bf16" if bf16_units() else "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp32"
    return "fp32"


def autocast(precision: str, device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """A factory of contexts for forward passes. bf16 computes products and convolutions in bf16; weights stay fp32."""
    if precision == "bf16":
        return lambda: torch.autocast(device.type, torch.bfloat16)
    return nullcontext


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device. To CUDA it travels from pinned memory, so that the call does not wait for the device."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def widest_float(device: torch.device) -> torch.dtype:
    """float64, or float32 on a device without it (MPS)."""
    return torch.float32 if device.type == "mps" else torch.float64


@contextmanager
def prepared(device: torch.device) -> Iterator[None]:
    """A context with the settings of a run: deterministic kernels, fp32 without TF32, denormals flushed to zero.

    Saturated networks produce many denormals, which are slow. On exit, also after an error, torch's settings, its
    number of threads and its random state on the CPU are restored. Threads that torch starts within the context keep
    flushing denormals.
    """
    flushes, workspace = _flushes_denormals(), os.environ.get(WORKSPACE)
    benchmark, tf32 = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=[]), thread_count(torch.get_num_threads()):
        try:
            torch.set_flush_denormal(True)
            if device.type == "cuda":
                os.environ.setdefault(WORKSPACE, ":4096:8")
                torch.backends.cudnn.benchmark = False
                torch.backends.cudnn.allow_tf32 = False
                torch.use_deterministic_algorithms(True, warn_only=True)
            yield
        finally:
            torch.set_flush_denormal(flushes)
            torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = benchmark, tf32
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            if workspace is None:
                os.environ.pop(WORKSPACE, None)


@contextmanager
def thread_count(threads: int) -> Iterator[None]:
    """A context in which torch computes with this many threads on the CPU; on exit the number is restored."""
    before = torch.get_num_threads()
    try:
        set_threads(threads)
        yield
    finally:
        set_threads(before)


def set_threads(threads: int) -> None:
    """Let torch compute with this many threads on the CPU."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _flushes_denormals() -> bool:
    """True if this thread flushes denormals to zero. Torch has no query for it, so this computes one."""
    return torch.tensor([2.0**-126], dtype=torch.float32).mul(0.5).item() == 0
