"""A source of images: what can be gone through, any number of times, one encoded image after another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import NamedTuple

from sparring.base.errors import UserError
from sparring.data.labels import Label
from sparring.data.sources.decode import SUFFIXES, Content


class Item(NamedTuple):
    """One image.

    Attributes:
        name: where it is, for messages.
        content: a file, its bytes, or an image that is decoded already; or why there is none.
        label: its class's name or number, or None.
    """

    name: str
    content: Content | Exception
    label: Label = None


@dataclass(frozen=True)
class Source:
    """Where images come from.

    Attributes:
        name: as the user wrote it.
        identity: changes whenever the images may have changed: paths, sizes and times of files, or a fingerprint.
        items: goes through all of them, always in the same order.
        count: how many there are; None if only going through them tells.
        classes: the classes' names, where the source knows them; else they follow from the labels.
        part: is it a part of a set, which need not have all classes?
        channels: 1 or 3 where it must be that, because a set's other part is; 0: grey if every image is.
        remarks: what to tell of it.
    """

    name: str
    identity: str
    items: Callable[[], Iterator[Item]]
    count: int | None = None
    classes: tuple[str, ...] = ()
    part: bool = False
    channels: int = 0
    remarks: tuple[str, ...] = ()


def stamp(path: Path) -> str:
    """A file's size and time of change, in words that change with it."""
    found = path.stat()
    return f"{found.st_size} {found.st_mtime_ns}"


def folder_source(folder: Path) -> Source:
    """All images below a folder; the sub-folders directly below it are classes, if all images lie in such.

    Raises:
        UserError: there are none.
    """
    paths = sorted(p for p in folder.rglob("*") if is_image(p.relative_to(folder)) and p.is_file())
    if not paths:
        raise UserError(f"{folder} holds no images; looked for {', '.join(sorted(SUFFIXES))}")
    state = hashlib.blake2b(digest_size=16)
    for path in paths:
        state.update(f"{path.relative_to(folder)}\0{stamp(path)}\n".encode(errors="surrogateescape"))
    identity = f"{folder.resolve()} {state.hexdigest()}"
    return Source(str(folder), identity, partial(_items, folder, paths), len(paths))


def is_image(path: PurePath) -> bool:
    """Is it one by its name? Finder's copies of attributes are not."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith("._") and "__MACOSX" not in path.parts


def folder_classes(names: Sequence[Sequence[str]]) -> list[str | None]:
    """The class of each image, given the parts of its path: the first folder; none if an image lies beside them."""
    beside = any(len(parts) == 1 for parts in names)
    return [None if beside else parts[0] for parts in names]


def _items(folder: Path, paths: list[Path]) -> Iterator[Item]:
    classes = folder_classes([path.relative_to(folder).parts for path in paths])
    for path, label in zip(paths, classes):
        yield Item(str(path), path, label)
