"""Where pairs of images are found: two columns, two folders, two halves of an image, two arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sparring.base.errors import UserError, existing_path, listed, shortened
from sparring.data.arrays import paired_arrays
from sparring.data.layout import Pairs, class_names
from sparring.data.samples import Split
from sparring.data.sources.archives import archive_source, is_archive
from sparring.data.sources.decode import NotDecodedError, Target, decode
from sparring.data.sources.parquet import PARTS, column_source, image_columns, paired_source, parquet_parts, places
from sparring.data.sources.source import Item, Pair, PairSource, Source, folder_source, image_paths

WANTED = (
    "a folder with A/1.png (source) and B/1.png (target), a folder or archive of images that hold both side by side, "
    "a .parquet with two columns of images, or an .npz of arrays 'source' and 'target'; to try: digit-edges"
)
Names = tuple[str, ...]
SOURCES: Names = ("conditioning_image", "source", "input", "A", "mask")
TARGETS: Names = ("image", "target", "output", "B")
IMAGES: Names = ("image", "source", "input", "A")  # where the pixels of one column are ids of classes: the other one
MAPS: Names = ("mask", "masks", "conditioning_image", "target", "output", "B")
FOLDERS = (("A", "B"), ("source", "target"), ("input", "output"), ("images", "masks"), ("image", "mask"))
HALVES = ("left", "right")


def find_pairs(spec: str, layout: Pairs, split: Split = "train") -> PairSource | None:
    """The pairs that `spec` holds, or None if it keeps none for this split; raises UserError if there are none, some
    images have no partner, or it is not clear what is what."""
    path = existing_path(spec)
    assert path is not None
    if path.is_dir():
        return _in_folder(path, layout, split)
    if split == "test":
        return None
    if path.suffix.lower() == ".parquet":
        return _in_tables([path], str(path), layout)
    if path.suffix.lower() == ".npz":
        arrays = paired_arrays(path, *map(bool, _maps(layout)))
        return PairSource(str(path), partial(_array_items, path, *arrays), len(arrays[0]))
    if is_archive(path):
        source = archive_source(path)
        folders = {item.label for item in source.items()}
        if any(folders >= {*pair} for pair in (*FOLDERS, (layout.source, layout.target))):
            raise UserError(f"{path} holds pairs in two folders; unpack it, and name the folder")
        return _in_halves(source, layout)
    raise UserError(f"{spec!r} does not hold pairs; give {WANTED}")


def _in_folder(folder: Path, layout: Pairs, split: Split) -> PairSource | None:
    for word in PARTS["train"]:
        if all((folder / f"{word}{side}.parquet").is_file() for side in "AB"):
            raise UserError(f"{folder} holds two sets, {word}A and {word}B, but this task needs pairs; give {WANTED}")
    if tables := parquet_parts(folder, split):
        return _in_tables(tables, str(folder), layout)
    if split == "test" and parquet_parts(folder):
        return None
    sides = _sub_folders(folder, layout, split)
    if sides is not None:
        return _in_folders(*sides, str(folder))
    if split == "test" and _sub_folders(folder, layout, "train") is not None:
        return None
    if {layout.source, layout.target} - {"", *HALVES}:
        raise UserError(f"{folder} has no sub-folders called so: source={layout.source!r}, target={layout.target!r}")
    inner = next((folder / word for word in PARTS[split] if (folder / word).is_dir()), None)
    if inner is None and split == "test":
        return None
    return _in_halves(folder_source(inner or folder), layout)


def _maps(layout: Pairs) -> tuple[Names, Names]:
    return class_names(layout.source_classes), class_names(layout.target_classes)


def _in_tables(paths: Sequence[Path], name: str, layout: Pairs) -> PairSource:
    there = image_columns(paths)
    named = {layout.source, layout.target} - {"", *HALVES}
    if len(there) == 1 and not named:
        return _in_halves(column_source(paths, there[0], name), layout)
    columns = _two_of(there, layout)
    if columns is None:
        found = ", ".join(there) or "none"
        raise UserError(
            f"{name} has these columns of images: {shortened(found)}; a pair is two of them: name the two, as "
            f"source={(layout.source or 'sketch')!r} and target={(layout.target or 'photo')!r}"
        )
    return paired_source(paths, columns, name)


def _two_of(there: Sequence[str], layout: Pairs) -> tuple[str, str] | None:
    """The columns of source and target: those that are named, else by the usual names."""
    source_map, target_map = _maps(layout)
    sources, targets = SOURCES, TARGETS
    if source_map:
        sources, targets = MAPS, IMAGES
    elif target_map:
        sources, targets = IMAGES, MAPS
    source = layout.source or next((n for n in sources if n in there and n != layout.target), "")
    target = layout.target or next((n for n in targets if n in there and n != source), "")
    return (source, target) if {source, target} <= {*there} and source != target else None


def _sub_folders(folder: Path, layout: Pairs, split: Split) -> tuple[Path, Path] | None:
    """The folders of sources and targets of a split, if there are such."""
    if {layout.source, layout.target} & {*HALVES}:
        return None
    source_map, target_map = _maps(layout)
    choices = [*FOLDERS]
    if source_map and not target_map:
        choices = [(b, a) if b.startswith("mask") else (a, b) for a, b in choices]
    if layout.source and layout.target:
        choices = [(layout.source, layout.target)]
    elif layout.source or layout.target:
        usual = [name for pair in choices for name in pair if name not in (layout.source, layout.target)]
        choices = [(layout.source or name, layout.target or name) for name in usual]
    for names in choices:
        for place in places(split):
            source, target = (folder / place.format(name) for name in names)
            if all(side.is_dir() and image_paths(side) for side in (source, target)):
                return source, target
    return None


def _in_folders(source: Path, target: Path, name: str) -> PairSource:
    """Images of two folders whose names are the same but for what follows the dot."""
    sources, targets = _by_stem(source), _by_stem(target)
    lonely = [
        f"{len(stems)} of {len(own)} images in {folder} have no partner in {other}: {listed(stems)}"
        for own, theirs, folder, other in ((sources, targets, source, target), (targets, sources, target, source))
        if (stems := sorted(own.keys() - theirs.keys()))
    ]
    if lonely:
        raise UserError(f"{name}: {'; '.join(lonely)}; partners have the same name; add or remove some")
    found = [(sources[stem], targets[stem]) for stem in sorted(sources)]
    return PairSource(name, lambda: (Pair(Item(str(a), a), Item(str(b), b)) for a, b in found), len(found))


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in image_paths(folder):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in found:
            raise UserError(f"{found[stem]} and {path} have the same name, so partners are not clear; remove one")
        found[stem] = path
    return found


def _in_halves(source: Source, layout: Pairs) -> PairSource:
    """Images that hold source and target side by side. Source: the sets of pix2pix (Isola et al. 2017)."""
    for name in (layout.source, layout.target):
        if name not in ("", *HALVES):
            missing = f"{source.name} has no columns or sub-folders"
            raise UserError(f"{missing}, of which {name!r} could be one; give {WANTED}")
    if layout.source and layout.source == layout.target:
        raise UserError(f"source and target are both {layout.source!r}; one is 'left', the other 'right'")
    assert source.count is not None
    said = bool(layout.source or layout.target)
    right = layout.source == "right" or layout.target == "left"
    return PairSource(source.name, partial(_half_items, source, said, right), source.count)


def _half_items(source: Source, said: bool, right: bool) -> Iterator[Pair]:
    """What is not at least twice as wide as high is hardly two images, unless the user says so."""
    for item in source.items():
        name = item.name
        try:
            image, (width, height) = decode(item.encoded, Target())
            if width < 2 * height and not said:
                raise UserError(
                    f"{source.name} holds single images, it seems ({name} has {width}x{height} pixels), but this task "
                    f"needs pairs: {WANTED}. If each image holds source and target side by side, say source='left'"
                )
            if width % 2:
                raise NotDecodedError(f"its width of {width} is odd, so it is not two images side by side")
        except NotDecodedError as error:
            yield Pair(Item(name, error), Item(name, error))
            continue
        half = width // 2
        halves = [image.crop((left, 0, left + half, height)) for left in (0, half)]
        first, second = reversed(halves) if right else halves
        yield Pair(Item(f"{name}, source", first), Item(f"{name}, target", second))


def _array_items(path: Path, *arrays: NDArray[np.generic]) -> Iterator[Pair]:
    for row, sides in enumerate(zip(*arrays)):
        names = (f"{path}, {side}, row {row}" for side in ("source", "target"))
        yield Pair(*(Item(name, Image.fromarray(pixels)) for name, pixels in zip(names, sides)))
