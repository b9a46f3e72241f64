"""Data: named sets, folders and files, all as one `Data` in memory."""

from __future__ import annotations

from collections.abc import Callable

from sparring.data.files import load_csv, load_folder, load_npz
from sparring.data.points import POINT_SETS
from sparring.data.sampler import Sampler
from sparring.data.samples import Data, Form, Mixture
from sparring.data.sets import load_digits, load_mnist
from sparring.errors import UserError, check_number, did_you_mean, existing_path

__all__ = ["Data", "Form", "Mixture", "Sampler", "load_data"]

SETS: dict[str, Callable[[], Data]] = {"digits": load_digits, "mnist": load_mnist, **POINT_SETS}


def load_data(spec: str, size: int = 0) -> Data:
    """Load what `spec` names: a set's name, a folder of images, an `.npz` or a `.csv`.

    Args:
        spec: one of `SETS`, or a path (write `./ring` for a folder of that name).
        size: crop the images of a folder to squares and resize them to size x size; 0 takes them as they are.

    Raises:
        UserError: no such data, nothing readable in it, or shapes that do not fit together.
    """
    check_number("data", "size", size, low=0, high=4096, whole=True)
    if spec in SETS:
        data = SETS[spec]()
        if size and size not in data.form.shape[1:]:
            raise UserError(
                f"data '{spec}' has its own size {list(data.form.shape)}; size={size} is for folders of images"
            )
        return data
    path = existing_path(spec)
    if path is None:
        raise UserError(f"no data {spec!r}: {did_you_mean(spec, SETS)}, or the path of a folder, .npz or .csv")
    if path.is_dir():
        return load_folder(path, size)
    if path.suffix == ".npz":
        return load_npz(path)
    if path.suffix == ".csv":
        return load_csv(path)
    raise UserError(f"{spec!r} is not data that can be read; give a folder of images, an .npz or a .csv")
