"""Data sets of the Hugging Face Hub, streamed image by image into a file of the cache."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

from sparring.base.download import ROOM
from sparring.base.errors import UserError, shortened, writing
from sparring.base.files import write_atomically
from sparring.data.sources.parquet import PARTS, Columns, columns_of
from sparring.data.sources.source import Item, Source
from sparring.data.store.mapped import mapped_folder

PREFIX = "hub:"
ARCHIVES = ("zip://", "tar://", "gzip://")


def hub_source(spec: str) -> Source:
    """The images of `hub:OWNER/NAME` (split `train`) or `hub:OWNER/NAME:SPLIT`; raises UserError if there are none.

    If the Hub is unreachable, its last saved answer is used, so cached images still load.
    """
    name, split = parse_hub(spec)
    return _source(spec, name, split or "train")


def hub_held_out_source(spec: str) -> Source | None:
    """The images of the test split, else the validation split; None without either, or if `spec` names a split."""
    name, split = parse_hub(spec)
    if split:
        return None
    splits = _cached_answer(spec, f"{name} splits", lambda: list(_datasets().get_dataset_split_names(name)))
    held = next((word for word in PARTS["test"] if word in splits), "")
    return _source(spec, name, held) if held else None


def hub_parts(spec: str) -> tuple[Source, list[Callable[[], Iterator[Item]]]]:
    """The images of `hub_source`, and functions that yield those of each of the parts in which the Hub stores them.

    Raises:
        UserError: as `hub_source`, or the package `datasets` cannot read parts.
    """
    name, split = parse_hub(spec)
    split = split or "train"
    source, columns = _described(spec, name, split)
    with _hub_errors(spec):
        rows = _streamed(name, split)
    try:
        count = rows.num_shards
    except AttributeError as error:
        fix = 'install it with: pip install "datasets>=3.1"'
        raise UserError(f"stream:hub: needs the package datasets 3.1 or newer; {fix}") from error
    return source, [partial(_items, spec, name, split, columns, (number, count)) for number in range(count)]


def parse_hub(spec: str) -> tuple[str, str]:
    """`hub:OWNER/NAME:SPLIT` -> (OWNER/NAME, SPLIT); the split is optional."""
    found = re.fullmatch(r"hub:([\w.-]+(?:/[\w.-]+)?)(?::([\w.-]+))?", spec)
    if found is None:
        name = shortened(spec)
        raise UserError(f"{name!r} is not a Hub data set; write hub:OWNER/NAME or hub:OWNER/NAME:SPLIT")
    return found[1], found[2] or ""


def _source(spec: str, name: str, split: str) -> Source:
    return _described(spec, name, split)[0]


def _described(spec: str, name: str, split: str) -> tuple[Source, Columns]:
    answer = _cached_answer(spec, f"{name} images of {split}", lambda: _describe(spec, name, split))
    saved: dict[str, Any] = answer["columns"]
    columns = Columns(saved["image"], saved["label"], tuple(saved["classes"]), tuple(saved["remarks"]))
    identity, place = f"{name} {split} {answer['fingerprint']}", f"{PREFIX}{name}:{split}"
    items = partial(_items, spec, name, split, columns)
    return Source(spec, identity, items, None, columns.classes, remarks=columns.remarks, place=place), columns


def _describe(spec: str, name: str, split: str) -> dict[str, Any]:
    """The fingerprint of the set's current version, and its columns."""
    builder = _datasets().load_dataset_builder(name)
    features = _streamed(name, split).features
    if features is None:
        raise UserError(f"{spec} does not list its columns; download it and give the folder of its parquet files")
    return {"fingerprint": str(builder.hash), "columns": asdict(columns_of(features.arrow_schema, spec))}


def _streamed(name: str, split: str) -> Any:
    return _datasets().load_dataset(name, split=split, streaming=True)


def _items(spec: str, name: str, split: str, columns: Columns, part: tuple[int, int] | None = None) -> Iterator[Item]:
    """The images of a split, or of a part of it: its number, and the number of parts."""
    from datasets import Image

    with _hub_errors(spec):
        wanted = [columns.image, *([columns.label] if columns.label else [])]
        whole = _streamed(name, split)
        rows = whole if part is None else whole.shard(num_shards=part[1], index=part[0])
        rows = rows.select_columns(wanted).cast_column(columns.image, Image(decode=False))
        for number, row in enumerate(rows):
            label = row[columns.label] if columns.label else None
            yield Item(f"{spec}, row {number}", _content(row[columns.image], name), label)


def _content(image: dict[str, Any] | None, name: str) -> bytes | Exception:
    """The bytes of an image: from the row, or from a file or archive of the same data set.

    Rows are untrusted: other paths, such as those of local files, are not opened.
    """
    if image is None or not (image["bytes"] or image["path"]):
        return ValueError("the row has no image bytes")
    if image["bytes"]:
        return bytes(image["bytes"])
    *within, place = str(image["path"]).split("::")
    ours = place.startswith((f"hf://datasets/{name}@", f"hf://datasets/{name}/")) and ".." not in place.split("/")
    if not ours or not all(part.startswith(ARCHIVES) for part in within):
        return ValueError("the row names a file outside this data set")
    import fsspec

    with fsspec.open(image["path"], "rb") as file:
        return bytes(file.read())


def _cached_answer(spec: str, what: str, ask: Any) -> Any:
    """The Hub's answer, saved to the cache; if the Hub fails, the last saved answer."""
    digest = hashlib.blake2b(what.encode(), digest_size=12).hexdigest()
    path = mapped_folder() / f"hub-{digest}.json"
    try:
        with _hub_errors(spec):
            answer = ask()
    except UserError as error:
        if not path.is_file():
            raise
        print(f"Note: {error}; using its last saved answer", file=sys.stderr)
        return json.loads(path.read_text(encoding="utf-8"))
    with writing(path, ROOM):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(answer).encode(), ROOM)
    return answer


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UserError('hub: needs the package datasets; install it with: pip install "sparring[hub]"') from error
    return datasets


@contextmanager
def _hub_errors(spec: str) -> Iterator[None]:
    """Convert any error of the Hub's client and the network, which share no base class, into a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        cause = f"({shortened(f'{type(error).__name__}: {error}')})"
        raise UserError(
            f"{spec} cannot be read from the Hugging Face Hub {cause}; check the name and the network"
        ) from error
