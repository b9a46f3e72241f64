"""The adversarial game: who is set against whom, what each player minimises, how one turn is taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sparring.augment import Augment
from sparring.checks import check_terms
from sparring.errors import NotFiniteError
from sparring.losses import Loss
from sparring.optimizers import set_betas
from sparring.penalties import Constraint, Penalty, Side, differentiable
from sparring.schedules import Scheduled, value_at

Batch = Mapping[str, Tensor]
Images = Mapping[str, Tensor]
Terms = dict[str, Tensor]
Critic = Callable[[Tensor, "Tensor | None"], Tensor]
SIDES: tuple[Side, ...] = ("discriminator", "generator")
NextBatches = Callable[[], Sequence[Batch]]


@dataclass(frozen=True)
class Moment:
    """Where a run stands: `step` counts from 0; `progress` is the share of the budget spent, in [0, 1]."""

    step: int = 0
    progress: float = 0.0


@dataclass
class Match:
    """Real against fake before one critic. Logits are computed on first use, so penalties reuse them."""

    critic: Critic
    real: Tensor
    fake: Tensor
    real_condition: Tensor | None = None
    fake_condition: Tensor | None = None

    @cached_property
    def real_logits(self) -> Tensor:
        return self.critic(self.real, self.real_condition)

    @cached_property
    def fake_logits(self) -> Tensor:
        return self.critic(self.fake, self.fake_condition)


class Task(Protocol):
    """What the generator is given, and what its output is set against. Never touches autograd flags or optimisers."""

    def generator_context(self, shape: Sequence[int]) -> tuple[object, ...]:
        """The leading arguments that a generator for samples of this shape is built with."""

    def discriminator_context(self, shape: Sequence[int]) -> tuple[object, ...]:
        """The leading arguments that a discriminator for samples of this shape is built with."""

    def draw(self, count: int, generator: torch.Generator | None = None) -> Batch:
        """The random inputs of `count` samples (such as latents), on the CPU."""

    def generate(self, network: nn.Module, batch: Batch) -> Images:
        """Run the generator on a batch that holds what `draw` gave."""

    def matches(self, network: nn.Module, batch: Batch, made: Images) -> dict[str, Match]:
        """Set what the generator made against the batch, before the discriminator `network`."""

    def extra_terms(self, batch: Batch, made: Images) -> Terms:
        """Scalars that the generator minimises besides (L1, cycle consistency); often none."""


@dataclass
class Player:
    """A network with its optimiser; frozen except during its own turn."""

    network: nn.Module
    optimizer: torch.optim.Optimizer

    def __post_init__(self) -> None:
        self.network.requires_grad_(False)
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])

    def set_learning_rate(self, factor: float, progress: float = 0.0) -> None:
        """Scale the learning rate, and set the betas that the optimiser has for this share of the run."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        set_betas(self.optimizer, progress)


@dataclass
class Outcome:
    """What one batch gave one player: the scalars whose sum it minimises, and what they were computed from."""

    terms: Terms
    made: Images
    matches: dict[str, Match]


@dataclass
class Turn:
    """One turn that was taken: terms averaged over micro-batches, the gradient's norm, and each batch's outcome."""

    terms: dict[str, float]
    gradient_norm: float
    outcomes: list[Outcome]

    @property
    def loss(self) -> float:
        return sum(self.terms.values())


OutcomeOf = Callable[[Batch, Moment], Outcome]


class TurnRule(Protocol):
    """Orders the turns of one step."""

    def __call__(self, game: Game, next_batches: NextBatches, moment: Moment) -> dict[Side, Turn]: ...


@dataclass
class Game:
    """Two players, what they play for and by which rules."""

    task: Task
    loss: Loss
    generator: Player
    discriminator: Player
    penalties: Sequence[Penalty] = ()
    constraints: Sequence[Constraint] = ()
    augment: Augment | None = None
    learning_rate: Scheduled = 1.0
    clip_gradients: float = 0.0
    autocast: Callable[[], AbstractContextManager[Any]] = field(default=nullcontext)

    def player(self, side: Side) -> Player:
        return self.generator if side == "generator" else self.discriminator

    def discriminator_outcome(self, batch: Batch, moment: Moment, made: Images | None = None) -> Outcome:
        """What the discriminator minimises on one batch; `made` reuses images that the generator made already."""
        with self._precision(moment, "discriminator"):
            if made is None:
                with torch.no_grad():
                    made = self.task.generate(self.generator.network, batch)
            matches = self._matches(batch, made, moment, "discriminator")
            return Outcome(self._discriminator_terms(matches, moment), made, matches)

    def generator_outcome(self, batch: Batch, moment: Moment, made: Images | None = None) -> Outcome:
        """What the generator minimises on one batch."""
        with self._precision(moment, "generator"):
            made = self.task.generate(self.generator.network, batch) if made is None else made
            matches = self._matches(batch, made, moment, "generator")
            return Outcome(self._generator_terms(batch, made, matches, moment), made, matches)

    def take_turn(
        self, side: Side, batches: Sequence[Batch], moment: Moment, outcome_of: OutcomeOf | None = None
    ) -> Turn:
        """One optimiser step of one player on micro-batches that count as one batch."""
        turn = self.accumulate(side, batches, moment, outcome_of)
        self.update(side, moment)
        return turn

    def accumulate(
        self, side: Side, batches: Sequence[Batch], moment: Moment, outcome_of: OutcomeOf | None = None
    ) -> Turn:
        """Compute one player's gradient, averaged over micro-batches; the other player is left as it was."""
        if outcome_of is None:
            outcome_of = self.generator_outcome if side == "generator" else self.discriminator_outcome
        outcomes = []
        with self._on_turn(side):
            for batch in batches:
                outcomes.append(outcome_of(batch, moment))
                self._backward(side, batch, outcomes[-1], moment, len(batches))
        return self._finish(side, outcomes, moment)

    def accumulate_both(self, batches: Sequence[Batch], moment: Moment) -> dict[Side, Turn]:
        """Compute both players' gradients at the same point, from the same images and logits."""
        outcomes: dict[Side, list[Outcome]] = {"discriminator": [], "generator": []}
        with self._on_turn("discriminator", "generator"):
            for batch in batches:
                with self._precision(moment, *outcomes):
                    made = self.task.generate(self.generator.network, batch)
                    matches = self._matches(batch, made, moment, *outcomes)
                    terms = self._generator_terms(batch, made, matches, moment)
                    outcomes["generator"].append(Outcome(terms, made, matches))
                    terms = self._discriminator_terms(matches, moment)
                    outcomes["discriminator"].append(Outcome(terms, made, matches))
                for side in outcomes:
                    again = side == "discriminator"  # the generator's backward pass still needs what they share
                    self._backward(side, batch, outcomes[side][-1], moment, len(batches), retain_graph=again)
        return {side: self._finish(side, outcomes[side], moment) for side in outcomes}

    def update(self, side: Side, moment: Moment) -> None:
        """Apply one player's gradient, and the constraints on its weights."""
        player = self.player(side)
        player.set_learning_rate(value_at(self.learning_rate, moment.progress), moment.progress)
        player.optimizer.step()
        for constraint in self.constraints:
            if constraint.side == side:
                constraint.project(player.network)

    def _matches(self, batch: Batch, made: Images, moment: Moment, *sides: Side) -> dict[str, Match]:
        matches = self.task.matches(self.discriminator.network, batch, made)
        for match in matches.values():
            match.critic = self._prepared(match.critic, moment)
            if self._due(moment, *sides):
                match.real, match.fake = differentiable(match.real), differentiable(match.fake)
        return matches

    def _discriminator_terms(self, matches: Mapping[str, Match], moment: Moment) -> Terms:
        terms: Terms = {}
        for name, match in matches.items():
            terms[name] = self.loss.discriminator(match.real_logits, match.fake_logits).mean()
            terms |= self._penalise("discriminator", name, match, moment)
        return terms

    def _generator_terms(self, batch: Batch, made: Images, matches: Mapping[str, Match], moment: Moment) -> Terms:
        terms = dict(self.task.extra_terms(batch, made))
        for name, match in matches.items():
            real = match.real_logits if self.loss.relative else None
            terms[name] = self.loss.generator(real, match.fake_logits).mean()
            terms |= self._penalise("generator", name, match, moment)
        return terms

    def _precision(self, moment: Moment, *sides: Side) -> AbstractContextManager[Any]:
        """What is differentiated twice stays in fp32."""
        return nullcontext() if self._due(moment, *sides) else self.autocast()

    @contextmanager
    def _on_turn(self, *sides: Side) -> Iterator[None]:
        """Thaw the players whose turn it is, with empty gradients; others stay as they are, buffers too."""
        others = [self.player(side).network for side in SIDES if side not in sides]
        for side in sides:
            self.player(side).optimizer.zero_grad(set_to_none=True)
            self.player(side).network.requires_grad_(True)
        try:
            with kept_buffers(*others):
                yield
        finally:
            for side in sides:
                self.player(side).network.requires_grad_(False)

    def _backward(
        self, side: Side, batch: Batch, outcome: Outcome, moment: Moment, parts: int, retain_graph: bool = False
    ) -> None:
        """Add the gradient of one of `parts` micro-batches, after a check."""
        check_terms(self, side, batch, outcome, moment)
        total = torch.stack(list(outcome.terms.values())).sum() / parts
        total.backward(inputs=list(self.player(side).network.parameters()), retain_graph=retain_graph)

    def _finish(self, side: Side, outcomes: list[Outcome], moment: Moment) -> Turn:
        """Check and clip the gradient, whose norm is reported before clipping; average the terms."""
        network = self.player(side).network
        gradients = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
        norm = torch.nn.utils.get_total_norm(gradients.values())
        if not math.isfinite(norm.item()):
            name = next((n for n, g in gradients.items() if not g.isfinite().all()), "sum of squares")
            raise NotFiniteError(f"step {moment.step}: the {side}'s gradient of '{name}' is not finite")
        if self.clip_gradients:
            torch.nn.utils.clip_grads_with_norm_(network.parameters(), self.clip_gradients, norm)
        terms = {k: sum(o.terms[k].item() for o in outcomes) / len(outcomes) for k in outcomes[0].terms}
        return Turn(terms, norm.item(), outcomes)

    def _prepared(self, critic: Critic, moment: Moment) -> Critic:
        """The critic behind the augmentation; its logits in fp32 (or better) whatever the network computes in."""

        def prepared(images: Tensor, condition: Tensor | None) -> Tensor:
            if self.augment is not None:
                images = self.augment(images, moment.progress)
            logits = critic(images, condition)
            return logits.to(torch.promote_types(logits.dtype, torch.float32))

        return prepared

    def _due(self, moment: Moment, *sides: Side) -> list[Penalty]:
        return [p for p in self.penalties if p.side in sides and moment.step % p.every == 0]

    def _penalise(self, side: Side, name: str, match: Match, moment: Moment) -> Terms:
        terms: Terms = {}
        for penalty in self._due(moment, side):
            key = f"{name}/{type(penalty).__name__}"
            value = value_at(penalty.weight, moment.progress) * penalty.every * penalty(match).mean()
            terms[key] = terms[key] + value if key in terms else value
        return terms


@contextmanager
def kept_buffers(*networks: nn.Module) -> Iterator[None]:
    """Undo what forward passes do to networks' buffers (batch statistics, power iterations)."""
    saved = [(buffer, buffer.clone()) for network in networks for buffer in network.buffers()]
    try:
        yield
    finally:
        for buffer, before in saved:
            buffer.copy_(before)
