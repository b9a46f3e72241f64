"""Data: named sets, folders and files, all as one `Data` in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from sparring.data.files import load_csv, load_folder, load_npy, load_npz
from sparring.data.points import POINT_SETS
from sparring.data.sampler import Sampler
from sparring.data.samples import Data, Form, Mixture, Split
from sparring.data.sets import load_digits, load_mnist, load_stacked_mnist
from sparring.errors import UserError, check_number, did_you_mean, existing_path

__all__ = ["Data", "Form", "Mixture", "Sampler", "Split", "load_data", "load_held_out"]

SPLIT_SETS: dict[str, Callable[[Split], Data]] = {
    "mnist": load_mnist,
    "stacked-mnist": load_stacked_mnist,
    **POINT_SETS,
}
SETS = ("digits", *SPLIT_SETS)


def load_data(spec: str, size: int = 0, held_out: float = 0.0) -> Data:
    """Load what `spec` names: a set's name, a folder of images, an `.npz`, an `.npy` or a `.csv`.

    Args:
        spec: one of `SETS`, or a path (write `./ring` for a folder of that name).
        size: crop the images of a folder to squares and resize them to size x size; 0 takes them as they are.
        held_out: the share of the samples that is kept away from training; see `load_held_out`.

    Raises:
        UserError: no such data, nothing readable in it, or shapes that do not fit together.
    """
    check_number("data", "size", size, low=0, high=4096, whole=True)
    whole = SPLIT_SETS[spec]("train") if spec in SPLIT_SETS else _load(spec, size)
    if spec in SETS and size and size not in whole.form.shape[1:]:
        raise UserError(
            f"data '{spec}' has its own size {list(whole.form.shape)}; size={size} is for folders of images"
        )
    return _cut(whole, held_out)[0] if held_out else whole


def load_held_out(spec: str, size: int = 0, held_out: float = 0.0) -> Data | None:
    """Samples of the same distribution that `load_data` with the same arguments leaves out, or None.

    With a share to hold out, that share; else the set's own test split, if it has one.
    """
    if held_out:
        return _cut(load_data(spec, size), held_out)[1]
    return replace(SPLIT_SETS[spec]("test"), split="test") if spec in SPLIT_SETS else None


def _cut(data: Data, held_out: float) -> tuple[Data, Data]:
    """The training part and the held-out part, by an order that depends on the number of samples alone."""
    check_number("data", "held_out", held_out, low=0, high=0.9)
    count = round(held_out * len(data))
    if not 0 < count < len(data):
        raise UserError(f"held_out={held_out:g} of {len(data)} samples leaves one part empty; choose another share")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    return data.part(order[count:].sort().values), data.part(order[:count].sort().values, "test")


def _load(spec: str, size: int) -> Data:
    if spec == "digits":
        return load_digits()
    path = existing_path(spec)
    if path is None:
        raise UserError(f"no data {spec!r}: {did_you_mean(spec, SETS)}, or the path of a folder, .npz, .npy or .csv")
    if path.is_dir():
        return load_folder(path, size)
    loaders = {".npz": load_npz, ".npy": load_npy, ".csv": load_csv}
    if path.suffix not in loaders:
        raise UserError(f"{spec!r} is not data that can be read; give a folder of images, an .npz, an .npy or a .csv")
    return loaders[path.suffix](path)
