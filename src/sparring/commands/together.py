"""The option `--devices`: the same command in several processes that train one run together, started by torchrun."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from sparring.base.cores import LIMIT, share_of
from sparring.base.errors import UserError, check_number

OPTION = "--devices"


def add_devices(parser: argparse.ArgumentParser) -> None:
    """Add the option that starts several processes."""
    about = "GPUs that train together, or processes on the CPU; batch_size is divided among them; default: 1"
    parser.add_argument(OPTION, type=int, default=1, metavar="N", help=about)


def devices_of(chosen: argparse.Namespace) -> int:
    """The number of processes to start; 1 in a process that torchrun started. UserError: the number is not allowed."""
    check_number("train", "devices", chosen.devices, low=1, whole=True)
    if chosen.devices > 1 and "WORLD_SIZE" in os.environ:
        raise UserError(f"torchrun starts the processes already; leave {OPTION} out")
    return int(chosen.devices)


def is_first() -> bool:
    """This process is the first of those that torchrun started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def start_together(count: int, device: str, arguments: Sequence[str]) -> int:
    """Run a command in `count` processes on this machine; return the exit status of the first that failed, or 0.

    Args:
        device: the device that the command is for.
        arguments: the words after `sparring`; `--devices N` is left out.

    Raises:
        UserError: this machine has fewer GPUs.
    """
    import torch
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from sparring.base.device import find_device

    if find_device(device).type == "cuda" and count > (most := torch.cuda.device_count()):
        raise UserError(f"{OPTION} {count}: this machine has {most} GPUs; choose at most {most}")
    os.environ[LIMIT] = str(share_of(count))
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # each process prints its own error
    config = LaunchConfig(1, 1, count, run_id=str(os.getpid()), rdzv_backend="c10d", rdzv_endpoint="localhost:0")
    config.max_restarts = 0
    try:
        elastic_launch(config, sys.executable)("-m", "sparring", *_without_devices(arguments))
    except ChildFailedError as error:
        return int(error.get_first_failure()[1].exitcode)
    return 0


def _without_devices(arguments: Sequence[str]) -> list[str]:
    words = iter(arguments)
    kept = []
    for word in words:
        if word == OPTION:
            next(words)
        elif not word.startswith(f"{OPTION}="):
            kept.append(word)
    return kept
