"""What every probe needs, whoever trains: when it is due, that it has no side effects, and which metrics it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sparring.base.compat import total_norm
from sparring.doctor.probing.reference import Metrics, RealReference, discriminator_metrics
from sparring.game.game import kept_buffers
from sparring.game.losses import Loss
from sparring.run.log import PROBE, Row, of_kind

COUNT = 256  # samples of each kind in a probe
FEWEST = 32  # least samples of each kind
KNOWN = 2048  # training samples among which copies are looked for
SHARE = 0.05  # of the time of training alone that probes may take
MOST = 100  # probes over a whole run
ROUNDING = 1e-9  # tolerance for shares, so that a probe due at a step is not delayed to the next


class ProbeSchedule:
    """Decides when a probe is due: at least 1 / MOST of the run after the last one, and within SHARE of the time.

    Attributes:
        spent: Seconds that all probes took.
        last: Seconds that the last probe took.
        probed_at: Position in the run of the last probe, as a share; -1 before the first.
    """

    def __init__(self) -> None:
        self.spent = self.last = 0.0
        self.probed_at = -1.0

    def due(self, seconds: float, place: float) -> bool:
        """A probe is due at this position in the run, after `seconds` of training."""
        apart = not self.probed_at <= place < self.probed_at + 1 / MOST - ROUNDING
        return apart and self.spent + self.last <= SHARE * seconds

    def took(self, seconds: float, place: float) -> None:
        """Count a probe."""
        self.probed_at, self.last = place, seconds
        self.spent += seconds

    def resume(self, history: Sequence[Row], place: Callable[[Row], float]) -> None:
        """Count the probes in a log; `place` returns the position of a probe in the run."""
        probes = of_kind(history, PROBE)
        self.spent = sum(row["cost"] for row in probes)
        self.probed_at = place(probes[-1]) if probes else -1.0


@contextmanager
def without_side_effects(generator: nn.Module, discriminator: nn.Module) -> Iterator[None]:
    """Forward passes without gradients that restore buffers and random state.

    Random numbers inside, such as those of augmentations and dropout, are the same each time.
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
) -> Metrics:
    """The metrics of a probe.

    `finite` is 1; where samples or logits hold NaN or infinity, it is 0 and the only metric.

    Args:
        reference: The real samples to compare with.
        loss: What generator and discriminator minimise now; None leaves out `signal`.
        tensors: On the CPU, in float32:

            - `made`: flat samples [n, d] of the same latents each time
            - `real`, `fake`: logits of training samples and of `made`
            - `held_out` (optional): logits of real samples that the training does not see
            - `other class`, `other latent` (flat samples), `wrong` (logits), with classes only: see `condition_effects`
            - `truth` (flat samples) of a task with pairs, or `source` of one without: see `source_effects`
        generator: The network whose weights are measured.
        discriminator: The other one.
    """
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        return {"finite": 0.0}
    found = {"finite": 1.0} | discriminator_metrics(loss, tensors["real"], tensors["fake"], tensors.get("held_out"))
    found |= condition_effects(tensors, reference.usual["spread"]) | reference.measure(tensors["made"])
    if "truth" in tensors or "source" in tensors:
        del found["copies"]  # a translated image should equal its target, which may be a training image
    if "source" in tensors:
        del found["mode_coverage"]  # until the style is learnt, images lie apart from the targets, however varied
    for side, network in (("generator", generator), ("discriminator", discriminator)):
        found[f"weights/{side}"] = float(total_norm([weight.detach() for weight in network.parameters()]))
    return found


def condition_effects(tensors: Mapping[str, Tensor], usual: float) -> Metrics:
    """How much the class, the latent or the source changes samples; nothing where there is no class and no source.

    `effect/class` and `effect/latent` are the changes at the same latent and at the same class, relative to the mean
    distance `usual` between real samples. `effect/critic` is the drop of D's logits with a wrong class, in standard
    deviations.
    """
    if "truth" in tensors or "source" in tensors:
        return source_effects(tensors, usual)
    if "wrong" not in tensors:
        return {}
    changed = {n: (tensors[f"other {n}"] - tensors["made"]).norm(dim=1).mean() for n in ("class", "latent")}
    drop = (tensors["real"] - tensors["wrong"]).mean() / tensors["real"].std().clamp_min(1e-12)
    return {f"effect/{n}": float(value) / usual for n, value in changed.items()} | {"effect/critic": float(drop)}


def source_effects(tensors: Mapping[str, Tensor], usual: float) -> dict[str, float]:
    """How much translated images depend on their source.

    `effect/source` is their change with the source, relative to the mean distance `usual` between real samples.
    `effect/truth` (with pairs) is their distance to their own target, relative to that to another target.
    """
    made = tensors["made"]
    found = {"effect/source": float((made - made.roll(1, 0)).norm(dim=1).mean()) / usual}
    if "truth" in tensors:
        own, others = ((made - real).norm(dim=1).mean() for real in (tensors["truth"], tensors["truth"].roll(1, 0)))
        found["effect/truth"] = float(own / others.clamp_min(1e-12))
    return found
