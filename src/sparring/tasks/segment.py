"""Semantic segmentation: the class of each pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from sparring.base.device import sent
from sparring.base.errors import UserError
from sparring.base.fields import number
from sparring.data.form import Form
from sparring.data.layout import Layout, Pairs
from sparring.data.samples import Data
from sparring.game.match import Batch, Images, Match, Terms
from sparring.tasks.baselines import most_frequent_class
from sparring.tasks.sourced import Paired


@dataclass(frozen=True)
class Segment(Paired):
    """Semantic segmentation: the generator predicts the class of each pixel, the discriminator compares class maps.

    G minimises `adversarial + cross_entropy * sum(w_c * -log p_c) / sum(w_c)` over pixels, where c is the true class
    and `w_c = (share of class c in training)^-balance`. Batches hold `source` [n, C, H, W] in [-1, 1] and `real`
    [n, K, H, W], one-hot, 0 at pixels without a class; these are ignored.

    Attributes:
        classes: names of the classes in the order of their ids; at least two.
        source: folder or column of the images; "" finds it by its usual names (`image`, `images`, ...).
        target: folder or column of the class maps; "" finds it by its usual names (`mask`, `masks`, ...).
        ignore: id of "no class" in the maps, in addition to 255; None: only 255.
        cross_entropy: weight of the cross-entropy; from 0.
        balance: exponent of the class weights, in [0, 1]: 0 weights all pixels equally, 1 all classes (Eigen and Fergus
            2015, section 4.3).
        conditional: D also receives the image.

    Source: Luc et al. 2016, equation 1.
    """

    classes: tuple[str, ...] = ("0", "1")
    source: str = ""
    target: str = ""
    ignore: int | None = None
    cross_entropy: float = number(1.0, low=0)
    balance: float = number(0.5, low=0, high=1)
    conditional: bool = True
    scores: ClassVar[tuple[str, ...]] = ("mean_iou", "pixel_accuracy")
    baseline_name: ClassVar[str] = "the most frequent class at each pixel"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.classes, tuple) or len(self.classes) < 2:
            raise UserError(f"Segment: classes={self.classes!r}; name at least two, such as ('sky', 'ground')")

    @property
    def layout(self) -> Layout:
        return Pairs(self.source, self.target, target_classes=self.classes, ignore=self.ignore)

    def for_data(self, form: Form) -> Segment:
        if not form.map or len(form.classes) != len(self.classes):
            known = f"maps of {len(form.classes)} classes" if form.map else "no maps of classes"
            raise UserError(
                f"Segment: {len(self.classes)} classes are named, and the data has {known}; name the data's"
            )
        return super().for_data(form)

    def generate(self, network: nn.Module, batch: Batch) -> Images:
        scores = network(batch["source"]).float()
        return {"fake": scores.softmax(1), "scores": scores}

    def matches(self, network: nn.Module, batch: Batch, made: Images) -> dict[str, Match]:
        known = batch["real"].sum(1, keepdim=True)  # pixels without a class are 0 in both maps
        return super().matches(network, batch, {"fake": made["fake"] * known})

    def extra_terms(self, network: nn.Module, batch: Batch, made: Images) -> Terms:
        if not self.cross_entropy:
            return {}
        counted = batch["real"] * sent(self.class_weights, batch["real"].device).view(1, -1, 1, 1)
        total = -(made["scores"].log_softmax(1) * counted).sum()
        return {"cross_entropy": self.cross_entropy * total / counted.sum().clamp(min=1e-6)}

    @cached_property
    def class_weights(self) -> Tensor:
        """Weights of the classes [K]; a class without training pixels has the weight of the rarest one."""
        counts = torch.tensor(() if self.form is None else self.form.counts, dtype=torch.float32)
        if not counts.sum():
            return torch.ones(len(self.classes))
        shares = counts / counts.sum()
        return shares.clamp(min=float(shares[shares > 0].min())) ** -self.balance

    def baseline(self, train: Data) -> Callable[[Batch], Tensor]:
        known: dict[tuple[int, int], Tensor] = {}

        def usual(batch: Batch) -> Tensor:
            size = (batch["real"].shape[2], batch["real"].shape[3])
            if size not in known:
                maps = (train.image(i) for i in range(len(train)))
                known[size] = train.form.to_input(most_frequent_class(maps, len(self.classes), size)[None])
            return known[size]

        return usual
