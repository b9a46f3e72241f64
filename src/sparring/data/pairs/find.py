"""Finding pairs of images: two columns, two folders, two halves of an image, or two arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from sparring.data.sources.source import (
    Item,
    Pair,
    PairSource,
    Source,
    folder_source,
    folder_state,
    image_paths,
    stamps,
)

WANTED = (
    "a folder with A/1.png (source) and B/1.png (target), a folder or archive of images that hold both side by side, "
    "a .parquet with two columns of images, or an .npz of arrays 'source' and 'target'; to try: digit-edges"
)
Names = tuple[str, ...]
SOURCES: Names = ("conditioning_image", "source", "input", "A", "mask")
TARGETS: Names = ("image", "target", "output", "B")
IMAGES: Names = ("image", "source", "input", "A")  # usual names of the images that MAPS belong to
MAPS: Names = ("mask", "masks", "conditioning_image", "target", "output", "B")
FOLDERS = (("A", "B"), ("source", "target"), ("input", "output"), ("images", "masks"), ("image", "mask"))
HALVES = ("left", "right")


def find_pairs(spec: str, layout: Pairs, split: Split = "train") -> PairSource | None:
    """Find the pairs at a path.

    Accepted:

    * a folder with two sub-folders of images with the same names, such as `A` and `B`, `train/A` and `train/B`,
      `source` and `target` or `images` and `masks`;
    * parquet files with two columns of images;
    * a folder, archive or parquet column of images that hold source and target side by side;
    * an `.npz` with the arrays `source` and `target`.

    Args:
        spec: the path.
        layout: names of the columns, sub-folders or halves, and the classes of maps.
        split: "train" or "test".

    Returns:
        The pairs; None without a test split.

    Raises:
        UserError: the path holds no pairs, images have no partner, or source and target are ambiguous.
    """
    path = existing_path(spec)
    assert path is not None
    if path.is_dir():
        return _in_folder(path, layout, split)
    if split == "test":
        return None
    if path.suffix.lower() == ".parquet":
        return _in_tables([path], str(path), layout, split)
    if path.suffix.lower() == ".npz":
        arrays = paired_arrays(path, *map(bool, _maps(layout)))
        items, count, identify = partial(_array_items, path, *arrays), len(arrays[0]), partial(stamps, path)
        return PairSource(str(path), identify(), items, count, place=str(path.resolve()), identify=identify)
    if is_archive(path):
        source = archive_source(path)
        folders = {item.label for item in source.items()}
        if any(folders >= {*pair} for pair in (*FOLDERS, (layout.source, layout.target))):
            raise UserError(
                f"{path} holds pairs in two folders, which are only read unpacked; unpack it and give the folder"
            )
        return _in_halves(source, layout)
    raise UserError(f"{spec!r} does not hold pairs; give {WANTED}")


def _in_folder(folder: Path, layout: Pairs, split: Split) -> PairSource | None:
    for word in PARTS["train"]:
        if all((folder / f"{word}{side}.parquet").is_file() for side in "AB"):
            raise UserError(f"{folder} holds two sets, {word}A and {word}B, but this task needs pairs; give {WANTED}")
    if tables := parquet_parts(folder, split):
        return _in_tables(tables, str(folder), layout, split)
    if split == "test" and parquet_parts(folder):
        return None
    sides = _sub_folders(folder, layout, split)
    if sides is not None:
        return _in_folders(*sides, str(folder))
    if split == "test" and _sub_folders(folder, layout, "train") is not None:
        return None
    if {layout.source, layout.target} - {"", *HALVES}:
        given = f"source={layout.source!r}, target={layout.target!r}"
        raise UserError(f"{folder} has no sub-folders of images with these names: {given}; correct the names")
    inner = next((folder / word for word in PARTS[split] if (folder / word).is_dir()), None)
    if inner is None and split == "test":
        return None
    return _in_halves(folder_source(inner or folder), layout)


def _maps(layout: Pairs) -> tuple[Names, Names]:
    return class_names(layout.source_classes), class_names(layout.target_classes)


def _in_tables(paths: Sequence[Path], name: str, layout: Pairs, split: Split) -> PairSource:
    available = image_columns(paths)
    named = {layout.source, layout.target} - {"", *HALVES}
    if len(available) == 1 and not named:
        return _in_halves(column_source(paths, available[0], name, split), layout)
    columns = _two_of(available, layout)
    if columns is None:
        found = ", ".join(available) or "none"
        raise UserError(
            f"{name} has these columns of images: {shortened(found)}; pairs need two of them: set their names, such as "
            f"source={(layout.source or 'sketch')!r} and target={(layout.target or 'photo')!r}"
        )
    return paired_source(paths, columns, name, split)


def _two_of(available: Sequence[str], layout: Pairs) -> tuple[str, str] | None:
    """The columns of source and target, by the names given, else by the usual names."""
    source_map, target_map = _maps(layout)
    sources, targets = SOURCES, TARGETS
    if source_map:
        sources, targets = MAPS, IMAGES
    elif target_map:
        sources, targets = IMAGES, MAPS
    source = layout.source or next((n for n in sources if n in available and n != layout.target), "")
    target = layout.target or next((n for n in targets if n in available and n != source), "")
    return (source, target) if {source, target} <= {*available} and source != target else None


def _sub_folders(folder: Path, layout: Pairs, split: Split) -> tuple[Path, Path] | None:
    """The folders of sources and targets of a split, or None."""
    if {layout.source, layout.target} & {*HALVES}:
        return None
    source_map, target_map = _maps(layout)
    choices = [*FOLDERS]
    if source_map and not target_map:  # from maps to photos
        choices = [(b, a) if b.startswith("mask") else (a, b) for a, b in choices]
    if target_map and not source_map:
        choices = sorted(choices, key=lambda pair: not pair[1].startswith("mask"))
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
    """Pair the images of two folders by their names without suffix."""
    sources, targets = _by_stem(source), _by_stem(target)
    unpaired = [
        f"{len(stems)} of {len(own)} images in {folder} have no partner in {other}: {listed(stems)}"
        for own, theirs, folder, other in ((sources, targets, source, target), (targets, sources, target, source))
        if (stems := sorted(own.keys() - theirs.keys()))
    ]
    if unpaired:
        raise UserError(f"{name}: {'; '.join(unpaired)}; partners have the same name: add or remove these images")
    found = [(sources[stem], targets[stem]) for stem in sorted(sources)]

    def state() -> tuple[str, int]:
        (a, size_a), (b, size_b) = folder_state(source, sources.values()), folder_state(target, targets.values())
        return f"{a} {b}", size_a + size_b

    identity, size = state()
    return PairSource(
        name,
        identity,
        lambda: (Pair(Item(str(a), a), Item(str(b), b)) for a, b in found),
        len(found),
        place=f"{source.resolve()} {target.resolve()}",
        identify=lambda: state()[0],
        size=size,
    )


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in image_paths(folder):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in found:
            raise UserError(f"{found[stem]} and {path} have the same name, but each pair needs its own; remove one")
        found[stem] = path
    return found


def _in_halves(source: Source, layout: Pairs) -> PairSource:
    """Images that hold source and target side by side. Source: the data sets of pix2pix (Isola et al. 2017)."""
    for name in (layout.source, layout.target):
        if name not in ("", *HALVES):
            missing = f"{source.name} has no columns or sub-folders"
            raise UserError(f"{missing}, so no {name!r}; give {WANTED}")
    if layout.source and layout.source == layout.target:
        raise UserError(f"source and target are both {layout.source!r}; set one to 'left' and the other to 'right'")
    assert source.count is not None
    sides_given = bool(layout.source or layout.target)
    source_is_right = layout.source == "right" or layout.target == "left"
    return PairSource(
        source.name,
        source.identity,
        partial(_half_items, source, sides_given, source_is_right),
        source.count,
        place=f"{source.place} halves {sides_given} {source_is_right}",
        identify=source.identify,
        size=source.size,
    )


def _half_items(source: Source, sides_given: bool, source_is_right: bool) -> Iterator[Callable[[], Pair]]:
    for item in source.items():
        yield partial(_halves, source.name, item, sides_given, source_is_right)


def _halves(source: str, item: Item, sides_given: bool, source_is_right: bool) -> Pair:
    """Cut an image in halves; unless the sides are given, raise UserError if it is less than twice as wide as high."""
    name = item.name
    try:
        image, (width, height) = decode(item.encoded, Target())
        if width < 2 * height and not sides_given:
            raise UserError(
                f"{source} seems to hold single images ({name} has {width}x{height} pixels), but this task needs "
                f"pairs: {WANTED}. If each image holds source and target side by side, set source='left'"
            )
        if width % 2:
            raise NotDecodedError(f"its width of {width} is odd, so it is not two images side by side")
    except NotDecodedError as error:
        return Pair(Item(name, error), Item(name, error))
    half = width // 2
    halves = [image.crop((left, 0, left + half, height)) for left in (0, half)]
    first, second = reversed(halves) if source_is_right else halves
    return Pair(Item(f"{name}, source", first), Item(f"{name}, target", second))


def _array_items(path: Path, *arrays: NDArray[np.generic]) -> Iterator[Pair]:
    for row, sides in enumerate(zip(*arrays)):
        names = (f"{path}, {side}, row {row}" for side in ("source", "target"))
        yield Pair(*(Item(name, Image.fromarray(pixels)) for name, pixels in zip(names, sides)))
