"""One process at a time: locks on files, which the system lifts when a process ends, however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sparring.errors import UserError, writing


@contextmanager
def locked(path: Path, taken: str, mend: str) -> Iterator[None]:
    """Hold a lock, at once or not at all.

    Args:
        path: the lock's file.
        taken: what to say where another process holds it.
        mend: what to do where it cannot be written.

    Raises:
        UserError: another process holds it, or it cannot be written.
    """
    with writing(path.parent, mend):
        lock = _acquired(path)
    if lock is None:
        raise UserError(taken)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Keep other processes away from what is about to be made at a path; False where one is at it already."""
    lock = _acquired(path.with_name(f".{path.name}.lock"))
    if lock is None:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _acquired(path: Path) -> FileLock | None:
    """The lock, held; or None where another process holds it."""
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    return lock
