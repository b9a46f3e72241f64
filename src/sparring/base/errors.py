"""Mistakes that a user can mend, told in one line."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class UserError(ValueError):
    """A user's mistake: one line that names the value, what is allowed, and the mend. The command line prints it
    without a traceback and exits with status 2."""


class NotFiniteError(ArithmeticError):
    """Training met NaN or infinity; the message names the term, the tensor and the last good checkpoint."""


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """The nearest allowed name as a hint, or the list of what there is."""
    names = sorted(allowed)
    near = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=0.6)
    matches = [n for n in names if near and n.lower() == near[0]]
    hint = f"did you mean {matches[0]!r}? " if matches else ""
    return f"{hint}There is: {', '.join(names)}"


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
    """Raise UserError unless `value` is a finite number in [low, high] ((low, high] with `open_low`)."""
    kind = "a whole number" if whole else "a number"
    limits = f"{'above' if open_low else 'at least'} {low:g}" if low > -math.inf else ""
    if high < math.inf:
        limits += f"{' and ' if limits else ''}at most {high:g}"
    allowed = f"{kind}{', ' if limits else ''}{limits}"
    largest = 1e15 if whole else sys.float_info.max  # whole numbers beyond that are no sizes, steps or seeds
    if (
        isinstance(value, bool)
        or not isinstance(value, int if whole else (int, float))
        or not -largest <= value <= largest
        or not low <= value <= high
        or (open_low and value == low)
    ):
        raise UserError(f"{owner}: {name}={shortened(repr(value))} must be {allowed}")


def listed(names: Sequence[str], most: int = 10, joint: str = ", and") -> str:
    """Names for a message: the first ones, and how many more there are."""
    more = f"{joint} {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def shortened(text: str, most: int = 200) -> str:
    """Text for a message of one line: without line breaks, cut in the middle if it is long."""
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
    """The path that a user wrote, if there is something there; `~` is the home folder."""
    try:
        path = Path(text).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # longer than names may be, nobody's home, a zero byte
        return None


@contextmanager
def writing(path: Path, fix: str) -> Iterator[None]:
    """Turn a failed write (full disk, no permission) into one clear line."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; {fix}") from error
