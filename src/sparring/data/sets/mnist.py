"""The sets of handwritten digits: scikit-learn's, MNIST, and sets made from MNIST."""

from __future__ import annotations

import gzip
import os
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sparring.base.download import cache_folder, fetch, set_file, unpacked_md5
from sparring.base.errors import UserError
from sparring.data.samples import Data, Split, image_data

DIGITS = tuple("0123456789")

# The original files (LeCun et al. 1998). MD5 sums are of the unpacked content: the gzip files of mirrors differ.
MNIST_MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist")
MNIST_MD5 = {
    "train-images-idx3-ubyte.gz": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte.gz": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte.gz": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte.gz": "27ae3e4e09519cfbb04c329615203637",
}


def load_digits() -> Data:
    """The 1,797 handwritten digits of scikit-learn, 8x8, grey; levels 0 to 16 are scaled to 0 to 255."""
    from sklearn import datasets

    images, labels = datasets.load_digits(return_X_y=True)
    pixels = torch.from_numpy(np.rint(images * (255 / 16)).astype(np.uint8)).view(-1, 1, 8, 8)
    return image_data("digits", pixels, torch.from_numpy(labels.astype(np.int64)), DIGITS)


def load_mnist(split: Split = "train") -> Data:
    """MNIST: 60,000 (train) or 10,000 (test) digits of 28x28, grey, ten classes. Source: LeCun et al. 1998.

    The original IDX files are read from `$SPARRING_DATA/mnist`, else from the cache; missing files are downloaded there
    and verified.

    Raises:
        UserError: a file is damaged or cannot be downloaded.
    """
    prefix = "train" if split == "train" else "t10k"
    images = read_idx(_mnist_file(f"{prefix}-images-idx3-ubyte.gz"))
    labels = read_idx(_mnist_file(f"{prefix}-labels-idx1-ubyte.gz"))
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise UserError(
            f"mnist: images {list(images.shape)} and labels {list(labels.shape)} do not match; put the original files "
            "in $SPARRING_DATA/mnist"
        )
    return image_data("mnist", torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels.astype(np.int64)), DIGITS)


def load_small_mnist(split: Split = "train") -> Data:
    """600 random training images of MNIST, to test methods for small data sets; the test split is that of MNIST."""
    digits = load_mnist(split)
    if split == "train":
        order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
        digits = digits.part(order[:600].sort().values)
    return replace(digits, name="small-mnist")


def load_stacked_mnist(split: Split = "train") -> Data:
    """60,000 (test: 30,000) RGB images whose channels are random MNIST digits: 1,000 modes, "000" to "999".

    Source: Metz et al. 2017, section 3.3.1; Srivastava et al. 2017, section 4.1.
    """
    digits = load_mnist(split)
    assert digits.labels is not None
    rng = torch.Generator().manual_seed(0 if split == "train" else 1)
    chosen = torch.randint(len(digits), (60_000 if split == "train" else 30_000, 3), generator=rng)
    labels = digits.labels[chosen] @ torch.tensor([100, 10, 1])
    names = tuple(f"{i:03d}" for i in range(1000))
    return replace(image_data("stacked-mnist", digits.samples[chosen, 0], labels, names), channels=digits)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read a gzipped IDX file of unsigned bytes: two zero bytes, type 8, number of axes, sizes, values.

    Raises:
        UserError: the file is damaged or of another type.
    """
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}); remove it to download it again") from error
    axes = raw[3] if len(raw) > 3 else 0
    shape = np.frombuffer(raw, ">u4", count=axes, offset=4) if len(raw) >= 4 + 4 * axes else np.zeros(0)
    if raw[:3] != b"\0\0\x08" or len(raw) != 4 + 4 * axes + int(np.prod(shape)):
        raise UserError(f"{path} is not an IDX file of bytes, or is truncated; remove it to download it again")
    values: NDArray[np.uint8] = np.frombuffer(raw, np.uint8, offset=4 + 4 * axes)
    return np.array(values.reshape(shape.astype(int)))


def _mnist_file(name: str) -> Path:
    if (found := set_file(f"mnist/{name}")) is not None:
        return found
    own, target = os.environ.get("SPARRING_MNIST_URL"), cache_folder() / "mnist" / name
    download([f"{mirror}/{name}" for mirror in ([own] if own else MNIST_MIRRORS)], target, MNIST_MD5[name])
    return target


def download(urls: list[str], target: Path, md5: str) -> None:
    """Download a gzip file from the first URL whose unpacked content has this MD5; other files are not kept."""
    fix = "put the original files in $SPARRING_DATA/mnist, or use --data digits, which needs no download"
    fetch(urls, target, unpacked_md5(md5), fix)
