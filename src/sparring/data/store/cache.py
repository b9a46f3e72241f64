"""Decoded images in the cache: files of raw bytes, memory-mapped, and a manifest.

Sets that were not read for a long time are removed when space is short.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import PIL
from torch import Tensor

from sparring.base.download import ROOM
from sparring.base.errors import UserError, writing
from sparring.base.files import write_atomically
from sparring.base.process import claimed, exclusively
from sparring.data.store.mapped import map_file, mapped_folder

VERSION = 4  # of the cache format and of decoding; a change invalidates the cache
SHARE = 4  # all sets take at most 1 / SHARE of the disk space that is free without them
RECENT = 24 * 3600 * 10**9  # ns; another process may have such a set mapped, which fails on Windows and network disks

_own: set[str] = set()  # the keys of the sets that this process read or wrote


class Cached(NamedTuple):
    """A set in the cache: the bytes of each file, the manifest, and the digest; "" if it is not valid any more."""

    pixels: list[Tensor]
    saved: dict[str, Any]
    digest: str


class Entry:
    """A set in the cache: `KEY.0.pixels`, `KEY.1.pixels`, ... hold raw bytes, `KEY.json` the rest.

    KEY is two hashes: of the set and how it is decoded, and of the current state of its files. The manifest is
    written last and marks the set as complete.
    """

    def __init__(self, place: Sequence[object], state: str, files: int) -> None:
        """Make the key of a set.

        Args:
            place: what identifies the set and how it is decoded. The version of Pillow is added, so that environments
                with several versions keep their own pixels.
            state: what changes when the files of the set change.
            files: the number of files of pixels.
        """
        self.set = mapped_folder() / _hash([VERSION, PIL.__version__, *place])
        self.key = f"{self.set.name}-{_hash([state])}"
        self.files = files

    @property
    def manifest(self) -> Path:
        return mapped_folder() / f"{self.key}.json"

    @cached_property
    def _pixels(self) -> list[Path]:
        return [self.set.with_name(f"{self.key}.{i}.pixels") for i in range(self.files)]

    @cached_property
    def _parts(self) -> list[Path]:
        return [path.with_suffix(".part") for path in self._pixels]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Wait for the lock on all states of the set; raises NotWrittenError if the cache cannot be written."""
        with ExitStack() as stack:
            with writing(self.set, ROOM):
                self.set.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(exclusively(self.set))
            yield

    def read(self) -> Cached | None:
        """The set, or None if it is not in the cache; raises UserError if its entry is damaged."""
        pixels, modified = [], []
        try:
            saved: dict[str, Any] = json.loads(self.manifest.read_text(encoding="utf-8"))
            for path, size in zip(self._pixels, saved["sizes"], strict=True):
                with path.open("rb") as file:
                    state = os.fstat(file.fileno())
                    if state.st_size != size:
                        raise ValueError(f"{path.name} has {state.st_size} bytes instead of {size}")
                    pixels.append(map_file(file, (size,)))
                    modified.append(state.st_mtime_ns)
            self._mark_read()
            return Cached(pixels, saved, str(saved["digest"]) if saved.get("modified") == modified else "")
        except (FileNotFoundError, NotADirectoryError):  # not written yet, or another process has just removed it
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{self.manifest} is damaged ({error}); remove it and run the command again") from error

    def _mark_read(self) -> None:
        _own.add(self.key)
        with suppress(OSError):  # a cache that cannot be written
            os.utime(self.manifest)  # access times are not updated on all disks

    @contextmanager
    def parts(self) -> Iterator[list[BinaryIO]]:
        """New files for the pixels, which are removed at the end unless `store` was called.

        Raises:
            NotWrittenError: the files cannot be written, also where closing them shows it.
        """
        with writing(self.set.parent, ROOM), ExitStack() as stack:
            files: list[BinaryIO] = []
            for part in self._parts:
                stack.callback(part.unlink, missing_ok=True)
                files.append(stack.enter_context(part.open("w+b")))
            yield files

    def store(self, files: Sequence[BinaryIO], saved: dict[str, Any], digest: str) -> None:
        """Store the files of `parts` with a manifest.

        Raises:
            NotWrittenError: the entry cannot be written. Its files are removed; on POSIX, mappings of them stay valid.
        """
        try:
            with writing(self.manifest, ROOM):
                for file, part, path in zip(files, self._parts, self._pixels):
                    os.fsync(file.fileno())
                    part.replace(path)
                states = [path.stat() for path in self._pixels]
            sizes = [state.st_size for state in states]
            modified = [state.st_mtime_ns for state in states]  # the digest is valid while these are unchanged
            manifest = {**saved, "sizes": sizes, "digest": digest, "modified": modified}
            write_atomically(self.manifest, json.dumps(manifest).encode(), ROOM)
            _own.add(self.key)
        except BaseException:
            for path in self._pixels:
                path.unlink(missing_ok=True)
            raise

    def remove_older(self) -> None:
        """Remove the other states of the set; the lock must be held. OSError: one cannot be removed."""
        _remove(path for path in self.set.parent.glob(f"{self.set.name}-*") if path.name.split(".")[0] != self.key)


def make_room() -> None:
    """Remove files that ended processes left incomplete, and sets while all take more than their share of the disk.

    * The sets read longest ago are removed first. Not removed: sets that a process is writing, that this process read
      or wrote, or that any process read within `RECENT`.
    * On local POSIX file systems, a process that has a removed set mapped keeps its mapping; elsewhere it may fail.

    Raises:
        OSError: a file cannot be removed.
    """
    folder = mapped_folder()
    for part in folder.glob("*.part"):
        if (name := part.name.partition("-")[0]) != "hub":  # answers of the Hub are written without a lock
            with claimed(folder / name) as ours:
                if ours:
                    part.unlink(missing_ok=True)
    sets: defaultdict[str, list[Path]] = defaultdict(list)
    for path in folder.glob("*.pixels"):
        sets[path.name.split(".")[0]].append(path)
    sizes = {key: sum(size for path in paths for size, _ in _state(path)) for key, paths in sets.items()}
    excess = sum(sizes.values()) - (shutil.disk_usage(folder).free + sum(sizes.values())) // SHARE
    manifests = {key: folder / f"{key}.json" for key in sets}
    read = {key: max((last for _, last in _state(path)), default=0) for key, path in manifests.items()}
    recent = time.time_ns() - RECENT
    for key in sorted((key for key in sets.keys() - _own if read[key] < recent), key=read.__getitem__):
        if excess > 0:
            with claimed(folder / key.partition("-")[0]) as ours:
                if ours:
                    _remove([manifests[key], *sets[key]])
                    excess -= sizes[key]


def _state(path: Path) -> list[tuple[int, int]]:
    """The size of a file and its modification time; empty if another process has removed it."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return []
    return [(found.st_size, found.st_mtime_ns)]


def _remove(paths: Iterable[Path]) -> None:
    for path in sorted(paths, key=lambda path: path.suffix != ".json"):  # the manifest first
        path.unlink(missing_ok=True)


def _hash(parts: Sequence[object]) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=12).hexdigest()
