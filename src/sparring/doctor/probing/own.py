"""Two players of somebody's own, as a monitor sees them: what they make and say of always the same samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparring.base.errors import UserError
from sparring.doctor.probing import statistics
from sparring.doctor.probing.prober import Players, ProbeSet, View
from sparring.doctor.probing.probing import COUNT, FEWEST, KNOWN
from sparring.doctor.probing.reference import RealReference
from sparring.game.condition import FAKE, Condition
from sparring.game.match import Batch, Images, Match
from sparring.tasks.base import Direction

Samples = Tensor | tuple[Tensor, Tensor]
Parts = tuple[Tensor, ...]  # samples or latents, perhaps with their labels
SURE = 1e-12  # how near to 0 and 1 a probability is believed


def chosen(real: Samples, held_out: Samples | None, latents: Samples, batch: int) -> ProbeSet:
    """Choose samples for the looks, equally many of each kind, and what they are compared with; all as in `Monitor`.

    Raises:
        UserError: too few samples, or of a kind that no network sees.
    """
    reals, fed = _parts("real", real), _parts("latents", latents)
    held = None if held_out is None else _parts("held_out", held_out)
    _enough("latents", fed, FEWEST, "latents=torch.randn(256, size)")
    _enough("real", reals, 2 * FEWEST, "real=, all training samples")
    if held is not None:
        _enough("held_out", held, FEWEST, "more of them, or leave held_out away")
        if held[0].shape[1:] != reals[0].shape[1:]:
            reported = f"held_out holds {_shape(held[0])}, real {_shape(reals[0])}"
            raise UserError(f"Monitor: {reported}; give both as D sees them")
    if len({len(parts) for parts in (reals, fed, held or reals)}) > 1:
        wanted = "all of latents, real and held_out, or with none: real=(x, labels)"
        raise UserError(f"Monitor: labels must go with {wanted}")
    count = min(COUNT, len(fed[0]), len(reals[0]) // 2, COUNT if held is None else len(held[0]))
    order = torch.randperm(len(reals[0]), generator=torch.Generator().manual_seed(0))
    train, other = _at(reals, order[:count]), _at(reals, order[count : 2 * count])
    known = statistics.seen(_at(reals, order[: max(KNOWN, 2 * count)])[0])
    if held is not None:
        mixed = torch.randperm(len(held[0]), generator=torch.Generator().manual_seed(0))
        other = held = _at(held, mixed[:count])
    reference = RealReference(statistics.seen(train[0]), known, statistics.seen(other[0]), unseen=held is not None)
    inputs = tuple(part[:count].clone() for part in fed)
    classes = 1 + max((int(parts[1].max()) for parts in (inputs, train) if len(parts) > 1), default=0)
    pieces = torch.arange(count).tensor_split(-(-count // batch))  # of about one size: statistics need some
    return ProbeSet(
        [View(Direction(), reference, {})],
        {"latent": inputs[0], **Condition(*inputs[1:]).to_batch(FAKE)},
        {"real": train[0], **Condition(*train[1:]).to_batch()},
        None if held is None else {"real": held[0], **Condition(*held[1:]).to_batch()},
        [slice(int(piece[0]), int(piece[-1]) + 1) for piece in pieces],
        max(2, classes),
    )


def networks_of(
    generator: object, discriminator: object, given: tuple[nn.Module, nn.Module] | None
) -> tuple[nn.Module, nn.Module]:
    """The modules (G, D) whose buffers and weights are the players'. UserError: those of a function are not given."""
    if given is not None:
        if len(given) != 2 or not all(isinstance(network, nn.Module) for network in given):
            raise UserError("Monitor: networks must be the two modules behind the players: networks=(G, D)")
        return given
    for name, player in (("generator", generator), ("discriminator", discriminator)):
        if not callable(player):
            raise UserError(f"Monitor: {name} is of type {type(player).__name__}; give the module, or a function")
    if isinstance(generator, nn.Module) and isinstance(discriminator, nn.Module):
        return generator, discriminator
    raise UserError(
        "Monitor: a player is a function; give the modules behind both, whose buffers a look has to leave as they are: "
        "networks=(G, D)"
    )


@dataclass(frozen=True)
class OwnPlayers:
    """Two players as `Monitor` is given them, and how they are asked.

    Raises:
        UserError: what a player makes or says does not fit.
    """

    generator: Callable[..., Tensor]
    discriminator: Callable[..., Tensor]
    networks: tuple[nn.Module, nn.Module]
    probabilities: bool

    def asked(self) -> Players:
        """The same as a `Looker` sees them."""
        return Players(self.networks, self._generate, self._matches)

    def _matches(self, batch: Batch, made: Images) -> dict[str, Match]:
        real, fake = batch["real"], made["fake"]
        if fake.shape[1:] != real.shape[1:]:
            raise UserError(
                f"Monitor: the generator makes {_shape(fake)}, real ones are {_shape(real)}; give them alike, such "
                "as real=images.flatten(1)"
            )
        return {"": Match(self._judged, real, fake, Condition.from_batch(batch), Condition.from_batch(batch, FAKE))}

    def _generate(self, batch: Batch) -> Images:
        latents = batch["latent"]
        made = self.generator(latents, *Condition.from_batch(batch, FAKE).arguments)
        _check_tensor(made, len(latents), "generator makes", "latents", "of samples: lambda z: G(z)[0]")
        return {"fake": made}

    def _judged(self, samples: Tensor, labels: Tensor | None) -> Tensor:
        """Logits of samples."""
        said = self.discriminator(samples) if labels is None else self.discriminator(samples, labels)
        wanted = "[n, ...]: lambda x: D(x).view(len(x), -1)"
        _check_tensor(said, len(samples), "discriminator says", "samples", wanted)
        within = bool(((said >= 0) & (said <= 1) | said.isnan()).all())
        if self.probabilities:
            if not within:
                wrong = "probabilities=True, but D says values beyond [0, 1]"
                raise UserError(f"Monitor: {wrong}; leave it away for logits")
            return said.cpu().double().clamp(SURE, 1 - SURE).logit()
        if within and isinstance(list(self.networks[1].modules())[-1], nn.Sigmoid):
            raise UserError("Monitor: D ends in a sigmoid, so it says probabilities; add probabilities=True")
        return said


def _check_tensor(found: object, count: int, player: str, given: str, wanted: str) -> None:
    """Raise UserError unless a player gives one tensor with a row for each sample."""
    if not isinstance(found, Tensor) or found.shape[:1] != (count,):
        reported = _shape(found) if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise UserError(
            f"Monitor: the {player} {reported} of {count} {given}; wrap it in a function that gives one tensor {wanted}"
        )


def _parts(name: str, given: object) -> Parts:
    """A tensor, or a tensor with its labels, as a tuple."""
    parts = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    if len(parts) not in (1, 2) or not all(isinstance(part, Tensor) for part in parts):
        reported = ", ".join(type(part).__name__ for part in parts[:3])
        raise UserError(f"Monitor: {name} must be a tensor [n, ...], or a pair (tensor, labels); it is {reported}")
    if not parts[0].is_floating_point():
        raise UserError(
            f"Monitor: {name} holds {parts[0].dtype}; give floats as the networks see them: {name}=images / 127.5 - 1"
        )
    if not parts[0].isfinite().all():
        raise UserError(f"Monitor: {name} holds NaN or infinity; leave such samples out")
    if len(parts) == 2 and (parts[1].shape != parts[0].shape[:1] or parts[1].dtype != torch.int64):
        raise UserError(
            f"Monitor: the labels of {name} are {parts[1].dtype} {list(parts[1].shape)}; give one int64 each: "
            f"[{len(parts[0])}]"
        )
    return parts


def _enough(name: str, parts: Parts, fewest: int, fix: str) -> None:
    count = len(parts[0]) if parts[0].dim() else 0
    if parts[0].dim() < 2 or count < fewest:
        raise UserError(f"Monitor: {name} is {list(parts[0].shape)}; a look needs {fewest} or more rows: {fix}")


def _at(parts: Parts, indices: Tensor) -> Parts:
    return tuple(part.detach()[indices.to(part.device)] for part in parts)


def _shape(samples: Tensor) -> str:
    return f"samples of shape {list(samples.shape[1:])}" if samples.dim() else "a single number"
