"""Errors of users, reported in one line, and checks that raise them."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class UserError(ValueError):
    """A user's mistake, in one line: what was given, what is allowed, what to type.

    The command line prints it without a traceback and exits with status 2.
    """


class NotWrittenError(UserError):
    """A file or folder cannot be written."""


class NotFiniteError(ArithmeticError):
    """A value became NaN or infinite. The message names the term, the tensor and the last good checkpoint."""


class WorkerError(RuntimeError):
    """Another of the processes that train one run ended, is late or differs; the message names it."""


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """A hint for a message: the nearest allowed name, if one is similar, and the list of all."""
    names = sorted(allowed)
    near = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=0.6)
    matches = [n for n in names if near and n.lower() == near[0]]
    hint = f"did you mean {matches[0]!r}? Allowed" if matches else "allowed"
    return f"{hint} are {', '.join(names)}"


def check_number(
    owner: str,
    name: str,
    value: object,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    whole: bool = False,
) -> None:
    """Raise UserError unless `value` is a finite number in [low, high], or in (low, high] with `open_low`."""
    kind = "a whole number" if whole else "a number"
    limits = f"{'above' if open_low else 'at least'} {low:g}" if low > -math.inf else ""
    if high < math.inf:
        limits += f"{' and ' if limits else ''}at most {high:g}"
    allowed = f"{kind}{', ' if limits else ''}{limits}"
    largest = 1e15 if whole else sys.float_info.max  # no size, step or seed is larger
    if (
        isinstance(value, bool)
        or not isinstance(value, int if whole else (int, float))
        or not -largest <= value <= largest
        or not low <= value <= high
        or (open_low and value == low)
    ):
        raise UserError(f"{owner}: {name}={shortened(repr(value))} must be {allowed}")


def listed(names: Sequence[str], most: int = 10, joint: str = ", and") -> str:
    """Names for a message: the first `most`, then the number of the others."""
    more = f"{joint} {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def shortened(text: str, most: int = 200) -> str:
    """Text in one line; its middle is cut out where it is longer than `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most // 2]} ... {line[-most // 4 :]}"


def check_choice(owner: str, name: str, value: object, allowed: Iterable[str]) -> None:
    """Raise UserError unless `value` is one of `allowed`."""
    choices = list(allowed)
    if value not in choices:
        raise UserError(f"{owner}: {name}={value!r}; {did_you_mean(str(value), choices)}")


def check_flag(owner: str, name: str, value: object, allowed: str = "True or False") -> None:
    """Raise UserError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise UserError(f"{owner}: {name}={value!r} must be {allowed}")


def existing_path(text: str) -> Path | None:
    """The path of an existing file or folder, with `~` as the home folder; None if it does not exist."""
    try:
        path = Path(text).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long a name, an unknown user's home, a zero byte
        return None


@contextmanager
def writing(path: Path, fix: str) -> Iterator[None]:
    """A context that turns an OSError (full disk, no permission) into a NotWrittenError that ends with `fix`."""
    try:
        yield
    except OSError as error:
        raise NotWrittenError(f"cannot write {path}: {error.strerror or error}; {fix}") from error
