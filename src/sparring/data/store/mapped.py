"""Memory-mapped files of raw bytes. If they are larger than the memory bound, pages are released after each access."""

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
CHUNK = 16 << 20  # bytes read before their pages are released
ROWS = 4  # scattered samples read before a release: the system may map 2 MiB for each, however small the sample
PARTS = 8  # a selection from a large set stays in memory up to 1 / PARTS of the memory bound
FALLBACK = 8 * GIB  # assumed memory on Windows
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # memory limits of a container


class _Mapping(mmap.mmap):
    """A mapping; `large` if it exceeds the memory bound."""

    large = False


_mappings: WeakValueDictionary[int, _Mapping] = WeakValueDictionary()  # address of a tensor's storage -> its mapping


def memory_bound() -> int:
    """The most bytes of samples to keep in memory: `$SPARRING_MEMORY` GiB, else a quarter of the machine's memory.

    Raises:
        UserError: `SPARRING_MEMORY` is not a number above 0.
    """
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
    """Bytes of memory of this machine or container."""
    if sys.platform == "win32":
        return FALLBACK
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in map(Path, LIMITS):
        text = limit.read_text().strip() if limit.is_file() else ""
        found += [int(text)] if text.isdecimal() else []  # "max": no limit
    return min(found)


def map_file(file: BinaryIO, shape: tuple[int, ...]) -> Tensor:
    """A file as a uint8 tensor of this shape, read on access; writes to the tensor do not reach the file."""
    mapping = _Mapping(file.fileno(), 0, access=mmap.ACCESS_COPY)
    mapping.large = len(mapping) > memory_bound()
    samples = torch.from_numpy(np.frombuffer(mapping, np.uint8).reshape(shape))
    _mappings[samples.untyped_storage().data_ptr()] = mapping
    return samples


def is_mapped(samples: Tensor) -> bool:
    """True if the samples, or the tensor that they are a slice of, are memory-mapped."""
    return samples.untyped_storage().data_ptr() in _mappings


def is_large(samples: Tensor) -> bool:
    """True if the samples, or the tensor that they are a slice of, are mapped and exceed the memory bound."""
    if samples.device.type != "cpu":
        return False
    mapping = _mappings.get(samples.untyped_storage().data_ptr())
    return mapping is not None and mapping.large


def release(samples: Tensor) -> None:
    """Release the pages of large mapped samples, which count as memory of the process.

    For a slice, the whole mapping is released. The next access reads the file again. Other samples are unaffected.
    """
    if is_large(samples) and sys.platform != "win32":
        _mappings[samples.untyped_storage().data_ptr()].madvise(mmap.MADV_DONTNEED)


def chunks(samples: Tensor) -> Iterator[Tensor]:
    """Yield the samples in order, in slices of about 16 MiB; each is released before the next."""
    size = max(1, samples[:1].nbytes)
    for chunk in samples.split(max(1, CHUNK // size)) if len(samples) else ():
        yield chunk
        release(samples)


def select(samples: Tensor, indices: Tensor) -> Tensor:
    """The samples at `indices`, [n, ...]: in memory, or, for many of a large set, mapped from a temporary file."""
    if not is_large(samples) or len(indices) * samples[:1].nbytes <= memory_bound() // PARTS:
        return gather(samples, indices)
    return written(_rows(samples, indices), (len(indices), *samples.shape[1:]))


def written(parts: Iterable[Tensor], shape: tuple[int, ...]) -> Tensor:
    """Write parts, together uint8 of this shape, to a temporary file and map it."""
    with nameless_file() as file:
        for part in parts:
            file.write(part.numpy().data)
        file.flush()
        return map_file(file, shape)


@contextmanager
def nameless_file() -> Iterator[BinaryIO]:
    """A temporary file in the cache, deleted when its last mapping closes; raises UserError if it cannot be made."""
    folder = mapped_folder()
    with writing(folder, ROOM):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            yield cast(BinaryIO, file)


def gather(samples: Tensor, indices: Tensor) -> Tensor:
    """The samples at `indices`, [n, ...], copied into memory; pages of large sets are released as it proceeds."""
    if not is_large(samples):
        return samples[indices]
    found = samples.new_empty((len(indices), *samples.shape[1:]))
    start = 0
    for rows in _rows(samples, indices):
        found[start : start + len(rows)] = rows
        start += len(rows)
    return found


def mapped_folder() -> Path:
    """The folder of decoded images in the cache."""
    return cache_folder() / "mapped"


def _rows(samples: Tensor, indices: Tensor) -> Iterator[Tensor]:
    size = max(1, samples[:1].nbytes)
    for part in indices.split(max(1, min(ROWS, CHUNK // size))):
        rows = samples[part]
        release(samples)
        yield rows
