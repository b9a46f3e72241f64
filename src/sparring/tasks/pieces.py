"""Helpers that several tasks share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

from sparring.base.errors import UserError
from sparring.data.form import Form
from sparring.game.condition import NOTHING, Condition
from sparring.game.match import Critic, Match
from sparring.networks.critic import Critic as CriticNetwork
from sparring.networks.images import ImageGenerator
from sparring.networks.patch import PatchDiscriminator

Fitted = TypeVar("Fitted")


def fitted(task: Fitted, **fields: object) -> Fitted:
    """Set fields of a frozen task that depend on its data."""
    for name, value in fields.items():
        object.__setattr__(task, name, value)
    return task


def critics(network: nn.Module) -> dict[str, Critic]:
    """The critics of a discriminator by name: one, or one for each scale."""
    if isinstance(network, PatchDiscriminator) and len(network.critics()) > 1:
        return {f"adversarial/{i}": critic.judge for i, critic in enumerate(network.critics())}
    return {"adversarial": network.judge if isinstance(network, (CriticNetwork, PatchDiscriminator)) else network}


def matched(network: nn.Module, real: Tensor, fake: Tensor, *conditions: Condition, **fields: Any) -> dict[str, Match]:
    """Matches for all critics of a discriminator, with one condition, or one for reals and one for fakes."""
    of_real, of_fake = (conditions[0], conditions[-1]) if conditions else (NOTHING, NOTHING)
    named = critics(network)
    return {
        name: Match(critic, real, fake, of_real, of_fake, repeated=index > 0, scales=len(named), **fields)
        for index, (name, critic) in enumerate(named.items())
    }


def image_of(network: nn.Module, source: Tensor) -> Tensor:
    """Output image in [-1, 1] of a generator without a final tanh."""
    made: Tensor = network(source).float().tanh()
    return made


def sight(network: nn.Module) -> dict[str, Any]:
    """The fields `reach` and `stride` of a `Translator`; unlimited reach for unknown generators."""
    known = isinstance(network, ImageGenerator)
    return {"reach": network.reach, "stride": network.stride} if known else {"reach": None}


def image_shape(owner: str, form: Form | None) -> tuple[int, int, int]:
    """Input shape (C, H, W) of these images. UserError: the data is no images."""
    shape: Sequence[int] = () if form is None else form.input_shape
    if len(shape) != 3:
        raise UserError(f"{owner} needs images (C, H, W), not samples of shape {list(shape)}; use a set of images")
    return (shape[0], shape[1], shape[2])
