"""Unpaired image translation in both directions: CycleGAN."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from sparring.base.fields import number
from sparring.data.form import Form
from sparring.game.match import Batch, Images, Match, Terms
from sparring.game.memory import Stateful
from sparring.tasks.base import Direction, Make, Translator
from sparring.tasks.history import ImageHistory
from sparring.tasks.pieces import fitted, image_of, matched, sight
from sparring.tasks.sourced import Unpaired


@dataclass(frozen=True)
class Cycle(Unpaired):
    """Unpaired translation between A and B (CycleGAN): two generators, and a discriminator for each set.

    With F from A to B and G from B to A, both generators minimise the adversarial terms and

    - `cycle * (mean |G(F(a)) - a| + mean |F(G(b)) - b|)`, cycle consistency
    - `identity * (mean |F(b) - b| + mean |G(a) - a|)`, if A and B have the same number of channels

    Batches hold `source` [n, C', H, W] of A and `real` [n, C, H, W] of B in [-1, 1].

    The default weights are those of the authors' code (lambda 10, identity 0.5) for the loss `LeastSquares`: the code
    minimises `(f - 1)^2 + 10 cycle + 5 identity` for each direction, and `LeastSquares` is half of the square. With a
    loss without the factor 1/2, such as `NonSaturating`, the same is `cycle=10, identity=5`.

    Attributes:
        a: name of the first set (folder or column).
        b: name of the second set.
        cycle: weight of the cycle consistency; from 0.
        identity: weight of the identity term, which preserves colours; from 0.
        history: generated images of each set that are kept for the discriminators; from 0 (none). Once full,
            each image is replaced by a kept one with probability 1/2.

    Source: Zhu et al. 2017 (CycleGAN), equations 1 to 3; section 5.2 for the identity term.
    """

    a: str = "A"
    b: str = "B"
    cycle: float = number(5.0, low=0)
    identity: float = number(2.5, low=0)
    history: int = number(50, low=0)
    past: ImageHistory | None = field(default=None, init=False, repr=False, compare=False)
    scores: ClassVar[tuple[str, ...]] = ("frechet", "kernel_distance", "taken_for_target", "edges", "cycle_l1")
    directions: ClassVar[tuple[Direction, ...]] = (
        Direction(source="source", match="there/"),
        Direction(name="back", made="back", real="source", source="real", match="back/"),
    )

    def for_data(self, form: Form) -> Cycle:
        return fitted(super().for_data(form), past=ImageHistory(self.history) if self.history else None)

    def build_generator(self, make: Make) -> nn.Module:
        a, b = self.shapes
        return nn.ModuleDict({"there": make((a, b), {}), "back": make((b, a), {})})

    def build_discriminator(self, make: Make) -> nn.Module:
        a, b = self.shapes
        return nn.ModuleDict({"there": make((b,), {}), "back": make((a,), {})})

    def generate(self, network: nn.Module, batch: Batch) -> Images:
        there, back = _both(network)
        return {"fake": image_of(there, batch["source"]), "back": image_of(back, batch["real"])}

    def discriminator_images(self, made: Images) -> Images:
        return made if self.past is None else self.past.replace(made, ("fake", "back"))

    def matches(self, network: nn.Module, batch: Batch, made: Images) -> dict[str, Match]:
        there, back = _both(network)
        both = {"there": matched(there, batch["real"], made["fake"])}
        both["back"] = matched(back, batch["source"], made["back"])
        return {f"{direction}/{name}": match for direction, matches in both.items() for name, match in matches.items()}

    def extra_terms(self, network: nn.Module, batch: Batch, made: Images) -> Terms:
        there, back = _both(network)
        a, b, terms = batch["source"], batch["real"], {}
        if self.cycle:
            terms["cycle/there"] = self.cycle * (image_of(back, made["fake"]) - a).abs().mean()
            terms["cycle/back"] = self.cycle * (image_of(there, made["back"]) - b).abs().mean()
        if self.identity and a.shape[1] == b.shape[1]:
            terms["identity/there"] = self.identity * (image_of(there, b) - b).abs().mean()
            terms["identity/back"] = self.identity * (image_of(back, a) - a).abs().mean()
        return terms

    @property
    def stateful(self) -> Stateful | None:
        return self.past

    def show(self, batch: Batch, made: Images) -> list[tuple[Tensor, Form]]:
        return [*super().show(batch, made), (made["back"], self.forms[0])]

    def translator(self, network: nn.Module) -> Translator:
        there, _ = _both(network)
        return Translator(lambda image, mask: image_of(there, image), *self.forms, **sight(there))

    def back(self, network: nn.Module) -> Translator:
        _, back = _both(network)
        return Translator(lambda image, mask: image_of(back, image), *self.forms[::-1], **sight(back))


def _both(network: nn.Module) -> tuple[nn.Module, nn.Module]:
    assert isinstance(network, nn.ModuleDict)
    return network["there"], network["back"]
