"""Time and memory of scoring 10,000 MNIST samples with all distribution metrics.

python -m benchmarks.scoring [--repeats 3]

The samples are the 10,000 test images, so no run is needed. Each repeat is a separate process, which loads the data and
computes all features. The classifier is trained once, before the first repeat.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

METRICS = "usual"


def main() -> None:
    """Run the repeats and print the median time and the largest memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.once:
        score(chosen.once)
        return
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder) / "samples.npy"
        prepare(samples)
        found = []
        for _ in range(chosen.repeats):
            command = [sys.executable, "-m", "benchmarks.scoring", "--once", str(samples)]
            text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found.append(json.loads(text.splitlines()[-1]))
    print(json.dumps(found[-1]["values"], indent=1))
    seconds = statistics.median(f["seconds"] for f in found)
    print(f"total: {seconds:.1f} s (median of {len(found)}), {max(f['gigabytes'] for f in found):.2f} GB at most")


def prepare(path: Path) -> None:
    """Write the samples, and train the classifier if it is not in the cache."""
    import torch

    from sparring.data.load import load_data, load_held_out
    from sparring.evaluation.subject import prepare_extractor

    held_out = load_held_out("mnist")
    assert held_out is not None
    np.save(path, held_out.samples[:, 0].numpy())
    prepare_extractor("auto", load_data("mnist"), torch.device("cpu"))


def score(path: Path) -> None:
    """Score the samples as `sparring evaluate --images` does, and print time and memory."""
    start = time.perf_counter()
    from sparring.evaluation import evaluate_images

    scores = evaluate_images(path, against="mnist", metrics=METRICS)
    taken = time.perf_counter() - start
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps({"values": scores.values, "seconds": taken, "gigabytes": gigabytes}))


if __name__ == "__main__":
    main()
