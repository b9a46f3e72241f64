"""How a trained generator is applied to an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from sparring.data.samples import Form


@dataclass(frozen=True)
class Translator:
    """How a trained generator is applied to one image.

    Attributes:
        run: a source [1, C, h, w] as networks see it (images in [-1, 1], maps one-hot) and a mask [1, 1, h, w] (1: to
            be filled) or None -> [1, C', scale*h, scale*w] (images in [-1, 1], or scores of classes). Any h, w >= 1.
        source, target: their forms.
        scale: how many times larger the output is.
        reach: an output pixel depends on source pixels at most so far away (in source pixels); None: on the whole image
            (instance norm).
        wants_mask: is a mask needed?
        stride: parts of an image are done as the whole is if they begin at multiples of it.
        ignore: the id in sources of class ids that stands for no class, besides 255.
    """

    run: Callable[[Tensor, Tensor | None], Tensor]
    source: Form
    target: Form
    scale: int = 1
    reach: int | None = None
    wants_mask: bool = False
    stride: int = 1
    ignore: int | None = None
