"""What all looks at a training share, whoever trains: how often, that they change nothing, and their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sparring.base.compat import total_norm
from sparring.doctor.probing.reference import Numbers, RealReference, judged
from sparring.game.game import kept_buffers
from sparring.game.losses import Loss
from sparring.run.log import PROBE, Row, of_kind

COUNT = 256  # samples of each kind in a look
FEWEST = 32  # samples of a kind below which a look says nothing
KNOWN = 2048  # training samples that copies are looked for among
SHARE = 0.05  # of the training's time that looks may take
MOST = 100  # looks over a whole run
ROUNDING = 1e-9  # of shares: a look that is due at a step is not put off to the next


class ProbeSchedule:
    """When the next look is due: not too soon after the last one, and not before there is time for it. Counts seconds
    (`spent` by all looks, and by the `last` one), and keeps the place in the run of the last look; -1 before the first.
    """

    def __init__(self) -> None:
        self.spent = self.last = 0.0
        self.probed_at = -1.0

    def due(self, seconds: float, place: float) -> bool:
        """Is it time for a look, `seconds` after the training began, at this place in the run?"""
        apart = not self.probed_at <= place < self.probed_at + 1 / MOST - ROUNDING
        return apart and self.spent + self.last <= SHARE * seconds

    def took(self, seconds: float, place: float) -> None:
        """Take note of a look."""
        self.probed_at, self.last = place, seconds
        self.spent += seconds

    def go_on(self, history: Sequence[Row], place: Callable[[Row], float]) -> None:
        """Take note of the looks in a log; `place` tells where in the run each was."""
        probes = of_kind(history, PROBE)
        self.spent = sum(row["cost"] for row in probes)
        self.probed_at = place(probes[-1]) if probes else -1.0


@contextmanager
def without_side_effects(generator: nn.Module, discriminator: nn.Module) -> Iterator[None]:
    """Forward passes that leave no trace: no gradients, and buffers and random numbers as before.

    The random numbers within, of augmentations and dropout, are the same each time.
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    metal = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    with torch.no_grad(), torch.random.fork_rng(devices=devices), kept_buffers(generator, discriminator):
        torch.manual_seed(0)
        try:
            yield
        finally:
            if metal is not None:
                torch.mps.set_rng_state(metal)


def measured(
    reference: RealReference,
    loss: Loss | None,
    tensors: Mapping[str, Tensor],
    generator: nn.Module,
    discriminator: nn.Module,
) -> Numbers:
    """The numbers of a look. `finite` is 1, or 0 where samples or logits hold NaN or infinity: then it stands alone.

    Args:
        loss: what the players minimise, as it stands now; None leaves out `signal`.
        tensors: on the CPU, in float32. `made`: seen samples [n, d] of always the same latents; `fake` and `real`:
            their logits and those of training samples; perhaps `held_out`: those of samples that no training saw;
            perhaps `other class`, `other latent` (seen samples) and `wrong` (logits), see `effects`; of tasks that turn
            images into others `truth` (seen samples) or, without pairs, `source`, see `source_effects`.
    """
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        return {"finite": 0.0}
    found = {"finite": 1.0} | judged(loss, tensors["real"], tensors["fake"], tensors.get("held_out"))
    found |= effects(tensors, reference.usual["spread"]) | reference.measure(tensors["made"])
    if "truth" in tensors or "source" in tensors:
        del found["copies"]  # what is made of a source is to be like its target, which may be a training image
    if "source" in tensors:
        del found[
            "mode_coverage"
        ]  # whose images lie elsewhere than the targets until the style is learnt, however varied
    for side, network in (("generator", generator), ("discriminator", discriminator)):
        found[f"weights/{side}"] = float(total_norm([weight.detach() for weight in network.parameters()]))
    return found


def effects(tensors: Mapping[str, Tensor], usual: float) -> Numbers:
    """How much samples change with the class at the same latent, and with the latent at the same class, as shares of
    the distance of real samples (`usual`); how much D minds a wrong class. Nothing without classes."""
    if "truth" in tensors or "source" in tensors:
        return source_effects(tensors, usual)
    if "wrong" not in tensors:
        return {}
    changed = {n: (tensors[f"other {n}"] - tensors["made"]).norm(dim=1).mean() for n in ("class", "latent")}
    minds = (tensors["real"] - tensors["wrong"]).mean() / tensors["real"].std().clamp_min(1e-12)
    return {f"effect/{n}": float(value) / usual for n, value in changed.items()} | {"effect/critic": float(minds)}


def source_effects(tensors: Mapping[str, Tensor], usual: float) -> dict[str, float]:
    """Of tasks that turn images into others: how much what is made changes with the source, as a share of the distance
    of real samples; and how near it lies to what it should be, beside what other sources should become."""
    made = tensors["made"]
    found = {"effect/source": float((made - made.roll(1, 0)).norm(dim=1).mean()) / usual}
    if "truth" in tensors:
        own, others = ((made - real).norm(dim=1).mean() for real in (tensors["truth"], tensors["truth"].roll(1, 0)))
        found["effect/truth"] = float(own / others.clamp_min(1e-12))
    return found
