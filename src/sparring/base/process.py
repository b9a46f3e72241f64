"""One process at a time: locks on files, which the system lifts when a process ends, however it ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from sparring.base.errors import UserError, writing


@contextmanager
def locked(path: Path, taken: str, fix: str) -> Iterator[None]:
    """Hold a lock, at once or not at all.

    Raises:
        UserError: another process holds it (the message is `taken`), or it cannot be written (it ends with `mend`).
    """
    with writing(path.parent, fix):
        held = _acquired(path)
    if held is None:
        raise UserError(taken)
    with held:
        yield


@contextmanager
def exclusively(path: Path) -> Iterator[None]:
    """Wait for other processes that change the file at this path, and keep them away meanwhile; raises OSError if there
    is no place for the lock, `.NAME.lock` beside it."""
    with FileLock(path.with_name(f".{path.name}.lock")):
        yield


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Keep other processes away from what is about to be made at a path; False where one is at it already."""
    held = _acquired(path.with_name(f".{path.name}.lock"))
    with nullcontext() if held is None else held:
        yield held is not None


def _acquired(path: Path) -> AbstractContextManager[object] | None:
    """A lock that is held until the context ends; or None where another process holds it."""
    try:
        return FileLock(path).acquire(blocking=False)
    except Timeout:
        return None


class Interrupted(Exception):
    """Training was stopped by a signal, after a checkpoint was written."""


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C (or SIGTERM) sets; the second one ends the process as usual."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # signals belong to the main thread
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()
        for signal_number, handler in before.items():
            signal.signal(signal_number, handler)

    for number in before:
        signal.signal(number, ask_to_stop)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
