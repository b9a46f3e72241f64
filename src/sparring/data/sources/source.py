"""A source of images: yields encoded images one by one, and can be iterated any number of times."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from sparring.base.errors import UserError
from sparring.data.form import Form
from sparring.data.labels import Label
from sparring.data.sources.decode import SUFFIXES, Content, NotDecodedError

MANY, LARGE = 2000, 16 << 20  # images, and bytes of encoded images, that take about a second to decode


class Item(NamedTuple):
    """One image."""

    name: str  # its location, for messages
    content: Content | Exception  # or the error that explains why it is missing
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
class _Files:
    """Files of encoded images or pairs.

    Attributes:
        name: the name as the user wrote it.
        identity: text that changes when the images may have changed: paths, sizes and times of files, or a fingerprint.
        items: yields all images or pairs, always in the same order.
        count: their number; None if it is unknown before iterating.
        place: a key for the set, independent of the spelling of its path and of its images; "" uses the name.
        identify: computes the identity again; None if the images cannot change while they are read.
        size: bytes of the encoded images.
    """

    name: str
    identity: str
    items: Callable[[], Iterator[Any]]
    count: int | None = None
    place: str = field(default="", kw_only=True)
    identify: Callable[[], str] | None = field(default=None, kw_only=True)
    size: int = field(default=0, kw_only=True)

    @property
    def unchanged(self) -> bool:
        """True if the files still have the identity that they were found with."""
        try:
            return self.identify is None or self.identify() == self.identity
        except OSError:  # a file was removed
            return False

    @property
    def slow(self) -> bool:
        """True if decoding may take longer than a second, or the number of images is unknown."""
        return self.count is None or self.count >= MANY or self.size >= LARGE


@dataclass(frozen=True)
class Source(_Files):
    """A set of encoded images.

    Attributes:
        items: yields the images.
        classes: the class names, if the source defines them; otherwise they follow from the labels.
        part: True for a part of a set, which need not contain all classes.
        channels: the required number, 1 or 3, to match another part of the set; 0: grey if every image is grey.
        remarks: lines for the user about the whole source.
    """

    items: Callable[[], Iterator[Item]]
    classes: tuple[str, ...] = ()
    part: bool = False
    channels: int = 0
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class PairSource(_Files):
    """A set of encoded pairs.

    Attributes:
        items: yields the pairs, or functions that make them: reading calls them in the threads that decode.
    """

    items: Callable[[], Iterator[Pair | Callable[[], Pair]]]


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


def size_of(*paths: Path) -> int:
    """The bytes of files together."""
    return sum(path.stat().st_size for path in paths)


def folder_source(folder: Path) -> Source:
    """All images in a folder and its sub-folders; raises UserError if there are none.

    The direct sub-folders become classes if every image lies in one.
    """
    paths = image_paths(folder)
    if not paths:
        raise UserError(
            f"{folder} holds no images; looked for {', '.join(sorted(SUFFIXES))}; give a folder with such files"
        )
    items, (identity, size) = partial(_items, folder, paths), folder_state(folder, paths)
    return Source(
        str(folder),
        identity,
        items,
        len(paths),
        place=str(folder.resolve()),
        identify=lambda: folder_state(folder, paths)[0],
        size=size,
    )


def folder_state(folder: Path, paths: Iterable[Path]) -> tuple[str, int]:
    """The identity of files in a folder, and their bytes together."""
    state, size = hashlib.blake2b(digest_size=16), 0
    for path in paths:
        found = path.stat()
        line = f"{path.relative_to(folder)}\0{found.st_size} {found.st_mtime_ns}\n"
        state.update(line.encode(errors="surrogateescape"))
        size += found.st_size
    return f"{folder.resolve()} {state.hexdigest()}", size


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
