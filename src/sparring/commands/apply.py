"""`sparring apply`: a trained generator applied to images."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sparring.base.errors import UserError
from sparring.base.process import DONE, FAILED
from sparring.commands import add_device, add_trust

if TYPE_CHECKING:
    from sparring.apply.files import Job

ABOUT = "apply a trained image-to-image generator to an image or a folder of images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", type=Path, help="run directory")
    about = "image, or folder of images, of any size"
    parser.add_argument("--input", type=Path, required=True, metavar="PATH", help=about)
    about = "folder for the results, outside the input folder; PNG files with the images' names"
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help=about)
    about = "mask, white where the image is to be filled: an image of its size, or a folder with the images' names"
    parser.add_argument("--mask", type=Path, metavar="PATH", help=about)
    parser.add_argument("--back", action="store_true", help="apply the generator from B to A (recipe cyclegan)")
    about = "write NAME-beside.png as well: input and result side by side"
    parser.add_argument("--side-by-side", action="store_true", help=about)
    about = "tile side in pixels; larger images are computed in tiles of NxN to save memory; default: by the network"
    parser.add_argument("--tile", type=int, default=0, metavar="N", help=about)
    about = (
        "second run, whose weights are mixed with this run's; one of the two was trained with --start from the other"
    )
    parser.add_argument("--blend", type=Path, metavar="RUN", help=about)
    about = "share of the second run's weights with --blend, in [0, 1]; default: 0.5"
    parser.add_argument("--share", type=float, default=0.5, metavar="X", help=about)
    parser.add_argument("--checkpoint", default="last", help="checkpoint: last, best or a step; default: last")
    add_device(parser)
    add_trust(parser)
    parser.epilog = "exit status: 0 done, 1 some images failed"


def run(chosen: argparse.Namespace) -> int:
    """Apply the generator; return the exit status: 0 done, 1 some images failed.

    Raises:
        UserError: the run, an option or the only image does not fit.
    """
    from sparring.apply import generator
    from sparring.apply.files import apply_files, plan
    from sparring.apply.tensors import check_mask

    trained = generator.load(chosen.run, checkpoint=chosen.checkpoint, device=chosen.device, trust=chosen.trust)
    if chosen.blend is not None:
        other = generator.load(chosen.blend, device=chosen.device, trust=chosen.trust)
        trained = trained.blended(other, chosen.share)
    translator = trained.translator_of(chosen.back)
    check_mask(translator, chosen.mask is not None)
    jobs = plan(chosen.input, chosen.out, chosen.mask)
    options = {"side_by_side": chosen.side_by_side, "tile": chosen.tile, "device": trained.device}
    failed = _watched(apply_files(translator, jobs, **options), len(jobs))
    if failed and len(jobs) == 1:
        raise UserError(failed[0])
    done = len(jobs) - len(failed)
    failures = f"; {len(failed)} failed" if failed else ""
    print(f"{done} image{'s' if done != 1 else ''} by step {trained.step}: {chosen.out}{failures}")
    return FAILED if failed else DONE


def _watched(work: Iterator[tuple[Job, str]], total: int) -> list[str]:
    """Do the jobs, with a progress bar in a terminal; return the reason of each failure.

    Reasons are also printed at once, unless there is only one job.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True, highlight=False)
    columns = BarColumn(20), MofNCompleteColumn(), TextColumn("{task.description}", markup=False)
    failed = []
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        for job, problem in work:
            bar.update(task, advance=1, description=job.image.name)
            if problem:
                failed.append(problem)
                if total > 1:
                    console.print(f"sparring: failed: {problem}", markup=False, soft_wrap=True)
    return failed
