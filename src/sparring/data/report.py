"""A look at data before training."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

import torch
from PIL import Image

from sparring.data.mapped import chunks
from sparring.data.samples import Data
from sparring.pictures import picture


@dataclass(frozen=True)
class DataReport:
    """What there is to know of a data set, line by line, and a contact sheet."""

    lines: list[tuple[str, str]]
    sheet: Image.Image


def describe_data(data: Data) -> DataReport:
    """Count, sizes, channels, value range, classes, what was left out, and exact duplicates."""
    lines = [("data", data.name), ("samples", f"{len(data):,}")]
    samples = data.samples
    if data.form.is_points:
        lines.append(("dimensions", str(data.form.shape[0])))
        span = zip(samples.amin(0).tolist(), samples.amax(0).tolist())
        lines.append(("range", ", ".join(f"{low:.3g} to {high:.3g}" for low, high in span)))
    else:
        channels, height, width = data.form.shape
        lines.append(("size", f"{width}x{height} (width x height)"))
        lines.append(("channels", f"{channels} ({'grey' if channels == 1 else 'RGB'})"))
        low, high, mean = _levels(samples)
        lines.append(("values", f"{low.min()} to {high.max()} of 0 to 255, mean {mean:.1f}"))
        lines += _silent_channels(low, high)
    lines += _classes(data)
    copies = duplicates(samples)
    lines.append(("duplicates", f"{copies:,} samples are exact copies of another" if copies else "none"))
    lines += [("left out", note.removeprefix("left out ")) for note in data.notes]
    rng = torch.Generator().manual_seed(0)
    shown = torch.randperm(len(data), generator=rng)[: 5000 if data.form.is_points else 100]
    return DataReport(lines, picture(data.take(shown), data.form))


def duplicates(samples: torch.Tensor) -> int:
    """How many samples are exact copies of an earlier one."""
    seen: set[bytes] = set()
    for chunk in chunks(samples):
        rows = chunk.contiguous().flatten(1).numpy()
        seen.update(hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows)
    return len(samples) - len(seen)


def _levels(samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Of images: the lowest and the highest level of each channel [C], and the mean of all."""
    found = [(c.amin((0, 2, 3)), c.amax((0, 2, 3)), c.sum(dtype=torch.int64)) for c in chunks(samples)]
    lows, highs, sums = map(torch.stack, zip(*found))
    return lows.amin(0), highs.amax(0), sums.sum().item() / samples.numel()


def _silent_channels(low: torch.Tensor, high: torch.Tensor) -> list[tuple[str, str]]:
    constant = [c for c in range(len(low)) if low[c] == high[c]]
    return [("careful", f"channel {c} is the same everywhere: nothing to learn") for c in constant]


def _classes(data: Data) -> list[tuple[str, str]]:
    if data.labels is None:
        return [("classes", "no labels")]
    counts = Counter(data.labels.tolist())
    shown = [f"{name} ({counts[i]:,})" for i, name in enumerate(data.form.classes[:20])]
    more = f", and {len(data.form.classes) - 20} more" if len(data.form.classes) > 20 else ""
    return [("classes", f"{len(data.form.classes)}: {', '.join(shown)}{more}")]
