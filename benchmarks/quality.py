"""How good are MNIST samples after a given time? Trains by the command line, judges by an independent classifier.

python -m benchmarks.quality [--recipe mnist] [--minutes 1.5 5] [--seeds 0 1 2] [--out benchmarks/runs]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import sparring
from benchmarks.judge import Court, Verdict
from sparring.pictures import grid, save_image
from sparring.run import Run

SAMPLES = 10_000


def main() -> None:
    """Train, judge and print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="mnist")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.5, 5.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/runs"))
    chosen = parser.parse_args()
    court = Court()
    print(f"judge: accuracy {court.accuracy:.2%} on the test set; training images against test images: {court.floor()}")
    for minutes in chosen.minutes:
        verdicts = [train_and_judge(court, chosen.recipe, minutes, seed, chosen.out) for seed in chosen.seeds]
        print(
            f"{chosen.recipe}, {minutes:g} minutes, median of {len(verdicts)}: "
            f"Frechet distance {statistics.median(v.frechet for v in verdicts):.2f}, "
            f"precision {statistics.median(v.precision for v in verdicts):.3f}, "
            f"recall {statistics.median(v.recall for v in verdicts):.3f}, "
            f"rarest digit {min(min(v.counts) for v in verdicts) / SAMPLES:.1%}",
            flush=True,
        )


def train_and_judge(court: Court, recipe: str, minutes: float, seed: int, out: Path) -> Verdict:
    """One training as a user would start it, and the verdict on its samples."""
    run = out / f"{recipe}-{minutes:g}min-{seed}-{time.strftime('%H%M%S')}"
    command = [sys.executable, "-m", "sparring", "train", recipe, f"--minutes={minutes}", f"--seed={seed}"]
    subprocess.run([*command, f"--out={run}"], check=True, capture_output=True)
    samples = sparring.load(run).sample_stored(SAMPLES, seed=seed)
    verdict = court.verdict(samples)
    last = Run.open(run).rows()[-1]
    save_image(grid(samples[:100]), run / "judged.png")
    print(
        f"{recipe}, {minutes:g} minutes, seed {seed}: {last['step']:,} steps in {last['seconds']:.0f} s: {verdict}",
        flush=True,
    )
    return verdict


if __name__ == "__main__":
    main()
