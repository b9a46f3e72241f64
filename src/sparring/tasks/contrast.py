"""Unpaired image translation in one direction: CUT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.base.compat import no_autocast
from sparring.base.device import sent
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
    """Unpaired translation from A to B (CUT): one generator with a patchwise contrastive loss (NCE).

    G minimises `adversarial + contrast * NCE(source, G(source)) + identity * NCE(B, G(B))`. NCE is the cross-entropy of
    recognising, by the encoder's features, which patch of the source an output patch is at the same position as. It
    preserves the layout of the source. It costs less than `Cycle` and learns only one direction. The generator must be
    `ResNetTranslator`; both sets need the same number of channels.

    Batches hold `source` [n, C, H, W] of A and `real` [n, C, H, W] of B in [-1, 1].

    The default weights are those of the authors' code (lambda_NCE = 1) for the loss `LeastSquares`: the code minimises
    `(f - 1)^2 + 0.5 NCE(source) + 0.5 NCE(B)`, and `LeastSquares` is half of the square. With a loss without the factor
    1/2, such as `NonSaturating`, lambda_NCE = 1 is `contrast=0.5, identity=0.5`.

    Attributes:
        a: name of the set of sources (folder or column).
        b: name of the set of targets.
        contrast: weight of NCE between sources and outputs; from 0.
        identity: weight of NCE between images of B and outputs for them, which should not change; from 0.
        patches: patches compared in each image and layer; from 2.
        temperature: divisor of the similarities; above 0.

    Source: Park et al. 2020 (CUT), equations 2 to 5.
    """

    a: str = "A"
    b: str = "B"
    contrast: float = number(0.25, low=0)
    identity: float = number(0.25, low=0)
    patches: int = number(256, low=2)
    temperature: float = number(0.07, low=0, open_low=True)
    scores: ClassVar[tuple[str, ...]] = ("frechet", "kernel_distance", "taken_for_target", "edges")

    def build_generator(self, make: Make) -> nn.Module:
        source, target = self.shapes
        if source[0] != target[0]:
            given = f"set {self.a!r} has {source[0]} channels, set {self.b!r} {target[0]}"
            raise UserError(f"Contrast: {given}; make both sets grey, or both RGB")
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
            terms["contrast"] = self.contrast * self._contrastive(network, batch["source"], made["fake"])
        if self.identity:
            same = image_of(network, batch["real"])
            terms["identity"] = self.identity * self._contrastive(network, batch["real"], same)
        return terms

    def translator(self, network: nn.Module) -> Translator:
        assert isinstance(network, Contrasted)
        return super().translator(network.generator)

    def _contrastive(self, network: Contrasted, source: Tensor, made: Tensor) -> Tensor:
        """Contrastive term between sources and outputs, averaged over layers."""
        generator = network.generator
        queried = generator.encode(made, network.layers)
        with torch.no_grad():  # keys are constants, as in the paper
            wanted = generator.encode(source, network.layers)
        terms = []
        for head, query, key in zip(network.heads, queried, wanted):
            places = sent(torch.randperm(query[0, 0].numel())[: self.patches], query.device)
            queries, keys = (head(maps.flatten(2)[:, :, places].mT) for maps in (query, key))
            terms.append(patch_contrast(queries, keys.detach(), self.temperature))
        return torch.stack(terms).mean()


class Contrasted(nn.Module):
    """A generator with heads that project features of its encoder to the vectors that NCE compares."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        if not isinstance(generator, ResNetTranslator):
            given = f"generator {type(generator).__name__} has no encoder features"
            raise UserError(f"Contrast: {given}; write generator = ResNetTranslator()")
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
    """Cross-entropy of assigning each query to the key at its position, among all keys of its image.

    `queries` and `keys` [n, P, D] are scaled to length 1; `temperature` divides their inner products.
    """
    with no_autocast(queries.device):  # a temperature of 0.07 amplifies bf16's rounding
        similar = F.normalize(queries.float(), dim=2) @ F.normalize(keys.float(), dim=2).mT / temperature
        wanted = torch.arange(similar.shape[1], device=similar.device).expand(len(similar), -1)
        return F.cross_entropy(similar.flatten(0, 1), wanted.flatten())
