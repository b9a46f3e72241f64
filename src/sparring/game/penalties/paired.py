"""Terms by which what is made shall be like what it should be, for tasks in which each fake belongs to a real."""

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


LAYERS = 4  # hidden layers that count 1 each; more or fewer count as much together


@dataclass(frozen=True)
class PairedFeatureMatching(Penalty):
    """The generator's: the mean absolute difference of D's hidden layers between a fake and its real one, summed over
    layers. It wants a critic that shows its layers, such as PatchDiscriminator.

    A layer counts 4 / (number of hidden layers), so the default of 4 layers has the factor 1, and a scale counts
    1 / (number of scales), as in pix2pixHD's code (`feat_weights` and `D_weights`); `weight` is its `lambda_feat`,
    but 5 is its 10 beside `LeastSquares`, which has a factor 1/2 here. The paper's equation has neither factor.
    Source: Wang et al. 2018 (pix2pixHD), equation 4 and the authors' code.
    """

    sides: ClassVar[tuple[Side, ...]] = ("generator",)

    def __call__(self, match: Match, side: Side = "generator") -> Tensor:
        check_paired("PairedFeatureMatching", match)
        real, fake = match.real_output.layers, match.fake_output.layers
        if not real:
            raise UserError("PairedFeatureMatching needs a critic that shows its layers: PatchDiscriminator()")
        distances = torch.stack([(x - y.detach()).abs().flatten(1).mean(1) for x, y in zip(fake, real)])
        return LAYERS / match.scales * distances.mean(0)


@dataclass(frozen=True)
class Perceptual(Penalty):
    """The generator's: how far a fake's maps of features lie from those of its real one, place by place, in a frozen
    extractor, each place scaled to length 1.

    Source: Johnson et al. 2016, section 3.2; Zhang et al. 2018, equation 1, without learned weights.

    Args:
        weight: of it.
        extractor: one that shows maps, such as `Random(seed=1)` or `Inception()`; scores should use another one.
    """

    weight: Scheduled = 1.0
    extractor: Extractor = Random(seed=1)
    prepared: dict[tuple[int, ...], Prepared] = field(default_factory=dict, init=False, repr=False, compare=False)
    sides: ClassVar[tuple[Side, ...]] = ("generator",)
    judges: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.extractor, Extractor):
            raise UserError(f"Perceptual: extractor={self.extractor!r}; write Random(seed=1) or Inception()")

    def __call__(self, match: Match, side: Side = "generator") -> Tensor:
        check_paired("Perceptual", match)
        shape = tuple(match.real.shape[1:])
        if shape not in self.prepared:
            data = image_data("the images", torch.zeros(1, *shape, dtype=torch.uint8))
            self.prepared[shape] = self.extractor.prepare(data, match.real.device)
        looks = self.prepared[shape].maps
        with torch.no_grad():
            wanted = looks(match.real)
        return maps_distance(looks(match.fake), wanted)


def check_paired(owner: str, match: Match) -> None:
    """Raise UserError unless each fake belongs to a real sample."""
    if not match.paired:
        raise UserError(
            f"{owner} compares what is made with what it should be, and here these are no pairs; leave it out, or take "
            "a task for pairs, such as Translate() or Restore()"
        )
