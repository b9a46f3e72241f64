"""From one image to the image that belongs to it: paired translation."""

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
    """The generator turns the source of a pair into its target; the discriminator sees the source beside either.
    Batches hold `source` [n, C', H, W] and `real` [n, C, H, W] in [-1, 1]; a source of class ids is one-hot. Source:
    Isola et al. 2017 (pix2pix), equations 3 and 4."""

    source: str = ""  # the name of the column or folder; empty: the usual ones are looked for
    target: str = ""
    source_classes: tuple[str, ...] = ()  # the names of the classes, if the source is a map of class ids
    ignore: int | None = None  # the id in such maps that stands for no class
    l1: float = number(100.0, low=0)  # weight of the mean absolute difference
    conditional: bool = True  # the discriminator sees the source
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
    """The mean of all images, [1, C, H, W] in [-1, 1]."""
    total = sum((data.form.to_input(chunk).double().sum(0) for chunk in data.chunks()), torch.zeros(()).double())
    return (total / len(data)).float()[None]
