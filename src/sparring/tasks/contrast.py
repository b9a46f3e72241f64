"""Between two kinds of images without pairs, one way only: CUT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.base.errors import UserError
from sparring.base.fields import number
from sparring.game.match import Batch, Images, Match, Terms
from sparring.networks.translator import ResNetTranslator
from sparring.tasks.base import Make, Translator
from sparring.tasks.pieces import image_of, matched
from sparring.tasks.sourced import Unpaired

WIDTH = 256


@dataclass(frozen=True)
class Contrast(Unpaired):
    """One generator from A to B, whose output must keep what is where: the features of each patch of it are nearer to
    those of the same patch of the source than to those of others. Source: Park et al. 2020 (CUT), equations 2 to 5.

    Batches hold `source` [n, C, H, W] of A and `real` [n, C, H, W] of B in [-1, 1].

    The default weights are those of the paper's code (lambda_NCE = 1) for the loss `LeastSquares`. That code adds
    (f - 1)^2 + 0.5 NCE(source) + 0.5 NCE(B). `LeastSquares` is half of the square, so each weight is half of 0.5.
    With a loss without that factor, such as `NonSaturating`, lambda_NCE = 1 is `contrast=0.5, identity=0.5`.
    """

    a: str = "A"  # the names of the two sets
    b: str = "B"
    contrast: float = number(0.25, low=0)  # weight of the patchwise contrastive term on sources
    identity: float = number(0.25, low=0)  # its weight on images of B, which the generator should leave unchanged
    patches: int = number(256, low=2)  # of an image that are compared
    temperature: float = number(0.07, low=0, open_low=True)  # divides the similarities
    scores: ClassVar[tuple[str, ...]] = ("frechet", "kernel_distance", "taken_for_target", "edges")

    def build_generator(self, make: Make) -> nn.Module:
        source, target = self.shapes
        if source[0] != target[0]:
            found = f"{source[0]} channels, not {target[0]}; make both sets grey, or both RGB"
            raise UserError(f"Contrast compares what is made with its source, which has {found}")
        return Contrasted(make((source, target), {}))

    def build_discriminator(self, make: Make) -> nn.Module:
        return make(self.shapes[1:], {})

    def generate(self, network: nn.Module, batch: Batch) -> Images:
        return {"fake": image_of(network, batch["source"])}

    def matches(self, network: nn.Module, batch: Batch, made: Images) -> dict[str, Match]:
        return matched(network, batch["real"], made["fake"])

    def extra_terms(self, network: nn.Module, batch: Batch, made: Images) -> Terms:
        assert isinstance(network, Contrasted)
        terms = {}
        if self.contrast:
            terms["contrast"] = self.contrast * self._compared(network, batch["source"], made["fake"])
        if self.identity:
            same = image_of(network, batch["real"])
            terms["identity"] = self.identity * self._compared(network, batch["real"], same)
        return terms

    def translator(self, network: nn.Module) -> Translator:
        assert isinstance(network, Contrasted)
        return super().translator(network.generator)

    def _compared(self, network: Contrasted, source: Tensor, made: Tensor) -> Tensor:
        """The contrastive term of what was made of sources, over all layers."""
        generator = network.generator
        found = generator.encode(made, network.layers)
        with torch.no_grad():  # the paper's keys are constants
            wanted = generator.encode(source, network.layers)
        terms = []
        for head, query, key in zip(network.heads, found, wanted):
            places = torch.randperm(query[0, 0].numel())[: self.patches].to(query.device)
            queries, keys = (head(maps.flatten(2)[:, :, places].mT) for maps in (query, key))
            terms.append(patch_contrast(queries, keys.detach(), self.temperature))
        return torch.stack(terms).mean()


class Contrasted(nn.Module):
    """A generator, and heads that turn features of its encoder into vectors that are compared."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        if not isinstance(generator, ResNetTranslator):
            name = f"{type(generator).__name__} does not show; take generator ResNetTranslator()"
            raise UserError(f"Contrast compares features of the generator's encoder, which {name}")
        self.generator = generator
        self.layers: Sequence[int] = generator.contrast_layers
        channels = generator.encoder_channels(self.layers)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(c, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH)) for c in channels
        )

    def forward(self, source: Tensor) -> Tensor:
        made: Tensor = self.generator(source)
        return made


def patch_contrast(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of finding, among the patches of its own image, the one in the same place: `queries` and `keys`
    [n, P, D] are scaled to length 1, `temperature` divides their inner products."""
    with torch.autocast(queries.device.type, enabled=False):  # a temperature of 0.07 makes much of bf16's rounding
        similar = F.normalize(queries.float(), dim=2) @ F.normalize(keys.float(), dim=2).mT / temperature
        wanted = torch.arange(similar.shape[1], device=similar.device).expand(len(similar), -1)
        return F.cross_entropy(similar.flatten(0, 1), wanted.flatten())
