"""A translator applied to a file or a folder of them: what is read, what is written, what could not be done."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, count
from pathlib import Path, PurePath
from typing import NamedTuple

import torch

from sparring.apply.images import apply_image, beside
from sparring.base.errors import UserError, check_number, existing_path, shortened
from sparring.data.pictures import save_image
from sparring.data.sources.decode import SUFFIXES
from sparring.data.sources.source import image_paths
from sparring.tasks.base import Translator


class Job(NamedTuple):
    """An image to be done."""

    image: Path
    mask: Path | None
    out: Path  # without endings: OUT.png, OUT-colours.png and OUT-beside.png are written


def plan(source: Path, out: Path, mask: Path | None = None) -> list[Job]:
    """One job for an image, or for each image below a folder, whose sub-folders are those of `out`, too.

    Images whose names differ in the ending alone keep it: a-jpg.png and a-png.png. A mask may be a file for all, or a
    folder of files that are called as the images are. Raises UserError if something is not there, a mask is missing, or
    an image would be overwritten.
    """
    found = _existing("input", source)
    images, base = ([found], found.parent) if not found.is_dir() else (image_paths(found), found)
    if not images:
        raise UserError(f"{found} holds no images; looked for {', '.join(sorted(SUFFIXES))}")
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
    """Do the jobs, one by one; with each comes why it could not be done, or "" if it was. Raises UserError if a file
    cannot be written, `tile` is no size, or the device has too little memory."""
    check_number("apply", "tile", tile, low=0, whole=True)
    for job in jobs:
        try:
            applied = apply_image(translator, job.image, job.mask, tile, device, (str(job.image), str(job.mask)))
        except UserError as error:
            yield job, str(error)
            continue
        except torch.cuda.OutOfMemoryError as error:
            raise UserError(f"{job.image} is too large for the device's memory; choose a smaller --tile") from error
        pictures = (applied.image, applied.colours, beside(applied) if side_by_side else None)
        for picture, path in zip(pictures, _outputs(job.out)):
            if picture is not None:
                save_image(picture, path)
        yield job, ""


def _existing(option: str, path: Path) -> Path:
    found = existing_path(str(path))
    if found is None:
        raise UserError(f"--{option} {path}: there is nothing; give an image or a folder of images")
    return found


def _masks(mask: Path, names: list[Path]) -> list[Path]:
    """The mask of each image: of the same name, or the only one that differs in the ending alone."""
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
        there = f"{len(exact)} masks, {exact[0].name} and {exact[1].name}," if exact else "no mask"
        raise UserError(f"there is {there} for {name} in {folder}; give one that is called {name.with_suffix('.png')}")
    return exact[0]


def _names(images: Sequence[PurePath]) -> list[PurePath]:
    """Paths without ending, of which no two lead to the same file, on systems that take A for a, too."""
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
    """The result, its colours if it is a map of classes, and both beside each other if wanted."""
    return [Path(path.parent, f"{path.name}{ending}.png") for ending in ("", "-colours", "-beside")]


def _written(name: PurePath) -> set[str]:
    return {*map(_folded, _outputs(name))}


def _folded(path: PurePath) -> str:
    return path.as_posix().casefold()


def _check_out(out: Path, base: Path, single: bool) -> None:
    """`base` is the folder of the input; only the results of a `single` image may lie below it."""
    if out.suffix.lower() in SUFFIXES and not out.is_dir():
        raise UserError(f"--out {out} must be a folder, not an image; the names in it are those of the input")
    where = out.resolve()
    if base.resolve() in ((where,) if single else (where, *where.parents)):
        raise UserError(
            f"--out {out} lies in the folder of the input, {shortened(str(base))}; choose one beside it, so that no "
            "image is overwritten or taken for an input the next time"
        )


def _check_kept(jobs: list[Job]) -> None:
    """No file that is read may be written, by whatever name."""
    read = {_identity(path): path for job in jobs for path in (job.image, job.mask) if path is not None}
    for job in jobs:
        for path in _outputs(job.out):
            if path.exists() and _identity(path) in read:
                raise UserError(f"{path} would overwrite {read[_identity(path)]}; choose another --out")


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
