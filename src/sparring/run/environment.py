"""The environment of a run."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from typing import Any

import torch

from sparring.base.version import __version__
from sparring.base.workers import workers


def environment(device: torch.device) -> dict[str, Any]:
    """Versions and hardware that a run's results may depend on: name -> value."""
    names = ("numpy", "scikit-learn", "pillow", "safetensors")
    return {
        "python": sys.version.split()[0],
        "sparring": __version__,
        "torch": str(torch.__version__),  # with its build, such as +cu130, which the package's metadata may omit
        **{name: metadata.version(name) for name in names},
        "platform": platform.platform(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "workers": workers().count,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cuda": torch.version.cuda,
    }
