"""Trainings in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sparring.base.cores import limited_environment
from sparring.training.completion import finished


def finish(path: Path, train: list[str], cores: int) -> Path:
    """Train a run to its end on this many cores, or resume it; `train` is the command that starts it.

    A finished run stays as it is. A run that ends in NaN is a result as well. SystemExit: the training failed.
    """
    if finished(path):
        return path
    words = ["resume", str(path)] if path.exists() else [*train, f"--out={path}"]
    print("sparring", " ".join(words), flush=True)
    command = [sys.executable, "-m", "sparring", *words]
    status = subprocess.run(command, stdout=subprocess.DEVNULL, env=limited_environment(cores)).returncode
    if status and not finished(path):
        raise SystemExit(status)
    return path
