"""Apply a translator to an image file or a folder: plan the inputs and outputs, run, report failures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, count
from pathlib import Path, PurePath
from typing import NamedTuple

import torch

from sparring.apply.images import apply_image, comparison_picture
from sparring.base.errors import UserError, check_number, existing_path, shortened
from sparring.data.pictures import save_image
from sparring.data.sources.decode import SUFFIXES
from sparring.data.sources.source import image_paths
from sparring.tasks.base import Translator


class Job(NamedTuple):
    """One image to process.

    Attributes:
        image: the input image.
        mask: its mask, for inpainting.
        out: the output path without suffix; OUT.png, OUT-colours.png and OUT-beside.png are written.
    """

    image: Path
    mask: Path | None
    out: Path


def plan(source: Path, out: Path, mask: Path | None = None) -> list[Job]:
    """Plan one job per image; `out` gets the sub-folders of the input.

    Args:
        source: an image, or a folder that is searched with its sub-folders.
        out: the output folder. Inputs a.jpg and a.png give a-jpg.png and a-png.png.
        mask: one mask for all images, or a folder with a mask of the same name for each image.

    Raises:
        UserError: a file or a mask does not exist, or an output would overwrite an input.
    """
    found = _existing("input", source)
    images, base = ([found], found.parent) if not found.is_dir() else (image_paths(found), found)
    if not images:
        raise UserError(f"{found} holds no images; give a folder with files of {', '.join(sorted(SUFFIXES))}")
    inner = [path.relative_to(base) for path in images]
    masks = [None] * len(images) if mask is None else _masks(mask, inner)
    _check_out(out, base, single=not found.is_dir())
    jobs = [Job(image, mask, out / name) for image, mask, name in zip(images, masks, _names(inner))]
    _check_kept(jobs)
    return jobs


def apply_files(
    translator: Translator,
    jobs: Sequence[Job],
    *,
    side_by_side: bool = False,
    tile: int = 0,
    device: torch.device | None = None,
) -> Iterator[tuple[Job, str]]:
    """Run the jobs one by one; yield each with "" or, if its image or mask cannot be used, the error message.

    Args:
        side_by_side: also write input and output as one picture.
        tile: tile size in pixels, as in `apply_tensor`.
        device: the device of the network.

    Raises:
        UserError: a file cannot be written, `tile` is negative, or the device has too little memory.
    """
    check_number("apply", "tile", tile, low=0, whole=True)
    for job in jobs:
        try:
            applied = apply_image(translator, job.image, job.mask, tile, device, (str(job.image), str(job.mask)))
        except UserError as error:
            yield job, str(error)
            continue
        except torch.cuda.OutOfMemoryError as error:
            raise UserError(f"{job.image} needs more memory than the device has; choose a smaller --tile") from error
        pictures = (applied.image, applied.colours, comparison_picture(applied) if side_by_side else None)
        for picture, path in zip(pictures, _outputs(job.out)):
            if picture is not None:
                save_image(picture, path)
        yield job, ""


def _existing(option: str, path: Path) -> Path:
    found = existing_path(str(path))
    if found is None:
        raise UserError(f"--{option} {path} does not exist; give an image or a folder of images")
    return found


def _masks(mask: Path, names: list[Path]) -> list[Path]:
    """The mask of each image: the file of the same name, or the only one of the same name with another suffix."""
    found = _existing("mask", mask)
    if not found.is_dir():
        return [found] * len(names)
    by_stem = defaultdict(list)
    for path in image_paths(found):
        by_stem[path.relative_to(found).with_suffix("")].append(path)
    return [_mask(found, name, by_stem[name.with_suffix("")]) for name in names]


def _mask(folder: Path, name: Path, masks: list[Path]) -> Path:
    exact = [path for path in masks if path == folder / name] or masks
    if len(exact) != 1:
        held = f"{len(exact)} masks for {name}, {exact[0].name} and {exact[1].name}" if exact else f"no mask for {name}"
        raise UserError(f"{folder} holds {held}; give one that is called {name.with_suffix('.png')}")
    return exact[0]


def _names(images: Sequence[PurePath]) -> list[PurePath]:
    """Output paths without suffix, all different, also on file systems that ignore case."""
    stems = Counter(_folded(path.with_suffix("")) for path in images)
    taken: set[str] = set()
    names = []
    for path in images:
        stem = path.with_suffix("")
        if stems[_folded(stem)] > 1:
            stem = stem.with_name(f"{stem.name}-{path.suffix[1:]}")
        numbered = (stem.with_name(f"{stem.name}-{i}") for i in count(2))
        names.append(next(n for n in chain([stem], numbered) if taken.isdisjoint(_written(n))))
        taken |= _written(names[-1])
    return names


def _outputs(path: PurePath) -> list[Path]:
    """The paths of the result, of a class map in colours, and of input and result side by side."""
    return [Path(path.parent, f"{path.name}{ending}.png") for ending in ("", "-colours", "-beside")]


def _written(name: PurePath) -> set[str]:
    return {*map(_folded, _outputs(name))}


def _folded(path: PurePath) -> str:
    return path.as_posix().casefold()


def _check_out(out: Path, base: Path, single: bool) -> None:
    """Raise UserError if `out` is an image or lies in the input's folder `base`.

    The results of a `single` image may lie in a sub-folder of it.
    """
    if out.suffix.lower() in SUFFIXES and not out.is_dir():
        raise UserError(f"--out {out} is an image; give a folder, the results are named like the input")
    where = out.resolve()
    if base.resolve() in ((where,) if single else (where, *where.parents)):
        raise UserError(
            f"--out {out} lies in the input folder {shortened(str(base))}; choose a folder outside of it, so that "
            "results are not read as inputs the next time"
        )


def _check_kept(jobs: list[Job]) -> None:
    """Raise UserError if an output is also an input or a mask, under any name (links)."""
    read = {_identity(path): path for job in jobs for path in (job.image, job.mask) if path is not None}
    for job in jobs:
        for path in _outputs(job.out):
            if path.exists() and _identity(path) in read:
                raise UserError(f"{path} would overwrite {read[_identity(path)]}; choose another --out")


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
