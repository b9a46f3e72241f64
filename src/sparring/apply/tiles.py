"""An image in tiles: which parts of it are looked at one by one, and how what was made of them is joined."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

GRID = 64  # tiles begin at multiples of it, so that usual strides fall on the same pixels as in the whole image
OVERLAP = 8  # tiles that are blended reach into each other by this part of their size, each

Look = Callable[[slice, slice], Tensor]  # rows and columns of the source -> what is there or made of it [1, C, h, w]
Keep = Callable[[Tensor], Tensor]  # what of it is kept, such as its 8-bit levels: [1, C, h, w] -> [1, C', h, w]


class Span(NamedTuple):
    """A tile along one axis, in source pixels: begin to end is looked at; low to high is its own part."""

    begin: int
    low: int
    high: int
    end: int


def cut_and_join(
    look: Look, keep: Keep, size: tuple[int, int], tile: int, scale: int, reach: int, stride: int = 1
) -> Tensor:
    """Tiles of at most tile*tile pixels of their own, each looked at with `reach` pixels more on every side inside the
    image, of which what was made is cut away; so the result is that of the whole image. They begin at multiples of the
    network's `stride`."""
    height, width = size
    joined = torch.empty(0)
    grid = math.lcm(GRID, stride)
    for rows in spans(height, tile, reach, grid):
        for columns in spans(width, tile, reach, grid):
            made = look(slice(rows.begin, rows.end), slice(columns.begin, columns.end))
            own_rows, own_columns = (_placed(s.low - s.begin, s.high - s.begin, scale) for s in (rows, columns))
            part = keep(made[..., own_rows, own_columns])
            if not joined.numel():
                joined = part.new_empty((*part.shape[:2], scale * height, scale * width))
            joined[..., _placed(rows.low, rows.high, scale), _placed(columns.low, columns.high, scale)] = part
    return joined


def blend(look: Look, keep: Keep, size: tuple[int, int], tile: int, scale: int) -> Tensor:
    """Tiles that overlap by a quarter of their size, and fade into each other there: their weights rise and fall
    linearly, and add up to 1. Only a strip of tiles is held in floats at a time."""
    height, width = size
    grid = 1 << min(GRID, max(1, tile // OVERLAP)).bit_length() - 1
    margin = min(max(1, tile // OVERLAP), tile // 4)  # so that no three tiles overlap
    joined, pending = torch.empty(0), None
    lines = spans(height, tile, margin, grid)
    for i, (rows, weights) in enumerate(zip(lines, ramps(lines, scale))):
        strip = _strip(look, rows, spans(width, tile, margin, grid), scale)
        strip *= weights.view(-1, 1).to(strip.device)
        if pending is not None:
            strip[..., : pending.shape[-2], :] += pending
        final = scale * (lines[i + 1].begin - rows.begin) if i + 1 < len(lines) else strip.shape[-2]
        part, pending = keep(strip[..., :final, :]), strip[..., final:, :]
        if not joined.numel():
            joined = part.new_empty((*part.shape[:2], scale * height, scale * width))
        joined[..., scale * rows.begin : scale * rows.begin + final, :] = part
    return joined


def spans(length: int, tile: int, margin: int, grid: int) -> list[Span]:
    """Tiles of about equal size, at most `tile`, that see `margin` pixels or a few more on both sides."""
    count = -(-length // tile)
    edges = [i * length // count for i in range(count + 1)]
    return [Span(max(0, a - margin) // grid * grid, a, b, min(length, b + margin)) for a, b in pairwise(edges)]


def ramps(tiles: list[Span], scale: int) -> list[Tensor]:
    """The weights of each tile's output pixels: float32 [scale * (end - begin)], which add up to 1 at every place."""
    weights = [torch.ones(scale * (tile.end - tile.begin)) for tile in tiles]
    for (before, one), (after, other) in pairwise(zip(tiles, weights)):
        shared = scale * (before.end - after.begin)
        if shared:
            rising = (torch.arange(shared) + 0.5) / shared
            other[:shared] = rising
            one[-shared:] = 1 - rising
    return weights


def _strip(look: Look, rows: Span, tiles: list[Span], scale: int) -> Tensor:
    strip = torch.empty(0)
    for columns, weights in zip(tiles, ramps(tiles, scale)):
        made = look(slice(rows.begin, rows.end), slice(columns.begin, columns.end)).float()
        if not strip.numel():
            strip = made.new_zeros((*made.shape[:3], scale * tiles[-1].end))
        strip[..., _placed(columns.begin, columns.end, scale)] += made * weights.to(made.device)
    return strip


def _placed(low: int, high: int, scale: int) -> slice:
    return slice(scale * low, scale * high)
