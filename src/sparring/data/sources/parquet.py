"""Parquet files in the Hugging Face image layout: encoded bytes in a column, class names in the schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparring.base.errors import UserError, shortened
from sparring.data.sources.decode import Content
from sparring.data.sources.source import Item, Pair, PairSource, Source, size_of, stamps

if TYPE_CHECKING:
    import pyarrow

BATCH = 32  # rows read at once
IMAGES, LABELS = ("image", "img"), ("label", "labels")
PARTS = {"train": ("train",), "test": ("test", "validation", "valid", "val")}


@dataclass(frozen=True)
class Columns:
    """The columns to read: images, labels ("" for none), the class names, and remarks on the choice."""

    image: str
    label: str = ""
    classes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def parquet_source(paths: Sequence[Path], name: str) -> Source:
    """The images of parquet files with the same columns.

    * Images: the column `image`, else `img`, else the only column of {bytes, path}.
    * Labels: the column `label`, else `labels`, else the only ClassLabel column. `label` and `labels` must hold whole
      numbers or strings; otherwise they are ignored, with a warning in the remarks.

    Args:
        paths: the files, read in this order.
        name: the path that holds them.

    Raises:
        UserError: a file is damaged or holds no images, or the columns of the files differ.
    """
    return _source(paths, name, _alike(paths, [columns_of(_schema(path), str(path)) for path in paths]))


def column_source(paths: Sequence[Path], column: str, name: str, split: str) -> Source:
    """The images of one column, without labels; `name` is the path that holds the files of this split."""
    return _source(paths, name, Columns(column), f", column {column}, {split}")


def _source(paths: Sequence[Path], name: str, columns: Columns, part: str = "") -> Source:
    identify = partial(stamps, *paths)
    return Source(
        name,
        identify(),
        partial(_items, paths, columns),
        _count_rows(paths),
        columns.classes,
        remarks=columns.remarks,
        place=f"{Path(name).resolve()}{part}",
        identify=identify,
        size=size_of(*paths),
    )


def _alike(paths: Sequence[Path], found: Sequence[Any]) -> Any:
    """What was found in every file; raises UserError if two files differ."""
    for path, other in zip(paths, found):
        if other != found[0]:
            raise UserError(f"{path} has other columns or classes than {paths[0]}; move it to a folder of its own")
    return found[0]


def places(split: str) -> list[str]:
    """Path patterns for one side of a split: train/A, trainA, A/train and, for training, A."""
    patterns = [pattern for word in PARTS[split] for pattern in (f"{word}/{{}}", f"{word}{{}}", f"{{}}/{word}")]
    return [*patterns, "{}"] if split == "train" else patterns


def parquet_parts(folder: Path, split: str = "train") -> list[Path]:
    """The parquet files of a split in a folder or its sub-folder `data`.

    For the test split: `test.parquet` if it exists, else all files whose names begin with `test`; without any, the same
    for the validation split.
    """
    for place in (folder, folder / "data"):
        for word in PARTS[split]:
            if (place / f"{word}.parquet").is_file():
                return [place / f"{word}.parquet"]
            if found := sorted(path for path in place.glob(f"{word}*.parquet") if path.is_file()):
                return found
    return []


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Convert the errors of a damaged file into a UserError."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        cause = shortened(str(error))
        raise UserError(f"{path} is damaged or not a parquet file ({cause}); copy or download it again") from error


def _count_rows(paths: Sequence[Path]) -> int:
    from pyarrow import parquet

    count = 0
    for path in paths:
        with _reading(path):
            count += parquet.read_metadata(path).num_rows
    return count


def _schema(path: Path) -> pyarrow.Schema:
    from pyarrow import parquet

    with _reading(path):
        return parquet.read_schema(path)


def columns_of(schema: pyarrow.Schema, source: str) -> Columns:
    """The columns of images and labels, as in `parquet_source`."""
    features = _features(source, schema.metadata or {})
    structs = [f.name for f in schema if _is_image(f.type)]
    usual = [name for name in IMAGES if name in structs]
    if not usual and len(structs) != 1:
        found = ", ".join(f"{f.name} ({shortened(str(f.type), 40)})" for f in schema)
        raise UserError(
            f"{source} holds {'no images' if not structs else 'several columns of images'}; its columns are "
            f"{shortened(found)}; name the column of images, a struct of bytes and path, 'image'"
        )
    classes = {name: tuple(f["names"]) for name, f in features.items() if f.get("_type") == "ClassLabel"}
    label, remarks = _label_column(schema, list(classes))
    return Columns((usual or structs)[0], label, classes.get(label, ()), remarks)


def _label_column(schema: pyarrow.Schema, classes: list[str]) -> tuple[str, tuple[str, ...]]:
    import pyarrow as pa

    for name in (n for n in LABELS if n in schema.names):
        kind = schema.field(name).type
        if pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return name, ()
        what = f"column {name!r} holds {shortened(str(kind), 40)}"
        return "", (f"warning: {what} and is ignored; labels are whole numbers or strings",)
    return (classes[0] if len(classes) == 1 else ""), ()


def _features(source: str, metadata: dict[bytes, bytes]) -> dict[str, dict[str, Any]]:
    """The description of each column in the Hugging Face metadata; empty without metadata."""
    text = metadata.get(b"huggingface", b"{}")
    try:
        features = json.loads(text).get("info", {}).get("features", {})
        return {str(name): f for name, f in features.items() if isinstance(f, dict)}
    except (ValueError, AttributeError) as error:
        raise UserError(f"{source}: its metadata 'huggingface' are damaged ({error}); write the file again") from error


def _is_image(kind: pyarrow.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_struct(kind) and {"bytes", "path"} == {kind.field(i).name for i in range(kind.num_fields)}


def _items(paths: Sequence[Path], columns: Columns) -> Iterator[Item]:
    names = [columns.image, *([columns.label] if columns.label else [])]
    for name, (content, *label) in _rows_of(paths, names):
        yield Item(name, _content(content), label[0] if label else None)


def image_columns(paths: Sequence[Path]) -> tuple[str, ...]:
    """The names of the columns of images; raises UserError if the files differ."""
    schemas = map(_schema, paths)
    found: tuple[str, ...] = _alike(paths, [tuple(f.name for f in s if _is_image(f.type)) for s in schemas])
    return found


def paired_source(paths: Sequence[Path], columns: tuple[str, str], name: str, split: str) -> PairSource:
    """The images of two columns as pairs; `name` is the path that holds the files of this split."""
    identify, place = partial(stamps, *paths), f"{Path(name).resolve()}, columns {columns}, {split}"
    items, count, size = partial(_paired_items, paths, columns), _count_rows(paths), size_of(*paths)
    return PairSource(name, identify(), items, count, place=place, identify=identify, size=size)


def _paired_items(paths: Sequence[Path], columns: tuple[str, str]) -> Iterator[Pair]:
    for name, row in _rows_of(paths, columns):
        yield Pair(*(Item(f"{name}, column {column}", _content(image)) for column, image in zip(columns, row)))


def _content(encoded: bytes | None) -> Content | Exception:
    return encoded or ValueError("the row has no image bytes")


def _rows_of(paths: Sequence[Path], columns: Sequence[str]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The name of each row, and its values in some columns; of images, the bytes."""
    from pyarrow import parquet

    for path in paths:
        number = 0
        # Without pre-buffering a row group is read in pieces, which saves memory.
        with _reading(path), parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
            for batch in file.iter_batches(BATCH, columns=list(columns), use_threads=False):
                for row in zip(*(_values(batch.column(column)) for column in columns)):
                    yield f"{path}, row {number}", row
                    number += 1


def _values(column: pyarrow.Array) -> list[Any]:
    if not _is_image(column.type):
        return list(column.to_pylist())
    return list(column.flatten()[column.type.get_field_index("bytes")].to_pylist())  # None for a missing image
