"""Compare versions of a recipe at equal training time: measure the rates, train each for as many steps, score all.

python -m benchmarks.equal_time RECIPE[:KEY=VALUE;...] ... [--minutes 1.5] [--seeds 3] [--judge "Classifier(seed=1)"]

The first version is the base of the ratios. A version is a named recipe or a .toml file, with changed fields:
`"mnist:turns=Simultaneous();batch_size=32"`. A name of `BEFORE`, such as `mnist-0.1`, is that recipe as version 0.1.0
had it.

Rates are measured first, in alternating blocks, so that noise affects all alike; a version then trains for the steps
that its median rate allows in the minutes. So the training may run on a busy machine, and the result is that of a quiet
one. Finished runs and measured rates are kept in benchmarks/runs/equal-time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from benchmarks.processes import finish
from benchmarks.setting import describe_machine
from sparring.assemble.build import training_data
from sparring.assemble.start import resolve_auto, start_state
from sparring.base.device import prepared, thread_count
from sparring.recipe import Recipe, load_recipe, recipe_names
from sparring.studies.compare import compare
from sparring.training.step import Stepper

RUNS = Path("benchmarks/runs/equal-time")
BLOCK_STEPS = 32  # a multiple of the intervals of lazy penalties
CPU = torch.device("cpu")
BEFORE: dict[str, tuple[str, dict[str, object]]] = {
    "mnist-0.1": (
        "mnist",
        {
            "generator": "DCGANGenerator(width=32, refine=2)",
            "discriminator": "DCGANDiscriminator(width=32)",
            "penalties": "R1(weight=Linear(1, 0.05), every=8)",
            "turns": "Simultaneous()",
        },
    ),
    "r3gan-cifar10-0.1": ("r3gan-cifar10", {"turns": "Simultaneous()"}),
    "sngan-cifar10-0.1": (
        "sngan-cifar10",
        {
            "turns": "Simultaneous()",
            "generator_optimizer": "Adam(lr=1e-3, betas=(0.0, 0.9))",
            "discriminator_optimizer": "Adam(lr=1e-3, betas=(0.0, 0.9))",
            "batch_size": 32,
        },
    ),
}  # name -> recipe and the fields that version 0.1.0 had


def parse_version(text: str) -> tuple[str, Recipe]:
    """The name of a version and its recipe."""
    name, _, changes = text.partition(":")
    base, fields = BEFORE.get(name, (name, {}))
    recipe = load_recipe(base).replace(**fields)
    types = {key: type(getattr(recipe, key)) for key in vars(recipe)}
    for change in filter(None, changes.split(";")):
        key, _, value = change.partition("=")
        recipe = recipe.replace(**{key: types[key](value) if types.get(key) in (int, float) else value})
    return Path(text).stem if text.endswith(".toml") else text, recipe


def start_stepper(recipe: Recipe) -> Stepper:
    """The recipe's training step on the CPU, from the initial state on."""
    data = training_data(recipe)
    recipe = resolve_auto(recipe.replace(device="cpu"), data, CPU)
    return Stepper(recipe, data, start_state(recipe, data, CPU))


def measure_rates(recipes: dict[str, Recipe], blocks: int, threads: int) -> dict[str, float]:
    """Steps per second of each recipe on the CPU: the median over alternating blocks."""
    with prepared(CPU), thread_count(threads):
        steppers = {name: start_stepper(recipe) for name, recipe in recipes.items()}
        rates: dict[str, list[float]] = {name: [] for name in recipes}
        for block in range(blocks + 1):
            for name, step in steppers.items():
                start = time.perf_counter()
                for _ in range(BLOCK_STEPS):
                    step(0.2)
                if block:  # the first block warms up
                    rates[name].append(BLOCK_STEPS / (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in rates.items()}


def train(recipe: Recipe, path: Path, threads: int) -> Path:
    """Train a recipe in a process of its own, unless it is finished."""
    file = path.with_suffix(".toml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(recipe.to_toml(), encoding="utf-8")
    return finish(path, ["train", str(file)], threads)


def folder_name(name: str, recipe: Recipe) -> str:
    """The folder of a version's runs: the beginning of its name, and a hash of its fields."""
    base = Path(name.partition(":")[0]).stem
    return f"{base}-{hashlib.blake2b(recipe.to_toml().encode(), digest_size=4).hexdigest()}"


def main() -> None:
    """Measure rates, train, score and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("versions", nargs="+", metavar="RECIPE", help=f"named recipe or .toml file: {recipe_names()}")
    parser.add_argument("--minutes", type=float, default=1.5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=1, help="number of parallel runs")
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--judge", default="Classifier(seed=1)", help="extractor of the published scores")
    parser.add_argument("--metrics", default="frechet,precision_recall")
    chosen = parser.parse_args()
    recipes = dict(parse_version(text) for text in chosen.versions)
    measured = json.dumps([chosen.threads, {name: recipe.to_toml() for name, recipe in recipes.items()}])
    known = RUNS / f"rates-{hashlib.blake2b(measured.encode(), digest_size=6).hexdigest()}.json"
    known.parent.mkdir(parents=True, exist_ok=True)
    if not known.exists():  # only rates of one measurement are comparable
        rates = measure_rates(recipes, chosen.blocks, chosen.threads)
        known.write_text(json.dumps(rates, indent=1), encoding="utf-8")
    rates = json.loads(known.read_text(encoding="utf-8"))
    runs: dict[str, list[Path]] = {}
    with ThreadPoolExecutor(chosen.at_once) as pool:
        work = {}
        for seed in range(chosen.seeds):
            for name, recipe in recipes.items():
                steps = round(60 * chosen.minutes * rates[name])
                path = RUNS / f"{folder_name(name, recipe)}-{steps}-{seed}"
                fixed = {"steps": steps, "seed": seed, "doctor": "off", "pictures": 2, "checkpoint_every": 60.0}
                work[name, seed] = pool.submit(train, recipe.replace(**fixed, device="cpu"), path, chosen.threads)
        for (name, _), each in work.items():
            runs.setdefault(name, []).append(each.result())
    comparison = compare(
        [run for group in runs.values() for run in group],
        checkpoint="last",
        metrics=chosen.metrics,
        extractor=chosen.judge,
        count=chosen.count,
        split="test",
    )
    values = {str(e.run.path): e.scores.values for group in comparison.groups for e in group.entries}
    print(f"{chosen.minutes:g} minutes of training each; {describe_machine(f'{chosen.threads} threads')}")
    print(f"Judge: {comparison.groups[0].entries[0].scores.protocol.describe()}")
    print("| version | steps/s | steps | frechet of each seed | mean | ratio | recall |\n| --- |" + " ---: |" * 6)
    base = 0.0
    for name, group in runs.items():
        found = [values[str(run)] for run in group]
        frechet = [each["frechet"] for each in found]
        mean = statistics.mean(frechet)
        base = base or mean
        recall = statistics.mean(each.get("recall", float("nan")) for each in found)
        steps = round(60 * chosen.minutes * rates[name])
        shown = ", ".join(f"{value:.3g}" for value in frechet)
        print(
            f"| `{name}` | {rates[name]:.2f} | {steps:,} | {shown} | {mean:.3g} | {mean / base:.2f} | {recall:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
