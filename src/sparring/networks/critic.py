"""The base class of discriminators: features, a logit, and heads for classes and codes."""

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
    """The output of a discriminator for n samples; only the logits are required.

    Attributes:
        logits: real or generated, before any sigmoid; [n], or [n, ...] of a patch discriminator.
        features: the last hidden layer [n, F].
        classes: class logits [n, K] (AC-GAN).
        codes: predicted parameters of the latent codes [n, Q] (InfoGAN).
        layers: hidden layers [n, ...], from the first to the last (feature matching).
    """

    logits: Tensor
    features: Tensor | None = None
    classes: Tensor | None = None
    codes: Tensor | None = None
    layers: tuple[Tensor, ...] = ()

    def float(self) -> CriticOutput:
        """A copy with all tensors in fp32; fp64 stays."""
        optional = (self.features, self.classes, self.codes)
        features, classes, codes = (part if part is None else at_least_fp32(part) for part in optional)
        layers = tuple(map(at_least_fp32, self.layers))
        return CriticOutput(at_least_fp32(self.logits), features, classes, codes, layers)


def at_least_fp32(values: Tensor) -> Tensor:
    """Values in fp32; fp64 stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class Critic(nn.Module, ABC):
    """A discriminator: features of a sample -> a logit, with up to three more heads on the same features.

    A sub-class builds the layers of `features` for samples of shape `self.input_shape`, then calls `self.add_heads`.
    Under autocast the heads compute in fp32, as in StyleGAN2 and R3GAN: a logit in bf16 has 8 binary digits.

    Args:
        shape: [C, H, W] of images, or (dimensions,) of points.
        condition: how a discriminator with classes uses the label:

            - "projection": adds the inner product of the class's embedding and the features to the logit
              (Miyato and Koyama 2018, equation 3).
            - "concatenation": appends the label to the input, one channel for each class (Mirza and Osindero 2014).
            - "classifier": hides the label and predicts the class (Odena et al. 2017); add the penalty
              AuxiliaryClassifier.
        classes: number of classes; 0: no labels, and `condition` has no effect.
        codes: number of code parameters to predict (InfoGAN); 0: none.
    """

    def __init__(self, shape: Shape, condition: str = "projection", classes: int = 0, codes: int = 0) -> None:
        super().__init__()
        check_choice(type(self).__name__, "condition", condition, CONDITIONS)
        self.condition = condition if classes else ""
        self.class_count, self.code_count = classes, codes
        extra = classes if self.condition == "concatenation" else 0
        self.input_shape = (shape[0] + extra, *shape[1:])

    def add_heads(self, features: int, spectral_norm: bool = False, bias: bool = True) -> None:
        """Build the heads on `features` features per sample. `bias`: whether the logit has a bias."""
        self.logit = maybe_spectral(nn.Linear(features, 1, bias=bias), spectral_norm)
        if self.condition == "projection":
            self.embedding = maybe_spectral(nn.Embedding(self.class_count, features), spectral_norm)
        if self.condition == "classifier":
            self.classifier = maybe_spectral(nn.Linear(features, self.class_count), spectral_norm)
        if self.code_count:
            self.recogniser = nn.Linear(features, self.code_count)

    @abstractmethod
    def features(self, samples: Tensor) -> Tensor:
        """Samples [n, *input_shape] -> features [n, F]."""

    def judge(self, samples: Tensor, condition: Tensor | None = None) -> CriticOutput:
        """Samples [n, *shape] and, for classes, labels [n] -> the output for them.

        Raises:
            UserError: the labels are missing.
        """
        if self.condition in ("projection", "concatenation") and condition is None:
            raise UserError(
                f"{type(self).__name__} has {self.class_count} classes and needs labels; call judge(samples, labels)"
            )
        if self.condition == "concatenation":
            samples = with_label(samples, condition, self.class_count)
        features = at_least_fp32(self.features(samples))
        with no_autocast(features.device):
            logits = self.logit(features).flatten()
            if self.condition == "projection":
                logits = logits + (self.embedding(condition) * features).sum(1)
            classes = self.classifier(features) if self.condition == "classifier" else None
            return CriticOutput(logits, features, classes, self.recogniser(features) if self.code_count else None)

    def forward(self, samples: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.judge(samples, condition).logits


def with_label(samples: Tensor, label: Tensor | None, classes: int) -> Tensor:
    """Samples or latents [n, C, ...] and labels [n] -> [n, C + classes, ...]: the label is appended, one-hot."""
    hot = F.one_hot(required(label), classes).to(samples.dtype)
    maps = hot.view(*hot.shape, *[1] * (samples.dim() - 2)).expand(-1, -1, *samples.shape[2:])
    return torch.cat([samples, maps], 1)
