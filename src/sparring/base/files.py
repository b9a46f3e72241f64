"""Atomic writes: a file appears complete or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from sparring.base.errors import writing


def write_atomically(path: Path, content: bytes, fix: str) -> None:
    """Write a file atomically. UserError: the write failed; the message ends with `fix`."""
    part = path.with_name(path.name + ".part")
    with writing(path, fix):
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
