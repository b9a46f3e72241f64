"""`sparring evaluate`: metrics of runs or images."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparring.base.errors import UserError
from sparring.base.process import DONE
from sparring.commands import Parser, add_scoring, add_size, add_trust, scoring
from sparring.commands.together import add_devices, devices_of, is_first, start_together

ABOUT = "compute metrics of a run, or of images from any software"


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", type=Path, nargs="*", help="run directories")
    about = "images instead of a run: a folder, an archive, an .npz, or a .csv of points"
    parser.add_argument("--images", metavar="PATH", help=about)
    about = "reference for --images: a named set, a folder, an .npz ..."
    parser.add_argument("--against", metavar="DATA", help=about)
    about = "test images for image-to-image runs; default: the test images of the run's data"
    parser.add_argument("--on", default="", metavar="DATA", help=about)
    add_size(parser)
    about = "picture (.png) of the samples nearest to training samples; with --images only"
    parser.add_argument("--picture", type=Path, metavar="FILE", help=about)
    parser.add_argument("--checkpoint", default="best", help="checkpoint: best, last, all or a step; default: best")
    add_scoring(parser)
    parser.late_epilog = _metrics
    parser.add_argument("--json", action="store_true", help="print JSON: values with their protocol")
    add_devices(parser)
    add_trust(parser)


def _metrics() -> str:
    """The names of all metrics, as the help shows them; importing them needs torch."""
    from sparring.evaluation.measures import MEASURES
    from sparring.evaluation.similarity import SIMILARITY

    lines = [
        textwrap.fill(f"metrics: {', '.join(MEASURES)}"),
        textwrap.fill(f"metrics of image-to-image runs: {', '.join(SIMILARITY)}"),
        "sparring list metrics: one line about each; sparring explain frechet: all about one",
    ]
    return "\n".join(lines)


def run(chosen: argparse.Namespace) -> int:
    """Compute the metrics, and print them; return the exit status.

    Raises:
        UserError: neither runs nor images are given, or both, or an option does not belong to them.
    """
    if bool(chosen.run) == bool(chosen.images) or bool(chosen.images) != bool(chosen.against):
        fix = "sparring evaluate RUN, or sparring evaluate --images PATH --against DATA"
        raise UserError(f"evaluate needs either runs or images with their reference: {fix}")
    unused = (
        (chosen.raw, chosen.checkpoint != "best")
        if chosen.images
        else (chosen.picture, chosen.size, chosen.fit != "crop")
    )
    if any(unused):
        raise UserError("--raw and --checkpoint are for runs; --picture, --size and --fit are for --images")
    devices = devices_of(chosen)
    if devices > 1:
        return start_together(devices, chosen.device, chosen.arguments)
    from sparring.base.device import find_device
    from sparring.base.workers import spread

    with spread(find_device(chosen.device)):
        _print_scores(chosen)
    return DONE


def _print_scores(chosen: argparse.Namespace) -> None:
    from sparring.evaluation.report import heading, lines

    found = []
    for scores in _scores(chosen):
        found.append(scores.to_json())
        if not chosen.json and is_first():
            print("\n".join([heading(scores), *lines(scores)]), flush=True)
    if chosen.json and is_first():
        print(json.dumps(found, indent=1))


def _scores(chosen: argparse.Namespace) -> Iterator[Any]:
    from sparring.evaluation.evaluator import Options, RunEvaluator, evaluate_images

    if chosen.images:
        words = {
            "against": chosen.against,
            "size": chosen.size,
            "fit": chosen.fit,
            "picture": chosen.picture if is_first() else None,
        }
        yield evaluate_images(chosen.images, **words, **scoring(chosen))
    options = Options(**{name: value for name, value in scoring(chosen).items() if name != "trust"})
    for evaluator in [RunEvaluator(path, options, on=chosen.on) for path in chosen.run]:
        for manifest in evaluator.find(chosen.checkpoint):
            yield evaluator(manifest) if is_first() else evaluator.measure(manifest)
