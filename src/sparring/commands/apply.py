"""`sparring apply`: a trained generator applied to an image or a folder of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sparring.base.choices import DEVICES
from sparring.base.errors import UserError
from sparring.commands import DONE, FAILED, add_trust

if TYPE_CHECKING:
    from sparring.apply.files import Job

ABOUT = "apply a trained generator to an image or a folder of images; exit status 1 if some could not be done"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command can be told."""
    parser.add_argument("run", type=Path, help="the run directory")
    parser.add_argument("--input", type=Path, required=True, help="an image, or a folder of them, whatever their sizes")
    about = "the folder for the results, PNG files called as the images are; it lies beside the input's"
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help=about)
    about = "white where the image is to be filled: an image of the same size, or a folder of them by the same names"
    parser.add_argument("--mask", type=Path, help=about)
    parser.add_argument("--back", action="store_true", help="go the way back, from B to A, where the run has one")
    parser.add_argument("--side-by-side", action="store_true", help="also write NAME-beside.png: input and result")
    about = "do images of more than N*N pixels in tiles of N*N, to spare memory; default: as the network needs it"
    parser.add_argument("--tile", type=int, default=0, metavar="N", help=about)
    about = "mix its weights with those of this run, which was trained from it or the other way round"
    parser.add_argument("--blend", type=Path, metavar="RUN", help=about)
    about = "that run's share with --blend, in [0, 1]; default: 0.5"
    parser.add_argument("--share", type=float, default=0.5, help=about)
    parser.add_argument("--checkpoint", default="last", help="last, best or a step")
    parser.add_argument("--device", default="auto", choices=DEVICES)
    add_trust(parser)


def run(chosen: argparse.Namespace) -> int:
    """Apply it; the exit status: 0 done, 1 some images could not be read."""
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
    left = f"; {len(failed)} could not be done" if failed else ""
    print(f"{done} image{'s' if done != 1 else ''} by step {trained.step}: {chosen.out}{left}")
    return FAILED if failed else DONE


def _watched(work: Iterator[tuple[Job, str]], total: int) -> list[str]:
    """Go through the jobs, with a bar in a terminal; return why each failed image did, which is printed at once, too,
    unless it is the only one."""
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
                    console.print(f"sparring: left out: {problem}", markup=False, soft_wrap=True)
    return failed
