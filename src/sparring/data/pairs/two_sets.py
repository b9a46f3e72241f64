"""Two unpaired sets of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sparring.base.errors import UserError, existing_path
from sparring.data.layout import Sets
from sparring.data.samples import Data, Split, joined
from sparring.data.sources.archives import ENDINGS
from sparring.data.sources.parquet import column_source, image_columns, parquet_parts, places
from sparring.data.sources.source import Source

Find = Callable[[Path], Source | None]

WANTED = (
    "a folder with trainA/ and trainB/, or A/ and B/ (folders or archives of images, or trainA.parquet and "
    "trainB.parquet), or a .parquet with two columns of images, A and B; to try: digit-colours"
)


def find_sets(spec: str, layout: Sets, find: Find, split: Split = "train") -> tuple[Source, Source] | None:
    """Find the two sets of images at a path, without labels.

    Accepted, for the names A and B of the layout, here for training:

    * `trainA` and `trainB`, `train/A` and `train/B`, `A/train` and `B/train`, or `A` and `B`: each a folder, an archive
      or a `.parquet`;
    * parquet files with two columns of images, A and B.

    The sub-folder `data` of a folder is searched, too.

    Args:
        spec: the path.
        layout: the names of the two sets.
        find: returns the source of the images at a path.
        split: "train" or "test".

    Returns:
        The two sources; None without a test split.

    Raises:
        UserError: the path does not hold two sets.
    """
    path = existing_path(spec)
    assert path is not None
    tables = [path] if path.suffix.lower() == ".parquet" and split == "train" else []
    if path.is_dir():
        found = _in_folder(path, layout, split, find)
        if found is not None:
            return found
        tables = parquet_parts(path, split)
    if tables and {layout.a, layout.b} <= {*image_columns(tables)}:
        a, b = (column_source(tables, column, str(path), split) for column in (layout.a, layout.b))
        return replace(a, name=f"{path}, column {layout.a}"), replace(b, name=f"{path}, column {layout.b}")
    if split == "test":
        return None
    raise UserError(f"{path} does not hold two sets, {layout.a!r} and {layout.b!r}; give {WANTED}")


def as_sets(name: str, a: Data, b: Data) -> Data:
    """Set B with set A as its source, and the notes and remarks of both."""
    lines = [("A", remark) for remark in a.remarks] + [("B", remark) for remark in b.remarks]
    remarks = tuple(remark.replace(": ", f": set {which}: ", 1) for which, remark in lines)
    return replace(joined(name, a, b, paired=False), notes=(*a.notes, *b.notes), remarks=remarks)


def _in_folder(folder: Path, layout: Sets, split: Split, find: Find) -> tuple[Source, Source] | None:
    for place in (folder, folder / "data"):
        for pattern in places(split):
            sides = (_candidates(place / pattern.format(side)) for side in (layout.a, layout.b))
            a, b = (next((p for p in paths if p.exists()), None) for paths in sides)
            if a is not None and b is not None:
                first, second = find(a), find(b)
                if first is not None and second is not None:
                    return _unlabelled(first), _unlabelled(second)
    return None


def _candidates(path: Path) -> list[Path]:
    return [path, *(path.with_name(path.name + ending) for ending in (".parquet", *ENDINGS))]


def _unlabelled(source: Source) -> Source:
    items = source.items
    place = f"{source.place} unlabelled"
    return replace(source, items=lambda: (item._replace(label=None) for item in items()), classes=(), place=place)
