"""Pieces that several tasks share."""

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


def fitted(task: Fitted, **found: object) -> Fitted:
    """Set what a frozen task found out about its data."""
    for name, value in found.items():
        object.__setattr__(task, name, value)
    return task


def critics(network: nn.Module) -> dict[str, Critic]:
    """The judges of a discriminator, by name: one, or one a scale."""
    if isinstance(network, PatchDiscriminator) and len(network.critics()) > 1:
        return {f"adversarial/{i}": critic.judge for i, critic in enumerate(network.critics())}
    return {"adversarial": network.judge if isinstance(network, (CriticNetwork, PatchDiscriminator)) else network}


def matched(network: nn.Module, real: Tensor, fake: Tensor, *conditions: Condition, **fields: Any) -> dict[str, Match]:
    """A match before each judge of the discriminator, with these fields and a condition, or those of reals and
    fakes."""
    of_real, of_fake = (conditions[0], conditions[-1]) if conditions else (NOTHING, NOTHING)
    judges = critics(network)
    return {
        name: Match(critic, real, fake, of_real, of_fake, repeated=place > 0, scales=len(judges), **fields)
        for place, (name, critic) in enumerate(judges.items())
    }


def image_of(network: nn.Module, source: Tensor) -> Tensor:
    """The image in [-1, 1] that a generator of raw maps makes of a source."""
    made: Tensor = network(source).float().tanh()
    return made


def sight(network: nn.Module) -> dict[str, Any]:
    """What `Translator` wants to know of a generator, its `reach` and `stride`; the worst of one that does not tell."""
    known = isinstance(network, ImageGenerator)
    return {"reach": network.reach, "stride": network.stride} if known else {"reach": None}


def image_shape(owner: str, form: Form | None) -> tuple[int, int, int]:
    """The shape (C, H, W) in which networks see these images; UserError: they are no images."""
    shape: Sequence[int] = () if form is None else form.input_shape
    if len(shape) != 3:
        raise UserError(f"{owner} is for images; this data is of shape {list(shape)}")
    return (shape[0], shape[1], shape[2])
