"""Networks with a planted fault, for the clinic: what is wrong with a training that has one is known for certain."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sparring.data.load import load_data
from sparring.game.match import Batch, Images
from sparring.networks import DCGANGenerator, MLPDiscriminator, MLPGenerator, ResNetTranslator, UNetGenerator
from sparring.networks.critic import CriticOutput
from sparring.tasks import Cycle


class SilentGenerator(MLPGenerator):
    """Its latents never reach it: one sample for all of them (with classes: one a class)."""

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        return super().forward(torch.zeros_like(latent), label)


class FourSampleGenerator(MLPGenerator):
    """It hears the signs of two latent numbers, so that it can make four samples at most."""

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        heard = torch.zeros_like(latent)
        heard[:, :2] = latent[:, :2].sign()
        return super().forward(heard, label)


class LossyGenerator(MLPGenerator):
    """It loses some modes. Points: what would lie in a quarter of the plane is turned by 90 degrees, so that two of the
    ring's eight modes are never made. Images: what is brighter to the left than to the right is mirrored."""

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        made = super().forward(latent, label)
        if made.dim() == 4:
            left, right = made.chunk(2, dim=3)
            lost = left.mean((1, 2, 3)) > right.mean((1, 2, 3))
            return torch.where(lost.view(-1, 1, 1, 1), made.flip(3), made)
        angle = torch.atan2(made[:, 1], made[:, 0]).rad2deg()
        turned = torch.stack([-made[:, 1], made[:, 0]], 1)
        return torch.where(((angle > -22.5) & (angle < 67.5)).unsqueeze(1), turned, made)


class ClassBlindGenerator(MLPGenerator):
    """It is given the class, and takes the first one for it."""

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        return super().forward(latent, None if label is None else torch.zeros_like(label))


class ClassBlindDiscriminator(MLPDiscriminator):
    """It is given the class, and takes the first one for it, so nothing tells the generator of classes."""

    def judge(self, samples: Tensor, condition: Tensor | None = None) -> CriticOutput:
        return super().judge(samples, None if condition is None else torch.zeros_like(condition))


class CopyingGenerator(MLPGenerator):
    """It gives back one of 64 training images (of `data`, as in `load_data`), with a twentieth of its own."""

    known: Tensor

    def __init__(
        self, latent_size: int, shape: Sequence[int], *, data: str = "digits", held_out: float = 0.0, classes: int = 0
    ) -> None:
        super().__init__(latent_size, shape, hidden=(256, 256), classes=classes)
        known = load_data(data, held_out=held_out)
        self.register_buffer("known", known.form.to_input(known.take(torch.arange(64))))

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        bits = (latent[:, :6] > 0).long() @ (2 ** torch.arange(6, device=latent.device))
        return self.known[bits].lerp(super().forward(latent, label), 0.05)


class TanhPointGenerator(MLPGenerator):
    """Points that end in tanh: it cannot leave [-1, 1], and data of variance 1 do."""

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        return super().forward(latent, label).tanh()


class SigmoidGenerator(DCGANGenerator):
    """Images that end in a sigmoid, in [0, 1], for data in [-1, 1]: a well-known slip."""

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        return super().forward(latent, label) / 2 + 0.5


class SilentUNet(UNetGenerator):
    """Its source never reaches it: one image for all of them."""

    def forward(self, source: Tensor) -> Tensor:
        return super().forward(torch.zeros_like(source))


class SilentTranslator(ResNetTranslator):
    """The same of another network."""

    def forward(self, source: Tensor) -> Tensor:
        return super().forward(torch.zeros_like(source))


class FourImageUNet(UNetGenerator):
    """It hears which half of a source is the brighter one, across and down, so it can make four images at most."""

    def forward(self, source: Tensor) -> Tensor:
        across, down = torch.ones_like(source).cumsum(3), torch.ones_like(source).cumsum(2)
        tilts = [(source * (axis - axis.mean())).mean((1, 2, 3), keepdim=True).sign() for axis in (across, down)]
        return super().forward((tilts[0] + 2 * tilts[1]).expand_as(source) / 3)


class StrangersUNet(UNetGenerator):
    """It makes of each source what it should make of the one before it, as from pairs that were mixed up."""

    def forward(self, source: Tensor) -> Tensor:
        return super().forward(source.roll(1, 0))


class DeafBack(Cycle):
    """CycleGAN whose way back never hears its source."""

    def generate(self, network: nn.Module, batch: Batch) -> Images:
        unheard = {**batch, "real": torch.zeros_like(batch["real"])}
        return {**super().generate(network, batch), "back": super().generate(network, unheard)["back"]}
