"""File locks between processes, and signals. The system releases the locks of a process that ends or crashes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType

from sparring.base.errors import UserError, writing

DONE, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130  # exit statuses of the command line


@contextmanager
def locked(path: Path, taken: str, fix: str) -> Iterator[None]:
    """Hold a lock on a file without waiting for it.

    Args:
        path: the lock file.
        taken: the error message where another process holds the lock.
        fix: the end of the error message where the lock file cannot be written.

    Raises:
        UserError: another process holds the lock, or the file cannot be written.
    """
    with writing(path.parent, fix):
        held = _acquired(path)
    if held is None:
        raise UserError(taken)
    with held:
        yield


@contextmanager
def exclusively(path: Path) -> Iterator[None]:
    """Wait for the lock of a file, then hold it. The lock is `.NAME.lock` in the same folder. OSError: it cannot be
    written."""
    from filelock import FileLock  # here, since most commands' start needs no lock

    with FileLock(path.with_name(f".{path.name}.lock")):
        yield


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Hold the lock of a file that is about to be written; yield False where another process holds it."""
    held = _acquired(path.with_name(f".{path.name}.lock"))
    with nullcontext() if held is None else held:
        yield held is not None


def _acquired(path: Path) -> AbstractContextManager[object] | None:
    """A lock, held until its context ends; None where another process holds it."""
    from filelock import FileLock, Timeout

    try:
        return FileLock(path).acquire(blocking=False)
    except Timeout:
        return None


class Interrupted(Exception):
    """A signal stopped training, after a checkpoint was written."""


@contextmanager
def interruptible(only_first: bool = False) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; the second one ends the process as usual.

    With `only_first`, later ones are ignored: torchrun repeats a signal that its workers got from the terminal.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread can handle signals
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()
        for signal_number, handler in before.items():
            signal.signal(signal_number, ask_to_stop if only_first else handler)

    for number in before:
        signal.signal(number, ask_to_stop)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
