"""Traces of how images were stored: the 8x8 grid of JPEG, and enlargement from a smaller size.

JPEG rounds the cosine transform of each 8x8 block, so that most high frequencies vanish exactly on its grid and on no
other. That shows that there is a grid, and where; steps across the grid, over those beside it, how visible it is.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

MOST_IMAGES = 256
LARGEST = 256  # pixels of a side that are looked at
SMALLEST = 24  # pixels; below, hardly a block of another grid fits in
COMPRESSED = 0.25  # share of an image's high frequencies that vanish on the grid alone; others stay below 0.1 or so
VISIBLE = 1.03  # steps across the grid, over those beside it; quality 90 stays below, most of 75 lies above


class Artifact(NamedTuple):
    """What a check saw. `careful`: mend it before training; `harmless`: odd, but no cause for a change."""

    kind: Literal["careful", "harmless"]
    text: str


def compression(images: Tensor) -> list[Artifact]:
    """The grid that JPEG left in images, uint8 [n, C, H, W], and whether it is in some of them only."""
    if len(images) == 0 or min(images.shape[2:]) < SMALLEST:
        return []
    grey = _luma(images[:MOST_IMAGES, :, :LARGEST, :LARGEST])
    phase = _phase(grey[:48, :128, :128])
    traces = grid_traces(grey, phase)
    known = ~traces.isnan()
    if known.double().mean() < 0.3 or known.sum() < 8:  # flat pictures tell nothing
        return []
    with_grid = traces > COMPRESSED
    share = (with_grid.sum() / known.sum()).item()
    if share < 0.15:
        return []
    across, beside = grid_steps(grey[with_grid], phase)
    if not _is_visible(across, beside):
        if share < 0.85:
            return []
        text = "the images were stored as JPEG, so gently that its grid of 8x8 hardly shows in the steps between pixels"
        return [Artifact("harmless", text)]
    height, width = images.shape[2:]
    size = f"{width // 2}x{height // 2}"
    half = f"; at half the size (--size {size}) it is all but gone" if min(height, width) >= 64 else ""
    excess = across.mean() / beside.mean() - 1
    seen = f"JPEG's grid of 8x8 shows (steps across it are {excess:.0%} larger than beside it)"
    fix = f"Take originals of a higher quality{half}"
    if share > 0.85:
        return [Artifact("careful", f"{seen}: the generator must copy it, the discriminator looks for it. {fix}")]
    return [Artifact("careful", f"{seen} in {share:.0%} of the images, the others hardly any: two sources? {fix}")]


def enlargement(images: Tensor) -> list[Artifact]:
    """Some images without any fine detail among others that have it: they were enlarged from a smaller size."""
    if len(images) == 0 or min(images.shape[2:]) < SMALLEST:
        return []
    ratio = fine_detail(_luma(images[:MOST_IMAGES, :, :LARGEST, :LARGEST]))
    ratio = ratio[~ratio.isnan()]
    if len(ratio) < 16:
        return []
    blurred = (ratio < 0.005).double().mean().item()
    between = ((ratio >= 0.005) & (ratio < 0.012)).double().mean().item()
    # Photographs go from soft to sharp without a gap; two sources have one.
    if not 0.15 <= blurred <= 0.85 or between > blurred / 3 or 1 - blurred - between < 0.15:
        return []
    text = (
        f"{blurred:.0%} of the images hold no detail finer than two pixels, the others do: enlarged from a smaller "
        "size? Leave those out, or shrink all of them (--size)"
    )
    return [Artifact("careful", text)]


def grid_traces(grey: Tensor, phase: tuple[int, int]) -> Tensor:
    """By how much more high frequencies vanish on the grid than off it: [n, H, W] -> [n], at most 1; NaN: flat."""
    down, right = phase
    others = [((down + a) % 8, (right + b) % 8) for a, b in ((4, 4), (2, 3), (5, 2))]
    off = torch.stack([_vanishing(grey, other) for other in others]).mean(0)
    traces = (_vanishing(grey, phase) - off) / (1 - off).clamp(min=1e-3)
    return traces.where(off < 0.9, traces.new_tensor(math.nan))


def grid_steps(grey: Tensor, phase: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Mean steps between neighbours across the grid, and beside it: [n, H, W] -> [n] and [n], in levels."""
    across, beside = [], []
    for first, pixels in ((phase[0], grey.transpose(1, 2)), (phase[1], grey)):
        steps = pixels.diff(dim=2).abs().clamp(max=48).mean(1)  # edges of objects would drown the rest
        at = torch.arange((first - 1) % 8, steps.shape[1], 8)
        at = at[(at > 0) & (at < steps.shape[1] - 1)]
        across.append(steps[:, at].mean(1))
        beside.append((steps[:, at - 1] + steps[:, at + 1]).mean(1) / 2)
    return torch.stack(across).mean(0), torch.stack(beside).mean(0)


def _is_visible(across: Tensor, beside: Tensor) -> bool:
    """The steps across the grid stand out, beyond chance (two standard errors)."""
    excess = across - VISIBLE * beside
    return excess.mean().item() > 2 * (excess.std() / math.sqrt(len(excess))).item()


def fine_detail(grey: Tensor) -> Tensor:
    """Mean power of detail below 2.8 pixels over that of 4 to 8 pixels: [n, H, W] -> [n]; NaN: flat images."""
    height, width = grey.shape[1:]
    window = torch.hann_window(height, periodic=False)[:, None] * torch.hann_window(width, periodic=False)
    power = torch.fft.rfft2((grey - grey.mean((1, 2), keepdim=True)) * window).abs().square()
    frequency = torch.maximum(torch.fft.fftfreq(height).abs()[:, None], torch.fft.rfftfreq(width))
    fine = power[:, frequency >= 0.36].mean(1)
    coarse = power[:, (frequency >= 0.12) & (frequency < 0.24)].mean(1)
    ratio: Tensor = fine / coarse
    return ratio.where(coarse > window.square().sum(), fine.new_tensor(math.nan))  # 1 level squared a pixel


def _phase(grey: Tensor) -> tuple[int, int]:
    """Where the grid begins: (down, right), each 0 to 7."""
    scores = {(a, b): _vanishing(grey, (a, b)).mean().item() for a in range(8) for b in range(8)}
    return max(scores, key=lambda phase: scores[phase])


def _vanishing(grey: Tensor, phase: tuple[int, int]) -> Tensor:
    """Share of the high frequencies of 8x8 blocks from `phase` on that are below one level: [n, H, W] -> [n]."""
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
