"""Between two kinds of images without pairs: CycleGAN."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from sparring.data.layout import Layout, Sets
from sparring.data.samples import Data, Form
from sparring.errors import check_number
from sparring.match import Batch, Images, Match, Terms
from sparring.memory import Remembers
from sparring.tasks.base import Make, Translating
from sparring.tasks.history import ImageHistory
from sparring.tasks.pieces import fitted, image_shape, matched, sight
from sparring.translator import Translator


@dataclass(frozen=True)
class Cycle(Translating):
    """Two generators, from A to B and back, and a discriminator for either set; there and back again must give the
    image that it began with. Source: Zhu et al. 2017 (CycleGAN), equations 1 to 3, section 5.2 for the identity term.

    Batches hold `source` [n, C', H, W] of A and `real` [n, C, H, W] of B in [-1, 1].

    Args:
        a, b: the names of the two sets.
        cycle: the weight of the mean absolute difference after going there and back, for both ways.
        identity: the weight of that between an image and what the generator into its own set makes of it; 0 where the
            sets differ in channels.
        history: how many generated images of either set are kept to be shown to the discriminators again; 0: none.
    """

    a: str = "A"
    b: str = "B"
    cycle: float = 10.0
    identity: float = 5.0
    history: int = 50
    form: Form | None = field(default=None, init=False, repr=False, compare=False)
    past: ImageHistory | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("cycle", "identity"):
            check_number("Cycle", name, getattr(self, name), low=0)
        check_number("Cycle", "history", self.history, low=0, whole=True)

    @property
    def layout(self) -> Layout:
        return Sets(self.a, self.b)

    def for_data(self, form: Form) -> Cycle:
        return fitted(replace(self), form=form, past=ImageHistory(self.history) if self.history else None)

    def build_generator(self, make: Make) -> nn.Module:
        a, b = self._shapes
        return nn.ModuleDict({"there": make((a, b), {}), "back": make((b, a), {})})

    def build_discriminator(self, make: Make) -> nn.Module:
        a, b = self._shapes
        return nn.ModuleDict({"there": make((b,), {}), "back": make((a,), {})})

    def generate(self, network: nn.Module, batch: Batch) -> Images:
        there, back = _both(network)
        return {"fake": _image(there, batch["source"]), "back": _image(back, batch["real"])}

    def shown(self, made: Images) -> Images:
        return made if self.past is None else self.past.show(made, ("fake", "back"))

    def matches(self, network: nn.Module, batch: Batch, made: Images) -> dict[str, Match]:
        there, back = _both(network)
        found = {"there": matched(there, batch["real"], made["fake"])}
        found["back"] = matched(back, batch["source"], made["back"])
        return {f"{way}/{name}": match for way, matches in found.items() for name, match in matches.items()}

    def extra_terms(self, network: nn.Module, batch: Batch, made: Images) -> Terms:
        there, back = _both(network)
        a, b, terms = batch["source"], batch["real"], {}
        if self.cycle:
            terms["cycle/there"] = self.cycle * (_image(back, made["fake"]) - a).abs().mean()
            terms["cycle/back"] = self.cycle * (_image(there, made["back"]) - b).abs().mean()
        if self.identity and a.shape[1] == b.shape[1]:
            terms["identity/there"] = self.identity * (_image(there, b) - b).abs().mean()
            terms["identity/back"] = self.identity * (_image(back, a) - a).abs().mean()
        return terms

    @property
    def remembers(self) -> Remembers | None:
        return self.past

    @property
    def scores(self) -> tuple[str, ...]:
        return ("frechet", "kernel_distance", "taken_for_target", "edges", "cycle_l1")

    @property
    def trivial(self) -> str:
        return "no change"

    def baseline(self, train: Data) -> Callable[[Batch], Tensor]:
        return lambda batch: batch["source"].expand(-1, batch["real"].shape[1], -1, -1)

    def returned(self, network: nn.Module, made: Tensor) -> Tensor | None:
        return _image(_both(network)[1], made)

    def show(self, batch: Batch, made: Images) -> list[Tensor]:
        return [batch["source"], made["fake"], batch["real"], made["back"]]

    def translator(self, network: nn.Module) -> Translator:
        there, _ = _both(network)
        assert self.form is not None
        assert self.form.source is not None
        return Translator(lambda image, mask: _image(there, image), self.form.source, self.form, **sight(there))

    @property
    def _shapes(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        source = None if self.form is None else self.form.source
        return image_shape("Cycle", source), image_shape("Cycle", self.form)


def _both(network: nn.Module) -> tuple[nn.Module, nn.Module]:
    assert isinstance(network, nn.ModuleDict)
    return network["there"], network["back"]


def _image(network: nn.Module, source: Tensor) -> Tensor:
    made: Tensor = network(source).float().tanh()
    return made
