"""Generation of samples from noise, optionally with classes or codes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from sparring.base.errors import UserError
from sparring.base.fields import flag, number
from sparring.data.form import Form
from sparring.game.condition import FAKE, Condition, ConditionSpec, in_rows
from sparring.game.inputs import Categorical, Code, Latent, Normal
from sparring.game.match import Batch, Images, Match, packed
from sparring.tasks.base import Make, Task
from sparring.tasks.pieces import fitted, matched

ROWS, COLUMNS = 10, 8


@dataclass(frozen=True)
class Generate(Task):
    """Generation of samples from latent vectors: the original GAN, optionally conditional (cGAN, InfoGAN, PacGAN).

    Batches hold

    | key | value |
    | --- | --- |
    | `real` | images [n, C, H, W] in [-1, 1], or points [n, D] |
    | `latent` | [n, latent.size] |
    | `label`, `fake_label` | with classes: labels [n] of real and generated samples; both have the data's frequencies |
    | `code` | with codes: [n, sum of their widths] |

    UserError: `pack` together with classes or codes; classes without labelled data.

    Attributes:
        latent: distribution of the latent vectors, `Normal(100)` or `Uniform(100)`.
        classes: conditions both players on the class label. The networks' `condition` chooses how.
        codes: codes that samples should express without labels (InfoGAN), such as `(Categorical(10), Continuous(2))`.
            They need the penalty `MutualInformation`.
        pack: samples that D receives at once, concatenated as channels (PacGAN), from 1. D then recognises a lack of
            variety. It must divide the batch size.

    Source: Goodfellow et al. 2014; classes: Mirza and Osindero 2014; codes: Chen et al. 2016; packing: Lin et al. 2018.
    """

    latent: Latent = Normal(100)
    classes: bool = flag(False)
    codes: tuple[Code, ...] = ()
    pack: int = number(1, low=1)
    form: Form | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.latent) or not isinstance(getattr(self.latent, "size", None), int):
            raise UserError(f"Generate: latent={self.latent!r} is no distribution; write Normal(100) or Uniform(100)")
        codes = self.codes if isinstance(self.codes, tuple) else (self.codes,)
        if not all(callable(code) and isinstance(getattr(code, "width", None), int) for code in codes):
            raise UserError(f"Generate: codes={self.codes!r} are no codes; write (Categorical(10), Continuous(2))")
        object.__setattr__(self, "codes", codes)
        if self.pack > 1 and (self.classes or codes):
            raise UserError(f"Generate: pack={self.pack} can be combined with neither classes nor codes; write pack=1")

    @property
    def conditioning(self) -> tuple[ConditionSpec, ...]:
        return (ConditionSpec("label", self._form.classes),) if self.classes else ()

    def for_data(self, form: Form) -> Generate:
        if self.classes and len(form.classes) < 2:
            given = f"{len(form.classes) or 'no'} class(es); use one folder per class, or leave classes=True out"
            raise UserError(f"Generate(classes=True) needs labelled data, this has {given}")
        return fitted(replace(self), form=form)

    def build_generator(self, make: Make) -> nn.Module:
        size = self.latent.size + sum(code.width for code in self.codes)
        return make((size, self._form.shape), {"classes": len(self.class_names)})

    def build_discriminator(self, make: Make) -> nn.Module:
        channels, *rest = self._form.shape
        codes = sum(code.parameters for code in self.codes)
        return make(((self.pack * channels, *rest),), {"classes": len(self.class_names), "codes": codes})

    def draw(self, count: int, generator: torch.Generator | None = None) -> Batch:
        inputs = {"latent": self.latent(count, generator)}
        if self.codes:
            inputs["code"] = torch.cat([code(count, generator) for code in self.codes], 1)
        if self.classes:
            shares = torch.tensor(self._form.counts or [1] * len(self.class_names), dtype=torch.float64)
            label = torch.multinomial(shares, count, replacement=True, generator=generator)
            inputs |= Condition(label=label).to_batch(FAKE)
        return inputs

    def gallery(self, generator: torch.Generator) -> tuple[Batch, int]:
        """One row for each class or value of the first categorical code, all with the same latents; else 64 latents."""
        rows = self._rows()
        if not rows:
            return self.draw(COLUMNS**2, generator), COLUMNS
        drawn, index = self.draw(COLUMNS, generator), torch.tensor(rows)
        if self.classes:
            return in_rows(drawn, Condition(label=index).to_batch(FAKE)), COLUMNS
        before, size = self._categorical()
        inputs = in_rows(drawn, {"value": torch.eye(size)[index]})
        inputs["code"][:, before : before + size] = inputs.pop("value")
        return inputs, COLUMNS

    def generate(self, network: nn.Module, batch: Batch) -> Images:
        latent = torch.cat([batch["latent"], batch["code"]], 1) if self.codes else batch["latent"]
        made: Tensor = network(latent, *Condition.from_batch(batch, FAKE).arguments)
        return {"fake": made.float()}

    def sample_pixels(self, batch: Batch) -> int:
        return math.prod(self._form.shape[1:])

    def matches(self, network: nn.Module, batch: Batch, made: Images) -> dict[str, Match]:
        real, fake = packed(batch["real"], self.pack), packed(made["fake"], self.pack)
        kinds = [spec.kind for spec in self.conditioning]
        conditions = Condition.from_batch(batch, "", kinds), Condition.from_batch(batch, FAKE, kinds)
        code = batch["code"] if self.codes else None
        return matched(network, real, fake, *conditions, codes=self.codes, code=code, pack=self.pack)

    @property
    def _form(self) -> Form:
        assert self.form is not None, "call for_data first"
        return self.form

    def _rows(self) -> list[int]:
        """Classes or code values of the gallery's rows: all, or ten evenly spread ones."""
        values = len(self.class_names) or self._categorical()[1]
        return [i * values // min(values, ROWS) for i in range(min(values, ROWS))]

    def _categorical(self) -> tuple[int, int]:
        """Offset of the first categorical code within the code vector, and its size (0: none)."""
        before = 0
        for code in self.codes:
            if isinstance(code, Categorical):
                return before, code.size
            before += code.width
        return 0, 0
