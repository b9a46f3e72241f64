"""A source of images: what can be gone through, any number of times, one encoded image after another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from typing import NamedTuple

from sparring.base.errors import UserError
from sparring.data.form import Form
from sparring.data.labels import Label
from sparring.data.sources.decode import SUFFIXES, Content, NotDecodedError


class Item(NamedTuple):
    """One image."""

    name: str  # where it is, for messages
    content: Content | Exception  # a file, its bytes, or an image that is decoded already; or why there is none
    label: Label = None  # its class's name or number

    @property
    def encoded(self) -> Content:
        """What is to be decoded; raises NotDecodedError where there is nothing."""
        if isinstance(self.content, Exception):
            raise NotDecodedError(str(self.content))
        return self.content


class Pair(NamedTuple):
    """The images of a pair; of both, only `name` and `content` count."""

    source: Item
    target: Item


@dataclass(frozen=True)
class Source:
    """Where images come from.

    Attributes:
        identity: changes whenever the images may have changed: paths, sizes and times of files, or a fingerprint.
        identify: finds it anew; None where nothing can change while it is read.
        place: which set it is, the same however its path is spelled and whatever becomes of its images; "": the name.
    """

    name: str  # as the user wrote it
    identity: str
    items: Callable[[], Iterator[Item]]  # all of them, always in the same order
    count: int | None = None  # None if only going through them tells
    classes: tuple[str, ...] = ()  # where the source knows them; else they follow from the labels
    part: bool = False  # of a set, which need not have all classes
    channels: int = 0  # 1 or 3 where it must be that, because a set's other part is; 0: grey if every image is
    remarks: tuple[str, ...] = ()
    place: str = ""
    identify: Callable[[], str] | None = None

    @property
    def unchanged(self) -> bool:
        """The files are still those that were found."""
        try:
            return self.identify is None or self.identify() == self.identity
        except OSError:  # one of them is gone
            return False


@dataclass(frozen=True)
class PairSource:
    """Where pairs come from: the name as the user wrote it, all pairs in the same order, and how many there are."""

    name: str
    items: Callable[[], Iterator[Pair]]
    count: int


def part_like(source: Source, form: Form) -> Source:
    """The images of another part of a set whose training part has this form: of its classes and channels. Where the
    part does not know the classes itself, it takes them by name."""
    items = source.items if source.classes else partial(_named_items, source)
    return replace(source, items=items, classes=form.classes, channels=form.shape[0], part=True)


def _named_items(source: Source) -> Iterator[Item]:
    for item in source.items():
        yield item if item.label is None else item._replace(label=str(item.label))


def stamps(*paths: Path) -> str:
    """The resolved paths, sizes and times of change of files, in words that change with them."""
    found = ((path.resolve(), path.stat()) for path in paths)
    return " ".join(f"{path} {state.st_size} {state.st_mtime_ns}" for path, state in found)


def folder_source(folder: Path) -> Source:
    """All images below a folder; the sub-folders directly below it are classes, if all images lie in such. Raises
    UserError if there are none."""
    paths = image_paths(folder)
    if not paths:
        raise UserError(f"{folder} holds no images; looked for {', '.join(sorted(SUFFIXES))}")
    place, items, identify = str(folder.resolve()), partial(_items, folder, paths), partial(_identity, folder, paths)
    return Source(str(folder), identify(), items, len(paths), place=place, identify=identify)


def _identity(folder: Path, paths: list[Path]) -> str:
    state = hashlib.blake2b(digest_size=16)
    for path in paths:
        found = path.stat()
        line = f"{path.relative_to(folder)}\0{found.st_size} {found.st_mtime_ns}\n"
        state.update(line.encode(errors="surrogateescape"))
    return f"{folder.resolve()} {state.hexdigest()}"


def image_paths(folder: Path) -> list[Path]:
    """All images below a folder, in order."""
    return sorted(path for path in folder.rglob("*") if is_image(path.relative_to(folder)) and path.is_file())


def is_image(path: PurePath) -> bool:
    """It is one by its name; Finder's copies of attributes are not."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith("._") and "__MACOSX" not in path.parts


def folder_classes(names: Sequence[Sequence[str]]) -> list[str | None]:
    """The class of each image, given the parts of its path: the first folder; none if an image lies beside them."""
    beside = any(len(parts) == 1 for parts in names)
    return [None if beside else parts[0] for parts in names]


def _items(folder: Path, paths: list[Path]) -> Iterator[Item]:
    classes = folder_classes([path.relative_to(folder).parts for path in paths])
    for path, label in zip(paths, classes):
        yield Item(str(path), path, label)
