"""CPU cores: how many this process may use, and the shares of processes that it starts. Imports no torch.

`OMP_NUM_THREADS` carries a share: OpenMP, MKL, OpenBLAS and Arrow read it when a process starts, and processes started
from there inherit it.
"""

from __future__ import annotations

import os
import sys

LIMIT = "OMP_NUM_THREADS"


def available_cores() -> int:
    """The CPU cores that this process may use, at least 1: its CPU affinity, and at most `OMP_NUM_THREADS` if set."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    text = os.environ.get(LIMIT, "").partition(",")[0].strip()  # "4,2" limits nested regions, too
    limit = int(text) if text.isdecimal() else 0
    return min(cores, limit) if limit else cores


def share_of(jobs: int) -> int:
    """The cores for each of `jobs` processes that run at the same time, at least 1."""
    return max(1, available_cores() // jobs)


def cores_of_worker(count: int) -> int:
    """The cores for this process, one of `count` that torchrun started: `OMP_NUM_THREADS`, or an equal share."""
    return available_cores() if os.environ.get(LIMIT) else share_of(count)


def limited_environment(cores: int) -> dict[str, str]:
    """The environment variables for a command that may use this many cores."""
    return {**os.environ, LIMIT: str(cores)}


def limit_cores(cores: int) -> None:
    """Limit this process, and those that it starts, to this many cores: the initializer of a worker process."""
    os.environ[LIMIT] = str(cores)
    if "torch" in sys.modules:  # it has read the variable already
        import torch

        torch.set_num_threads(cores)
