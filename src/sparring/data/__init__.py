"""Data: named sets, folders, archives, tables and files, all as one `Data`, in memory or mapped into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from sparring.data.archives import archive_source, is_archive
from sparring.data.cifar import load_cifar10
from sparring.data.decode import Target
from sparring.data.files import load_csv, load_npy, load_npz
from sparring.data.folders import folder_source
from sparring.data.hub import PREFIX, hub_held_out_source, hub_source
from sparring.data.images import brought_to, load_images
from sparring.data.layout import Layout, Pairs, Sets, Single
from sparring.data.parquet import held_out_source, parquet_parts, parquet_source
from sparring.data.points import POINT_SETS
from sparring.data.sampler import Sampler
from sparring.data.samples import Data, Form, Mixture, Split
from sparring.data.sets import load_digits, load_mnist, load_small_mnist, load_stacked_mnist
from sparring.data.source import Source
from sparring.data.whole import Whole
from sparring.errors import UserError, check_number, did_you_mean, existing_path
from sparring.sizes import check_fit, parse_size, size_text

__all__ = [
    "Data",
    "Form",
    "Layout",
    "Mixture",
    "Pairs",
    "Sampler",
    "Sets",
    "Single",
    "Split",
    "Whole",
    "load_data",
    "load_held_out",
]

SPLIT_SETS: dict[str, Callable[[Split], Data]] = {
    "mnist": load_mnist,
    "small-mnist": load_small_mnist,
    "stacked-mnist": load_stacked_mnist,
    "cifar10": load_cifar10,
    **POINT_SETS,
}
SETS = ("digits", *SPLIT_SETS)
ARRAYS: dict[str, Callable[[Path], Data]] = {".npz": load_npz, ".npy": load_npy, ".csv": load_csv}
KINDS = "a folder or a .zip, .tar or .tar.gz of images, a .parquet, hub:OWNER/NAME, an .npz, an .npy or a .csv"


def load_data(spec: str, size: str | int = "", held_out: float = 0.0, fit: str = "crop") -> Data:
    """Load what `spec` names.

    Args:
        spec: one of `SETS`, a path (write `./ring` for a folder of that name), or `hub:OWNER/NAME`, perhaps with
            `:SPLIT`. A folder that holds `train*.parquet` is the set of these files.
        size: the size that a user's own images are brought to: "64" (square) or "96x64"
            (width x height); "" takes them as they are.
        held_out: the share of the samples that is kept away from training; see `load_held_out`.
        fit: how they are brought to it: "crop" (scaled to cover it, the middle is cut), "pad" (scaled to fit inside,
            with black borders) or "stretch".

    Raises:
        UserError: no such data, nothing readable in it, or shapes that do not fit together.
    """
    whole = _load(spec, size, fit)
    return whole.part(_cut(whole, held_out)[0]) if held_out else whole


def load_held_out(spec: str, size: str | int = "", held_out: float = 0.0, fit: str = "crop") -> Data | None:
    """Samples of the same distribution that `load_data` with the same arguments leaves out, or None.

    With a share to hold out, that share; else the set's own test split (of parquet files and the Hub the validation
    split, where there is no test), if it has one.
    """
    if held_out:
        whole = _load(spec, size, fit)
        return whole.part(_cut(whole, held_out)[1], "test")
    if spec in SPLIT_SETS:
        return replace(SPLIT_SETS[spec]("test"), split="test")
    source = None if spec in SETS else _held_out_source(spec, size, fit)
    return None if source is None else replace(load_images(source, _target(size, fit)), split="test")


def _cut(data: Data, held_out: float) -> tuple[Tensor, Tensor]:
    """Which samples are trained on and which held out, by an order that depends on their number alone."""
    check_number("data", "held_out", held_out, low=0, high=0.99)
    count = round(held_out * len(data))
    if not 0 < count < len(data):
        raise UserError(f"held_out={held_out:g} of {len(data)} samples leaves one part empty; choose another share")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    return order[count:].sort().values, order[:count].sort().values


def _target(size: str | int, fit: str) -> Target:
    check_fit("data", fit)
    return Target(parse_size(size_text(size)), fit)


def _load(spec: str, size: str | int, fit: str) -> Data:
    target = _target(size, fit)
    if spec in SETS:
        data = load_digits() if spec == "digits" else SPLIT_SETS[spec]("train")
        if target.size is not None and data.form.shape[:0:-1] != target.size:
            raise UserError(
                f"data '{spec}' has its own size {list(data.form.shape)}; size={size} is for folders and archives of "
                "images"
            )
        return data
    source = _image_source(spec)
    if source is not None:
        return load_images(source, target)
    path = existing_path(spec)
    if path is None:
        raise UserError(f"no data {spec!r}: {did_you_mean(spec, SETS)}, or the path of {KINDS}")
    if path.suffix not in ARRAYS:
        raise UserError(f"{spec!r} is not data that can be read; give {KINDS}")
    return brought_to(target, ARRAYS[path.suffix](path))


def _image_source(spec: str) -> Source | None:
    """Where the images are that `spec` names, or None if it names no images."""
    if spec.startswith(PREFIX):
        return hub_source(spec)
    path = existing_path(spec)
    if path is None:
        return None
    if path.is_dir():
        tables = parquet_parts(path)
        return parquet_source(tables, str(path)) if tables else folder_source(path)
    if path.suffix.lower() == ".parquet":
        return parquet_source([path], str(path))
    return archive_source(path) if is_archive(path) else None


def _held_out_source(spec: str, size: str | int, fit: str) -> Source | None:
    if spec.startswith(PREFIX):
        form = _load(spec, size, fit).form
        return hub_held_out_source(spec, form.classes, form.shape[0])
    path = existing_path(spec)
    return held_out_source(path) if path is not None and path.is_dir() and parquet_parts(path) else None
