"""A comparison as one self-contained HTML file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from sparring.errors import writing
from sparring.evaluation.compare import ERROR, Comparison, Group, best_group, cell, value_names
from sparring.evaluation.measures import better
from sparring.evaluation.report import ARROWS, number
from sparring.gallery import spread, turned
from sparring.generator import load
from sparring.pictures import picture
from sparring.tasks.base import Translating

SAMPLES = {"images": 36, "points": 2000}
PANELS = (
    ("loss/discriminator", "D's adversarial loss", "linear"),
    ("loss/generator", "G's adversarial loss", "linear"),
    ("accuracy", "D's accuracy", "linear"),
    ("gradient/generator", "norm of G's gradient", "log"),
)
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2330; background: #fff; margin: 2rem auto; max-width: 1200px;
  padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #dde2ea; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
td.text, th.text { text-align: left; white-space: normal }
small, .protocol { color: #5a6577 } small { display: block; font-weight: normal }
.best { font-weight: 700; background: #e6f4ea }
.warning { background: #fff4d6; border-left: 4px solid #d9a400; padding: .5rem .8rem; margin: .6rem 0 }
.samples { display: flex; flex-wrap: wrap; gap: 1.2rem } figure { margin: 0 } figure img { width: 340px }
figcaption { font-weight: 600 } img { max-width: 100%; image-rendering: pixelated } img.curves { image-rendering: auto }
"""


def write_page(comparison: Comparison, path: Path, trust: bool = False) -> None:
    """Write the page: tables, protocols, curves on one plot, samples of the same latents. It needs no other file.

    Args:
        comparison: the runs.
        path: the file; its folder is made if need be.
        trust: may the runs' recipes import code?

    Raises:
        UserError: it cannot be written, or a run cannot be loaded.
    """
    parts = [f"<h1>{escape(' against '.join(group.name for group in comparison.groups))}</h1>"]
    parts += [f'<p class="warning">Not comparable: {escape(text)}</p>' for text in comparison.apart]
    parts += ["<h2>Scores</h2>"]
    for table in comparison.tables:
        parts += [table_html(table), f'<p class="protocol">{escape(describe(table))}</p>']
    for note in comparison.notes:
        parts.append(
            f'<p class="warning">{escape(note)}</p>' if note.startswith("CAREFUL") else f"<p>{escape(note)}</p>"
        )
    parts += [f"<p>Note: {escape(text)}</p>" for text in comparison.told]
    parts += [f'<p class="warning">{escape(entry.name)} ended in NaN</p>' for entry in comparison.broken]
    parts += recipes_html(comparison)
    curves = image_html(curves_image(comparison.groups), "curves of all runs", "curves")
    parts += ["<h2>Curves</h2>", curves, "<h2>Samples</h2>"]
    parts += [f"<p>{text}</p>" for text in dict.fromkeys(shown_of(group) for group in comparison.groups)]
    parts += ['<div class="samples">', *(sample_html(group, trust) for group in comparison.groups), "</div>"]
    title = escape(", ".join(group.name for group in comparison.groups))
    text = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n<body>\n'
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
    with writing(path, "choose another --out"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def describe(table: Sequence[Group]) -> str:
    """The protocol of a table, and what its errors are."""
    return f"Protocol: {table[0].entries[0].scores.protocol.describe()}. {ERROR}."


def table_html(table: Sequence[Group]) -> str:
    """A table: a row for each value, a column for each group, the best marked."""
    head = "".join(f"<th>{escape(group.name)}</th>" for group in table)
    steps = []
    for group in table:
        found = sorted({entry.scores.step or 0 for entry in group.entries})
        steps.append(number(found[0]) if len(found) == 1 else f"{number(found[0])} to {number(found[-1])}")
    rows = [f"<tr><td>step</td>{''.join(f'<td>{text}</td>' for text in steps)}</tr>"]
    for name in value_names(table):
        best = best_group(table, name)
        cells = [f"<td{' class=best' if group is best else ''}>{escape(cell(group, name))}</td>" for group in table]
        rows.append(f"<tr><td>{escape(name)}<small>{ARROWS[better(name)]}</small></td>{''.join(cells)}</tr>")
    return f'<div class="wide"><table><tr><th></th>{head}</tr>\n' + "\n".join(rows) + "</table></div>"


def recipes_html(comparison: Comparison) -> list[str]:
    """What the recipes differ in."""
    if not comparison.recipes:
        return []
    names = [group.name for group in comparison.groups]
    rows = [
        f"<tr><td>{escape(field)}</td>{''.join(f'<td class=text>{escape(values[n])}</td>' for n in names)}</tr>"
        for field, values in comparison.recipes.items()
    ]
    head = "".join(f"<th class=text>{escape(name)}</th>" for name in names)
    return [f'<h2>Recipes</h2><div class="wide"><table><tr><th></th>{head}</tr>', *rows, "</table></div>"]


def shown_of(group: Group) -> str:
    """What the picture of a group shows."""
    if group.entries[0].images is None:
        return "The same latents for each (seed 0), where their latents have the same size."
    return "The same test images for each, row by row: what went in, what was made of it, and what it should be."


def sample_html(group: Group, trust: bool) -> str:
    """Samples of a group's first run, or what it makes of test images."""
    entry = group.entries[0]
    raw = entry.scores.protocol.weights == "raw"
    generator = load(entry.run.path, checkpoint_name=str(entry.scores.step), device="cpu", trust=trust, raw=raw)
    if entry.images is not None and isinstance(generator.task, Translating):
        shown = turned(generator.task, generator.network, spread(entry.images), generator.form)
    else:
        kind = "points" if generator.form.is_points else "images"
        shown = picture(generator.sample_stored(SAMPLES[kind], seed=0), generator.form)
    return (
        f"<figure>{image_html(shown, f'samples of {entry.name}')}<figcaption>{escape(entry.name)}</figcaption></figure>"
    )


def image_html(image: Image.Image, alt: str, kind: str = "samples") -> str:
    """An image with its bytes in the page."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    content = base64.b64encode(buffer.getvalue()).decode()
    return f'<img class="{kind}" alt="{escape(alt)}" src="data:image/png;base64,{content}">'


def curves_image(groups: Sequence[Group]) -> Image.Image:
    """Losses, accuracy, gradients and the deciding score of all runs over the seconds of training, on one plot."""
    from matplotlib.figure import Figure

    nothing = float("nan")  # while there is no adversary
    figure = Figure(figsize=(11, 9), layout="constrained")
    axes = figure.subplots(3, 2).flatten()
    for i, group in enumerate(groups):
        for j, entry in enumerate(group.entries):
            rows, label = entry.run.rows(), group.name if j == 0 else None
            style = {"color": f"C{i % 10}", "lw": 1.0, "alpha": 1.0 if j == 0 else 0.45}
            for axis, (name, _, _) in zip(axes, PANELS):
                axis.plot([r["seconds"] for r in rows], [r.get(name, nothing) for r in rows], label=label, **style)
            events = (("checkpoint", "sliced_wasserstein"), ("evaluated", scored_name(groups)))
            history = entry.run.history()
            for axis, (event, name) in zip(axes[len(PANELS) :], events):
                found = [r for r in history if r.get("event") == event and name in r]
                axis.plot([r["seconds"] for r in found], [r[name] for r in found], marker=".", label=label, **style)
    titles = [
        *(title for _, title, _ in PANELS),
        "sliced Wasserstein distance of the samples themselves",
        scored_name(groups),
    ]
    for axis, title, scale in zip(axes, titles, [*(p[2] for p in PANELS), "log", "log"]):
        axis.set(title=title, yscale=scale)
    for axis in axes[-2:]:
        axis.set_xlabel("seconds of training")
    told = [axis for axis in axes if any(np.isfinite(line.get_ydata()).any() for line in axis.lines)]
    for axis in axes:  # no adversary, or no run was evaluated while it trained
        axis.set_visible(axis in told)
    for axis in told[:1]:
        axis.legend(fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110)
    return Image.open(buffer)


def scored_name(groups: Sequence[Group]) -> str:
    """The value by which the first run that was evaluated as it trained was; "" if none was."""
    return next((entry.deciding for group in groups for entry in group.entries if entry.deciding), "")
