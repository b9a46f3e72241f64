"""Process an image in tiles: where the tiles lie, and how their outputs are joined."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

GRID = 64  # tiles begin at multiples of it, so that strided layers use the same pixels as in the whole image
OVERLAP = 8  # blended tiles extend into their neighbours by tile/OVERLAP

Run = Callable[[slice, slice], Tensor]  # rows and columns of the source -> the network's output for them [1, C, h, w]
Convert = Callable[[Tensor], Tensor]  # network output -> the format of the result, such as 8 bits: [1, C', h, w]


class Span(NamedTuple):
    """A tile along one axis, in source pixels: the network reads begin to end, the tile's own part is low to high."""

    begin: int
    low: int
    high: int
    end: int


def cut_and_join(
    run: Run, convert: Convert, size: tuple[int, int], tile: int, scale: int, reach: int, stride: int = 1
) -> Tensor:
    """Join tiles of at most tile*tile pixels so that the result equals that of the whole image.

    The network reads each tile with a margin of `reach` pixels, whose output is cut away. Tiles begin at multiples of
    the network's `stride`.
    """
    height, width = size
    joined = torch.empty(0)
    grid = math.lcm(GRID, stride)
    for rows in spans(height, tile, reach, grid):
        for columns in spans(width, tile, reach, grid):
            output = run(slice(rows.begin, rows.end), slice(columns.begin, columns.end))
            own_rows, own_columns = (_scaled(s.low - s.begin, s.high - s.begin, scale) for s in (rows, columns))
            part = convert(output[..., own_rows, own_columns])
            if not joined.numel():
                joined = part.new_empty((*part.shape[:2], scale * height, scale * width))
            joined[..., _scaled(rows.low, rows.high, scale), _scaled(columns.low, columns.high, scale)] = part
    return joined


def blend(run: Run, convert: Convert, size: tuple[int, int], tile: int, scale: int) -> Tensor:
    """Blend tiles that overlap by a quarter of their size, with linear weights that add up to 1.

    Only one strip of tiles is held in floats at a time.
    """
    height, width = size
    grid = 1 << min(GRID, max(1, tile // OVERLAP)).bit_length() - 1
    margin = min(max(1, tile // OVERLAP), tile // 4)  # so that no three tiles overlap
    joined, pending = torch.empty(0), None
    lines = spans(height, tile, margin, grid)
    for i, (rows, weights) in enumerate(zip(lines, ramps(lines, scale))):
        strip = _strip(run, rows, spans(width, tile, margin, grid), scale)
        strip *= weights.view(-1, 1).to(strip.device)
        if pending is not None:
            strip[..., : pending.shape[-2], :] += pending
        final = scale * (lines[i + 1].begin - rows.begin) if i + 1 < len(lines) else strip.shape[-2]
        part, pending = convert(strip[..., :final, :]), strip[..., final:, :]
        if not joined.numel():
            joined = part.new_empty((*part.shape[:2], scale * height, scale * width))
        joined[..., scale * rows.begin : scale * rows.begin + final, :] = part
    return joined


def spans(length: int, tile: int, margin: int, grid: int) -> list[Span]:
    """Split an axis into tiles of about equal size, at most `tile`, read with a margin of at least `margin` pixels."""
    count = -(-length // tile)
    edges = [i * length // count for i in range(count + 1)]
    return [Span(max(0, a - margin) // grid * grid, a, b, min(length, b + margin)) for a, b in pairwise(edges)]


def ramps(tiles: list[Span], scale: int) -> list[Tensor]:
    """Blending weights of each tile's output pixels: float32 [scale * (end - begin)]; they add up to 1 everywhere."""
    weights = [torch.ones(scale * (tile.end - tile.begin)) for tile in tiles]
    for (before, one), (after, other) in pairwise(zip(tiles, weights)):
        shared = scale * (before.end - after.begin)
        if shared:
            rising = (torch.arange(shared) + 0.5) / shared
            other[:shared] = rising
            one[-shared:] = 1 - rising
    return weights


def _strip(run: Run, rows: Span, tiles: list[Span], scale: int) -> Tensor:
    strip = torch.empty(0)
    for columns, weights in zip(tiles, ramps(tiles, scale)):
        output = run(slice(rows.begin, rows.end), slice(columns.begin, columns.end)).float()
        if not strip.numel():
            strip = output.new_zeros((*output.shape[:3], scale * tiles[-1].end))
        strip[..., _scaled(columns.begin, columns.end, scale)] += output * weights.to(output.device)
    return strip


def _scaled(low: int, high: int, scale: int) -> slice:
    return slice(scale * low, scale * high)
