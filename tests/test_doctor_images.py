"""The doctor on tasks that turn images into others: what it must name, and what it must not."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparring.build import build_game, training_data
from sparring.doctor.probes import Prober
from sparring.doctor.verdicts import SURE
from sparring.game import Moment
from sparring.recipe import Recipe, load_recipe

QUICK = {
    "generator": "UNetGenerator(width=4)",
    "discriminator": "PatchDiscriminator(width=4)",
    "minutes": 0.0,
    "steps": 10,
    "precision": "fp32",
    "device": "cpu",
}


def prober_of(recipe: Recipe) -> Prober:
    data = training_data(recipe, trust=False)
    return Prober(build_game(recipe, data.form, torch.device("cpu")), data, None, seed=0, part=32)


class Sharpness(nn.Module):
    """A D that goes by how far values are from the middle of 0 and 1, so that it knows all maps of 0 and 1."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, samples: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.scale * ((samples - 0.5).abs().mean((1, 2, 3)) - 0.4)


def test_that_shares_of_classes_are_no_zeros_and_ones_is_no_leak_of_the_data() -> None:
    prober = prober_of(load_recipe("segment").replace(**QUICK, adversarial="1"))
    prober.game.discriminator.network = Sharpness()
    found = prober.look(Moment(9, 0.9))
    assert found["area/train"] > SURE, "D is perfect: it goes by how far values are from 0 and 1"
    assert not [name for name in found if name.startswith("leak/")]
