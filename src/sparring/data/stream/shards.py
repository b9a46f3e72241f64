"""Shards: tar files in the WebDataset format, read member by member and never unpacked to disk."""

from __future__ import annotations

import gzip
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast
from urllib.error import HTTPError

from sparring.base.components import PIPE
from sparring.base.errors import UserError, shortened
from sparring.data.labels import Label
from sparring.data.sources import archives
from sparring.data.sources.archives import LARGEST, check_size
from sparring.data.sources.decode import SUFFIXES
from sparring.data.sources.source import Item
from sparring.data.stream.names import WEB

DAMAGED = (*archives.DAMAGED, HTTPException)
WAITS = (1.0, 4.0, 16.0)  # seconds before each further attempt
TIMEOUT = 30  # seconds without an answer
BUSY = (408, 425, 429)  # HTTP: ask again later; other codes from 400 to 499 stay
IMAGE, LABEL = "image", "label"

Wanted = Callable[[int], bool]
"""Number of a sample in its shard -> whether to read its content."""


@dataclass(frozen=True)
class Shard:
    """A part of a stream.

    Attributes:
        name: a path, an address or `pipe:COMMAND`.
        samples: yields an element for each sample of the shard: the sample, or None if it is not wanted.
        stamp: text that changes with a local file.
    """

    name: str
    samples: Callable[[Wanted], Iterator[Item | None]] = field(repr=False)
    stamp: str = ""


def tar_shard(name: str) -> Shard:
    """A tar file, gzipped or not, at a path, at an address, or written by a command.

    A sample consists of consecutive members with the same path up to the first dot of the file name. The first image
    among them is its image, a `.cls` its label: a whole number or a name. Other members are ignored.

    Source: the WebDataset format, https://github.com/webdataset/webdataset.

    Raises:
        UserError: a local file does not exist.
    """
    stamp = ""
    if not name.startswith((PIPE, *WEB)):
        try:
            state = Path(name).expanduser().stat()
        except OSError as error:
            raise UserError(f"shard {name} cannot be read ({error.strerror}); correct the path or the range") from error
        stamp = f"{state.st_size} {state.st_mtime_ns}"
    return Shard(name, partial(_tar_samples, name), stamp)


def item_shard(name: str, stamp: str, items: Callable[[], Iterator[Item]]) -> Shard:
    """A shard of samples that a function yields; `stamp` changes with them."""
    return Shard(name, partial(_chosen, items), stamp)


def read_shard(shard: Shard, wanted: Wanted) -> Iterator[Item | None]:
    """Yield what `shard.samples` yields; begin again where that fails, after growing waits.

    Raises:
        UserError: four attempts in a row came no further; or a member exceeds a limit.
    """
    done = failures = 0
    while True:
        begin = done
        try:
            for number, item in enumerate(shard.samples(lambda n, begin=begin: n >= begin and wanted(n))):  # type: ignore[misc]
                if number >= begin:
                    done = number + 1
                    yield item
            return
        except UserError:
            raise
        except DAMAGED as error:
            failures = 1 if done > begin else failures + 1
            final = isinstance(error, HTTPError) and 400 <= error.code < 500 and error.code not in BUSY
            if final or failures > len(WAITS):
                cause = shortened(str(error) or type(error).__name__)
                tried = "" if final else f" in {failures} attempts"
                problem = f"shard {shard.name} cannot be read{tried} ({cause})"
                raise UserError(f"{problem}; check that it is complete and reachable, then try again") from error
            time.sleep(WAITS[failures - 1])


def _chosen(items: Callable[[], Iterator[Item]], wanted: Wanted) -> Iterator[Item | None]:
    return (item if wanted(number) else None for number, item in enumerate(items()))


def _tar_samples(name: str, wanted: Wanted) -> Iterator[Item | None]:
    with _opened(name) as raw:
        packed = raw.peek(2)[:2] == b"\x1f\x8b"
        file = _Forward(cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if packed else raw, name)
        with tarfile.open(fileobj=cast(IO[bytes], file), mode="r:") as archive:
            yield from _grouped(archive, file, wanted)


def _grouped(archive: tarfile.TarFile, forward: _Forward, wanted: Wanted) -> Iterator[Item | None]:
    """The samples of an archive. An error names the member at which it occurred."""
    key: tuple[str, str] | None = None
    found: dict[str, tuple[str, bytes]] = {}  # kind -> member, content
    number, member = 0, ""
    try:
        for count, info in enumerate(chain(archive, (None,))):
            if info is None:
                forward.check_end()
            folder, file = ("", "") if info is None else info.name.rpartition("/")[::2]
            stem, _, ending = file.partition(".")
            if (folder, stem) != key:
                if IMAGE in found:
                    yield _item(forward.name, found) if wanted(number) else None
                    number += 1
                key, found = (folder, stem), {}
            if info is None:
                return
            member = info.name
            check_size(forward.name, member, info.size, count)
            archive.members.clear()  # type: ignore[attr-defined]  # or tarfile keeps every header
            kind = IMAGE if f".{ending.lower()}" in SUFFIXES else LABEL if ending.lower() == "cls" else ""
            if stem and kind and kind not in found and info.isreg():
                content = cast(IO[bytes], archive.extractfile(info))
                found[kind] = member, content.read() if wanted(number) else b""
    except DAMAGED as error:
        if isinstance(error, UserError):
            raise
        raise tarfile.ReadError(f"at member {member}: {error}" if member else str(error)) from error


def _item(shard: str, found: dict[str, tuple[str, bytes]]) -> Item:
    member, content = found[IMAGE]
    label = _label(found[LABEL][1]) if LABEL in found else None
    return Item(f"{shard}/{member}", content, label)


def _label(content: bytes) -> Label:
    """A class number or name; None if the text is empty."""
    text = content.decode("utf-8", "replace").strip()
    try:
        return int(text)
    except ValueError:
        return text or None


class _Forward:
    """A stream for tarfile that seeks forward only; refuses reads larger than the largest member.

    Attributes:
        at: the position in bytes.
        last: the bytes that were read last.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self.file, self.name, self.at, self.last = file, name, 0, b""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST:  # a header can request any size
            check_size(self.name, "a header", size if size > 0 else LARGEST + 1, 0)
        self.last = self.file.read(size)
        self.at += len(self.last)
        return self.last

    def seek(self, offset: int, whence: int = 0) -> int:
        assert whence == 0
        assert offset >= self.at
        if self.file.seekable():
            self.at = self.file.seek(offset)
        while self.at < offset and self.read(min(offset - self.at, 1 << 20)):
            pass
        return self.at

    def tell(self) -> int:
        return self.at

    def check_end(self) -> None:
        """Raise ReadError unless a block of zeros was read last, as tarfile takes a damaged header for the end."""
        if len(self.last) < tarfile.BLOCKSIZE or any(self.last):
            raise tarfile.ReadError(f"it ends at byte {self.at:,} without the mark of its end")


@contextmanager
def _opened(name: str) -> Iterator[Any]:
    """A buffered stream of the bytes of a shard."""
    if name.startswith(PIPE):
        with _output(name.removeprefix(PIPE)) as output:
            yield output
    elif name.startswith(WEB):
        with urllib.request.urlopen(name, timeout=TIMEOUT) as answer:
            yield answer
    else:
        with Path(name).expanduser().open("rb") as file:
            yield file


@contextmanager
def _output(command: str) -> Iterator[IO[bytes]]:
    """The output of a shell command, which ends with the context. An error reports the command's exit status."""
    # a session of its own: Ctrl-C asks the training to stop after its step, which may need this output
    process = subprocess.Popen(command, shell=True, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    try:
        yield process.stdout
    except DAMAGED as error:
        if status := _status(process, 1):
            raise tarfile.ReadError(f"the command ended with status {status}: {error}") from error
        raise
    finally:
        process.stdout.close()  # ends a command that is writing
        if _status(process, 5) is None:
            process.kill()
            process.wait()


def _status(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit status of a process that ends within so many seconds, else None."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
