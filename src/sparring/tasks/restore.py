"""Image restoration: super-resolution, inpainting, denoising, deblurring, colourisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from sparring.base.errors import UserError
from sparring.base.fields import number
from sparring.data.form import Form
from sparring.data.samples import Data
from sparring.game.condition import NOTHING, Condition
from sparring.game.match import Batch, Images, Match, Terms
from sparring.metrics.colour import luminance
from sparring.metrics.paired import cut_border
from sparring.tasks.base import Make, Translating, Translator
from sparring.tasks.baselines import biharmonic, interpolated
from sparring.tasks.degrade import Degradation, Downscale, Mask, chained, cropped, mask_of
from sparring.tasks.pieces import fitted, image_shape, matched, sight


@dataclass(frozen=True)
class Restore(Translating):
    """Image restoration: the generator reconstructs images from degraded copies.

    G minimises `adversarial + pixel * mean |G(source) - image|`. Batches hold `real` [n, C, H, W] in [-1, 1], its
    degraded copy `source` and, with a mask, `mask` [n, 1, H, W], 1 at missing pixels, which is one more input channel
    of G. If a mask is the only degradation, known pixels are copied bit by bit, and the mean runs over missing pixels.

    | task | degrade |
    | --- | --- |
    | super-resolution (Ledig et al. 2017) | `Downscale(4)` |
    | inpainting (Pathak et al. 2016) | `Mask("free-form")` |
    | colourisation, denoising, deblurring | `Grey()`, `Noise(25)`, `Blur(2)` |
    | several | `(Blur(2), Downscale(4))` |

    Attributes:
        degrade: the degradation, or a tuple of them in order.
        pixel: weight of the mean absolute difference; from 0.
        residual: adds the source to G's output; for sources of the image's size. EDSRGenerator and RRDBGenerator do so
            in any case.
        conditional: D also receives the source.
    """

    degrade: Degradation | tuple[Degradation, ...] = Downscale(4)
    pixel: float = number(1.0, low=0)
    residual: bool = False
    conditional: bool = False
    form: Form | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        chained(self.degrade)  # raises UserError early

    @cached_property
    def chain(self) -> Degradation:
        return chained(self.degrade)

    @property
    def masks(self) -> bool:
        """The generator receives a mask."""
        return mask_of(self.chain) is not None

    @property
    def keeps(self) -> bool:
        """Known pixels are copied to the output."""
        return isinstance(self.chain, Mask)

    def for_data(self, form: Form) -> Restore:
        shape = image_shape("Restore", form)
        channels = self.chain.shape(shape)[0]
        if self.residual and (self.chain.scale > 1 or channels not in (1, shape[0])):
            raise UserError("Restore: residual=True needs sources of the image's size; leave it out")
        return fitted(replace(self), form=form)

    @property
    def forms(self) -> tuple[Form, Form]:
        assert self.form is not None, "call for_data first"
        return Form(self.chain.shape(image_shape("Restore", self.form))), self.form

    def build_generator(self, make: Make) -> nn.Module:
        shape = image_shape("Restore", self.form)
        channels, *rest = self.chain.shape(shape)
        return make(((channels + self.masks, *rest), shape), {})

    def build_discriminator(self, make: Make) -> nn.Module:
        shape = image_shape("Restore", self.form)
        channels = self.chain.shape(shape)[0] + self.masks if self.conditional else 0
        return make((shape,), {"source_channels": channels})

    def prepare(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        degraded = self.chain(batch["real"], generator)
        mask = {} if degraded.mask is None else {"mask": degraded.mask}
        return {**batch, "real": cropped(batch["real"], self.chain.scale), "source": degraded.source, **mask}

    def generate(self, network: nn.Module, batch: Batch) -> Images:
        made: Tensor = network(self._input(batch)).float()
        if self.residual:
            made = made + batch["source"]
        return {"fake": torch.where(batch["mask"] > 0, made, batch["source"]) if self.keeps else made}

    def matches(self, network: nn.Module, batch: Batch, made: Images) -> dict[str, Match]:
        condition = Condition(image=self._input(batch)) if self.conditional else NOTHING
        return matched(network, batch["real"], made["fake"], condition, paired=True)

    def extra_terms(self, network: nn.Module, batch: Batch, made: Images) -> Terms:
        if not self.pixel:
            return {}
        difference = (made["fake"] - batch["real"]).abs()
        if not self.keeps:
            return {"pixel": self.pixel * difference.mean()}
        missing = batch["mask"].expand_as(difference)
        return {"pixel": self.pixel * (difference * missing).sum() / missing.sum().clamp(min=1)}

    @property
    def scores(self) -> tuple[str, ...]:
        if self.keeps:
            return ("psnr_hole", "frechet", "perceptual")
        if self.colours:
            return ("frechet", "colours", "psnr", "perceptual")
        return ("psnr", "ssim", "perceptual", "frechet")

    @property
    def colours(self) -> bool:
        """It restores colours."""
        shape = image_shape("Restore", self.form)
        return self.chain.shape(shape)[0] < shape[0]

    @property
    def baseline_name(self) -> str:
        if self.keeps:
            return "biharmonic inpainting"
        return "bicubic interpolation" if self.chain.scale > 1 else "the degraded image itself"

    def baseline(self, train: Data) -> Callable[[Batch], Tensor]:
        def fill(batch: Batch) -> Tensor:
            return torch.stack([biharmonic(image, hole) for image, hole in zip(batch["source"], batch["mask"])])

        def enlarge(batch: Batch) -> Tensor:
            real = batch["real"]
            return interpolated(batch["source"], (real.shape[2], real.shape[3])).expand(-1, real.shape[1], -1, -1)

        return fill if self.keeps else enlarge

    def compared(self, images: Tensor) -> Tensor:
        """For super-resolution the luminance without a border of `scale` pixels, as is usual; else the whole image."""
        scale = self.chain.scale
        return images.float() if scale == 1 else cut_border(luminance(images), scale)

    @property
    def degradation(self) -> str:
        return str(self.chain)

    def translator(self, network: nn.Module) -> Translator:
        source, target = self.forms

        def run(image: Tensor, mask: Tensor | None) -> Tensor:
            batch = {"source": image} if mask is None else {"source": image * (1 - mask), "mask": mask}
            return self.generate(network, batch)["fake"]

        scale = target.shape[1] // source.shape[1]
        return Translator(run, source, target, scale, wants_mask=self.masks, **sight(network))

    def _input(self, batch: Batch) -> Tensor:
        return torch.cat([batch["source"], batch["mask"]], 1) if self.masks else batch["source"]
