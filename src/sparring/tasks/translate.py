"""Paired image translation: pix2pix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.base.fields import number
from sparring.data.layout import Layout, Pairs
from sparring.data.samples import Data
from sparring.game.match import Batch, Images, Terms
from sparring.tasks.pieces import image_of
from sparring.tasks.sourced import Paired


@dataclass(frozen=True)
class Translate(Paired):
    """Paired image translation (pix2pix): the generator maps a source image to its target.

    G minimises `adversarial + l1 * mean |G(source) - target|`. Batches hold `source` [n, C', H, W] and `real`
    [n, C, H, W] in [-1, 1]; class maps as sources are one-hot.

    Attributes:
        source: folder or column of the sources; "" finds the usual names.
        target: folder or column of the targets; "" finds the usual names.
        source_classes: names of the classes, if sources are class maps.
        ignore: id of "no class" in such maps, in addition to 255; None: only 255.
        l1: weight of the mean absolute difference; from 0.
        conditional: D also receives the source.

    Source: Isola et al. 2017 (pix2pix), equations 3 and 4.
    """

    source: str = ""
    target: str = ""
    source_classes: tuple[str, ...] = ()
    ignore: int | None = None
    l1: float = number(100.0, low=0)
    conditional: bool = True
    scores: ClassVar[tuple[str, ...]] = ("l1", "frechet", "perceptual", "ssim")
    baseline_name: ClassVar[str] = "the mean of the training images"

    @property
    def layout(self) -> Layout:
        return Pairs(self.source, self.target, source_classes=self.source_classes, ignore=self.ignore)

    def generate(self, network: nn.Module, batch: Batch) -> Images:
        return {"fake": image_of(network, batch["source"])}

    def extra_terms(self, network: nn.Module, batch: Batch, made: Images) -> Terms:
        return {"l1": self.l1 * (made["fake"] - batch["real"]).abs().mean()} if self.l1 else {}

    def baseline(self, train: Data) -> Callable[[Batch], Tensor]:
        mean = mean_image(train)
        return lambda batch: F.interpolate(mean, batch["real"].shape[2:], mode="bilinear", align_corners=False)


def mean_image(data: Data) -> Tensor:
    """Mean of all images, [1, C, H, W] in [-1, 1]."""
    total = sum((data.form.to_input(chunk).double().sum(0) for chunk in data.chunks()), torch.zeros(()).double())
    return (total / len(data)).float()[None]
