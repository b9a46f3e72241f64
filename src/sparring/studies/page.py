"""A comparison as one self-contained HTML file."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from sparring.apply.generator import load
from sparring.base.components import is_trusted
from sparring.base.errors import writing
from sparring.data.pictures import picture
from sparring.evaluation.options import better
from sparring.evaluation.report import ARROWS
from sparring.studies.compare import ERROR, Comparison, Group, best_group, cell, value_names
from sparring.training.gallery import evenly_spaced, translation_sheet

Curve = tuple[str | None, dict[str, Any], list[float], list[float]]  # label, style, seconds, values
SAMPLES = {"images": 36, "points": 2000}
PANELS = (
    ("loss/discriminator", "D's adversarial loss", "linear"),
    ("loss/generator", "G's adversarial loss", "linear"),
    ("accuracy", "D's accuracy", "linear"),
    ("gradient/generator", "G's gradient norm", "log"),
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


def write_page(comparison: Comparison, path: Path) -> None:
    """Write a comparison as a self-contained page: scores, protocols, recipes, curves and samples.

    Raises:
        UserError: the page cannot be written, or a run cannot be loaded.
    """
    parts = [f"<h1>{escape(' vs. '.join(group.name for group in comparison.groups))}</h1>"]
    parts += [f'<p class="warning">Not comparable: {escape(text)}</p>' for text in comparison.incomparable]
    parts += ["<h2>Scores</h2>"]
    for table in comparison.tables:
        protocol = f"Protocol: {table[0].entries[0].scores.protocol.describe()}. {ERROR}."
        parts += [table_html(table), f'<p class="protocol">{escape(protocol)}</p>']
    for note in comparison.notes:
        kind = ' class="warning"' if note.startswith("WARNING") else ""
        parts.append(f"<p{kind}>{escape(note)}</p>")
    parts += [f"<p>Note: {escape(text)}</p>" for text in comparison.minor]
    parts += [f'<p class="warning">{escape(entry.name)} stopped on NaN</p>' for entry in comparison.not_finite]
    parts += recipes_html(comparison)
    curves = image_html(curves_image(comparison.groups), "curves of all runs", "curves")
    parts += ["<h2>Curves</h2>", curves, "<h2>Samples</h2>"]
    parts += [f"<p>{text}</p>" for text in dict.fromkeys(caption(group) for group in comparison.groups)]
    parts += ['<div class="samples">', *(sample_html(group) for group in comparison.groups), "</div>"]
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


def table_html(table: Sequence[Group]) -> str:
    """A table: a row for each score, a column for each group, the best group marked."""
    rows = [("step", [("", group.steps(" to ")) for group in table])]
    for name in value_names(table):
        best = best_group(table, name)
        cells = [(" class=best" if group is best else "", cell(group, name)) for group in table]
        rows.append((f"{escape(name)}<small>{ARROWS[better(name)]}</small>", cells))
    return _table([group.name for group in table], rows)


def _table(columns: Sequence[str], rows: Sequence[tuple[str, Sequence[tuple[str, str]]]], mark: str = "") -> str:
    """An HTML table from column names and rows: (name as HTML, cells of attributes and text)."""
    head = "".join(f"<th{mark}>{escape(name)}</th>" for name in columns)
    found = (f"<tr><td>{n}</td>{''.join(f'<td{a}>{escape(t)}</td>' for a, t in cells)}</tr>" for n, cells in rows)
    return f'<div class="wide"><table><tr><th></th>{head}</tr>\n' + "\n".join(found) + "</table></div>"


def recipes_html(comparison: Comparison) -> list[str]:
    """The section on the fields in which the recipes differ."""
    if not comparison.recipes:
        return []
    names = [group.name for group in comparison.groups]
    mark = " class=text"
    rows = [(escape(field), [(mark, values[n]) for n in names]) for field, values in comparison.recipes.items()]
    return ["<h2>Recipes</h2>", _table(names, rows, mark)]


def caption(group: Group) -> str:
    """What the picture of a group shows."""
    if group.entries[0].images is None:
        return "The same latents for every run (seed 0) if the latents have the same size."
    return "The same test images for every run. Rows: input, output, target (or an example of the target domain)."


def sample_html(group: Group) -> str:
    """Samples of a group's first run or, for image to image, its output for test images."""
    entry = group.entries[0]
    raw = entry.scores.protocol.weights == "raw"
    generator = load(entry.run.path, checkpoint=str(entry.scores.step), device="cpu", trust=is_trusted(), raw=raw)
    if entry.images is not None:
        shown = translation_sheet(generator.task, generator.network, evenly_spaced(entry.images))
    else:
        kind = "points" if generator.form.is_points else "images"
        shown = picture(generator.sample_stored(SAMPLES[kind], seed=0), generator.form)
    return (
        f"<figure>{image_html(shown, f'samples of {entry.name}')}<figcaption>{escape(entry.name)}</figcaption></figure>"
    )


def image_html(image: Image.Image, alt: str, kind: str = "samples") -> str:
    """An image element that contains the image's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    content = base64.b64encode(buffer.getvalue()).decode()
    return f'<img class="{kind}" alt="{escape(alt)}" src="data:image/png;base64,{content}">'


def curves_image(groups: Sequence[Group]) -> Image.Image:
    """Plot losses, accuracy, gradient norm and the deciding score of all runs over the seconds of training.

    A panel that no run has values for is left out.
    """
    from matplotlib.figure import Figure

    scored = scored_name(groups)
    panels = [
        *PANELS,
        ("sliced_wasserstein", "sliced Wasserstein distance (pixels or points)", "log"),
        (scored, scored, "linear" if better(scored) > 0 else "log"),
    ]
    events = {"sliced_wasserstein": "checkpoint", scored: "evaluated"}
    drawn = [(*panel, curves) for panel in panels if (curves := curves_of(groups, panel[0], events.get(panel[0])))]
    rows = max(1, math.ceil(len(drawn) / 2))
    figure = Figure(figsize=(11, 3 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False).flatten()
    for axis, (name, title, scale, curves) in zip(axes, drawn):
        for label, style, seconds, values in curves:
            axis.plot(seconds, values, label=label, marker="." if name in events else "", **style)
        axis.set(title=title, yscale=scale)
    for axis in axes[len(drawn) :]:
        axis.set_visible(False)
    for axis in axes[max(len(drawn) - 2, 0) : len(drawn)]:
        axis.set_xlabel("seconds of training")
    if drawn:
        axes[0].legend(fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110)
    return Image.open(buffer)


def curves_of(groups: Sequence[Group], name: str, event: str | None) -> list[Curve]:
    """The curves of a value over seconds of training, from log rows of an event, or of metrics if it is None."""
    found: list[Curve] = []
    for i, group in enumerate(groups):
        for j, entry in enumerate(group.entries):
            rows = entry.run.rows() if event is None else entry.run.history()
            points = [r for r in rows if name in r and (event is None or r.get("event") == event)]
            style = {"color": f"C{i % 10}", "lw": 1.0, "alpha": 1.0 if j == 0 else 0.45}
            if points:
                label = group.name if j == 0 else None
                found.append((label, style, [r["seconds"] for r in points], [r[name] for r in points]))
    return found


def scored_name(groups: Sequence[Group]) -> str:
    """The deciding score of the first run that was evaluated during training; "" if none was."""
    return next((entry.deciding for group in groups for entry in group.entries if entry.deciding), "")
