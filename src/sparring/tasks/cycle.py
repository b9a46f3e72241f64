"""Between two kinds of images without pairs: CycleGAN."""

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
    """Two generators, from A to B and back, and a discriminator for either set; there and back again must give the
    image that it began with. Source: Zhu et al. 2017 (CycleGAN), equations 1 to 3, section 5.2 for the identity term.

    Batches hold `source` [n, C', H, W] of A and `real` [n, C, H, W] of B in [-1, 1].

    The default weights are those of the paper's code (lambda 10, identity 0.5 of it) for the loss `LeastSquares`. That
    code adds (f - 1)^2 + 10 cycle + 5 identity for either way. `LeastSquares` is half of the square, so both weights
    are halved. With a loss without that factor, such as `NonSaturating`, the same is `cycle=10, identity=5`.
    """

    a: str = "A"  # the names of the two sets
    b: str = "B"
    cycle: float = number(5.0, low=0)  # weight of the mean absolute difference after going there and back, both ways
    # weight of that between an image and what the generator into its own set makes of it; 0 where channels differ
    identity: float = number(2.5, low=0)
    history: int = number(50, low=0)  # generated images of either set that are kept to be shown again; 0: none
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
        return made if self.past is None else self.past.show(made, ("fake", "back"))

    def matches(self, network: nn.Module, batch: Batch, made: Images) -> dict[str, Match]:
        there, back = _both(network)
        found = {"there": matched(there, batch["real"], made["fake"])}
        found["back"] = matched(back, batch["source"], made["back"])
        return {f"{direction}/{name}": match for direction, matches in found.items() for name, match in matches.items()}

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
