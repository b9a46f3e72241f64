"""Downloads that are checked before anyone sees them."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from http.client import HTTPException
from pathlib import Path

from sparring.base.errors import UserError, writing

BLOCK = 1 << 20
ROOM = "free some space or set XDG_CACHE_HOME"

Check = Callable[[Path], str]
"""What is wrong with a downloaded file, in words; empty if nothing is."""


def cache_folder() -> Path:
    """Where downloads and decoded images are kept: `$XDG_CACHE_HOME/sparring`, else `~/.cache/sparring`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sparring"


def set_file(name: str) -> Path | None:
    """A file of a named set, such as "mnist/x.gz", in `$SPARRING_DATA`, if that is set, or in the cache."""
    own = os.environ.get("SPARRING_DATA")
    found = [folder / name for folder in ([Path(own)] if own else []) + [cache_folder()]]
    return next((path for path in found if path.is_file()), None)


def fetch(urls: Iterable[str], target: Path, check: Check, fix: str) -> None:
    """Fetch a file from the first address that gives the right one; `target` appears only then, and whole.

    Raises:
        UserError: no address gave it (the message says what each of them did, and `mend`), or it cannot be written.
    """
    part = target.with_name(f"{target.name}.part{os.getpid()}")
    problems = []
    with writing(target, ROOM):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        for url in urls:
            problem = _fetch_to(part, url) or check(part)
            if not problem:
                with writing(target, ROOM):
                    part.replace(target)
                return
            problems.append(f"{url}: {problem}")
    finally:
        part.unlink(missing_ok=True)
    raise UserError(f"cannot fetch {target.name} ({'; '.join(problems)}); {fix}")


def unpacked_md5(expected: str) -> Check:
    """What is in the gzip file has this MD5 sum. (The gzip files themselves differ in the wild.)"""

    def check(path: Path) -> str:
        try:
            with gzip.open(path) as file:
                return _compare("md5", "the MD5 sum of its content", expected, file)
        except (OSError, EOFError, zlib.error) as error:
            return str(error)

    return check


def sha256(expected: str) -> Check:
    """The file has this SHA-256 sum."""
    return partial(_check_file, "sha256", "its SHA-256 sum", expected)


def md5(expected: str) -> Check:
    """The file has this MD5 sum."""
    return partial(_check_file, "md5", "its MD5 sum", expected)


def _check_file(kind: str, what: str, expected: str, path: Path) -> str:
    with path.open("rb") as file:
        return _compare(kind, what, expected, file)


class _NotFetchedError(Exception):
    """An address did not give a whole file. No OSError: those of the network and of the disk must not mix."""


def _fetch_to(path: Path, url: str) -> str:
    """Write what the address gives to a file, block by block; what went wrong, or an empty text."""
    try:
        with writing(path, ROOM), path.open("wb") as file:
            for block in _blocks(url):
                file.write(block)
    except _NotFetchedError as error:
        return str(error)
    return ""


def _blocks(url: str) -> Iterator[bytes]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            promised, received = answer.headers.get("Content-Length"), 0
            while block := answer.read(BLOCK):
                received += len(block)
                yield block
        if promised is not None and received != int(promised):
            raise _NotFetchedError(f"it broke off after {received} of {promised} bytes")
    except (urllib.error.URLError, HTTPException, OSError, ValueError) as error:
        raise _NotFetchedError(str(getattr(error, "reason", error))) from error


def _compare(kind: str, what: str, expected: str, file: io.BufferedIOBase) -> str:
    state = hashlib.new(kind, usedforsecurity=False)  # MD5, where it is all that was published, shows accidents only
    while block := file.read(BLOCK):
        state.update(block)
    found = state.hexdigest()
    return "" if found == expected else f"{what} is {found}, not {expected}"
