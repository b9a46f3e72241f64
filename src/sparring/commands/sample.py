"""`sparring sample`: samples from a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from sparring.base.process import DONE
from sparring.commands import add_device, add_trust
from sparring.commands.together import add_devices, devices_of, is_first, start_together

ABOUT = "generate samples with a trained run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", type=Path, help="run directory")
    about = "number of samples; default: 64, or 8 of each class with --label all"
    parser.add_argument("--count", type=int, metavar="N", help=about)
    about = "class, by name or number; all: one row for each class; default: classes at random"
    parser.add_argument("--label", help=about)
    about = "random seed; the same seed gives the same samples; default: 0"
    parser.add_argument("--seed", type=int, default=0, metavar="N", help=about)
    about = "output: FILE.png (a grid), FILE.npy (an array), or a folder of PNG files"
    parser.add_argument("--out", type=Path, required=True, help=about)
    parser.add_argument("--checkpoint", default="last", help="checkpoint: last, best or a step; default: last")
    add_device(parser)
    add_devices(parser)
    add_trust(parser)


def run(chosen: argparse.Namespace) -> int:
    """Generate the samples, and write them; return the exit status."""
    devices = devices_of(chosen)
    if devices > 1:
        return start_together(devices, chosen.device, chosen.arguments)
    from sparring.base.device import find_device
    from sparring.base.workers import spread

    with spread(find_device(chosen.device)):
        return _sample(chosen)


def _sample(chosen: argparse.Namespace) -> int:
    from sparring.apply.generator import load
    from sparring.data.pictures import save_samples

    generator = load(chosen.run, checkpoint=chosen.checkpoint, device=chosen.device, trust=chosen.trust)
    rows = chosen.label == "all" and "all" not in generator.form.classes
    count = (8 if rows else 64) if chosen.count is None else chosen.count
    if rows:
        samples = generator.sample_rows(count, seed=chosen.seed)
    else:
        samples = generator.sample_stored(count, seed=chosen.seed, label=chosen.label)
    if is_first():
        save_samples(samples, chosen.out, generator.form, columns=count if rows else 0)
        print(f"{len(samples)} samples of step {generator.step}: {chosen.out}")
    return DONE
