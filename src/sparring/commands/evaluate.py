"""`sparring evaluate`: score runs or images."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparring.base.errors import UserError
from sparring.commands import Parser, add_scoring, add_size, add_trust, scoring

ABOUT = "score a run, or images made by anyone's software"


def add_arguments(parser: Parser) -> None:
    """The arguments of the command."""
    parser.add_argument("run", type=Path, nargs="*", help="run directories")
    parser.add_argument("--images", help="score these instead: a folder, an archive, an .npz, a .csv of points ...")
    parser.add_argument("--against", help="what --images are compared with: a set's name, a folder, an .npz ...")
    about = "score runs that turn images into others on these, instead of the set's own test images"
    parser.add_argument("--on", default="", metavar="DATA", help=about)
    add_size(parser)
    parser.add_argument("--picture", type=Path, help="for --images: where nearest training samples are shown (.png)")
    parser.add_argument("--checkpoint", default="best", help="best, last, all or a step; default: best")
    add_scoring(parser)
    parser.late_epilog = _metrics
    parser.add_argument("--json", action="store_true", help="print JSON, values with their protocol")
    add_trust(parser)


def _metrics() -> str:
    """The metrics by name; listing them needs torch."""
    from sparring.evaluation.measures import MEASURES
    from sparring.evaluation.similarity import SIMILARITY

    about = f"metrics: {', '.join(MEASURES)}; of runs that turn images into others: {', '.join(SIMILARITY)}"
    return f"{about}; see docs/metrics.md"


def run(chosen: argparse.Namespace) -> None:
    """Score them, and print the scores."""
    if bool(chosen.run) == bool(chosen.images) or bool(chosen.images) != bool(chosen.against):
        raise UserError("evaluate takes runs, or --images PATH --against DATA (see sparring evaluate --help)")
    idle = (
        (chosen.raw, chosen.checkpoint != "best")
        if chosen.images
        else (chosen.picture, chosen.size, chosen.fit != "crop")
    )
    if any(idle):
        raise UserError("--raw and --checkpoint are for runs, --picture, --size and --fit for --images")
    from sparring.evaluation.report import heading, lines

    found = []
    for scores in _scores(chosen):
        found.append(scores.to_json())
        if not chosen.json:
            print("\n".join([heading(scores), *lines(scores)]), flush=True)
    if chosen.json:
        print(json.dumps(found, indent=1))


def _scores(chosen: argparse.Namespace) -> Iterator[Any]:
    from sparring.evaluation.evaluator import Options, RunEvaluator, evaluate_images

    if chosen.images:
        words = {"against": chosen.against, "size": chosen.size, "fit": chosen.fit, "picture": chosen.picture}
        yield evaluate_images(chosen.images, **words, **scoring(chosen))
    options = Options(**{name: value for name, value in scoring(chosen).items() if name != "trust"})
    for evaluator in [RunEvaluator(path, options, on=chosen.on) for path in chosen.run]:
        for manifest in evaluator.find(chosen.checkpoint):
            yield evaluator(manifest)
