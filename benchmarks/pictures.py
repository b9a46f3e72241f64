"""The pictures of the README: a strip of four, and one for each task, cut from pictures and runs that exist.

    python -m benchmarks.pictures FOLDER

FOLDER holds the runs `pix2pix`, `cyclegan`, `segment`, `inpaint` and `super-resolution`, each trained with
`sparring train NAME`. The last two have `--data` with photos of scikit-image (astronaut, coffee, motorcycle, rocket)
and of scikit-learn; super-resolution also has `--adversarial 0`. The enlarged photo is not among them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import skimage.data as photos
from PIL import Image

import sparring

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
TILE = 240  # pixels a side
GAP = 12
FACE = (104, 20, 344, 260)  # of the cat: left, upper, right, lower


def cells(path: Path, left: int = 0, columns: int = 5, rows: int = 5) -> Image.Image:
    """The first rows and columns of a grid of digits, from a column of pixels on."""
    picture = Image.open(path).convert("RGB")
    cell = 87 if picture.width > 1000 else 58
    return picture.crop((left, 0, left + columns * cell + 3, rows * cell + 3))


def enlarged(run: Path) -> Image.Image:
    """The cat's face: a quarter of its size on the left, enlarged by the run on the right."""
    cat = Image.open(Path(photos.__file__).parent / "chelsea.png").crop(FACE)
    small = cat.resize((cat.width // 4, cat.height // 4), Image.Resampling.BICUBIC)
    large = sparring.load(run).apply(small)
    blocks = np.asarray(small.resize(large.size, Image.Resampling.NEAREST))
    half = large.width // 2
    return Image.fromarray(np.concatenate([blocks[:, :half], np.asarray(large)[:, half:]], axis=1))


def strip(tiles: list[Image.Image]) -> Image.Image:
    """Square tiles side by side on white."""
    sheet = Image.new("RGB", (len(tiles) * (TILE + GAP) - GAP, TILE), "white")
    for index, tile in enumerate(tiles):
        sheet.paste(tile.resize((TILE, TILE), Image.Resampling.LANCZOS), (index * (TILE + GAP), 0))
    return sheet


def columns(run: Path, count: int) -> Image.Image:
    """The first columns of a run's last picture."""
    picture = last_picture(run)
    return picture.crop((0, 0, count * 85 + 5, picture.height))


def across(run: Path) -> Image.Image:
    """The second column of a run's last picture, side by side: input, output, target."""
    picture = last_picture(run)
    side = picture.width // 2
    sheet = Image.new("RGB", (3 * side, side))
    for row in range(3):
        sheet.paste(picture.crop((side, row * side, 2 * side, (row + 1) * side)), (row * side, 0))
    return sheet.resize((600, 200), Image.Resampling.LANCZOS)


def last_picture(run: Path) -> Image.Image:
    """A run's last picture."""
    return Image.open(max((run / "samples").glob("*.png"))).convert("RGB")


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", type=Path, help="the folder of the runs")
    runs: Path = parser.parse_args().runs
    collapsed = PICTURES / "clinic" / "lecture.png"
    cat = enlarged(runs / "super-resolution")
    tiles = [cells(collapsed), cells(collapsed, left=717), cells(PICTURES / "mnist.png"), cat]
    strip(tiles).save(PICTURES / "strip.png", optimize=True)
    tasks = PICTURES / "tasks"
    tasks.mkdir(exist_ok=True)
    cells(PICTURES / "mnist.png", columns=6, rows=3).save(tasks / "generate.png", optimize=True)
    cells(PICTURES / "results-mnist-conditional-0.png", columns=6, rows=3).save(tasks / "classes.png", optimize=True)
    cat.save(tasks / "super-resolution.png", optimize=True)
    for name in ("pix2pix", "cyclegan", "segment"):
        columns(runs / name, 4).save(tasks / f"{name}.png", optimize=True)
    across(runs / "inpaint").save(tasks / "inpaint.png", optimize=True)


if __name__ == "__main__":
    main()
