"""A source of images: yields encoded images one by one, and can be iterated any number of times."""

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

    name: str  # its location, for messages
    content: Content | Exception  # a file, bytes or a decoded image; or the error that explains why it is missing
    label: Label = None  # name or number of its class

    @property
    def encoded(self) -> Content:
        """The content to decode; raises NotDecodedError if it is missing."""
        if isinstance(self.content, Exception):
            raise NotDecodedError(str(self.content))
        return self.content


class Pair(NamedTuple):
    """The two images of a pair; their labels are ignored."""

    source: Item
    target: Item


@dataclass(frozen=True)
class Source:
    """A set of encoded images.

    Attributes:
        name: the name as the user wrote it.
        identity: text that changes when the images may have changed: paths, sizes and times of files, or a fingerprint.
        items: yields all images, always in the same order.
        count: the number of images; None if it is unknown before iterating.
        classes: the class names, if the source defines them; otherwise they follow from the labels.
        part: True for a part of a set, which need not contain all classes.
        channels: the required number, 1 or 3, to match another part of the set; 0: grey if every image is grey.
        remarks: lines for the user about the whole source.
        place: a key for the set, independent of the spelling of its path and of its images; "" uses the name.
        identify: computes the identity again; None if the images cannot change while they are read.
    """

    name: str
    identity: str
    items: Callable[[], Iterator[Item]]
    count: int | None = None
    classes: tuple[str, ...] = ()
    part: bool = False
    channels: int = 0
    remarks: tuple[str, ...] = ()
    place: str = ""
    identify: Callable[[], str] | None = None

    @property
    def unchanged(self) -> bool:
        """True if the files still have the identity that they were found with."""
        try:
            return self.identify is None or self.identify() == self.identity
        except OSError:  # a file was removed
            return False


@dataclass(frozen=True)
class PairSource:
    """A set of encoded pairs.

    Attributes:
        name: the name as the user wrote it.
        items: yields all pairs, always in the same order.
        count: the number of pairs.
    """

    name: str
    items: Callable[[], Iterator[Pair]]
    count: int


def part_like(source: Source, form: Form) -> Source:
    """A test part with the classes and channels of the training part, whose form is given.

    Labels are matched by name unless the source defines the classes itself.
    """
    items = source.items if source.classes else partial(_named_items, source)
    return replace(source, items=items, classes=form.classes, channels=form.shape[0], part=True)


def _named_items(source: Source) -> Iterator[Item]:
    for item in source.items():
        yield item if item.label is None else item._replace(label=str(item.label))


def stamps(*paths: Path) -> str:
    """The resolved paths, sizes and modification times of files as text."""
    found = ((path.resolve(), path.stat()) for path in paths)
    return " ".join(f"{path} {state.st_size} {state.st_mtime_ns}" for path, state in found)


def folder_source(folder: Path) -> Source:
    """All images in a folder and its sub-folders; raises UserError if there are none.

    The direct sub-folders become classes if every image lies in one.
    """
    paths = image_paths(folder)
    if not paths:
        raise UserError(
            f"{folder} holds no images; looked for {', '.join(sorted(SUFFIXES))}; give a folder with such files"
        )
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
    """Sorted paths of all images in a folder and its sub-folders."""
    return sorted(path for path in folder.rglob("*") if is_image(path.relative_to(folder)) and path.is_file())


def is_image(path: PurePath) -> bool:
    """True if the file name ends as an image's does; files that macOS adds are excluded."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith("._") and "__MACOSX" not in path.parts


def folder_classes(names: Sequence[Sequence[str]]) -> list[str | None]:
    """The class of each image from the parts of its path: the first folder; None for all if one lies in no folder."""
    unlabelled = any(len(parts) == 1 for parts in names)
    return [None if unlabelled else parts[0] for parts in names]


def _items(folder: Path, paths: list[Path]) -> Iterator[Item]:
    classes = folder_classes([path.relative_to(folder).parts for path in paths])
    for path, label in zip(paths, classes):
        yield Item(str(path), path, label)
