"""A translator applied to an image in memory: at once, or in tiles where it is large."""

from __future__ import annotations

import torch
from torch import Tensor

from sparring.apply.tiles import Keep, Look, blend, cut_and_join
from sparring.base.errors import UserError, check_number
from sparring.tasks.base import Translator

# Sides of the largest squares that are done at once, if nothing is said. Where tiles change the result they come late.
EXACT, BLENDED = 512, 1024


@torch.no_grad()
def apply_tensor(translator: Translator, source: Tensor, mask: Tensor | None = None, tile: int = 0) -> Tensor:
    """What a translator makes of a source: float32 [1, C, h, w] as networks see it -> [1, C', scale*h, scale*w].

    An image of more than tile*tile pixels is done in tiles. Where the translator's `reach` is known, the result is that
    of the whole image, but for the rounding of floats. Where each pixel depends on all of the image, tiles overlap and
    fade into each other, and the result is another one. Tile 0 chooses 512 or, if that is more, twice the reach; 1024
    where tiles change the result. The mask is [1, 1, h, w], 1 where it is to be filled. Raises UserError if one is
    missing or not wanted, or `tile` is no size.
    """
    return _apply(translator, source.shape, lambda rows, columns: source[..., rows, columns], mask, tile, Tensor.float)


@torch.no_grad()
def apply_stored(
    translator: Translator,
    stored: Tensor,
    mask: Tensor | None = None,
    tile: int = 0,
    device: torch.device | None = None,
) -> Tensor:
    """The same for an image or map as data store it: uint8 [1, C, h, w] -> uint8 [1, C', scale*h, scale*w] on the CPU.

    Only what is looked at becomes floats, so large images take little memory. What a mask shows as known is kept as it
    is. The network is on `device`.
    """

    def keep(made: Tensor) -> Tensor:
        return translator.target.to_stored(made).cpu()

    def cut(rows: slice, columns: slice) -> Tensor:
        return translator.source.to_input(stored[..., rows, columns].to(device))

    shown = None if mask is None else mask.float().to(device)
    made = _apply(translator, stored.shape, cut, shown, tile, keep)
    return made if mask is None or made.shape != stored.shape else torch.where(mask > 0.5, made, stored)


def check_mask(translator: Translator, given: bool) -> None:
    """Raise UserError if a mask is missing, or given where none is wanted."""
    if translator.wants_mask and not given:
        raise UserError("the run fills in what a mask shows in white; give one, as large as the image: --mask FILE")
    if given and not translator.wants_mask:
        raise UserError("the run fills in nothing, so it takes no mask; leave --mask out")


def _apply(translator: Translator, shape: torch.Size, cut: Look, mask: Tensor | None, tile: int, keep: Keep) -> Tensor:
    """`cut` gives a part of the source, as networks see it; `keep` says what is kept of what is made."""
    check_number("apply", "tile", tile, low=0, whole=True)
    check_mask(translator, mask is not None)
    count, _, height, width = shape
    assert count == 1
    assert mask is None or mask.shape == (1, 1, height, width)

    def look(rows: slice, columns: slice) -> Tensor:
        source = cut(rows, columns).contiguous()
        made = translator.run(source, None if mask is None else mask[..., rows, columns].contiguous())
        assert made.shape[-2:] == tuple(translator.scale * side for side in source.shape[-2:])
        return made

    scale, reach = translator.scale, translator.reach
    side = tile or (BLENDED if reach is None else max(EXACT, 2 * reach))
    if height * width <= side**2:
        return keep(look(slice(0, height), slice(0, width)))
    if reach is None:
        return blend(look, keep, (height, width), side, scale)
    return cut_and_join(look, keep, (height, width), side, scale, reach, translator.stride)
