"""The adversarial game: what each player minimises, and how it takes a turn (one optimiser step)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sparring.base.compat import total_norm
from sparring.base.device import widest_float
from sparring.base.workers import workers
from sparring.game.augment import Augment
from sparring.game.finite import FiniteChecks
from sparring.game.losses import Loss
from sparring.game.match import Batch, GameTask, Images, Match, Moment, Side, Terms
from sparring.game.memory import Logits, Stateful
from sparring.game.optimizers import set_betas
from sparring.game.outcome import MicroBatch, Outcome, Turn
from sparring.game.penalties.base import Constraint, Penalty, Term, WeightPenalty
from sparring.game.penalties.slopes import differentiable
from sparring.game.schedules import Scheduled, at, value_at

SIDES: tuple[Side, ...] = ("discriminator", "generator")
NextBatches = Callable[[], Sequence[Batch]]


@dataclass
class Player:
    """A network with its optimiser. Its parameters are frozen except during its own turn."""

    network: nn.Module
    optimizer: torch.optim.Optimizer

    def __post_init__(self) -> None:
        self.network.requires_grad_(False)
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])

    def set_learning_rate(self, factor: float, progress: float = 0.0) -> None:
        """Set learning rate (initial value times `factor`) and scheduled betas for this progress."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        set_betas(self.optimizer, progress)


OutcomeOf = Callable[[Batch, Moment], Outcome]


class TurnRule(Protocol):
    """The order of both players' turns within one step."""

    def __call__(self, game: Game, next_batches: NextBatches, moment: Moment) -> dict[Side, Turn]: ...


@dataclass
class Game:
    """Generator and discriminator with their objectives.

    Attributes:
        task: generates samples and compares them with real ones; has loss terms of its own (L1, cycle consistency).
        loss: adversarial loss.
        generator: the generator and its optimiser.
        discriminator: the discriminator and its optimiser.
        penalties: additional terms of either player.
        constraints: projections of weights after an update.
        augment: augmentation of all that the discriminator receives.
        adversarial: weight of the adversarial loss relative to the task's own losses; 0 trains without a discriminator.
        learning_rate: factor of both learning rates.
        clip_gradients: largest norm of a player's gradient; 0 does not clip.
        autocast: context of mixed precision.
        checks: checks of terms and gradients for NaN and infinity.
    """

    task: GameTask
    loss: Loss
    generator: Player
    discriminator: Player
    penalties: Sequence[Term] = ()
    constraints: Sequence[Constraint] = ()
    augment: Augment | None = None
    adversarial: Scheduled = 1.0
    learning_rate: Scheduled = 1.0
    clip_gradients: float = 0.0
    autocast: Callable[[], AbstractContextManager[Any]] = field(default=nullcontext)
    checks: FiniteChecks = field(default_factory=FiniteChecks)

    @property
    def stateful(self) -> dict[str, Stateful]:
        """Components with state, by name. Names are stable for a recipe, because checkpoints use them as keys."""
        parts: list[object] = [self.augment, *self.penalties, self.task.stateful]
        return {f"{i}-{type(part).__name__}": part for i, part in enumerate(parts) if isinstance(part, Stateful)}

    def adversarial_active(self, moment: Moment) -> bool:
        """The weight of the adversarial loss is above 0."""
        return self.weight(moment) > 0

    def weight(self, moment: Moment) -> float:
        """Weight of the adversarial loss in the generator's objective at this moment."""
        return value_at(self.adversarial, moment.progress)

    def player(self, side: Side) -> Player:
        return self.generator if side == "generator" else self.discriminator

    def discriminator_outcome(self, batch: Batch, moment: Moment, made: Images | None = None) -> Outcome:
        """The discriminator's terms on one batch; `made` holds generated images to reuse."""
        if not self.adversarial_active(moment):
            return Outcome({}, {}, {})
        with self._precision(moment, "discriminator"):
            if made is None:
                with torch.no_grad(), kept_buffers(self.generator.network):
                    made = self.task.discriminator_images(self.task.generate(self.generator.network, batch))
            matches = self.matches(batch, made, moment, "discriminator")
            return Outcome(self._discriminator_terms(matches, moment), made, matches)

    def generator_outcome(self, batch: Batch, moment: Moment, made: Images | None = None) -> Outcome:
        """The generator's terms on one batch; `made` holds generated images to reuse."""
        with self._precision(moment, "generator"):
            made = self.task.generate(self.generator.network, batch) if made is None else made
            matches = self.matches(batch, made, moment, "generator")
            return Outcome(self._generator_terms(batch, made, matches, moment), made, matches)

    def take_turn(
        self, side: Side, batches: Sequence[Batch], moment: Moment, outcome_of: OutcomeOf | None = None
    ) -> Turn:
        """One optimiser step of one player; its gradient is averaged over micro-batches."""
        turn = self.accumulate(side, batches, moment, outcome_of)
        self.update(side, moment)
        return turn

    def take_turns_on_same_images(self, batches: Sequence[Batch], moment: Moment) -> dict[Side, Turn]:
        """A turn of the discriminator, then one of the generator on the same images, judged by the updated D."""
        if len(batches) > 1:  # graphs of all micro-batches at once would take the memory that micro-batches save
            return {side: self.take_turn(side, batches, moment) for side in SIDES}
        with self._on_turn("generator"), self._precision(moment, "generator"):
            made = self.task.generate(self.generator.network, batches[0])
        shown = self.task.discriminator_images({name: images.detach() for name, images in made.items()})
        of_discriminator, of_generator = (
            partial(outcome_of, made=images)
            for outcome_of, images in ((self.discriminator_outcome, shown), (self.generator_outcome, made))
        )
        return {
            "discriminator": self.take_turn("discriminator", batches, moment, of_discriminator),
            "generator": self.take_turn("generator", batches, moment, of_generator),
        }

    def accumulate(
        self, side: Side, batches: Sequence[Batch], moment: Moment, outcome_of: OutcomeOf | None = None
    ) -> Turn:
        """Compute one player's gradient, averaged over micro-batches; the other player stays unchanged."""
        if outcome_of is None:
            outcome_of = self.generator_outcome if side == "generator" else self.discriminator_outcome
        parts = []
        with self._on_turn(side):
            for batch in batches:
                outcome = outcome_of(batch, moment)
                total = self._total(side, batch, outcome, moment)
                if total is not None:
                    (total / len(batches)).backward(inputs=self._weights(side))
                parts.append(self._detached(side, outcome))
                del outcome, total  # free graph and images before the next micro-batch
        return self._finish(side, parts, moment)

    def accumulate_both(self, batches: Sequence[Batch], moment: Moment) -> dict[Side, Turn]:
        """Compute both players' gradients at the same parameters, from the same images and logits."""
        parts = []
        with self._on_turn(*SIDES):
            for batch in batches:
                parts.append(self._part_of_both(batch, moment, len(batches)))
        return {side: self._finish(side, [part[side] for part in parts], moment) for side in SIDES}

    def update(self, side: Side, moment: Moment) -> None:
        """Apply one player's gradient, then the constraints on its weights."""
        player = self.player(side)
        player.set_learning_rate(value_at(self.learning_rate, moment.progress), moment.progress)
        player.optimizer.step()
        for constraint in self.constraints:
            if constraint.side == side:
                constraint.project(player.network)

    def matches(self, batch: Batch, made: Images, moment: Moment, *sides: Side) -> dict[str, Match]:
        """The task's matches with this game's augmentation, differentiable as the penalties of these sides need."""
        matches = self.task.matches(self.discriminator.network, batch, made)
        for name, match in matches.items():
            match.augment, match.progress, match.name = self.augment, moment.progress, name
            if self._differentiates(moment, *sides):
                match.real, match.fake = differentiable(match.real), differentiable(match.fake)
        return matches

    def _discriminator_terms(self, matches: Mapping[str, Match], moment: Moment) -> Terms:
        loss, terms = at(self.loss, moment.progress), {}
        for name, match in matches.items():
            terms[name] = loss.discriminator(match.real_logits, match.fake_logits).mean()
        return terms | self._penalise("discriminator", matches, moment)

    def _generator_terms(self, batch: Batch, made: Images, matches: Mapping[str, Match], moment: Moment) -> Terms:
        loss, weight = at(self.loss, moment.progress), self.weight(moment)
        terms = dict(self.task.extra_terms(self.generator.network, batch, made))
        for name, match in matches.items() if weight else ():
            real = match.real_logits if loss.relative else None
            terms[name] = weight * loss.generator(real, match.fake_logits).mean()
        return terms | self._penalise("generator", matches, moment)

    def _precision(self, moment: Moment, *sides: Side) -> AbstractContextManager[Any]:
        """Mixed precision; fp32 if a penalty differentiates twice."""
        return nullcontext() if self._differentiates(moment, *sides) else self.autocast()

    @contextmanager
    def _on_turn(self, *sides: Side) -> Iterator[None]:
        """Unfreeze these players with empty gradients; the other one stays unchanged, buffers included."""
        # in the discriminator's turn, the generator's buffers are restored right after it ran: a graph may need them
        others = [] if "discriminator" in sides else [self.discriminator.network]
        for side in sides:
            self.player(side).optimizer.zero_grad(set_to_none=True)
            self.player(side).network.requires_grad_(True)
        try:
            with kept_buffers(*others):
                yield
        finally:
            for side in sides:
                self.player(side).network.requires_grad_(False)

    def _part_of_both(self, batch: Batch, moment: Moment, parts: int) -> dict[Side, MicroBatch]:
        """Add both players' gradients of one of `parts` micro-batches; its graph and images are freed on return."""
        with self._precision(moment, *SIDES):
            made = self.task.generate(self.generator.network, batch)
            matches = self.matches(batch, made, moment, *SIDES)
            terms = self._generator_terms(batch, made, matches, moment)
            outcomes: dict[Side, Outcome] = {"generator": Outcome(terms, made, matches)}
            terms = self._discriminator_terms(matches, moment) if self.adversarial_active(moment) else {}
            outcomes["discriminator"] = Outcome(terms, made, matches if terms else {})
        for side in SIDES:
            total = self._total(side, batch, outcomes[side], moment)
            if total is not None:
                shared = side == "discriminator"  # the generator's backward pass needs the shared graph
                (total / parts).backward(inputs=self._weights(side), retain_graph=shared)
        return {side: self._detached(side, outcome) for side, outcome in outcomes.items()}

    def _detached(self, side: Side, outcome: Outcome) -> MicroBatch:
        return outcome.detached(side, made=side == "discriminator" and self.task.stateful is not None)

    def _total(self, side: Side, batch: Batch, outcome: Outcome, moment: Moment) -> Tensor | None:
        """Check and sum a player's terms; None if it has none (the discriminator without an adversarial loss)."""
        if not outcome.terms:
            return None
        values = torch.stack(list(outcome.terms.values()))
        networks = self.generator.network, self.discriminator.network
        self.checks.check_terms(*networks, side, batch, outcome, values.detach(), moment)
        return values.sum()

    def _weights(self, side: Side) -> list[nn.Parameter]:
        return list(self.player(side).network.parameters())

    def _finish(self, side: Side, parts: Sequence[MicroBatch], moment: Moment) -> Turn:
        """Average the gradient over all workers, check and clip it, and average the terms of this worker.

        The norm reported is that before clipping. Running statistics are averaged with the gradient.
        """
        network = self.player(side).network
        gradients = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
        workers().average_([*gradients.values(), *(b for b in network.buffers() if b.is_floating_point())])
        norm = total_norm(gradients.values())
        if gradients:
            self.checks.check_gradient(side, gradients, norm, moment)
        if self.clip_gradients:
            torch.nn.utils.clip_grad_norm_(network.parameters(), self.clip_gradients)
        turn = Turn(
            terms={name: _mean([part.terms[name] for part in parts]) for name in parts[0].terms},
            gradient_norm=norm,
            matches=parts[0].matches,
            logits=_joined([part.logits for part in parts]),
            samples=sum(part.samples for part in parts),
            weight=self.weight(moment) if side == "generator" else 1.0,
        )
        if side == "discriminator" and self.adversarial_active(moment):
            self._observe(turn, [part.made for part in parts])
        return turn

    def _observe(self, turn: Turn, made: Sequence[Images]) -> None:
        """Update the components with state, which see the logits and images of all workers."""
        components, gathered = self.stateful.values(), workers().gathered
        if not components:
            return
        logits = {name: (gathered(real), gathered(fake)) for name, (real, fake) in turn.logits.items()}
        shown = [{name: gathered(images) for name, images in part.items()} for part in made]
        for component in components:
            component.observe(logits=logits, loss=self.loss, samples=turn.samples * workers().count, made=shown)

    def _due(self, moment: Moment, *sides: Side) -> list[Term]:
        return [p for p in self.penalties if set(p.sides) & set(sides) and moment.step % p.every == 0]

    def _differentiates(self, moment: Moment, *sides: Side) -> bool:
        """A penalty due at this step differentiates the critic with respect to samples."""
        return any(isinstance(p, Penalty) and p.differentiates for p in self._due(moment, *sides))

    def _penalise(self, side: Side, matches: Mapping[str, Match], moment: Moment) -> Terms:
        terms: Terms = {}
        for penalty in self._due(moment, side):
            weight = value_at(penalty.weight, moment.progress) * penalty.every
            if not weight or (
                isinstance(penalty, Penalty) and penalty.uses_critic and not self.adversarial_active(moment)
            ):
                continue  # a discriminator that is not trained gives no useful penalty
            if isinstance(penalty, WeightPenalty):
                values = {type(penalty).__name__: penalty(self.player(side).network)}
            else:
                assert isinstance(penalty, Penalty)
                included = {n: m for n, m in matches.items() if penalty.uses_critic or not m.repeated}
                values = {f"{n}/{type(penalty).__name__}": penalty(m, side).mean() for n, m in included.items()}
            for key, value in values.items():
                terms[key] = terms[key] + weight * value if key in terms else weight * value
        return terms


def _mean(values: Sequence[Tensor]) -> Tensor:
    """Mean of scalars, in the widest float of their device."""
    if len(values) == 1:
        return values[0]
    wide = widest_float(values[0].device)
    return reduce(torch.add, [value.to(wide) for value in values]) / len(values)


def _joined(parts: Sequence[Logits]) -> Logits:
    """Logits of all micro-batches, by match."""
    return {
        name: (torch.cat([part[name][0] for part in parts]), torch.cat([part[name][1] for part in parts]))
        for name in parts[0]
    }


@contextmanager
def kept_buffers(*networks: nn.Module) -> Iterator[None]:
    """Restore the networks' buffers (batch statistics, power iterations) on exit."""
    saved = [(buffer, buffer.clone()) for network in networks for buffer in network.buffers()]
    try:
        yield
    finally:
        for buffer, before in saved:
            buffer.copy_(before)
