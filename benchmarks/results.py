"""The published comparison: trains named recipes with several seeds, scores them alike, writes docs/results.md.

python -m benchmarks.results [GROUP ...] [--seeds 3] [--at-once 1] [--quick]

What was trained already is kept, so it can be stopped and started again. To add a recipe, name it in its group below.
With --at-once 2, two runs train side by side, each with half of the threads.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from benchmarks import DATA, images
from benchmarks.images import IMAGE_CONTESTS, ImageContest
from benchmarks.setting import describe_machine
from sparring.apply.generator import load
from sparring.data.load import load_data, load_held_out
from sparring.data.pictures import grid, save_image, scatter
from sparring.data.samples import Data
from sparring.evaluation.generated import Generated
from sparring.evaluation.options import Options
from sparring.evaluation.protocol import Scores, differences
from sparring.evaluation.report import BESIDE, number
from sparring.evaluation.subject import Reference, Subject
from sparring.recipe import load_recipe
from sparring.run.directory import Run
from sparring.studies.compare import Comparison, cell, compare, value_names
from sparring.studies.page import curves_image, write_page
from sparring.studies.sweep import check_same_recipe
from sparring.training.completion import finished

RUNS = Path("benchmarks/runs")
DOCS = Path("docs")
PLAIN = {"loss": "NonSaturating()", "penalties": "", "ema": "", "learning_rate": "Constant(1)"}
STACKED_PLAIN = {"loss": "NonSaturating()", "penalties": ""}
PACKED = {"task": "Generate(latent=Normal(64), pack=2)"}
DCGAN = {
    "data": "cifar10",
    "generator": "DCGANGenerator()",
    "discriminator": "DCGANDiscriminator()",
    "batch_size": 64,
    "precision": "auto",
    "minutes": 20.0,
}
ANIME = {"data": f"{DATA}/anime_faces", "size": "32", "held_out": 0.9199}
BOTH = "R1(weight=Linear(1, 0.05), every=8), R2(weight=Linear(1, 0.05), every=8)"

HEADING = """# Results

Written by `make results` (`RESULTS=quick make results` tries it in a few minutes); each run is what `sparring train`
gives, the scores are those of `sparring compare`: means over seeds, ± standard error over seeds, of the last
checkpoint.

A time is of the training alone, on the machine that the section names; on another one the same minutes give other
scores. Runs that make samples of noise were trained before the doctor watched by default, which takes up to 5 % of the
time (`--doctor off`).

The figures are of version 0.1.0; a section's protocol names the version that measured it. Since then, 0.2.0 changes
what these runs give by: discriminators' heads in fp32 (all runs in bf16), zeros around the maps in R3GAN's resampling
(`r3gan-*`), the weights of `cut`, and statistics of batch normalisation that belong to the averaged weights (all
generators with batch normalisation; [measured](losses.md#statistics-of-the-average)).
"""


@dataclass(frozen=True)
class Contest:
    """Recipes that are compared.

    Attributes:
        title, about: of the section.
        data: the reference.
        recipes: what the run is called -> the recipe's name and the fields that are changed.
        quick: changes that make all of them short, to try the command.
        metrics: the columns.
        count: samples.
        extractor: what looks at the samples.
        split: the samples that are compared with: those trained on, or those held out.
        size, held_out: fields of the recipes that decide what is trained on.
    """

    title: str
    about: str
    data: str
    recipes: dict[str, tuple[str, dict[str, object]]]
    quick: dict[str, object]
    metrics: str
    count: int = 10_000
    extractor: str = "auto"
    split: str = "train"
    size: str = ""
    held_out: float = 0.0

    def load(self) -> tuple[Data, Data | None]:
        """What is trained on, and what is held out."""
        where = (self.data, self.size, self.held_out)
        train = load_data(*where)
        return train, load_held_out(*where, train=train)


CONTESTS: dict[str, Contest | ImageContest] = {
    "mnist": Contest(
        "MNIST, two minutes",
        "The lecture's recipe, the two Wasserstein recipes (with their MLPs), the convolutional default, and the same "
        "with relativistic pairing, R1 and R2. All have two minutes of training.",
        "mnist",
        {
            "lecture": ("lecture", {"minutes": 2.0}),
            "wgan-clip": ("wgan-clip", {"data": "mnist", "minutes": 2.0}),
            "wgan-gp": ("wgan-gp", {"data": "mnist", "minutes": 2.0}),
            "mnist": ("mnist", {"minutes": 2.0}),
            "mnist-relativistic": ("mnist", {"loss": "RelativisticPairing()", "penalties": BOTH, "minutes": 2.0}),
        },
        {"minutes": 0.1},
        "frechet,kernel_distance,precision_recall,density_coverage,modes,different_bins,memorising",
    ),
    "ring": Contest(
        "Eight points on a ring",
        "`ring-plain` has the same networks and steps without the loss and penalties that make `ring` work; "
        "`unrolled-ring` has the non-saturating loss without penalties, and unrolls D.",
        "ring",
        {"ring": ("ring", {}), "ring-plain": ("ring", PLAIN), "unrolled-ring": ("unrolled-ring", {})},
        {"steps": 300},
        "modes,wasserstein,sliced_wasserstein",
    ),
    "grid": Contest(
        "Twenty-five points on a grid",
        "`grid-plain` has the same networks and steps without the loss and penalties that make `grid` work.",
        "grid",
        {"grid": ("grid", {}), "grid-plain": ("grid", PLAIN)},
        {"steps": 300},
        "modes,wasserstein,sliced_wasserstein",
    ),
    "stacked": Contest(
        "StackedMNIST, 1,000 modes, four minutes",
        "Three random digits in red, green and blue. The networks are the same; `stacked-plain` has the non-saturating "
        "loss and no penalty, `stacked-unrolled` unrolls D by five steps besides, `stacked` (the recipe "
        "`stacked-mnist`) has relativistic pairing with R1 and R2. All have four minutes, far less than in the "
        "literature.",
        "stacked-mnist",
        {
            "stacked-plain": ("stacked-mnist", {**STACKED_PLAIN, "minutes": 4.0}),
            "stacked-unrolled": ("stacked-mnist", {**STACKED_PLAIN, "turns": "Unrolled(depth=5)", "minutes": 4.0}),
            "stacked": ("stacked-mnist", {"minutes": 4.0}),
        },
        {"minutes": 0.1},
        "modes,frechet,precision_recall",
        26_000,
    ),
    "packing": Contest(
        "StackedMNIST with packing, four minutes",
        "The plain networks of the section above, with a D that sees two images at once and nothing else against "
        "collapse.",
        "stacked-mnist",
        {"stacked-packed": ("stacked-mnist", {**STACKED_PLAIN, **PACKED, "minutes": 4.0})},
        {"minutes": 0.1},
        "modes,frechet,precision_recall",
        26_000,
    ),
    "stacked-long": Contest(
        "StackedMNIST, 1,000 modes, twenty minutes",
        "Plain, packed and relativistic networks as above, with twenty minutes.",
        "stacked-mnist",
        {
            "stacked-plain-20": ("stacked-mnist", STACKED_PLAIN),
            "stacked-packed-20": ("stacked-mnist", {**STACKED_PLAIN, **PACKED}),
            "stacked-20": ("stacked-mnist", {}),
        },
        {"minutes": 0.1},
        "modes,frechet,precision_recall",
        26_000,
    ),
    "classes": Contest(
        "MNIST by class, three minutes",
        "Every sample is asked for as one of the ten digits; `agreement` is the share that an independent classifier "
        "takes for the digit that was asked for.",
        "mnist",
        {"mnist-conditional": ("mnist-conditional", {})},
        {"minutes": 0.1},
        "frechet,agreement,class_frechet,precision_recall,modes,memorising",
    ),
    "small": Contest(
        "500 faces of anime characters, ten minutes",
        "500 images of 32x32, with adaptive augmentation (the recipe `small-data`) and without. Scores are against the "
        "5,741 images that no training saw. `overfitting` is how far D's logits of training images lie above those of "
        "held-out ones, as a share of their distance from those of samples: 0 is none, 1 is that D knows its training "
        "images and takes new ones for fakes.",
        f"{DATA}/anime_faces",
        {
            "small-data": ("small-data", ANIME),
            "small-data-plain": ("small-data", {**ANIME, "augment": ""}),
        },
        {"minutes": 0.1},
        "frechet,kernel_distance,precision_recall,critic_gap,memorising",
        5741,
        extractor="Random()",
        split="test",
        size="32",
        held_out=0.9199,
    ),
    "cifar10": Contest(
        "CIFAR-10, twenty minutes",
        "The published recipes, scaled to two cores, against a DCGAN as published (width 64, non-saturating loss, "
        "Adam with learning rate 2e-4 and beta 0.5, no penalty, no average; D without batch normalisation).",
        "cifar10",
        {
            "dcgan-cifar10": ("lecture", DCGAN),
            "sngan-cifar10": ("sngan-cifar10", {}),
            "r3gan-cifar10": ("r3gan-cifar10", {}),
        },
        {"minutes": 0.1},
        "frechet,kernel_distance,precision_recall,inception_score,memorising",
    ),
    **IMAGE_CONTESTS,
}


def main() -> None:
    """Train what is missing, score everything, write the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("contest", nargs="*", metavar="GROUP", help=f"of {', '.join(CONTESTS)}; default: all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=1, help="runs side by side, with an equal share of the threads")
    parser.add_argument("--quick", action="store_true", default=os.environ.get("RESULTS") == "quick")
    chosen = parser.parse_args()
    names = chosen.contest or list(CONTESTS)
    if not set(names) <= set(CONTESTS):
        parser.error(f"there is: {', '.join(CONTESTS)}")
    folder = RUNS / ("results-quick" if chosen.quick else "results")
    seeds = 1 if chosen.quick else chosen.seeds
    runs = {name: train_all(CONTESTS[name], folder, seeds, chosen.quick, chosen.at_once) for name in names}
    docs = folder if chosen.quick else DOCS
    sections = {name: part(name, CONTESTS[name], runs[name], folder, docs) for name in names}
    document = docs / "results.md"
    known = sections_of(document) | {CONTESTS[name].title: text for name, text in sections.items()}
    done = [known[contest.title] for contest in CONTESTS.values() if contest.title in known]
    document.write_text("\n".join([HEADING, *done]), encoding="utf-8")
    print(docs / "results.md")


def part(name: str, contest: Contest | ImageContest, runs: list[Path], folder: Path, docs: Path) -> str:
    """A contest's part of the document."""
    if isinstance(contest, ImageContest):
        return images.section(contest, runs, folder, setting(runs))
    return section(name, contest, runs, folder, docs)


def sections_of(document: Path) -> dict[str, str]:
    """The parts of the document that was written before, by their titles; others' figures stay."""
    if not document.exists():
        return {}
    parts = document.read_text(encoding="utf-8").split("\n## ")[1:]
    return {part.partition("\n")[0]: f"## {part}".rstrip() + "\n" for part in parts}


def train_all(contest: Contest | ImageContest, folder: Path, seeds: int, quick: bool, at_once: int) -> list[Path]:
    """Train each recipe with each seed, as a user would; `at_once` of them side by side. A field `start` names another
    recipe of the contest, further up: such a run begins with that one's weights, of the same seed."""
    shorter = contest.quick if quick else {}
    threads = max(1, torch.get_num_threads() // at_once)
    work: dict[Path, Future[Path]] = {}
    with ThreadPoolExecutor(at_once) as pool:
        for seed in range(seeds):
            for name, (recipe, changes) in contest.recipes.items():
                options, first = {**changes, **shorter, "seed": seed}, None
                if "start" in changes:
                    options["start"] = str(folder / f"{changes['start']}-{seed}")
                    first = work[Path(options["start"])]
                path = folder / f"{name}-{seed}"
                work[path] = pool.submit(train, recipe, options, path, threads, first)
        return [each.result() for each in work.values()]


def train(recipe: str, options: dict[str, object], path: Path, threads: int, first: Future[Path] | None = None) -> Path:
    """Train a run, or what is missing of it, after another one."""
    if first is not None:
        first.result()
    check_same_recipe(path, load_recipe(recipe).replace(**options))
    if finished(path):
        return path
    words = ["resume", str(path)]
    if not path.exists():
        fields = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
        words = ["train", recipe, *fields, f"--out={path}"]
    print("sparring", " ".join(words), flush=True)
    command = [sys.executable, "-m", "sparring", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    status = subprocess.run(command, stdout=subprocess.DEVNULL, env=environment).returncode
    if status and not finished(path):  # a run that ends in NaN is a result, too
        raise SystemExit(status)
    return path


def section(name: str, contest: Contest, runs: list[Path], folder: Path, docs: Path) -> str:
    """A contest's part of the document, with pictures."""
    scoring = {
        "metrics": contest.metrics,
        "count": contest.count,
        "extractor": contest.extractor,
        "split": contest.split,
    }
    options = Options(**scoring)  # type: ignore[arg-type]
    trained, held_out = contest.load()
    judge = Generated(trained, options, held_out)
    reference = judge.reference
    known = {Run.open(run).read_data()[0]: judge for run in runs}
    comparison = compare(runs, checkpoint="last", known=known, **scoring)
    assert len(comparison.tables) == 1, comparison.apart
    write_page(comparison, folder / f"{name}.html")
    save_image(curves_image(comparison.groups), docs / "pictures" / f"results-{name}.png")
    for group in comparison.groups:
        first = group.entries[0]
        save_image(samples_of(first.run.path, reference), docs / "pictures" / f"results-{first.name}.png")
    assert held_out is not None
    unseen = contest.split == "train"
    other, what = (held_out, "real samples that no training saw") if unseen else (trained, "the training images")
    real = None
    if len(other) >= contest.count:  # fewer would be another protocol
        judge.options = real_options(contest)
        real = judge.measure(Subject(reference, other.samples[: contest.count], other.labels), what)
        apart = differences(real.protocol, comparison.groups[0].entries[0].scores.protocol)
        assert not apart, apart
    pictures = [
        f"| {' | '.join(group.name.split(' ')[0] for group in comparison.groups)} |",
        f"| {' | '.join('---' for _ in comparison.groups)} |",
        f"| {' | '.join(f'![samples](pictures/results-{g.entries[0].name}.png)' for g in comparison.groups)} |",
    ]
    return "\n".join(
        [
            f"## {contest.title}\n",
            f"{contest.about} {setting(runs)}\n",
            *table(comparison, real),
            "",
            f"Protocol: {comparison.groups[0].entries[0].scores.protocol.describe()}.",
            *(f"\n{note}." for note in comparison.groups[0].entries[0].scores.notes),
            "",
            f"![curves of all runs](pictures/results-{name}.png)\n",
            "Samples of the first seed:\n",
            *pictures,
            "",
        ]
    )


def setting(runs: list[Path]) -> str:
    """Where the runs were trained, in a sentence."""
    threads = sorted({json.loads((run / "environment.json").read_text(encoding="utf-8"))["threads"] for run in runs})
    words = "one thread" if threads == [1] else f"{' or '.join(map(str, threads))} threads"
    return f"Trained with {describe_machine(words)}"


def real_options(contest: Contest) -> Options:
    """How real samples are scored: by those of the contest's metrics that need no generator."""
    names = [n for n in contest.metrics.split(",") if n not in ("critic_gap",)]
    return Options(",".join(names), contest.extractor, contest.count, contest.split)


def samples_of(run: Path, reference: Reference) -> Image.Image:
    """64 images of a run's last checkpoint, or 2,000 points over the data's."""
    generator = load(run)
    if generator.form.is_points:
        return scatter(generator.sample_stored(2000), generator.form, reference.data.samples[:2000], side=400)
    return grid(generator.sample_stored(64), least=400)


def table(comparison: Comparison, real: Scores | None) -> list[str]:
    """A row for each recipe, and one for real samples, where there are enough."""
    (groups,) = comparison.tables
    names = value_names(groups)
    rows = [
        f"| recipe | steps | {' | '.join(n.replace('_', ' ') for n in names)} |",
        "| --- |" + " ---: |" * (len(names) + 1),
    ]
    for group in groups:
        steps = sorted(entry.scores.step or 0 for entry in group.entries)
        span = number(steps[0]) if steps[0] == steps[-1] else f"{number(steps[0])} to {number(steps[-1])}"
        rows.append(f"| {group.name} | {span} | {' | '.join(cell(group, n) for n in names)} |")
    if real is None:
        return rows
    found = [number(real.values[n]) if n in real.values else "-" for n in names]
    rows.append(f"| {real.subject} | - | {' | '.join(found)} |")
    beside = {n: v for n, v in real.values.items() if n in BESIDE and n in ("kl_floor", "modes_there")}
    if beside:
        rows += ["", ", ".join(f"{n.replace('_', ' ')}: {number(v)}" for n, v in beside.items()) + "."]
    return rows


if __name__ == "__main__":
    main()
