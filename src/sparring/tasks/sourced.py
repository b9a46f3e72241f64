"""Base classes of tasks whose sources are part of the data: pairs, or two unpaired sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, TypeVar

from torch import Tensor, nn

from sparring.data.form import Form
from sparring.data.layout import Layout, Pairs, Sets
from sparring.data.samples import Data
from sparring.game.condition import NOTHING, Condition
from sparring.game.match import Batch, Images, Match
from sparring.tasks.base import Direction, Make, Translating, Translator
from sparring.tasks.degrade import Grey
from sparring.tasks.pieces import fitted, image_shape, matched, sight

Own = TypeVar("Own", bound="Sourced")


@dataclass(frozen=True)
class Sourced(Translating):
    """A task for data with source images."""

    form: Form | None = field(default=None, init=False, repr=False, compare=False)

    def for_data(self: Own, form: Form) -> Own:
        return fitted(replace(self), form=form)

    @property
    def forms(self) -> tuple[Form, Form]:
        assert self.form is not None, "call for_data first"
        assert self.form.source is not None
        return self.form.source, self.form

    @property
    def shapes(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Input shapes (C, H, W) of sources and targets. UserError: they are no images."""
        owner = type(self).__name__
        target = image_shape(owner, self.form)
        return image_shape(owner, None if self.form is None else self.form.source), target

    def translator(self, network: nn.Module) -> Translator:
        source, target = self.forms

        def run(image: Tensor, mask: Tensor | None) -> Tensor:
            return self.generate(network, {"source": image})["fake"]

        scale, layout = target.shape[1] // source.shape[1], self.layout
        ignore = layout.ignore if isinstance(layout, Pairs) else None
        return Translator(run, source, target, scale, ignore=ignore, **sight(network))


class Paired(Sourced):
    """A task for pairs of source and target.

    Attributes:
        conditional: D also receives the source; a field of each sub-class.
    """

    conditional: bool

    def for_data(self: Own, form: Form) -> Own:
        task = super().for_data(form)
        task.shapes  # noqa: B018  raises UserError unless both are images
        return task

    def build_generator(self, make: Make) -> nn.Module:
        return make(self.shapes, {})

    def build_discriminator(self, make: Make) -> nn.Module:
        source, target = self.shapes
        return make((target,), {"source_channels": source[0] if self.conditional else 0})

    def matches(self, network: nn.Module, batch: Batch, made: Images) -> dict[str, Match]:
        condition = Condition(image=batch["source"]) if self.conditional else NOTHING
        return matched(network, batch["real"], made["fake"], condition, paired=True)


class Unpaired(Sourced):
    """A task for two unpaired sets; a sub-class has their names as fields `a` and `b`."""

    a: str
    b: str
    directions: ClassVar[tuple[Direction, ...]] = (Direction(source="source"),)
    baseline_name: ClassVar[str] = "no change"

    @property
    def layout(self) -> Layout:
        return Sets(self.a, self.b)

    def baseline(self, train: Data) -> Callable[[Batch], Tensor]:
        """The source itself, as luminance for grey targets, repeated for RGB targets of grey sources."""

        def unchanged(batch: Batch) -> Tensor:
            source, channels = batch["source"], batch["real"].shape[1]
            grey = Grey()(source).source if (source.shape[1], channels) == (3, 1) else source
            return grey.expand(-1, channels, -1, -1)

        return unchanged
