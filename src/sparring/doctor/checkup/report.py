"""The report on a data set before training."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from PIL import Image

from sparring.base.errors import listed
from sparring.data.labels import count_classes
from sparring.data.pictures import picture
from sparring.data.samples import Data
from sparring.data.store.mapped import chunks
from sparring.doctor.checkup.artifacts import ALL_GREY, checked_images, dataset_artifacts, grey_share
from sparring.doctor.checkup.proposal import Change, Proposal, propose


@dataclass(frozen=True)
class DataReport:
    """The report of `sparring data`.

    Attributes:
        lines: (name, text) pairs in order.
        sheet: a picture of samples: 100 images, or 5,000 points.
        proposal: the recipe to start with.
    """

    lines: list[tuple[str, str]]
    sheet: Image.Image
    proposal: Proposal


def describe_data(data: Data, given: Mapping[str, Change] | None = None) -> DataReport:
    """Report on a data set: its properties, left-out images, warnings and notes, and a proposed recipe.

    Args:
        data: the data set.
        given: the options that it was loaded with, as in `propose`.
    """
    proposal = propose(data, given)
    lines = [("data", data.name), ("samples", f"{len(data):,}")]
    lines += _points(data) if data.form.is_points else _images(data)
    lines += _classes(data)
    copies = duplicates(data.samples)
    lines.append(("duplicates", f"{copies:,} exact copies of other samples" if copies else "none"))
    lines += [("left out", note.removeprefix("left out ")) for note in data.notes]
    lines += [(name, text) for name, _, text in (remark.partition(": ") for remark in data.remarks)]
    if not data.form.is_points:
        lines += [(artifact.severity, artifact.text) for artifact in dataset_artifacts(checked_images(data.samples))]
    if any(name == "warning" for name, _ in lines):
        lines.append(("next step", "fix the warnings, then train"))
    lines.append(("command", proposal.command))
    lines += [("reason", reason) for reason in proposal.reasons]
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    shown = order[: 5000 if data.form.is_points else 100]
    return DataReport(lines, picture(data.take(shown), data.form), proposal)


def _points(data: Data) -> list[tuple[str, str]]:
    span = zip(data.samples.amin(0).tolist(), data.samples.amax(0).tolist())
    range_of = ", ".join(f"{low:.3g} to {high:.3g}" for low, high in span)
    return [("dimensions", str(data.form.shape[0])), ("range", range_of)]


def _images(data: Data) -> list[tuple[str, str]]:
    channels, height, width = data.form.shape
    images = checked_images(data.samples)
    colours = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGB and alpha"}.get(channels, "unknown")
    grey = grey_share(images) if channels >= 3 else 0.0
    mean = sum(part.float().sum().item() for part in images.split(64)) / images.numel()
    checked = f", in {len(images):,} random images" if len(images) < len(data) else ""
    values = f"{images.min()} to {images.max()} of 0 to 255, mean {mean:.1f}{checked}"
    lines = [
        ("size", f"{width}x{height} (width x height)"),
        ("channels", f"{channels} ({colours})"),
        ("values", values),
    ]
    return lines + ([("grey images", f"{grey:.1%}")] if 0 < grey <= ALL_GREY else [])


def duplicates(samples: torch.Tensor) -> int:
    """The number of samples that are exact copies of an earlier one."""
    hashes: set[bytes] = set()
    for chunk in chunks(samples):
        rows = chunk.contiguous().flatten(1).numpy()
        hashes.update(hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows)
    return len(samples) - len(hashes)


def _classes(data: Data) -> list[tuple[str, str]]:
    if data.labels is None:
        return [("classes", "no labels")]
    counts = count_classes(data.labels, data.form.classes)
    shown = [f"{name} ({count:,})" for name, count in zip(data.form.classes, counts)]
    return [("classes", f"{len(shown)}: {listed(shown, 20)}")]
