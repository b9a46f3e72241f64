"""CIFAR-10."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparring.base.download import cache_folder, fetch, md5, set_file
from sparring.base.errors import UserError
from sparring.data.images import load_images
from sparring.data.samples import Data, Split
from sparring.data.sources.archives import open_tar, reading_archive
from sparring.data.sources.decode import Target
from sparring.data.sources.parquet import parquet_source
from sparring.data.sources.source import Item, Source, size_of, stamps

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
URL = "https://www.cs.toronto.edu/~kriz"
FILE = "cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
RECORD = 1 + 3 * 32 * 32  # a label, then red, green and blue, row by row
FIX = f"put {FILE}, or train.parquet and test.parquet, in $SPARRING_DATA/cifar10"


def load_cifar10(split: Split = "train") -> Data:
    """CIFAR-10: 50,000 (train) or 10,000 (test) photographs of 32x32, RGB, ten classes. Source: Krizhevsky 2009.

    `train.parquet` and `test.parquet`, or the original archive, are read from `$SPARRING_DATA/cifar10`; otherwise the
    archive is read from the cache, and downloaded there and verified if missing.

    Raises:
        UserError: a file is damaged or cannot be downloaded.
    """
    return load_images(_source(split), Target()).renamed("cifar10")


def _source(split: Split) -> Source:
    if (table := set_file(f"cifar10/{split}.parquet")) is not None:
        return parquet_source([table], str(table))
    if (archive := set_file(f"cifar10/{FILE}")) is not None:
        return _binary_source(archive, split)
    target = cache_folder() / "cifar10" / FILE
    fetch([f"{os.environ.get('SPARRING_CIFAR_URL') or URL}/{FILE}"], target, md5(MD5), FIX)
    return _binary_source(target, split)


def _binary_source(path: Path, split: Split) -> Source:
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] if split == "train" else ["test_batch.bin"]
    place = f"{path.resolve()} {split}"
    items, test, identify = partial(_items, path, names), split == "test", partial(stamps, path)
    count = len(names) * 10_000
    identity, size = identify(), size_of(path)
    return Source(str(path), identity, items, count, CLASSES, test, place=place, identify=identify, size=size)


def _items(path: Path, names: list[str]) -> Iterator[Item]:
    missing = set(names)
    with reading_archive(path), open_tar(path) as archive:
        for info in archive:
            name = info.name.rpartition("/")[2]
            if name in missing and info.isfile():
                missing.remove(name)
                file = archive.extractfile(info)
                assert file is not None
                for number, record in enumerate(_records(path, name, file.read(10_000 * RECORD + 1))):
                    yield Item(f"{path}/{name}, image {number}", record[1:].reshape(3, 32, 32), int(record[0]))
    if missing:
        raise UserError(f"{path} does not contain {', '.join(sorted(missing))}; remove it to download it again")


def _records(path: Path, name: str, content: bytes) -> NDArray[np.uint8]:
    if not content or len(content) % RECORD or len(content) > 10_000 * RECORD:
        raise UserError(f"{path}: {name} is not a batch of CIFAR-10; remove the archive to download it again")
    return np.frombuffer(content, np.uint8).reshape(-1, RECORD)
