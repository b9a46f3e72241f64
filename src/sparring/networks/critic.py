"""What all discriminators share: they judge samples by features, and may know or tell classes and codes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.base.compat import no_autocast
from sparring.base.errors import UserError, check_choice
from sparring.networks.layers import Shape, maybe_spectral, required

CONDITIONS = ("projection", "concatenation", "classifier")


@dataclass(frozen=True)
class CriticOutput:
    """What a critic says of n samples; all but the logits may be left out."""

    logits: Tensor  # real or not, before any sigmoid; [n], or [n, ...] of a patch critic
    features: Tensor | None = None  # the last hidden layer [n, F]
    classes: Tensor | None = None  # logits of the samples' classes [n, K] (AC-GAN)
    codes: Tensor | None = None  # parameters of the codes that the samples were made of [n, Q] (InfoGAN)
    layers: tuple[Tensor, ...] = ()  # hidden layers [n, ...], from the first to the last (feature matching)

    def float(self) -> CriticOutput:
        """The same in fp32, or in fp64 where it was."""
        features, classes, codes = (p if p is None else exact(p) for p in (self.features, self.classes, self.codes))
        return CriticOutput(exact(self.logits), features, classes, codes, tuple(exact(p) for p in self.layers))


def exact(values: Tensor) -> Tensor:
    """Values in fp32, or in fp64 where they were."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class Critic(nn.Module, ABC):
    """Features of a sample -> one logit, with up to three more heads on the same features.

    A sub-class builds what `features` runs for samples of `self.seen`, then calls `self.add_heads`. How a critic of
    labelled samples uses the label is its `condition`: "projection" adds the inner product of the class's embedding
    and the features to the logit (Miyato and Koyama 2018, equation 3); "concatenation" shows the body the label as
    one more channel a class (Mirza and Osindero 2014); "classifier" hides the label and tells the class instead
    (Odena et al. 2017; it wants the penalty AuxiliaryClassifier). Without classes it means nothing. `codes` is how many
    parameters of codes to predict.

    Under autocast the heads still compute in fp32, as in StyleGAN2 and R3GAN: a logit in bf16 has 8 binary digits.
    """

    def __init__(self, shape: Shape, condition: str = "projection", classes: int = 0, codes: int = 0) -> None:
        super().__init__()
        check_choice(type(self).__name__, "condition", condition, CONDITIONS)
        self.condition = condition if classes else ""
        self.class_count, self.code_count = classes, codes
        extra = classes if self.condition == "concatenation" else 0
        self.seen = (shape[0] + extra, *shape[1:])

    def add_heads(self, features: int, spectral_norm: bool = False, bias: bool = True) -> None:
        """Make what stands on `features` numbers a sample; `bias` is the logit's."""
        self.logit = maybe_spectral(nn.Linear(features, 1, bias=bias), spectral_norm)
        if self.condition == "projection":
            self.embedding = maybe_spectral(nn.Embedding(self.class_count, features), spectral_norm)
        if self.condition == "classifier":
            self.classifier = maybe_spectral(nn.Linear(features, self.class_count), spectral_norm)
        if self.code_count:
            self.recogniser = nn.Linear(features, self.code_count)

    @abstractmethod
    def features(self, samples: Tensor) -> Tensor:
        """Samples [n, *seen] -> [n, F]."""

    def judge(self, samples: Tensor, condition: Tensor | None = None) -> CriticOutput:
        """Judge samples [n, *shape], with their labels [n] where the critic has classes."""
        if self.condition in ("projection", "concatenation") and condition is None:
            raise UserError(f"{type(self).__name__} has {self.class_count} classes: judge samples with their labels")
        if self.condition == "concatenation":
            samples = with_label(samples, condition, self.class_count)
        features = exact(self.features(samples))
        with no_autocast(features.device):
            logits = self.logit(features).flatten()
            if self.condition == "projection":
                logits = logits + (self.embedding(condition) * features).sum(1)
            classes = self.classifier(features) if self.condition == "classifier" else None
            return CriticOutput(logits, features, classes, self.recogniser(features) if self.code_count else None)

    def forward(self, samples: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.judge(samples, condition).logits


def with_label(samples: Tensor, label: Tensor | None, classes: int) -> Tensor:
    """Samples or latents [n, C, ...] with one more channel a class, 1 for the label's and 0 for others."""
    hot = F.one_hot(required(label), classes).to(samples.dtype)
    maps = hot.view(*hot.shape, *[1] * (samples.dim() - 2)).expand(-1, -1, *samples.shape[2:])
    return torch.cat([samples, maps], 1)
