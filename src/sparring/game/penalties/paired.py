"""Terms that compare each generated image with its target, for tasks with pairs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from sparring.base.errors import UserError
from sparring.data.samples import image_data
from sparring.game.match import Side
from sparring.game.penalties.base import Penalty
from sparring.game.schedules import Scheduled
from sparring.metrics.extractors import Extractor, Prepared, Random
from sparring.metrics.paired import maps_distance

if TYPE_CHECKING:
    from sparring.game.match import Match


LAYERS = 4  # total weight of all hidden layers


@dataclass(frozen=True)
class PairedFeatureMatching(Penalty):
    """Feature matching of pairs (pix2pixHD), for the generator: L1 distance of D's hidden layers.

    `weight * 4 / layers / scales * sum over layers and scales of mean |D_l(fake) - D_l(real)|`

    Layers is the number of D's hidden layers (4 by default), scales the number of its critics. UserError: the task has
    no pairs, or the critic outputs no hidden layers; write `PatchDiscriminator()`.

    Attributes:
        weight: factor of the term, `lambda_feat` in pix2pixHD's code; from 0, a number or a schedule. With
            `LeastSquares`, which has a factor 1/2 here, 5 equals their 10.
        every: steps between two applications, from 1; the weight is multiplied by it.

    Source: Wang et al. 2018 (pix2pixHD), equation 4, with the factors of the authors' code (`feat_weights`,
    `D_weights`).
    """

    sides: ClassVar[tuple[Side, ...]] = ("generator",)

    def __call__(self, match: Match, side: Side = "generator") -> Tensor:
        check_paired("PairedFeatureMatching", match)
        real, fake = match.real_output.layers, match.fake_output.layers
        if not real:
            raise UserError("PairedFeatureMatching needs a critic that outputs its layers; write PatchDiscriminator()")
        distances = torch.stack([(x - y.detach()).abs().flatten(1).mean(1) for x, y in zip(fake, real)])
        return LAYERS / match.scales * distances.mean(0)


@dataclass(frozen=True)
class Perceptual(Penalty):
    """Perceptual loss, for the generator: distance of feature maps of a generated image and its target.

    A frozen extractor computes the maps; the vector at each position is scaled to length 1 before they are compared.
    Results are sharper than with a pixel loss alone. UserError: the task has no pairs.

    Attributes:
        weight: factor of the term; from 0, a number or a schedule.
        every: steps between two applications, from 1; the weight is multiplied by it.
        extractor: an extractor with feature maps, such as `Random(seed=1)` or `Inception()`. Scores should use a
            different one.

    Source: Johnson et al. 2016, section 3.2; Zhang et al. 2018, equation 1, without learned weights.
    """

    weight: Scheduled = 1.0
    extractor: Extractor = Random(seed=1)
    prepared: dict[tuple[int, ...], Prepared] = field(default_factory=dict, init=False, repr=False, compare=False)
    sides: ClassVar[tuple[Side, ...]] = ("generator",)
    uses_critic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.extractor, Extractor):
            raise UserError(
                f"Perceptual: extractor={self.extractor!r} must be an extractor; write Random(seed=1) or Inception()"
            )

    def __call__(self, match: Match, side: Side = "generator") -> Tensor:
        check_paired("Perceptual", match)
        shape = tuple(match.real.shape[1:])
        if shape not in self.prepared:
            data = image_data("the images", torch.zeros(1, *shape, dtype=torch.uint8))
            self.prepared[shape] = self.extractor.prepare(data, match.real.device)
        maps = self.prepared[shape].maps
        with torch.no_grad():
            target = maps(match.real)
        return maps_distance(maps(match.fake), target)


def check_paired(owner: str, match: Match) -> None:
    """Raise UserError unless each fake corresponds to a real sample."""
    if not match.paired:
        raise UserError(
            f"{owner} needs pairs of generated image and target, which this task does not have; leave it out, or use a "
            "task with pairs, such as Translate() or Restore()"
        )
