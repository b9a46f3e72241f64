"""The image-to-image part of the published comparison: runs and their trivial baselines."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import DATA
from sparring.assemble.state import find_checkpoint
from sparring.base.errors import UserError
from sparring.data.sources.parquet import parquet_source
from sparring.evaluation.evaluator import RunEvaluator
from sparring.evaluation.options import Options, better
from sparring.evaluation.protocol import Scores
from sparring.evaluation.report import ARROWS, number, with_error
from sparring.evaluation.similarity import BASELINE

CAMVID = "('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car', 'pedestrian', 'bicyclist')"
FACES: dict[str, object] = {"data": f"{DATA}/faces_utk", "size": "", "fit": "crop"}
EDGES: dict[str, object] = {"data": f"{DATA}/edges2shoes_handbags", "steps": 3000, "minutes": 0.0}
DRAWN: dict[str, object] = {"data": f"{DATA}/face2genshin_unpaired", "size": "64"}
SEGMENT: dict[str, object] = {"data": f"{DATA}/camvid", "task": f"Segment(classes={CAMVID}, ignore=11)"}


@dataclass(frozen=True)
class ImageContest:
    """Image-to-image runs of one task, scored on test images and compared with the trivial baseline.

    Attributes:
        title: heading of the section.
        about: first lines of the section.
        recipes: run name -> recipe name and changed fields.
        tests: name of the test images -> a parquet file and the set in it, or ("", "") for the run's own.
        metrics: as for `sparring evaluate`.
        extractor: as for `sparring evaluate`.
        count: largest number of test images.
        quick: changes that make all runs short, to try the command.
    """

    title: str
    about: str
    recipes: dict[str, tuple[str, dict[str, object]]]
    tests: dict[str, tuple[str, str]] = field(default_factory=lambda: {"test": ("", "")})
    metrics: str = "usual"
    extractor: str = "auto"
    count: int = 500
    quick: dict[str, object] = field(default_factory=lambda: {"minutes": 0.1})


IMAGE_CONTESTS = {
    "super-resolution": ImageContest(
        "Super-resolution, four times",
        "Trained on 200 photos of BSDS500. `sr-pixel` has only the pixel term. `sr-gan` is fine-tuned from it for 8 "
        "minutes with a perceptual and a relativistic adversarial term. PSNR and SSIM are of the luminance, with 4 "
        "pixels of the border cut. The perceptual distance uses a classifier of CIFAR-10; the perceptual term uses "
        "one trained with another seed.",
        {
            "sr-pixel": (
                "super-resolution",
                {"data": f"{DATA}/super_resolution", "adversarial": "0", "penalties": "", "minutes": 12.0},
            ),
            "sr-gan": (
                "super-resolution",
                {
                    "data": f"{DATA}/super_resolution",
                    "start": "sr-pixel",
                    "task": "Restore(degrade=Downscale(4), pixel=10)",
                    "penalties": f"Perceptual(weight=1, extractor=Classifier(trained_on='{DATA}/cifar10', seed=1))",
                    "adversarial": "0.0005",
                    "generator_optimizer": "Adam(lr=3e-4, betas=(0.9, 0.99))",
                    "minutes": 8.0,
                },
            ),
        },
        {
            "Set5": (f"{DATA}/super_resolution/test.parquet", "Set5"),
            "Set14": (f"{DATA}/super_resolution/test.parquet", "Set14"),
            "BSD100": (f"{DATA}/super_resolution/test_bsd100.parquet", ""),
        },
        metrics="psnr,ssim,perceptual",
        extractor=f"Classifier(trained_on='{DATA}/cifar10')",
    ),
    "inpainting": ImageContest(
        "Inpainting, 24x24 in the middle of faces",
        "Faces of 64x64. `psnr hole` is the PSNR of the missing pixels; the Frechet distance compares the holes alone.",
        {"inpaint": ("inpaint", {**FACES, "task": "Restore(degrade=Mask('centre', size=24))", "minutes": 15.0})},
    ),
    "colourising": ImageContest(
        "Colourising faces",
        "Faces of 64x64, coloured from their luminance. `colours` is the distance of the distributions of a* and b* "
        "(CIELAB).",
        {
            "colour": (
                "restore",
                {
                    **FACES,
                    "task": "Restore(degrade=Grey(), residual=True)",
                    "adversarial": "Linear(0, 0.02, begin=0.2, finish=0.3)",
                    "minutes": 8.0,
                },
            )
        },
    ),
    "segmentation": ImageContest(
        "Segmentation of street scenes",
        "CamVid at 240x180, 11 classes. `seg-plain` is the same network without the adversarial term.",
        {"seg-gan": ("segment", SEGMENT), "seg-plain": ("segment", {**SEGMENT, "adversarial": "0", "minutes": 18.0})},
    ),
    "edges": ImageContest(
        "From edges to shoes and handbags",
        "128x128, 2,000 pairs, 3,000 steps with batches of 4 (6 epochs, 8 to 13 minutes on one core). `edges-l1` is "
        "the same network with the L1 term alone.",
        {
            "edges-gan": ("pix2pix", EDGES),
            "edges-l1": ("pix2pix", {**EDGES, "adversarial": "0"}),
        },
    ),
    "unpaired": ImageContest(
        "Photographed faces to drawn ones, without pairs",
        "64x64, 736 and 762 images, 4,000 steps with batches of 4 (22 epochs, about 14 minutes on one core). `taken "
        "for target` is the share of outputs that a classifier of both training sets assigns to the drawn set. "
        "`edges` is the correlation of the edges of output and source.",
        {"cycle": ("cyclegan", {**DRAWN, "steps": 4000, "minutes": 0.0})},
    ),
}


def section(contest: ImageContest, runs: list[Path], folder: Path, setting: str) -> str:
    """The section of a contest. It has no pictures, because the images may not be published."""
    parts = [f"## {contest.title}\n", f"{contest.about} {setting}\n"]
    for name, (file, which) in contest.tests.items():
        on = "" if not file else str(extracted(Path(file), which, folder / "tests" / name))
        scores = [scored(run, on, contest) for run in runs]
        parts += [*([f"On {name}:\n"] if on else []), *table(scores), "", remarks(scores[0]), ""]
    return "\n".join(parts)


def scored(run: Path, on: str, contest: ImageContest) -> Scores:
    """Score one run on one set of test images."""
    options = Options(contest.metrics, contest.extractor, contest.count)
    evaluator = RunEvaluator(run, options, on=on)
    return evaluator(find_checkpoint(evaluator.run, "last"))


def table(scores: list[Scores]) -> list[str]:
    """A row for each run, and one for the baseline."""
    names = [name for name in scores[0].values if not name.endswith(BASELINE)]
    heads = [f"{name.replace('_', ' ')} ({ARROWS[better(name)].split(' ')[0]})" for name in names]
    rows = [f"| run | step | {' | '.join(heads)} |", "| --- |" + " ---: |" * (len(names) + 1)]
    for each in scores:
        values = [with_error(each.values[n], each.errors.get(n)) if n in each.values else "-" for n in names]
        rows.append(f"| {Path(each.subject).name} | {number(each.step or 0)} | {' | '.join(values)} |")
    first = scores[0].values
    values = [number(first[n + BASELINE]) if n + BASELINE in first else "-" for n in names]
    return [*rows, f"| {scores[0].notes[0].removeprefix('baseline: ')} | - | {' | '.join(values)} |"]


def remarks(scores: Scores) -> str:
    """The notes and the protocol, as one line."""
    return " ".join([*(f"{note}." for note in scores.notes[1:]), f"Protocol: {scores.protocol.describe()}."])


def extracted(file: Path, which: str, folder: Path) -> Path:
    """Write the images of a parquet file whose column `set` is `which` (empty: all) to a folder.

    Raises:
        UserError: there are no such images.
    """
    from pyarrow import parquet

    sets = parquet.read_table(file, columns=["set"]).column(0).to_pylist()
    chosen = [item for item, one in zip(parquet_source([file], str(file)).items(), sets) if which in ("", one)]
    if not chosen:
        raise UserError(f"{file} has no images of the set {which!r}; choose from {', '.join(sorted(set(sets)))}")
    folder.mkdir(parents=True, exist_ok=True)
    for i, item in enumerate(chosen):
        assert isinstance(item.content, bytes)
        (folder / f"{i:03d}.{'png' if item.content[:4] == b'%cPNG' % 0x89 else 'jpg'}").write_bytes(item.content)
    return folder
