"""Train the recipes of the published comparison with several seeds, score them and write docs/results.md.

python -m benchmarks.results [GROUP ...] [--seeds 3] [--at-once 1] [--quick]

Finished runs are kept, so the command can be stopped and started again. To add a recipe, add it to its group below.
With --at-once 2, two runs train in parallel, each with half of the cores.
"""

from __future__ import annotations

import argparse
import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks import DATA, images
from benchmarks.images import IMAGE_CONTESTS, ImageContest
from benchmarks.processes import finish
from benchmarks.setting import describe_machine
from sparring.apply.generator import load
from sparring.base.cores import share_of
from sparring.data.load import load_data, load_held_out
from sparring.data.pictures import grid, save_image, scatter
from sparring.data.samples import Data
from sparring.evaluation.generated import Generated
from sparring.evaluation.options import Options
from sparring.evaluation.protocol import Scores, differences
from sparring.evaluation.report import number
from sparring.evaluation.scoring import Scoring
from sparring.evaluation.subject import Reference, Subject
from sparring.recipe import load_recipe
from sparring.run.directory import Run
from sparring.studies.compare import Comparison, cell, compare, value_names
from sparring.studies.page import curves_image, write_page
from sparring.studies.sweep import check_same_recipe

RUNS = Path("benchmarks/runs")
DOCS = Path("docs")
PLAIN: dict[str, object] = {"loss": "NonSaturating()", "penalties": "", "ema": "", "learning_rate": "Constant(1)"}
STACKED_PLAIN: dict[str, object] = {"loss": "NonSaturating()", "penalties": ""}
PACKED: dict[str, object] = {"task": "Generate(latent=Normal(64), pack=2)"}
DCGAN: dict[str, object] = {
    "data": "cifar10",
    "generator": "DCGANGenerator()",
    "discriminator": "DCGANDiscriminator()",
    "batch_size": 64,
    "precision": "auto",
    "minutes": 20.0,
}
ANIME: dict[str, object] = {"data": f"{DATA}/anime_faces", "size": "32", "held_out": 0.9199}
BOTH = "R1(weight=Linear(1, 0.05), every=8), R2(weight=Linear(1, 0.05), every=8)"

HEADING = """# Results

`make results` writes this page; `RESULTS=quick make results` tries it in a few minutes. Each run is trained by
`sparring train` and scored by `sparring compare`. Scores are means over seeds ± standard error over seeds, of the last
checkpoint.

- **Features.** `frechet` is the Frechet distance of the features that a section's protocol names: classifier features
  (`Classifier()`) or those of a random network (`Random()`). It is not FID, which needs Inception features. Compare it
  only within a section.
- **Time.** Minutes are of training, in version 0.1.0 with pictures and checkpoints, on the processor that the section
  names. On another machine the same minutes give other scores.
- **Doctor.** The runs that generate from latents were trained before the doctor ran by default.
- **Versions.** The figures are of version 0.1.0; a section's protocol names the version that measured it. Version 0.2.0
  changes the results of these runs:
    - all runs with a budget in minutes: pictures, checkpoints and the doctor no longer count as training;
    - all runs in bf16: the discriminator's head in fp32;
    - `mnist`, `r3gan-cifar10`: turns, and the width and R1 of `mnist` ([measured](speed.md#recipes-at-equal-time));
    - `r3gan-*`: zeros around the feature maps in the resampling;
    - `cut`: its weights;
    - all generators with batch normalisation: statistics of the EMA weights
      ([measured](losses.md#statistics-of-the-average)).
"""


@dataclass(frozen=True)
class Contest:
    """A group of recipes that are compared.

    Attributes:
        title: heading of the section.
        about: first lines of the section.
        data: training data and reference.
        recipes: run name -> recipe name and changed fields.
        quick: changes that make all runs short, to try the command.
        metrics: the columns.
        count: number of samples.
        extractor: extractor of the features.
        split: reference samples: "train" or "test".
        size: the recipes' field `size`.
        held_out: the recipes' field `held_out`.
        show_samples: the page shows samples; False where the licence of the data does not allow it.
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
    show_samples: bool = True

    def load(self) -> tuple[Data, Data | None]:
        """The training data and the held-out data."""
        where = (self.data, self.size, self.held_out)
        train = load_data(*where)
        return train, load_held_out(*where, train=train)


CONTESTS: dict[str, Contest | ImageContest] = {
    "mnist": Contest(
        "MNIST, two minutes",
        "The recipe `lecture`, two Wasserstein recipes with MLPs, the convolutional default `mnist`, and `mnist` with "
        "relativistic pairing, R1 and R2. Each run has two minutes of training.",
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
        "`ring-plain` has the networks and steps of `ring`, but the non-saturating loss and no penalties, EMA or "
        "learning rate schedule. `unrolled-ring` has the non-saturating loss without penalties, and unrolls D.",
        "ring",
        {"ring": ("ring", {}), "ring-plain": ("ring", PLAIN), "unrolled-ring": ("unrolled-ring", {})},
        {"steps": 300},
        "modes,wasserstein,sliced_wasserstein",
    ),
    "grid": Contest(
        "Twenty-five points on a grid",
        "`grid-plain` has the networks and steps of `grid`, but the non-saturating loss and no penalties, EMA or "
        "learning rate schedule.",
        "grid",
        {"grid": ("grid", {}), "grid-plain": ("grid", PLAIN)},
        {"steps": 300},
        "modes,wasserstein,sliced_wasserstein",
    ),
    "stacked": Contest(
        "StackedMNIST, 1,000 modes, four minutes",
        "Three random digits in the red, green and blue channels. All recipes have the same networks. `stacked-plain` "
        "has the non-saturating loss without penalties; `stacked-unrolled` also unrolls D by five steps; `stacked` "
        "(the recipe `stacked-mnist`) has relativistic pairing with R1 and R2. Each run has four minutes, far less "
        "than in the literature.",
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
        "`stacked-plain` of the section above with packing: D sees two images at once. Nothing else counters mode "
        "collapse.",
        "stacked-mnist",
        {"stacked-packed": ("stacked-mnist", {**STACKED_PLAIN, **PACKED, "minutes": 4.0})},
        {"minutes": 0.1},
        "modes,frechet,precision_recall",
        26_000,
    ),
    "stacked-long": Contest(
        "StackedMNIST, 1,000 modes, twenty minutes",
        "The plain, packed and relativistic recipes of the sections above, with twenty minutes.",
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
        "Each sample is generated for one of the ten digits. `agreement` is the share of samples that an independent "
        "classifier assigns to the requested digit.",
        "mnist",
        {"mnist-conditional": ("mnist-conditional", {})},
        {"minutes": 0.1},
        "frechet,agreement,class_frechet,precision_recall,modes,memorising",
    ),
    "small": Contest(
        "500 faces of anime characters, ten minutes",
        "500 images of 32x32, with adaptive augmentation (the recipe `small-data`) and without. Scores are against "
        "5,741 held-out images. `overfitting` is the gap between D's mean logits of training and held-out images, "
        "divided by the gap between training images and samples: 0 is none; at 1, D has memorised its training images "
        "and rates held-out images like fakes.",
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
        show_samples=False,
    ),
    "cifar10": Contest(
        "CIFAR-10, twenty minutes",
        "The published recipes, scaled down to two cores, and a DCGAN as published (width 64, non-saturating loss, "
        "Adam with learning rate 2e-4 and beta 0.5, no penalties, no EMA; D without batch normalisation).",
        "cifar10",
        {
            "dcgan-cifar10": ("lecture", DCGAN),
            "sngan-cifar10": ("sngan-cifar10", {}),
            "r3gan-cifar10": ("r3gan-cifar10", {}),
        },
        {"minutes": 0.1},
        "frechet,kernel_distance,precision_recall,inception_score,memorising",
        show_samples=False,
    ),
    **IMAGE_CONTESTS,
}


def main() -> None:
    """Train missing runs, score all and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "contest", nargs="*", metavar="GROUP", help=f"groups to run: {', '.join(CONTESTS)}; default: all"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=1, help="number of parallel runs, which share the cores equally")
    parser.add_argument("--quick", action="store_true", default=os.environ.get("RESULTS") == "quick")
    chosen = parser.parse_args()
    names = chosen.contest or list(CONTESTS)
    if not set(names) <= set(CONTESTS):
        parser.error(f"unknown group; choose from {', '.join(CONTESTS)}")
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
    """The section of a contest."""
    if isinstance(contest, ImageContest):
        return images.section(contest, runs, folder, setting(runs))
    return section(name, contest, runs, folder, docs)


def sections_of(document: Path) -> dict[str, str]:
    """The sections of the existing page by title, which keeps the figures of other groups."""
    if not document.exists():
        return {}
    parts = document.read_text(encoding="utf-8").split("\n## ")[1:]
    return {part.partition("\n")[0]: f"## {part}".rstrip() + "\n" for part in parts}


def train_all(contest: Contest | ImageContest, folder: Path, seeds: int, quick: bool, at_once: int) -> list[Path]:
    """Train each recipe with each seed by `sparring train`, `at_once` of them in parallel.

    A field `start` names an earlier recipe of the contest: the run is fine-tuned from its weights of the same seed.
    """
    shorter = contest.quick if quick else {}
    cores = share_of(at_once)
    work: dict[Path, Future[Path]] = {}
    with ThreadPoolExecutor(at_once) as pool:
        for seed in range(seeds):
            for name, (recipe, changes) in contest.recipes.items():
                options, first = {**changes, **shorter, "seed": seed}, None
                if "start" in changes:
                    options["start"] = str(folder / f"{changes['start']}-{seed}")
                    first = work[Path(str(options["start"]))]
                path = folder / f"{name}-{seed}"
                work[path] = pool.submit(train, recipe, options, path, cores, first)
        return [each.result() for each in work.values()]


def train(recipe: str, options: dict[str, object], path: Path, cores: int, first: Future[Path] | None = None) -> Path:
    """Train or resume a run, after the run `first`."""
    if first is not None:
        first.result()
    check_same_recipe(path, load_recipe(recipe).replace(**options))
    fields = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
    return finish(path, ["train", recipe, *fields], cores)


def section(name: str, contest: Contest, runs: list[Path], folder: Path, docs: Path) -> str:
    """The section of a contest of generated samples, with pictures."""
    chosen: dict[str, Any] = {
        "metrics": contest.metrics,
        "count": contest.count,
        "extractor": contest.extractor,
        "split": contest.split,
    }
    options = Options(**chosen)
    trained, held_out = contest.load()
    scoring = Generated(trained, options, held_out)
    reference = scoring.reference
    known: dict[str, Scoring] = {Run.open(run).read_data()[0]: scoring for run in runs}
    comparison = compare(runs, checkpoint="last", known=known, **chosen)
    assert len(comparison.tables) == 1, comparison.incomparable
    write_page(comparison, folder / f"{name}.html")
    save_image(curves_image(comparison.groups), docs / "pictures" / f"results-{name}.png")
    for group in comparison.groups if contest.show_samples else ():
        first = group.entries[0]
        save_image(samples_of(first.run.path, reference), docs / "pictures" / f"results-{first.name}.png")
    assert held_out is not None
    unseen = contest.split == "train"
    other, what = (held_out, "held-out real samples") if unseen else (trained, "the training images")
    real = None
    if len(other) >= contest.count:  # fewer samples would change the protocol
        scoring.options = real_options(contest)
        real = scoring.measure(Subject(reference, other.samples[: contest.count], other.labels), what)
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
            *(("Samples of the first seed:\n", *pictures, "") if contest.show_samples else ()),
        ]
    )


def setting(runs: list[Path]) -> str:
    """The processor and threads of the runs, in a sentence."""
    threads = sorted({json.loads((run / "environment.json").read_text(encoding="utf-8"))["threads"] for run in runs})
    words = "one thread" if threads == [1] else f"{' or '.join(map(str, threads))} threads"
    return f"Trained with {describe_machine(words)}"


def real_options(contest: Contest) -> Options:
    """Options for real samples: the contest's metrics that need no generator."""
    names = [n for n in contest.metrics.split(",") if n not in ("critic_gap",)]
    return Options(",".join(names), contest.extractor, contest.count, contest.split)


def samples_of(run: Path, reference: Reference) -> Image.Image:
    """64 images of a run's last checkpoint, or 2,000 points plotted over those of the data."""
    generator = load(run)
    if generator.form.is_points:
        return scatter(generator.sample_stored(2000), generator.form, reference.data.samples[:2000], side=400)
    return grid(generator.sample_stored(64), least=400)


def table(comparison: Comparison, real: Scores | None) -> list[str]:
    """A row for each recipe, and one for real samples, if there are enough."""
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
    labels = {"modes_there": "Modes of the data", "kl_floor": "KL expected of the true distribution"}
    remarks = [f"{label}: {number(real.values[n])}." for n, label in labels.items() if n in real.values]
    if remarks:
        rows += ["", " ".join(remarks)]
    return rows


if __name__ == "__main__":
    main()
