"""The user's own generator and discriminator, as `Monitor` probes them."""

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
Parts = tuple[Tensor, ...]  # samples or latents, optionally with their labels
CLAMP = 1e-12  # least distance of a probability from 0 and 1


def choose_probe_set(real: Samples, held_out: Samples | None, latents: Samples, batch: int) -> ProbeSet:
    """Choose equally many samples of each kind for the probes; arguments as in `Monitor`.

    Raises:
        UserError: Too few samples, or samples of a wrong type or shape.
    """
    reals, inputs_given = _parts("real", real), _parts("latents", latents)
    held = None if held_out is None else _parts("held_out", held_out)
    _check_count("latents", inputs_given, FEWEST, "latents=torch.randn(256, size)")
    _check_count("real", reals, 2 * FEWEST, "real=all training samples")
    if held is not None:
        _check_count("held_out", held, FEWEST, "give more, or leave out held_out")
        if held[0].shape[1:] != reals[0].shape[1:]:
            shapes = f"held_out has {_shape(held[0])}, real has {_shape(reals[0])}"
            raise UserError(f"Monitor: {shapes}; give both as the discriminator sees them")
    if len({len(parts) for parts in (reals, inputs_given, held or reals)}) > 1:
        raise UserError("Monitor: give labels with all of latents, real and held_out, or with none: real=(x, labels)")
    count = min(COUNT, len(inputs_given[0]), len(reals[0]) // 2, COUNT if held is None else len(held[0]))
    order = torch.randperm(len(reals[0]), generator=torch.Generator().manual_seed(0))
    train, other = _at(reals, order[:count]), _at(reals, order[count : 2 * count])
    known = statistics.flat_features(_at(reals, order[: max(KNOWN, 2 * count)])[0])
    if held is not None:
        mixed = torch.randperm(len(held[0]), generator=torch.Generator().manual_seed(0))
        other = held = _at(held, mixed[:count])
    reference = RealReference(
        statistics.flat_features(train[0]), known, statistics.flat_features(other[0]), unseen=held is not None
    )
    inputs = tuple(part[:count].clone() for part in inputs_given)
    classes = 1 + max((int(parts[1].max()) for parts in (inputs, train) if len(parts) > 1), default=0)
    pieces = torch.arange(count).tensor_split(-(-count // batch))  # equally long: batch statistics need samples
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
    """The modules (G, D) that hold the weights and buffers. UserError: a function is given without its module."""
    if given is not None:
        if len(given) != 2 or not all(isinstance(network, nn.Module) for network in given):
            raise UserError("Monitor: networks must be the modules of generator and discriminator: networks=(G, D)")
        return given
    for name, network in (("generator", generator), ("discriminator", discriminator)):
        if not callable(network):
            raise UserError(f"Monitor: {name} is of type {type(network).__name__}; give the module, or a function")
    if isinstance(generator, nn.Module) and isinstance(discriminator, nn.Module):
        return generator, discriminator
    raise UserError(
        "Monitor: generator or discriminator is a function; give both modules too, so that probes can restore their "
        "buffers: networks=(G, D)"
    )


@dataclass(frozen=True)
class UserNetworks:
    """A generator and a discriminator as given to `Monitor`, whose outputs are checked.

    Raises:
        UserError: The output of a network has a wrong type, shape or range.
    """

    generator: Callable[..., Tensor]
    discriminator: Callable[..., Tensor]
    networks: tuple[nn.Module, nn.Module]
    probabilities: bool

    def as_players(self) -> Players:
        """The networks in the form that `ProbeSet` needs."""
        return Players(self.networks, self._generate, self._matches)

    def _matches(self, batch: Batch, made: Images) -> dict[str, Match]:
        real, fake = batch["real"], made["fake"]
        if fake.shape[1:] != real.shape[1:]:
            raise UserError(
                f"Monitor: the generator outputs {_shape(fake)}, real has {_shape(real)}; give equal shapes, "
                "for example real=images.flatten(1)"
            )
        return {"": Match(self._logits, real, fake, Condition.from_batch(batch), Condition.from_batch(batch, FAKE))}

    def _generate(self, batch: Batch) -> Images:
        latents = batch["latent"]
        made = self.generator(latents, *Condition.from_batch(batch, FAKE).arguments)
        _check_tensor(made, len(latents), "generator outputs", "latents", "of samples: lambda z: G(z)[0]")
        return {"fake": made}

    def _logits(self, samples: Tensor, labels: Tensor | None) -> Tensor:
        """Logits of samples."""
        output = self.discriminator(samples) if labels is None else self.discriminator(samples, labels)
        wanted = "[n, ...]: lambda x: D(x).view(len(x), -1)"
        _check_tensor(output, len(samples), "discriminator outputs", "samples", wanted)
        within = bool(((output >= 0) & (output <= 1) | output.isnan()).all())
        if self.probabilities:
            if not within:
                wrong = "probabilities=True, but the discriminator outputs values outside of [0, 1]"
                raise UserError(f"Monitor: {wrong}; leave it out for logits")
            return output.cpu().double().clamp(CLAMP, 1 - CLAMP).logit()
        if within and isinstance(list(self.networks[1].modules())[-1], nn.Sigmoid):
            raise UserError(
                "Monitor: the discriminator ends in a sigmoid and outputs probabilities; add probabilities=True"
            )
        return output


def _check_tensor(found: object, count: int, network: str, given: str, wanted: str) -> None:
    """Raise UserError unless a network outputs one tensor with a row for each sample."""
    if not isinstance(found, Tensor) or found.shape[:1] != (count,):
        shape = _shape(found) if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise UserError(f"Monitor: the {network} {shape} for {count} {given}; wrap it to return one tensor {wanted}")


def _parts(name: str, given: object) -> Parts:
    """A tensor, or a tensor with its labels, as a tuple."""
    parts = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    if len(parts) not in (1, 2) or not all(isinstance(part, Tensor) for part in parts):
        types = ", ".join(type(part).__name__ for part in parts[:3])
        raise UserError(f"Monitor: {name} must be a tensor [n, ...], or a pair (tensor, labels); it is {types}")
    if not parts[0].is_floating_point():
        raise UserError(
            f"Monitor: {name} has type {parts[0].dtype}; give floats as networks see them: {name}=images / 127.5 - 1"
        )
    if not parts[0].isfinite().all():
        raise UserError(f"Monitor: {name} holds NaN or infinity; remove such samples")
    if len(parts) == 2 and (parts[1].shape != parts[0].shape[:1] or parts[1].dtype != torch.int64):
        raise UserError(
            f"Monitor: the labels of {name} are {parts[1].dtype} {list(parts[1].shape)}; give one int64 per sample: "
            f"[{len(parts[0])}]"
        )
    return parts


def _check_count(name: str, parts: Parts, fewest: int, fix: str) -> None:
    count = len(parts[0]) if parts[0].dim() else 0
    if parts[0].dim() < 2 or count < fewest:
        raise UserError(f"Monitor: {name} is {list(parts[0].shape)}; a probe needs {fewest} or more rows: {fix}")


def _at(parts: Parts, indices: Tensor) -> Parts:
    return tuple(part.detach()[indices.to(part.device)] for part in parts)


def _shape(samples: Tensor) -> str:
    return f"samples of shape {list(samples.shape[1:])}" if samples.dim() else "a single number"
