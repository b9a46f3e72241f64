"""Loading the images of a source: into memory, or into a memory-mapped file of the cache if they are too large."""

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

VERSION = 3  # of the cache format and of decoding; a change invalidates the cache


def load_images(source: Source, target: Target) -> Data:
    """All images of a source at the target size; grey if every image is grey.

    Up to `memory_bound` they are kept in memory. Larger sets are decoded once into a file of the cache, which is
    memory-mapped. Broken images are left out and listed in `notes`.

    Raises:
        UserError: no images, more than a tenth broken, different sizes without a target size, bad labels, or no disk
            space.
    """
    entry = _Entry(source, target)
    if (found := entry.read()) is not None:
        return found
    if source.count is not None:
        pixels = InMemory(source.count, memory_bound())
        try:
            metadata = read_source(source, target, pixels)
            return image_data(source.name, pixels.tensor(), *metadata)
        except TooLargeError:
            del pixels  # frees its memory before the file is written
    with writing(entry.pixels, ROOM):
        entry.pixels.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(entry.lock).acquire()
    with lock:
        return entry.read() or entry.write()  # another process may have written it while this one waited


def resized(data: Data, target: Target) -> Data:
    """Decoded images resized to the target; raises UserError on points."""
    if target.size is None or data.form.shape[:0:-1] == target.size:
        return data
    if data.form.is_points:
        raise UserError(f"{data.name} holds points, but --size is for images; remove --size")
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
    """A set in the cache: `KEY.pixels` holds raw bytes, `KEY.json` its metadata, written last to mark it complete.

    KEY is two hashes: of the set and its target size, and of the current state of its files. Writing a state removes
    older ones.
    """

    source: Source
    target: Target

    @cached_property
    def lock(self) -> Path:
        """The lock file that a process holds while it writes a state of the set and removes others."""
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
        """The set, or None if it is not in the cache; raises UserError if its entry is damaged."""
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
            old, new = f"left out {saved['name']}", f"left out {self.source.name}"  # spell the path as in this call
            notes = [new + note.removeprefix(old) if note.startswith(old) else note for note in saved["notes"]]
            lines = tuple(saved["classes"]), tuple(notes), tuple(saved["remarks"])
            digest = str(saved["digest"]) if saved.get("modified") == state.st_mtime_ns else ""
        except FileNotFoundError:  # another process has just replaced this state
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{self.manifest} is damaged ({error}); remove it and run the command again") from error
        found = image_data(self.source.name, samples, labels, *lines)
        vars(found).update({"digest": digest} if digest else {})  # saves hashing all samples
        return found

    def write(self) -> Data:
        """Decode the source into the cache; if it changes meanwhile, into a temporary file."""
        part = self.pixels.with_suffix(".part")
        try:
            with writing(part, ROOM):
                file = part.open("w+b")
            with file:
                pixels = InFile(file)
                metadata = read_source(self.source, self.target, pixels)
                with writing(part, ROOM):
                    file.flush()
                if not self.source.unchanged:  # the images no longer match the key
                    samples = written(chunks(map_file(file, pixels.shape)), pixels.shape)
                    return image_data(self.source.name, samples, *metadata)
            with writing(self.pixels, ROOM):
                part.replace(self.pixels)
        finally:
            part.unlink(missing_ok=True)
        with self.pixels.open("rb") as kept:
            found = image_data(self.source.name, map_file(kept, pixels.shape), *metadata)
        labels = None if metadata.labels is None else metadata.labels.tolist()
        more = {"labels": labels, "name": self.source.name, "shape": pixels.shape, "digest": found.digest}
        modified = self.pixels.stat().st_mtime_ns  # the digest is valid while this is unchanged
        write_atomically(self.manifest, json.dumps({**metadata._asdict(), **more, "modified": modified}).encode(), ROOM)
        for old in sorted(self.lock.parent.glob(f"{self.lock.stem}-*")):  # manifests first
            if old.stem != self.pixels.stem:  # processes that have it mapped keep their mapping
                old.unlink(missing_ok=True)
        return found


def _hash(parts: list[object]) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=12).hexdigest()
