"""Apply a translator to an image in memory: at once, or in tiles if it is large."""

from __future__ import annotations

import torch
from torch import Tensor

from sparring.apply.tiles import Convert, Run, blend, cut_and_join
from sparring.base.errors import UserError, check_number
from sparring.tasks.base import Translator

# Default tile sizes: tiles are exact where the reach is known; where they change the result, larger images stay whole.
EXACT, BLENDED = 512, 1024


@torch.no_grad()
def apply_tensor(translator: Translator, source: Tensor, mask: Tensor | None = None, tile: int = 0) -> Tensor:
    """Apply a translator to a tensor.

    Images of more than tile*tile pixels are processed in tiles:

    | `translator.reach` | result | `tile=0` means |
    | --- | --- | --- |
    | known | equals that of the whole image, up to rounding | max(512, 2 * reach) |
    | None: each pixel depends on the whole image | differs; tiles overlap and are blended | 1024 |

    Args:
        source: float32 [1, C, h, w], network input.
        mask: for inpainting, [1, 1, h, w], 1 where pixels are filled.
        tile: tile size in pixels; 0 chooses one.

    Returns:
        Float32 [1, C', scale*h, scale*w], network output.

    Raises:
        UserError: the mask is missing or not needed, or `tile` is negative.
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
    """Apply a translator to a stored image or class map: uint8 [1, C, h, w] -> uint8 [1, C', scale*h, scale*w].

    As `apply_tensor`, with input and output on the CPU and the network on `device`. Only the current tile is converted
    to floats, so large images need little memory. Pixels outside of the mask stay unchanged.
    """

    def convert(output: Tensor) -> Tensor:
        return translator.target.to_stored(output).cpu()

    def cut(rows: slice, columns: slice) -> Tensor:
        return translator.source.to_input(stored[..., rows, columns].to(device))

    float_mask = None if mask is None else mask.float().to(device)
    made = _apply(translator, stored.shape, cut, float_mask, tile, convert)
    return made if mask is None or made.shape != stored.shape else torch.where(mask > 0.5, made, stored)


def check_mask(translator: Translator, given: bool) -> None:
    """Raise UserError if a mask is missing, or given where none is wanted."""
    if translator.wants_mask and not given:
        raise UserError("the run fills the white pixels of a mask; give one of the image's size: --mask FILE")
    if given and not translator.wants_mask:
        raise UserError("the run is not for inpainting and takes no mask; leave --mask out")


def _apply(
    translator: Translator, shape: torch.Size, cut: Run, mask: Tensor | None, tile: int, convert: Convert
) -> Tensor:
    """`cut` returns a part of the source as network input; `convert` turns network output into the result's format."""
    check_number("apply", "tile", tile, low=0, whole=True)
    check_mask(translator, mask is not None)
    count, _, height, width = shape
    assert count == 1
    assert mask is None or mask.shape == (1, 1, height, width)

    def run(rows: slice, columns: slice) -> Tensor:
        source = cut(rows, columns).contiguous()
        output = translator.run(source, None if mask is None else mask[..., rows, columns].contiguous())
        assert output.shape[-2:] == tuple(translator.scale * side for side in source.shape[-2:])
        return output

    scale, reach = translator.scale, translator.reach
    side = tile or (BLENDED if reach is None else max(EXACT, 2 * reach))
    if height * width <= side**2:
        return convert(run(slice(0, height), slice(0, width)))
    if reach is None:
        return blend(run, convert, (height, width), side, scale)
    return cut_and_join(run, convert, (height, width), side, scale, reach, translator.stride)
