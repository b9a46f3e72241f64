"""Downloads, verified by checksum before they are used."""

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
"""Downloaded file -> what is wrong with it; "" if nothing."""


def cache_folder() -> Path:
    """The folder of downloads and decoded images: `$XDG_CACHE_HOME/sparring`, else `~/.cache/sparring`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sparring"


def set_file(name: str) -> Path | None:
    """A file of a named set, such as "mnist/x.gz", in `$SPARRING_DATA` or the cache; None if it is in neither."""
    own = os.environ.get("SPARRING_DATA")
    found = [folder / name for folder in ([Path(own)] if own else []) + [cache_folder()]]
    return next((path for path in found if path.is_file()), None)


def fetch(urls: Iterable[str], target: Path, check: Check, fix: str) -> None:
    """Download a file from the first address whose file passes the check. `target` appears complete or not at all.

    Args:
        urls: addresses, tried in order.
        target: path of the file.
        check: verifies the downloaded file.
        fix: the end of the error message.

    Raises:
        UserError: every address failed (the message lists why), or the file cannot be written.
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
    """A check: the content of a gzip file has this MD5 sum. Mirrors compress the same content differently."""

    def check(path: Path) -> str:
        try:
            with gzip.open(path) as file:
                return _compare("md5", "the MD5 sum of its content", expected, file)
        except (OSError, EOFError, zlib.error) as error:
            return str(error)

    return check


def sha256(expected: str) -> Check:
    """A check: the file has this SHA-256 sum."""
    return partial(_check_file, "sha256", "its SHA-256 sum", expected)


def md5(expected: str) -> Check:
    """A check: the file has this MD5 sum."""
    return partial(_check_file, "md5", "its MD5 sum", expected)


def _check_file(kind: str, what: str, expected: str, path: Path) -> str:
    with path.open("rb") as file:
        return _compare(kind, what, expected, file)


class _NotFetchedError(Exception):
    """A download failed. Not an OSError, so that network errors differ from disk errors."""


def _fetch_to(path: Path, url: str) -> str:
    """Download an address to a file; return what went wrong, or ""."""
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
            raise _NotFetchedError(f"the connection ended after {received} of {promised} bytes")
    except (urllib.error.URLError, HTTPException, OSError, ValueError) as error:
        raise _NotFetchedError(str(getattr(error, "reason", error))) from error


def _compare(kind: str, what: str, expected: str, file: io.BufferedIOBase) -> str:
    state = hashlib.new(kind, usedforsecurity=False)  # some sets publish MD5 alone, which detects accidents only
    while block := file.read(BLOCK):
        state.update(block)
    found = state.hexdigest()
    return "" if found == expected else f"{what} is {found}, not {expected}"
