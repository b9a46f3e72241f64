"""Images per second of several workers on one machine, beside one alone and beside the model of docs/scaling.md.

python -m benchmarks.scaling [RECIPE[:KEY=VALUE;...] ...] [--workers 2] [--blocks 7] [--steps 32]

All figures are of the same processes in alternating blocks: steps of the first worker alone with the whole batch, then
with its part of the batch, then steps of all workers together, then exchanges without steps. Each process computes with
one thread. The medians over the blocks are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.equal_time import parse_version
from benchmarks.setting import describe_machine
from sparring.assemble.build import training_data
from sparring.assemble.start import resolve_auto, start_state
from sparring.base.device import prepared, thread_count
from sparring.base.workers import Workers, alone, joined
from sparring.recipe import Recipe
from sparring.training.step import Stepper

RECIPES = ("lecture", "mnist", "sngan-cifar10", "r3gan-cifar10")
CPU = torch.device("cpu")


def seconds_of(work: Callable[[], object], times: int) -> float:
    """Seconds per call."""
    begin = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - begin) / times


def measure(recipe: Recipe, group: Workers, blocks: int, steps: int) -> dict[str, float]:
    """Medians of seconds: of a step alone, alone with a part of the batch, and together; of a step's exchanges."""
    data = training_data(recipe)
    recipe = resolve_auto(recipe.replace(device="cpu"), data, CPU)
    part = recipe.replace(batch_size=recipe.batch_size // group.count)
    with alone():
        single, small = (Stepper(each, data, start_state(each, data, CPU)) for each in (recipe, part))
    together = Stepper(recipe, data, start_state(recipe, data, CPU))
    turns = together(0.0)  # the turns of a step, each with its exchange
    game = together.state.game
    gradients = [[torch.zeros_like(p) for p in game.player(side).network.parameters()] for side in turns]
    times = max(1, getattr(together.turns, "n_critic", 1))

    def exchange() -> None:
        for tensors in gradients:
            for _ in range(times if tensors is gradients[0] else 1):
                group.average_(tensors)
        group.largest(0.0, 0.0)

    found: dict[str, list[float]] = {name: [] for name in ("alone", "part", "together", "exchanges")}
    for block in range(blocks + 1):
        row: dict[str, float] = {}
        with group.led() as leads:
            if leads:
                row["alone"] = seconds_of(lambda: single(0.2), steps)
                row["part"] = seconds_of(lambda: small(0.2), steps)
        row["together"] = seconds_of(lambda: together(0.2), steps)
        row["exchanges"] = seconds_of(exchange, steps)
        for name, value in row.items() if block else ():  # the first block warms up
            found[name].append(value)
    numbers = sum(tensor.numel() for tensors in gradients for tensor in tensors)
    return {n: statistics.median(v) for n, v in found.items() if v} | {"megabytes": numbers * 4 / 2**20}


def worker(chosen: argparse.Namespace) -> None:
    """Measure all recipes, as one of the workers; the first one writes the medians."""
    with prepared(CPU), thread_count(1), joined(CPU) as group:
        for text in chosen.recipes:
            name, recipe = parse_version(text)
            medians = measure(recipe, group, chosen.blocks, chosen.steps)
            if group.first:
                with Path(chosen.worker).open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"name": name, "batch": recipe.batch_size, **medians}) + "\n")


def predicted(row: dict[str, float]) -> float:
    """Images per second of all workers, as docs/scaling.md computes them."""
    return row["batch"] / (row["part"] + row["exchanges"])


def main() -> None:
    """Start the workers, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES, metavar="RECIPE")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.worker:
        worker(chosen)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "medians.jsonl"
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(chosen.workers)]
        options = ["--blocks", str(chosen.blocks), "--steps", str(chosen.steps), "--worker", str(file)]
        words = [sys.executable, *torchrun, "-m", "benchmarks.scaling", *chosen.recipes, *options]
        subprocess.run(words, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    count = chosen.workers
    print(f"Images per second, one thread per worker; {describe_machine('1 thread')}")
    print(f"| recipe | batch | alone | {count} workers | ratio | model | exchanges, ms | gradients, MiB |")
    print("| --- |" + " ---: |" * 7)
    for row in rows:
        one, several = row["batch"] / row["alone"], row["batch"] / row["together"]
        figures = f"{one:,.0f} | {several:,.0f} | {several / one:.2f} | {predicted(row):,.0f}"
        exchanged = f"{1000 * row['exchanges']:.2f} | {row['megabytes']:.2f}"
        print(f"| `{row['name']}` | {row['batch']} | {figures} | {exchanged} |", flush=True)


if __name__ == "__main__":
    main()
