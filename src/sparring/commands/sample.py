"""`sparring sample`: draw samples from a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from sparring.base.choices import DEVICES
from sparring.commands import add_trust

ABOUT = "draw samples from a run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("run", type=Path, help="the run directory")
    parser.add_argument("--count", type=int, help="how many; default: 64, or 8 of each class with --label all")
    parser.add_argument("--label", help="the class to draw, by name or number; all: one row a class")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same samples")
    parser.add_argument("--out", type=Path, required=True, help="a .png (grid), a .npy (array), else a folder of PNGs")
    parser.add_argument("--checkpoint", default="last", help="last, best or a step")
    parser.add_argument("--device", default="auto", choices=DEVICES)
    add_trust(parser)


def run(chosen: argparse.Namespace) -> None:
    """Draw them, and write them."""
    from sparring.apply.generator import load
    from sparring.data.pictures import save_samples

    generator = load(chosen.run, checkpoint=chosen.checkpoint, device=chosen.device, trust=chosen.trust)
    rows = chosen.label == "all" and "all" not in generator.form.classes
    count = (8 if rows else 64) if chosen.count is None else chosen.count
    if rows:
        samples = generator.sample_rows(count, seed=chosen.seed)
    else:
        samples = generator.sample_stored(count, seed=chosen.seed, label=chosen.label)
    save_samples(samples, chosen.out, generator.form, columns=count if rows else 0)
    print(f"{len(samples)} samples of step {generator.step}: {chosen.out}")
