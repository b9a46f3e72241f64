"""From a source of images to a set: in memory if it fits there, else in a file of the cache that is mapped."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from filelock import FileLock
from PIL import Image

from sparring.base.download import ROOM
from sparring.base.errors import UserError, writing
from sparring.base.files import write_atomically
from sparring.data.samples import Data, image_data
from sparring.data.sources.decode import Target
from sparring.data.sources.fitting import fitted_remarks
from sparring.data.sources.reading import read_source
from sparring.data.sources.source import Source
from sparring.data.store.mapped import chunks, map_file, mapped_folder, memory_bound, written
from sparring.data.store.pixels import InFile, InMemory, TooLargeError

VERSION = 2  # of the files in the cache, and of what decoding does to images


def load_images(source: Source, target: Target) -> Data:
    """All images of a source, brought to the target's size. Grey if every image is.

    They lie in memory up to `memory_bound`; more are decoded into a file in the cache, once, and mapped from it.
    Broken images are named in `notes` and left out.

    Raises:
        UserError: no images, more than a tenth broken, different sizes and none wanted, bad labels, or no room.
    """
    entry = _Entry(source, target)
    if (found := entry.read()) is not None:
        return found
    if source.count is not None:
        pixels = InMemory(source.count, memory_bound())
        try:
            reported = read_source(source, target, pixels)
            return image_data(source.name, pixels.tensor(), *reported)
        except TooLargeError:
            del pixels  # then into a file
    with writing(entry.pixels, ROOM):
        entry.pixels.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(entry.lock).acquire()
    with lock:
        return entry.read() or entry.write()  # another process may have written it while this one waited


def brought_to(target: Target, data: Data) -> Data:
    """Images that are decoded already, at the target's size; raises UserError on points."""
    if target.size is None or data.form.shape[:0:-1] == target.size:
        return data
    if data.form.is_points:
        raise UserError(f"{data.name} holds points, which have no size; leave --size out")
    images = []
    for pixels in data.samples.permute(0, 2, 3, 1).numpy():
        image = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
        images.append(np.atleast_3d(np.asarray(target.apply(image))))
    samples = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    _, height, width = data.form.shape
    remarks = fitted_remarks(Counter({(width, height): len(data)}), target)
    return image_data(data.name, samples, data.labels, data.form.classes, data.notes, remarks)


@dataclass(frozen=True)
class _Entry:
    """A set's place in the cache: `KEY.pixels`, raw bytes, and `KEY.json`, written last, which vouches for them.

    KEY is two hashes: of what is decoded and how, and of its present state. Older states are removed.
    """

    source: Source
    target: Target

    @cached_property
    def lock(self) -> Path:
        """What a process holds while it writes any state of the set, and removes others."""
        source, target = self.source, self.target
        wanted = [source.place or source.name, source.part, target.size, target.fit if target.size else ""]
        return mapped_folder() / f"{_hash(wanted)}.lock"

    @cached_property
    def pixels(self) -> Path:
        source = self.source
        state = [VERSION, PIL.__version__, source.identity, source.classes, source.channels]
        return self.lock.with_name(f"{self.lock.stem}-{_hash(state)}.pixels")

    @property
    def manifest(self) -> Path:
        return self.pixels.with_suffix(".json")

    def read(self) -> Data | None:
        """The set, if it is there; raises UserError if it is damaged."""
        if not self.manifest.exists():
            return None
        try:
            saved: dict[str, Any] = json.loads(self.manifest.read_text(encoding="utf-8"))
            shape = tuple(saved["shape"])
            with self.pixels.open("rb") as file:
                state = os.fstat(file.fileno())
                if state.st_size != math.prod(shape):
                    raise ValueError(f"{self.pixels.name} is not of shape {list(shape)}")
                samples = map_file(file, shape)
            labels = None if saved["labels"] is None else torch.tensor(saved["labels"], dtype=torch.int64)
            begun, begin = f"left out {saved['name']}", f"left out {self.source.name}"  # as the path is spelled now
            own = [begin + note.removeprefix(begun) if note.startswith(begun) else note for note in saved["notes"]]
            lines = tuple(saved["classes"]), tuple(own), tuple(saved["remarks"])
            digest = str(saved["digest"]) if saved.get("modified") == state.st_mtime_ns else ""
        except FileNotFoundError:  # meanwhile another process wrote another state
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{self.manifest} is damaged ({error}); remove it, so that it is made anew") from error
        found = image_data(self.source.name, samples, labels, *lines)
        vars(found).update({"digest": digest} if digest else {})  # else it is computed from all samples
        return found

    def write(self) -> Data:
        """Decode the source into the file or, where it changed meanwhile, into one without a name."""
        part = self.pixels.with_suffix(".part")
        try:
            with writing(part, ROOM):
                file = part.open("w+b")
            with file:
                pixels = InFile(file)
                reported = read_source(self.source, self.target, pixels)
                with writing(part, ROOM):
                    file.flush()
                if not self.source.unchanged:  # these are not the images that the entry's name tells of
                    samples = written(chunks(map_file(file, pixels.shape)), pixels.shape)
                    return image_data(self.source.name, samples, *reported)
            with writing(self.pixels, ROOM):
                part.replace(self.pixels)
        finally:
            part.unlink(missing_ok=True)
        with self.pixels.open("rb") as kept:
            found = image_data(self.source.name, map_file(kept, pixels.shape), *reported)
        labels = None if reported.labels is None else reported.labels.tolist()
        more = {"labels": labels, "name": self.source.name, "shape": pixels.shape, "digest": found.digest}
        modified = self.pixels.stat().st_mtime_ns  # while it stays the same, the digest is that of the pixels
        write_atomically(self.manifest, json.dumps({**reported._asdict(), **more, "modified": modified}).encode(), ROOM)
        for old in sorted(self.lock.parent.glob(f"{self.lock.stem}-*")):  # manifests first
            if old.stem != self.pixels.stem:  # who has it mapped keeps what was mapped
                old.unlink(missing_ok=True)
        return found


def _hash(parts: list[object]) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=12).hexdigest()
