"""The names of shards: ranges and lists in braces, as in a shell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from pathlib import PurePath
from urllib.parse import urlsplit

from sparring.base.components import PIPE
from sparring.base.errors import UserError, existing_path, shortened

STREAM = "stream:"
HUB = "stream:hub:"
WEB = ("http://", "https://")
MOST = 1_000_000  # shards
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def is_stream(spec: str) -> bool:
    """True for shards: addresses, `pipe:COMMAND`, `stream:hub:OWNER/NAME`, and paths with braces unless they exist."""
    return spec.startswith((PIPE, HUB, *WEB)) or (_first_braces(spec) is not None and existing_path(spec) is None)


def path_of(name: str) -> str:
    """A path, or that of an address, without its query."""
    return urlsplit(name).path if name.startswith(WEB) else name


def file_name(name: str) -> str:
    """The name of a shard's file, wherever it is; a command is its own name."""
    return name if name.startswith(PIPE) else PurePath(path_of(name)).name


def shard_names(spec: str) -> list[str]:
    """The names of all shards, in order; raises UserError if there are more than a million."""
    names = list(islice(expanded(spec), MOST + 1))
    if len(names) > MOST:
        raise UserError(f"{shortened(spec)!r} names more than {MOST:,} shards; give fewer, such as {{0000..0127}}")
    return names


def expanded(text: str) -> Iterator[str]:
    """Yield a text for each choice in its braces, the last braces changing fastest.

    `{08..11}` is a range, padded with zeros to the longer end if an end begins with one; `{a,b}` is a list, whose
    parts may hold braces. Other braces are kept.
    """
    found = _first_braces(text)
    if found is None:
        yield text
        return
    start, end, choices = found
    for choice in choices:
        for middle in expanded(choice):
            yield from (text[:start] + middle + rest for rest in expanded(text[end:]))


def _first_braces(text: str) -> tuple[int, int, Iterable[str]] | None:
    """Start and end of the first braces with a list or a range, and their choices; None without any."""
    for start in (at for at, sign in enumerate(text) if sign == "{"):
        depth, cuts = 0, [start]
        for at, sign in enumerate(text[start:], start):
            depth += {"{": 1, "}": -1}.get(sign, 0)
            if depth == 0 or (depth == 1 and sign == ","):
                cuts.append(at)
            if depth == 0:
                parts = [text[low + 1 : high] for low, high in pairwise(cuts)]
                if len(parts) > 1:
                    return start, at + 1, parts
                if ends := _RANGE.fullmatch(parts[0]):
                    return start, at + 1, _numbers(ends[1], ends[2])
                break
    return None


def _numbers(first: str, last: str) -> Iterator[str]:
    padded = any(len(end) > 1 and end.startswith("0") for end in (first, last))
    width = max(len(first), len(last)) if padded else 0
    low, high = int(first), int(last)
    step = 1 if low <= high else -1
    return (f"{number:0{width}}" for number in range(low, high + step, step))
