"""Folders of images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePath

from sparring.data.decode import SUFFIXES
from sparring.data.source import Item, Source, stamp
from sparring.errors import UserError


def folder_source(folder: Path) -> Source:
    """All images below a folder; the sub-folders directly below it are classes, if all images lie in such.

    Raises:
        UserError: there are none.
    """
    paths = image_paths(folder)
    if not paths:
        raise UserError(f"{folder} holds no images; looked for {', '.join(sorted(SUFFIXES))}")
    state = hashlib.blake2b(digest_size=16)
    for path in paths:
        state.update(f"{path.relative_to(folder)}\0{stamp(path)}\n".encode(errors="surrogateescape"))
    place = str(folder.resolve())
    identity = f"{place} {state.hexdigest()}"
    return Source(str(folder), identity, partial(_items, folder, paths), len(paths), place=place)


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
