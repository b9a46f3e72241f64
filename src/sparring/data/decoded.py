"""Decoding a set once: a small one into memory, others into the cache, from which they are mapped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple

import torch

from sparring.base.download import ROOM
from sparring.base.errors import NotWrittenError, writing
from sparring.data.samples import Data
from sparring.data.sources.decode import Target
from sparring.data.sources.reading import Metadata, ReadReport
from sparring.data.sources.records import Side
from sparring.data.sources.source import PairSource, Source
from sparring.data.store.cache import Cached, Entry, make_room
from sparring.data.store.mapped import chunks, map_file, memory_bound, written
from sparring.data.store.pixels import FileSink, MemorySink, Sink, Stored, TooLargeError, arranged

Build = Callable[[list[Stored], Metadata], Data]


class Method(NamedTuple):
    """How images are read and stored.

    Attributes:
        read: decodes all images or pairs, each side into its sink.
        in_memory: a sink for at most so many images and bytes.
        in_file: a sink that writes to a file.
    """

    read: Callable[[Source | PairSource, Sequence[Side], Target, Sequence[Sink]], ReadReport]
    in_memory: Callable[[int, int], MemorySink]
    in_file: Callable[[BinaryIO], FileSink]


class Decoding(NamedTuple):
    """A set to be decoded.

    Attributes:
        source: the images or pairs.
        sides: how to read the images, or the two images of each pair.
        target: the size of the images, and how they are resized.
        method: how they are read and stored.
        build: makes the data of what each side stored, and the rest.
    """

    source: Source | PairSource
    sides: Sequence[Side]
    target: Target
    method: Method
    build: Build

    def data(self) -> Data:
        """The set from the cache, or decoded.

        * A set that is decoded within about a second, and fits into memory, is decoded into memory.
        * Any other set is decoded into the cache. If the cache cannot be written, a set that fits into memory is
          decoded into memory, with a note.

        Raises:
            UserError: as `method.read` and `build`; or the set is larger than memory, and the cache cannot be written.
        """
        entry = self._entry()
        if (cached := entry.read()) is not None:
            return self._restored(cached)
        if not self.source.slow:
            with suppress(TooLargeError):
                return self._in_memory()
        try:
            with entry.locked():
                cached = entry.read()  # another process may have written it while this one waited
                return self._in_cache(entry) if cached is None else self._restored(cached)
        except NotWrittenError as error:
            if self.source.count is None:
                raise
            failure = NotWrittenError(str(error))  # without the traceback, which holds threads and files
        try:
            data = self._in_memory()
        except TooLargeError:
            raise failure from None
        self._note(failure)
        return data

    def _note(self, error: NotWrittenError) -> None:
        print(f"Note: {error}; until then each start decodes {self.source.name} again", file=sys.stderr)

    def _entry(self) -> Entry:
        source, target, sides = self.source, self.target, self.sides
        size = [target.size, target.fit if target.size else ""]
        read_as = [[side.what, side.classes, side.ignore, side.channels] for side in sides]
        part, classes = (source.part, source.classes) if isinstance(source, Source) else (False, ())
        place = [source.place or source.name, part, classes, size, read_as]
        return Entry(place, source.identity, len(sides))

    def _in_memory(self) -> Data:
        assert self.source.count is not None
        bound = memory_bound() // len(self.sides)
        sinks = [self.method.in_memory(self.source.count, bound) for _ in self.sides]
        metadata = self._read(sinks)
        return self.build([sink.stored() for sink in sinks], metadata)

    def _read(self, sinks: Sequence[Sink]) -> Metadata:
        return self.method.read(self.source, self.sides, self.target, sinks).metadata(self.source)

    def _in_cache(self, entry: Entry) -> Data:
        """Decode into the cache; if the source changes meanwhile, into temporary files."""
        with entry.parts() as files:
            sinks = [self.method.in_file(file) for file in files]
            metadata = self._read(sinks)
            layouts = [sink.layout() for sink in sinks]
            with writing(entry.manifest, ROOM):
                for file in files:
                    file.flush()
            pixels = [map_file(file, (file.tell(),)) for file in files]
            unchanged = self.source.unchanged
            if not unchanged:  # the images do not belong to the key
                pixels = [written(chunks(flat), tuple(flat.shape)) for flat in pixels]
            data = self.build([arranged(flat, layout) for flat, layout in zip(pixels, layouts)], metadata)
            if unchanged:
                labels = None if metadata.labels is None else metadata.labels.tolist()
                saved = {**metadata._asdict(), "labels": labels, "name": self.source.name, "layouts": layouts}
                try:
                    entry.store(files, saved, data.digest)
                except NotWrittenError as error:
                    self._note(error)
                else:
                    with suppress(OSError):  # the set is complete, and the next one that is written removes the rest
                        entry.remove_older()
                        make_room()
        return data

    def _restored(self, cached: Cached) -> Data:
        saved: dict[str, Any] = cached.saved
        labels = None if saved["labels"] is None else torch.tensor(saved["labels"], dtype=torch.int64)
        notes, remarks = (
            tuple(self._respelled(line, saved["name"]) for line in saved[n]) for n in ("notes", "remarks")
        )
        metadata = Metadata(labels, tuple(saved["classes"]), notes, remarks, tuple(saved["units"]))
        data = self.build([arranged(flat, layout) for flat, layout in zip(cached.pixels, saved["layouts"])], metadata)
        vars(data).update({"digest": cached.digest} if cached.digest else {})  # saves hashing all samples
        return data

    def _respelled(self, line: str, old: str) -> str:
        """A line with the path of the set as in this call."""
        for before in ("left out ", "distorted to match: "):
            head, found, rest = line.partition(before + old)
            if found:
                return f"{head}{before}{self.source.name}{rest}"
        return line
