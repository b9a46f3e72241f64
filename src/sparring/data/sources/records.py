"""The images and pairs of a source as pixels, decoded in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
from PIL import Image

from sparring.base.cores import available_cores
from sparring.base.errors import UserError
from sparring.data.labels import Label
from sparring.data.maps import decode_map
from sparring.data.sources.decode import NotDecodedError, Size, Target, decode, read_header
from sparring.data.sources.fitting import fit_alike
from sparring.data.sources.source import Item, Pair, PairSource, Source
from sparring.data.store.mapped import memory_bound
from sparring.data.store.pixels import Pixel

AT_ONCE, MOST_AT_ONCE = 1 << 18, 64  # bytes, and images, that a thread decodes in one part
FOR_THREAD = 256 << 20  # bytes of the memory bound for each thread; a photo of 24 megapixels takes 72 MB for each copy


@dataclass(frozen=True)
class Side:
    """How to read single images, or one side of pairs.

    Attributes:
        what: the noun for one of them, in messages.
        target: the size that single images are resized to while reading.
        classes: the class names of maps of class ids; () for ordinary images.
        ignore: an id of maps that stands for no class, in addition to 255.
        channels: the required number, 1 or 3; 0: grey if every image is grey.
    """

    what: str = "image"
    target: Target = Target()
    classes: tuple[str, ...] = ()
    ignore: int | None = None
    channels: int = 0

    def read(self, item: Item) -> tuple[Image.Image, Size]:
        """An image of mode L or RGB and its original size; raises as `decode` and `decode_map`."""
        if not self.classes:
            return decode(item.encoded, self.target)
        ids = decode_map(item.name, item.encoded, len(self.classes), self.ignore)
        return ids, ids.size

    def keeps(self, pixels: Pixel) -> bool:
        """True if decoded pixels, [C, H, W], are stored unchanged."""
        return not self.classes and self.target.size is None and self.channels in (0, len(pixels))


class Record(NamedTuple):
    """An image or a pair that was read.

    Attributes:
        name: the name of the image; for a pair, of its target.
        label: its label, likewise.
        images: the one or two images, [C, H, W]; empty if only headers were read.
        sizes: their original sizes.
    """

    name: str
    label: Label
    images: list[Pixel]
    sizes: list[Size]


Found = Item | Pair | Callable[[], Pair] | UserError  # what a source yields; or the error that it ends with
Result = Record | NotDecodedError | UserError


def decoded_ahead(source: Source | PairSource, sides: Sequence[Side], target: Target) -> Iterator[tuple[Found, Result]]:
    """Yield what the source yields, in order, with what was read of it.

    Threads decode parts of several images. A part holds about `AT_ONCE` bytes or one image, and there is at most
    one thread for each `FOR_THREAD` bytes of the memory bound, so memory stays bounded.
    """
    waiting: deque[tuple[list[Found], Future[list[Result]]]] = deque()
    found, count = _until_error(source), 1
    threads = min(available_cores(), max(1, memory_bound() // FOR_THREAD))
    if threads == 1:
        yield from ((each, _read(each, sides, target)) for each in found)
        return
    pool = ThreadPoolExecutor(threads)
    try:
        while True:
            while len(waiting) < 2 * threads and (part := _next_part(found, count)):
                waiting.append((part, pool.submit(_read_part, part, sides, target)))
            if not waiting:
                return
            part, future = waiting.popleft()
            results = future.result()
            yield from zip(part, results)
            yield from ((each, _read(each, sides, target)) for each in part[len(results) :])
            if isinstance(results[-1], Record):
                count = min(1 + AT_ONCE // sum(3 * w * h for w, h in results[-1].sizes), MOST_AT_ONCE)
    finally:
        pool.shutdown(cancel_futures=True)


def _next_part(found: Iterator[Found], count: int) -> list[Found]:
    """The next elements: at most `count`, with about `AT_ONCE` bytes of encoded images or one."""
    part, held = [], 0
    for each in islice(found, count):
        part.append(each)
        items = each if isinstance(each, Pair) else (each,)
        held += sum(len(i.content) for i in items if isinstance(i, Item) and isinstance(i.content, bytes))
        if held > AT_ONCE:
            break
    return part


def _read_part(part: Sequence[Found], sides: Sequence[Side], target: Target) -> list[Result]:
    """Read the first elements of a part, of about `AT_ONCE` bytes of pixels or one."""
    results: list[Result] = []
    held = 0
    for each in part:
        results.append(_read(each, sides, target))
        held += sum(i.nbytes for i in results[-1].images) if isinstance(results[-1], Record) else 0
        if held > AT_ONCE:
            break
    return results


def _until_error(source: Source | PairSource) -> Iterator[Found]:
    try:
        yield from source.items()
    except UserError as error:
        yield error


def _read(found: Found, sides: Sequence[Side], target: Target) -> Result:
    """Decode an image or a pair, and bring a pair to the target size."""
    images, sizes = [], []
    try:
        items = _items(found)
        content = items[0].content
        if isinstance(content, np.ndarray) and len(sides) == 1 and sides[0].keeps(content):
            return Record(items[0].name, items[0].label, [content], [(content.shape[2], content.shape[1])])
        for side, item in zip(sides, items):
            with _naming(item):
                image, size = side.read(item)
            images.append(image)
            sizes.append(size)
    except (NotDecodedError, UserError) as error:
        return error
    if len(images) == 2 and target.size is not None and target.fit != "patch":
        images = [fit_alike(image, sizes[1], target, bool(side.classes)) for side, image in zip(sides, images)]
    pixels = [channels_first(image, side.channels) for side, image in zip(sides, images)]
    return Record(items[-1].name, items[-1].label, pixels, sizes)


def read_headers(found: Found) -> Result:
    """The original sizes alone."""
    sizes = []
    try:
        items = _items(found)
        for item in items:
            with _naming(item):
                sizes.append(read_header(item.encoded)[0])
    except (NotDecodedError, UserError) as error:
        return error
    return Record(items[-1].name, items[-1].label, [], sizes)


def _items(found: Found) -> tuple[Item, ...]:
    """The item of an image, or the two of a pair; raises the error that the source ends with."""
    if isinstance(found, UserError):
        raise found
    if isinstance(found, Item):
        return (found,)
    return found if isinstance(found, Pair) else found()


@contextmanager
def _naming(item: Item) -> Iterator[None]:
    """Name the image in the message of a NotDecodedError."""
    try:
        yield
    except NotDecodedError as error:
        raise NotDecodedError(f"left out {item.name}: {error}") from error


def channels_first(image: Image.Image, channels: int) -> Pixel:
    """An image as [C, H, W], converted to this number of channels unless it is 0."""
    mode = {0: image.mode, 1: "L", 3: "RGB"}[channels]
    pixels = np.asarray(image if image.mode == mode else image.convert(mode), np.uint8)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
