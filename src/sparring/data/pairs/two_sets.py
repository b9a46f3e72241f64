"""Two sets of images that do not belong together one by one."""

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
    """Where the images of both sets are, or None if none are kept for this split; raises UserError if there are none.

    There are no labels. `find` gives the images that a path holds.
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
        a, b = (column_source(tables, column, str(path)) for column in (layout.a, layout.b))
        return replace(a, name=f"{path}, column {layout.a}"), replace(b, name=f"{path}, column {layout.b}")
    if split == "test":
        return None
    raise UserError(f"{path} does not hold two sets, {layout.a!r} and {layout.b!r}; give {WANTED}")


def as_sets(name: str, a: Data, b: Data) -> Data:
    """The set that is made from the other, with what was told of both."""
    reported = [("A", remark) for remark in a.remarks] + [("B", remark) for remark in b.remarks]
    remarks = tuple(remark.replace(": ", f": set {which}: ", 1) for which, remark in reported)
    return replace(joined(name, a, b, paired=False), notes=(*a.notes, *b.notes), remarks=remarks)


def _in_folder(folder: Path, layout: Sets, split: Split, find: Find) -> tuple[Source, Source] | None:
    for place in (folder, folder / "data"):
        for direction in places(split):
            ended = (_ended(place / direction.format(side)) for side in (layout.a, layout.b))
            a, b = (next((p for p in paths if p.exists()), None) for paths in ended)
            if a is not None and b is not None:
                first, second = find(a), find(b)
                if first is not None and second is not None:
                    return _unlabelled(first), _unlabelled(second)
    return None


def _ended(path: Path) -> list[Path]:
    return [path, *(path.with_name(path.name + ending) for ending in (".parquet", *ENDINGS))]


def _unlabelled(source: Source) -> Source:
    items = source.items
    place = f"{source.place} unlabelled"
    return replace(source, items=lambda: (item._replace(label=None) for item in items()), classes=(), place=place)
