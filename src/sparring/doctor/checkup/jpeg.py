"""Traces of storage in images: the 8x8 grid of JPEG, and enlargement from a smaller size.

JPEG rounds the cosine transform of each 8x8 block, so most high frequencies vanish on its grid and on no other. This
locates the grid. Its visibility is the ratio of pixel steps across the grid to the neighbouring steps.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

MOST_IMAGES = 256
LARGEST = 256  # pixels per side that are analysed
SMALLEST = 24  # pixels per side; smaller images hold too few blocks of the shifted grids
COMPRESSED = 0.25  # share of high frequencies that vanish on the grid only; below about 0.1 in uncompressed images
VISIBLE = 1.03  # ratio of steps across the grid to neighbouring steps; quality 90 is below, quality 75 mostly above


class Artifact(NamedTuple):
    """A finding. `warning`: fix it before training; `note`: unusual, but no change is needed."""

    severity: Literal["warning", "note"]
    text: str


def compression(images: Tensor) -> list[Artifact]:
    """The grid that JPEG leaves in all or some images, uint8 [n, C, H, W]; at most one finding."""
    if len(images) == 0 or min(images.shape[2:]) < SMALLEST:
        return []
    grey = _luma(images[:MOST_IMAGES, :, :LARGEST, :LARGEST])
    phase = _phase(grey[:48, :128, :128])
    traces = grid_traces(grey, phase)
    known = ~traces.isnan()
    if known.double().mean() < 0.3 or known.sum() < 8:  # too few images with detail
        return []
    with_grid = traces > COMPRESSED
    share = (with_grid.sum() / known.sum()).item()
    if share < 0.15:
        return []
    across, nearby = grid_steps(grey[with_grid], phase)
    if not _is_visible(across, nearby):
        if share < 0.85:
            return []
        return [Artifact("note", "the images were stored as JPEG of high quality; its 8x8 grid is hardly visible")]
    height, width = images.shape[2:]
    size = f"{width // 2}x{height // 2}"
    half = f", or halve the size (--size {size}), which nearly removes it" if min(height, width) >= 64 else ""
    excess = across.mean() / nearby.mean() - 1
    visible = f"the 8x8 grid of JPEG is visible (steps across it are {excess:.0%} larger than the steps next to it)"
    fix = f"Use originals of higher quality{half}"
    if share > 0.85:
        return [Artifact("warning", f"{visible}: the generator has to copy it to match the real images. {fix}")]
    return [Artifact("warning", f"{visible} in {share:.0%} of the images: they may come from two sources. {fix}")]


def enlargement(images: Tensor) -> list[Artifact]:
    """Images without fine detail among others that have it, probably enlarged; at most one finding."""
    if len(images) == 0 or min(images.shape[2:]) < SMALLEST:
        return []
    ratio = fine_detail(_luma(images[:MOST_IMAGES, :, :LARGEST, :LARGEST]))
    ratio = ratio[~ratio.isnan()]
    if len(ratio) < 16:
        return []
    blurred = (ratio < 0.005).double().mean().item()
    between = ((ratio >= 0.005) & (ratio < 0.012)).double().mean().item()
    # Photographs range from soft to sharp without a gap; two sources leave a gap.
    if not 0.15 <= blurred <= 0.85 or between > blurred / 3 or 1 - blurred - between < 0.15:
        return []
    text = (
        f"{blurred:.0%} of the images have no detail finer than about three pixels and were probably enlarged. Remove "
        "them, or shrink all images (--size)"
    )
    return [Artifact("warning", text)]


def grid_traces(grey: Tensor, phase: tuple[int, int]) -> Tensor:
    """The share of high frequencies that vanish on the grid only: [n, H, W] -> [n], at most 1; NaN for flat images."""
    down, right = phase
    others = [((down + a) % 8, (right + b) % 8) for a, b in ((4, 4), (2, 3), (5, 2))]
    off = torch.stack([_vanishing(grey, other) for other in others]).mean(0)
    traces = (_vanishing(grey, phase) - off) / (1 - off).clamp(min=1e-3)
    return traces.where(off < 0.9, traces.new_tensor(math.nan))


def grid_steps(grey: Tensor, phase: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Mean pixel steps across the grid, and next to it: [n, H, W] -> [n] and [n], in levels."""
    across, nearby = [], []
    for first, pixels in ((phase[0], grey.transpose(1, 2)), (phase[1], grey)):
        steps = pixels.diff(dim=2).abs().clamp(max=48).mean(1)  # edges of objects would dominate the mean
        at = torch.arange((first - 1) % 8, steps.shape[1], 8)
        at = at[(at > 0) & (at < steps.shape[1] - 1)]
        across.append(steps[:, at].mean(1))
        nearby.append((steps[:, at - 1] + steps[:, at + 1]).mean(1) / 2)
    return torch.stack(across).mean(0), torch.stack(nearby).mean(0)


def _is_visible(across: Tensor, nearby: Tensor) -> bool:
    """True if the ratio of the steps exceeds VISIBLE by more than two standard errors."""
    excess = across - VISIBLE * nearby
    return excess.mean().item() > 2 * (excess.std() / math.sqrt(len(excess))).item()


def fine_detail(grey: Tensor) -> Tensor:
    """Power of periods below 2.8 pixels relative to 4 to 8 pixels: [n, H, W] -> [n]; NaN for flat images."""
    height, width = grey.shape[1:]
    window = torch.hann_window(height, periodic=False)[:, None] * torch.hann_window(width, periodic=False)
    power = torch.fft.rfft2((grey - grey.mean((1, 2), keepdim=True)) * window).abs().square()
    frequency = torch.maximum(torch.fft.fftfreq(height).abs()[:, None], torch.fft.rfftfreq(width))
    fine = power[:, frequency >= 0.36].mean(1)
    coarse = power[:, (frequency >= 0.12) & (frequency < 0.24)].mean(1)
    ratio: Tensor = fine / coarse
    return ratio.where(coarse > window.square().sum(), fine.new_tensor(math.nan))  # 1 squared level per pixel


def _phase(grey: Tensor) -> tuple[int, int]:
    """The offset of the grid: (down, right), each 0 to 7."""
    scores = {(a, b): _vanishing(grey, (a, b)).mean().item() for a in range(8) for b in range(8)}
    return max(scores, key=lambda phase: scores[phase])


def _vanishing(grey: Tensor, phase: tuple[int, int]) -> Tensor:
    """Share of high frequencies below one level, in 8x8 blocks at offset `phase`: [n, H, W] -> [n]."""
    index = torch.arange(8.0)
    cosines = torch.cos((2 * index + 1) * index[:, None] * (math.pi / 16)) / 2
    cosines[0] /= math.sqrt(2)
    high = index[:, None] + index >= 5
    blocks = grey[:, phase[0] :, phase[1] :].unfold(1, 8, 8).unfold(2, 8, 8)
    vanish: Tensor = (cosines @ blocks @ cosines.T)[..., high].abs() < 1
    return vanish.float().mean((1, 2, 3))


def _luma(images: Tensor) -> Tensor:
    """uint8 [n, C, H, W] -> brightness as JPEG computes it, float32 [n, H, W] in 0..255."""
    if images.shape[1] < 3:
        return images[:, 0].float()
    red, green, blue = images[:, :3].float().unbind(1)
    return 0.299 * red + 0.587 * green + 0.114 * blue
