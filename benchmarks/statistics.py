"""Effect of recomputed batch normalisation statistics: one EMA generator, scored with old and new statistics.

python -m benchmarks.statistics [RECIPE:STEPS ...] [--seeds 2] [--count 10000]
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch
from torch import nn

import sparring
from sparring.assemble.state import find_checkpoint
from sparring.evaluation.evaluator import Options, RunEvaluator
from sparring.run.checkpoint import load as load_tensors
from sparring.run.checkpoint import under

RUNS = Path("benchmarks/runs/statistics")


def raw_statistics(average: nn.Module, tensors: dict[str, torch.Tensor]) -> nn.Module:
    """The EMA generator with the running statistics of the raw weights, as version 0.1 saved it."""
    found = copy.deepcopy(average)
    last = under("generator", tensors)
    for name, buffer in found.named_buffers():
        buffer.copy_(last[name])
    return found


def main() -> None:
    """Train, score and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=["mnist:2000", "mnist-conditional:2000", "small-data:500"])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--count", type=int, default=10_000)
    chosen = parser.parse_args()
    print("| recipe | seed | of the last weights (0.1) | recomputed | raw generator |\n| --- | --- | --- | --- | --- |")
    for text in chosen.recipes:
        recipe, _, steps = text.partition(":")
        for seed in range(chosen.seeds):
            run = RUNS / f"{recipe}-{steps}-{seed}"
            if not run.exists():
                sparring.train(recipe, out=run, steps=int(steps), seed=seed, doctor="off")
            evaluator = RunEvaluator(run, Options(metrics="frechet", count=chosen.count))
            manifest = find_checkpoint(evaluator.run)
            tensors = load_tensors(evaluator.run.checkpoints, manifest)
            generator = sparring.load(run)
            found = []
            raw = copy.deepcopy(generator.network)
            raw.load_state_dict(under("generator", tensors))
            for network in (raw_statistics(generator.network, tensors), generator.network, raw):
                candidate = sparring.TrainedGenerator(network, generator.task, generator.recipe, generator.form, 0)
                found.append(evaluator.scoring.score(candidate, str(run), ema=True)[0].values["frechet"])
            print(
                f"| `{recipe}`, {int(steps):,} steps | {seed} | " + " | ".join(f"{value:.2f}" for value in found) + " |"
            )


if __name__ == "__main__":
    main()
