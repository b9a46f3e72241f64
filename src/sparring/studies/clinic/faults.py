"""Networks with an injected fault, for the clinic: a training with one of them has a known failure."""

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
    """Ignores the latent: generates one sample (with classes: one per class)."""

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        return super().forward(torch.zeros_like(latent), label)


class FourSampleGenerator(MLPGenerator):
    """Uses only the signs of two latent dimensions: generates at most four samples."""

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        signs = torch.zeros_like(latent)
        signs[:, :2] = latent[:, :2].sign()
        return super().forward(signs, label)


class LossyGenerator(MLPGenerator):
    """Never generates some modes.

    Points in a quarter of the plane are rotated by 90 degrees: two of the ring's eight modes are missing. Images that
    are brighter on the left than on the right are mirrored.
    """

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
    """Ignores the class: uses class 0 for every sample."""

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        return super().forward(latent, None if label is None else torch.zeros_like(label))


class ClassBlindDiscriminator(MLPDiscriminator):
    """Ignores the class: uses class 0 for every sample, so the generator gets no gradient about classes."""

    def judge(self, samples: Tensor, condition: Tensor | None = None) -> CriticOutput:
        return super().judge(samples, None if condition is None else torch.zeros_like(condition))


class CopyingGenerator(MLPGenerator):
    """Copies one of 64 training images (of `data`, as in `load_data`), with 5 % of its own output."""

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
    """Points through tanh: limited to [-1, 1], while data of variance 1 go beyond."""

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        return super().forward(latent, label).tanh()


class SigmoidGenerator(DCGANGenerator):
    """Images through a sigmoid, in [0, 1], for data in [-1, 1]: a common mistake."""

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        return super().forward(latent, label) / 2 + 0.5


class SilentUNet(UNetGenerator):
    """Ignores its source image: generates one image."""

    def forward(self, source: Tensor) -> Tensor:
        return super().forward(torch.zeros_like(source))


class SilentTranslator(ResNetTranslator):
    """Ignores its source image, as `SilentUNet`."""

    def forward(self, source: Tensor) -> Tensor:
        return super().forward(torch.zeros_like(source))


class FourImageUNet(UNetGenerator):
    """Uses only which half of the source is brighter, across and down: generates at most four images."""

    def forward(self, source: Tensor) -> Tensor:
        across, down = torch.ones_like(source).cumsum(3), torch.ones_like(source).cumsum(2)
        tilts = [(source * (axis - axis.mean())).mean((1, 2, 3), keepdim=True).sign() for axis in (across, down)]
        return super().forward((tilts[0] + 2 * tilts[1]).expand_as(source) / 3)


class StrangersUNet(UNetGenerator):
    """Generates for each source the image for the previous one in the batch, as if the pairs were mixed up."""

    def forward(self, source: Tensor) -> Tensor:
        return super().forward(source.roll(1, 0))


class DeafBack(Cycle):
    """CycleGAN whose generator from B to A ignores its source image."""

    def generate(self, network: nn.Module, batch: Batch) -> Images:
        ignored = {**batch, "real": torch.zeros_like(batch["real"])}
        return {**super().generate(network, batch), "back": super().generate(network, ignored)["back"]}
