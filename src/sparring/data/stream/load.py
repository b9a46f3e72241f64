"""Loading a stream: the first samples as a set in memory, and the rest while training."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from http.client import HTTPException
from itertools import islice
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urljoin

import torch

from sparring.base.components import PIPE, is_trusted
from sparring.base.errors import UserError, check_number, shortened
from sparring.data.images import load_images
from sparring.data.labels import single_image_classes
from sparring.data.layout import Layout, Single
from sparring.data.samples import Data, image_data
from sparring.data.sources.archives import ENDINGS
from sparring.data.sources.decode import Target
from sparring.data.sources.hub import hub_parts
from sparring.data.sources.reading import read_images
from sparring.data.sources.records import Side
from sparring.data.sources.source import Item, Source, part_like, size_of, stamps
from sparring.data.store.mapped import memory_bound
from sparring.data.store.pixels import StackInMemory, TooLargeError
from sparring.data.stream.names import HUB, STREAM, WEB, path_of, shard_names
from sparring.data.stream.shards import TIMEOUT, Shard, item_shard, read_shard, tar_shard
from sparring.data.stream.stream import LIST_CLASSES, Stream

REFERENCE = 2048  # samples
FEWEST = 5  # samples of each class among them; where there are fewer, others may be missing
LIST = "classes.txt"
TARS = tuple(ending for ending in ENDINGS if ending != ".zip")


def load_stream(spec: str, target: Target, held_out: float, layout: Layout) -> Data:
    """The first 2,048 samples of shards, in the order of the shards, as a set that streams the others.

    Args:
        spec: paths or addresses of shards with ranges and lists in braces, `pipe:COMMAND`, or `stream:hub:OWNER/NAME`.
        target: the size that images are resized to, and the method.
        held_out: the share of the shards to hold out, from the last one on; `Data.rest` has their first samples.
        layout: must be `Single`.

    Raises:
        UserError: a shard cannot be read, an option does not suit a stream, a command is not trusted, or as
            `load_images`.
    """
    _check(spec, target, layout)
    check_number("data", "held_out", held_out, low=0, high=0.99)
    shards, hub = _shards(spec)
    count = round(held_out * len(shards))
    if held_out and not 0 < count < len(shards):
        share = f"held_out={held_out:g} of {len(shards)} shards leaves one part empty"
        raise UserError(f"{share}; whole shards are held out: set held_out=0, or give more shards")
    train, rest = shards[: len(shards) - count], shards[len(shards) - count :]
    source = _source(spec, train, hub)
    data = _loaded(source, target)
    complete = len(data) + len(data.notes) < REFERENCE
    if data.labels is not None and not (source.classes or complete) and min(data.form.counts) < FEWEST:
        few = f"the first {REFERENCE:,} samples of {spec} have classes with fewer than {FEWEST} samples"
        raise UserError(f"{few}, so others are probably missing; {LIST_CLASSES}")
    spare = data.stored(torch.tensor([0]), mirror=False)
    stream = Stream(spec, tuple(train), data.form, target, bool(source.classes), complete, spare)
    parts = "the whole set" if complete else "the first of them"
    remark = f"shards: {len(train):,}; the {len(data):,} samples of this report are {parts}"
    single = () if complete else single_image_classes(data.form.counts, data.form.classes)
    remarks = (remark, *(line for line in data.remarks if line not in single))
    held = _loaded(part_like(_source(spec, rest, hub), data.form), target).renamed(split="test") if rest else None
    return replace(data, stream=stream, remarks=remarks, rest=held)


def _check(spec: str, target: Target, layout: Layout) -> None:
    if not isinstance(layout, Single):
        raise UserError(f"shards such as {shortened(spec)} hold single images; give pairs or two sets in a folder")
    if target.fit == "patch":
        raise UserError("fit='patch' cannot cut patches from shards; use --fit crop, pad or stretch")
    if spec.startswith(PIPE) and not is_trusted():
        raise UserError(f"{shortened(spec)!r} would run a command; if you trust where it comes from, add --trust")


def _shards(spec: str) -> tuple[list[Shard], Source | None]:
    """The shards that a text names, and the source of all their samples if it is one of the Hub."""
    if not spec.startswith(HUB):
        names = shard_names(spec)
        wrong = [] if spec.startswith(PIPE) else [n for n in names if not path_of(n).lower().endswith(TARS)]
        if wrong:
            raise UserError(
                f"{shortened(wrong[0])!r} is not a shard; give {', '.join(TARS)} files, such as a-{{00..99}}.tar"
            )
        return [tar_shard(name) for name in names], None
    source, parts = hub_parts(spec.removeprefix(STREAM))
    stem, count = source.name, len(parts)
    return [
        item_shard(f"{stem}, part {i} of {count}", source.identity, part) for i, part in enumerate(parts, 1)
    ], source


def _source(spec: str, shards: Sequence[Shard], hub: Source | None) -> Source:
    """The first samples of shards."""
    if hub is not None:
        place = f"{REFERENCE} samples of {[shard.name for shard in shards]}"
        return replace(hub, name=spec, items=partial(_first, shards), count=REFERENCE, place=place, part=True)
    classes = _listed_classes(shards[0].name)
    items = partial(_first, shards)
    if any(shard.name.startswith((PIPE, *WEB)) for shard in shards):
        return Source(spec, "", items, REFERENCE, classes, part=bool(classes))
    paths = [Path(shard.name).expanduser() for shard in shards]
    identify = partial(stamps, *paths)
    place = f"{REFERENCE} samples of {[str(path.resolve()) for path in paths]}"
    first = Source(spec, identify(), items, REFERENCE, classes, part=bool(classes))
    return replace(first, place=place, identify=identify, size=size_of(*paths))


def _first(shards: Sequence[Shard]) -> Iterator[Item]:
    items = (item for shard in shards for item in read_shard(shard, lambda number: True) if item is not None)
    return islice(items, REFERENCE)


def _listed_classes(shard: str) -> tuple[str, ...]:
    """The class names in `classes.txt` in the folder of a shard, one a line; () if there is no such file."""
    if shard.startswith(PIPE):
        return ()
    try:
        if shard.startswith(WEB):
            with urllib.request.urlopen(urljoin(shard, LIST), timeout=TIMEOUT) as answer:
                text = answer.read().decode("utf-8")
        else:
            text = Path(shard).expanduser().with_name(LIST).read_text(encoding="utf-8")
    except (OSError, HTTPException, UnicodeDecodeError) as error:
        if isinstance(error, FileNotFoundError) or (isinstance(error, HTTPError) and 400 <= error.code < 500):
            return ()
        raise UserError(f"{LIST} beside {shard} cannot be read ({error}); correct or remove it") from error
    return tuple(text.splitlines())


def _loaded(source: Source, target: Target) -> Data:
    """The set of a source, from the cache if its files have an identity."""
    if source.identity:
        return load_images(source, target)
    sink, side = StackInMemory(REFERENCE, memory_bound()), Side(target=target, channels=source.channels)
    try:
        report = read_images(source, [side], target, [sink])
    except TooLargeError as error:
        large = f"the first {REFERENCE:,} samples of {source.name} exceed the memory bound"
        raise UserError(f"{large}; choose a smaller --size, or set SPARRING_MEMORY to more GiB") from error
    return image_data(source.name, sink.stored(), *report.metadata(source)[:4])
