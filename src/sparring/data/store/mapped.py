"""Samples that outgrow memory: files of raw bytes, mapped into memory, whose pages are given back after each look."""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from sparring.base.download import ROOM, cache_folder
from sparring.base.errors import UserError, shortened, writing

GIB = 1 << 30
CHUNK = 16 << 20  # bytes that are looked at before their pages are given back
ROWS = 4  # scattered samples: the system may map 2 MiB around each byte that is looked at, however small the sample
PARTS = 8  # a part of mapped samples stays in memory if it is at most this fraction of the bound
FALLBACK = 8 * GIB  # where the system does not tell how much memory there is
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container

_mappings: WeakValueDictionary[int, mmap.mmap] = WeakValueDictionary()  # address of a tensor's storage -> its file


def memory_bound() -> int:
    """How many bytes of samples may lie in memory: `$SPARRING_MEMORY` GiB, else a quarter of the machine's memory."""
    text = os.environ.get("SPARRING_MEMORY", "")
    if not text:
        return machine_memory() // 4
    try:
        bound = float(text)
    except ValueError:
        bound = 0.0
    if not 0 < bound < 1e6:
        raise UserError(f"SPARRING_MEMORY={shortened(text)!r} must be a number of GiB above 0, such as 0.5")
    return int(bound * GIB)


def machine_memory() -> int:
    """Bytes of memory that this machine, or the container on it, has."""
    if sys.platform == "win32":
        return FALLBACK
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in map(Path, LIMITS):
        text = limit.read_text().strip() if limit.is_file() else ""
        found += [int(text)] if text.isdecimal() else []  # "max": there is none
    return min(found)


def map_file(file: BinaryIO, shape: tuple[int, ...]) -> Tensor:
    """The bytes of a file as a uint8 tensor of this shape, read when they are looked at. Writing to it is private."""
    mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    samples = torch.from_numpy(np.frombuffer(mapping, np.uint8).reshape(shape))
    _mappings[samples.untyped_storage().data_ptr()] = mapping
    return samples


def is_mapped(samples: Tensor) -> bool:
    """These samples, or those that they are a slice of, lie in a mapped file."""
    return samples.untyped_storage().data_ptr() in _mappings


def release(samples: Tensor) -> None:
    """Give back the pages of mapped samples (or of what they are a slice of), which count as the process's memory; the
    next look reads them from the file again. Samples in memory are left alone."""
    mapping = _mappings.get(samples.untyped_storage().data_ptr())
    if mapping is not None and sys.platform != "win32":
        mapping.madvise(mmap.MADV_DONTNEED)


def chunks(samples: Tensor) -> Iterator[Tensor]:
    """Samples in slices of about 16 MiB, in order; what was mapped for one is given back before the next."""
    size = max(1, samples[:1].nbytes)
    for chunk in samples.split(max(1, CHUNK // size)) if len(samples) else ():
        yield chunk
        release(samples)


def select(samples: Tensor, indices: Tensor) -> Tensor:
    """The samples at `indices`, [n, ...], in memory; a large choice of mapped samples goes to a nameless file."""
    if not is_mapped(samples) or len(indices) * samples[:1].nbytes <= memory_bound() // PARTS:
        return gather(samples, indices)
    return written(_rows(samples, indices), (len(indices), *samples.shape[1:]))


def written(parts: Iterable[Tensor], shape: tuple[int, ...]) -> Tensor:
    """Samples that come in parts, uint8 of this shape together, mapped from a nameless file."""
    with nameless_file() as file:
        for part in parts:
            file.write(part.numpy().data)
        file.flush()
        return map_file(file, shape)


@contextmanager
def nameless_file() -> Iterator[BinaryIO]:
    """A file in the cache that is gone once nothing has it mapped; raises UserError if there is no room for it."""
    folder = mapped_folder()
    with writing(folder, ROOM):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            yield cast(BinaryIO, file)


def gather(samples: Tensor, indices: Tensor) -> Tensor:
    """The samples at `indices`, [n, ...], copied into memory; of mapped ones few pages are held at a time."""
    if not is_mapped(samples):
        return samples[indices]
    found = samples.new_empty((len(indices), *samples.shape[1:]))
    start = 0
    for rows in _rows(samples, indices):
        found[start : start + len(rows)] = rows
        start += len(rows)
    return found


def mapped_folder() -> Path:
    """Where the files of decoded images are."""
    return cache_folder() / "mapped"


def _rows(samples: Tensor, indices: Tensor) -> Iterator[Tensor]:
    size = max(1, samples[:1].nbytes)
    for part in indices.split(max(1, min(ROWS, CHUNK // size))):
        rows = samples[part]
        release(samples)
        yield rows
