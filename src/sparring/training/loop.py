"""The training loop: steps, log rows, probes, evaluations, checkpoints and pictures."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from threading import Event

from sparring.assemble.start import progress_of
from sparring.assemble.state import State, find_checkpoint
from sparring.base.errors import NotFiniteError, UserError
from sparring.base.process import INTERRUPTED, Interrupted, interruptible
from sparring.base.workers import EndedTogether, workers
from sparring.data.samples import Data
from sparring.doctor import autopilot
from sparring.doctor.watch import Watch
from sparring.game.losses import equilibrium
from sparring.game.match import Side
from sparring.game.outcome import Turn
from sparring.recipe import Recipe
from sparring.run.clock import Clock
from sparring.run.directory import Run
from sparring.run.log import CHECKPOINT, NOT_FINITE, STOP
from sparring.training.agreement import Due, check_equal_states
from sparring.training.gallery import Gallery
from sparring.training.progress import Progress
from sparring.training.scoring import Scorer, score_samples
from sparring.training.step import Stepper
from sparring.training.step_metrics import turn_metrics
from sparring.training.summary import write_summary
from sparring.training.threads import Threads


@dataclass
class Session:
    """One run during training, with its observers.

    Of several workers each has a session, and all take the same decisions. Only the first one has observers, and
    writes.
    """

    run: Run
    recipe: Recipe
    data: Data
    state: State
    gallery: Gallery | None
    scorer: Scorer | None
    watch: Watch | None
    until: float  # the share of the budget to stop at
    threads: Threads
    reason: str = ""  # why training stopped early: no progress
    ended: bool = False  # training takes no further step
    take_step: Stepper = field(init=False)
    resources: ExitStack = field(default_factory=ExitStack)  # what the stepper holds
    _saved_at: float = 0.0  # seconds of wall time at the last checkpoint
    _pictured: int = 0  # pictures saved so far
    _agreed: float | None = None  # the share of the budget on the first of several workers, whose clock counts

    @property
    def share(self) -> float:
        return progress_of(self.recipe, self.state) if self._agreed is None else self._agreed

    @property
    def clock(self) -> Clock:
        return self.state.clock

    def begin(self, progress: Progress) -> None:
        """Prepare for the next step; first apply the doctor's fix if the log calls for one."""
        with self.clock.overhead("doctor"):
            self.treat(progress)
        self.resources.close()
        self.take_step = self.resources.enter_context(closing(Stepper(self.recipe, self.data, self.state)))
        self._saved_at, self._pictured = self.clock.wall_seconds, int(self.share * self.recipe.pictures)
        if self.state.step == 0:
            self.save_picture()
        self.ended = self.share >= self.until

    def treat(self, progress: Progress) -> None:
        """Apply the doctor's fix if the log calls for one (`doctor="treat"`): it replaces the recipe and the state."""
        if self.watch is None or self.recipe.doctor != "treat":
            return
        fix = autopilot.next_fix(self.run, self.recipe, self.data.form, self.watch.history)
        if fix is None:
            return
        self.watch.history.append(autopilot.record_fix(fix, self.run, self.recipe, self.state))
        self.recipe, self.state = autopilot.apply_fix(fix, self.run, self.recipe, self.data, self.state)
        self.run.write_recipe(self.recipe)
        self.watch.follow(self.recipe, self.state)
        progress.equilibrium = equilibrium(self.state.game.loss)
        progress.note(f"step {self.state.step:,} | doctor: applied a fix for {fix.failure}: {fix.description}")

    def after_step(self, turns: dict[Side, Turn], stop: Event, progress: Progress) -> None:
        """Do what is due after a step: log row, probe, evaluation, checkpoint, picture. `stop` is set by Ctrl-C."""
        self.clock.read()
        due, treating = self.due(stop), False
        if due.logging:
            metrics = turn_metrics(self.state.game, turns)
            with workers().led() as leads:
                treating = leads and self.log_and_probe(metrics, progress)
        stopping = due.stopping or (stop.is_set() and not workers().several)  # a signal while the row was written
        self.ended = stopping
        if due.evaluating or due.saving or stopping or treating:
            self.await_steps()
            spent = self.save(progress, due)
            self.ended = stopping or bool(self.reason) or spent
            if (self.reason or spent) and not due.logging:
                self.log_row(turn_metrics(self.state.game, turns), progress)
        if int(due.share * self.recipe.pictures) > self._pictured or self.ended:
            self._pictured = int(due.share * self.recipe.pictures)
            self.await_steps()
            self.save_picture()
        if treating and not self.ended:
            self.begin(progress)

    def due(self, stop: Event) -> Due:
        """What is due after a step. Of several workers, the first one decides; a signal to any one stops all."""
        recipe, share = self.recipe, progress_of(self.recipe, self.state)
        evaluating = self.scorer is not None and self.scorer.due(self.state, last=share >= 1)
        saving = self.clock.wall_seconds - self._saved_at >= 60 * recipe.checkpoint_every
        if workers().several:
            decided = (share, evaluating, saving) if workers().first else (0.0, False, False)
            share, *flags = workers().largest(*decided, stop.is_set())
            evaluating, saving, stopped = map(bool, flags)
            self._agreed = share
        else:
            stopped = stop.is_set()
        logging = self.state.step % recipe.log_every == 0 or share >= 1
        return Due(share, logging, evaluating, saving, stopped or share >= self.until)

    def await_steps(self) -> None:
        """Wait for the steps that are queued on an accelerator, which are training; their deferred checks are read."""
        self.state.game.checks.read()
        self.clock.read()

    def log_row(self, metrics: dict[str, float], progress: Progress) -> None:
        if workers().first:
            self.row = self.state.row(progress=self.share, **metrics, **self.clock.columns)
            self.run.append(self.row)
            progress.show(self.row)

    def log_and_probe(self, metrics: dict[str, float], progress: Progress) -> bool:
        """Write a log row, and let the doctor probe; return whether a fix is to be applied."""
        self.log_row(metrics, progress)
        if self.watch is None:
            return False
        with self.clock.overhead("doctor"):
            treating = self.watch.probe(self.row, self.state)
        progress.doctor = self.watch.summary
        return treating

    def save_picture(self) -> None:
        with self.clock.overhead("pictures"):
            if self.state.step:
                self.state.renew_statistics(self.data, self.recipe.seed)
            with workers().led():
                if self.gallery is not None:
                    self.gallery.save(self.state)

    def save(self, progress: Progress, due: Due) -> bool:
        """Save a checkpoint with its score; set the reason to stop early, if any.

        Returns:
            Whether the evaluation took the rest of a budget of wall time.
        """
        with self.clock.overhead("evaluation" if due.evaluating else "checkpoints"):
            self.state.renew_statistics(self.data, self.recipe.seed)
            check_equal_states(self.state)
        spent = False
        with workers().led() as leads:
            if leads:
                self.reason = self.write_scored(progress, due.evaluating, last=due.share >= 1)
                spent = due.evaluating and progress_of(self.recipe, self.state) >= self.until
        self._saved_at = self.clock.wall_seconds  # after the saving, which takes time
        self.reason, spent = workers().from_first((self.reason, spent))
        return spent

    def write_scored(self, progress: Progress, evaluating: bool, last: bool) -> str:
        """Write a checkpoint with its score; return the reason to stop early, or ""."""
        run, recipe, state, scorer = self.run, self.recipe, self.state, self.scorer
        if scorer is None or not evaluating:
            with self.clock.overhead("checkpoints"):
                state.check()
                scores = score_samples(state, self.data, recipe.seed)
                self.write(scores.get("sliced_wasserstein") if scorer is None else None)
                run.append(state.row(CHECKPOINT, **scores))
            return ""
        with self.clock.overhead("evaluation"):
            state.check()
            try:
                score = scorer.evaluate(state)
            except UserError:
                self.write(None)  # a failed evaluation does not lose the training
                raise
        self.write(score, scorer.deciding)
        progress.note(scorer.report(state))
        reason = "" if last else scorer.give_up()
        if reason:
            run.append(state.row(STOP, what=reason))
            progress.note(f"Stopped at step {state.step:,}: {reason}")
        return reason

    def write(self, score: float | None, score_name: str = "sliced_wasserstein") -> None:
        """Write a checkpoint, which holds the times up to now."""
        with self.clock.overhead("checkpoints"):
            self.state.save(self.run, score, self.recipe.keep, score_name)

    def check_threads(self, took: float, progress: Progress) -> None:
        """Choose the number of threads again if that is due after a step of `took` seconds."""
        if not self.ended and self.threads.due(took):
            with self.clock.overhead("threads"):
                self.threads.choose_again(self.recipe, self.state, self.share, self.run, progress.note)

    def summarize(self) -> None:
        state = self.state
        write_summary(self.run, self.data, state.game.loss, state.task, state.step, state.clock)


def train_on(session: Session) -> None:
    """Train a session to its end, and write log, checkpoints, pictures and summary; raises what `train` raises."""
    run, state = session.run, session.state
    try:
        lines = equilibrium(state.game.loss)
        if session.scorer is not None:
            session.scorer.begin(run)
        with (
            session.resources,
            interruptible(only_first=workers().several) as stop,
            Progress(
                session.recipe, run.path, lines, session.data, state.step, state.seconds, not workers().first
            ) as progress,
        ):
            if session.watch is not None:
                session.watch.begin(run, state, progress.note)
            state.clock.start()
            session.begin(progress)
            while not session.ended:
                began = time.perf_counter()
                turns = session.take_step(session.share)
                took = time.perf_counter() - began
                session.after_step(turns, stop, progress)
                session.check_threads(took, progress)
    except NotFiniteError as error:
        run.append(session.state.row(NOT_FINITE, what=str(error)))
        session.summarize()
        last = find_checkpoint(run)
        raise NotFiniteError(
            f"{error}. The last good checkpoint is step {last.step} of {run.path}; train again with a lower learning "
            "rate, with R1, or with --clip-gradients 1"
        ) from error
    with workers().led() as leads:
        if leads:
            session.summarize()
    if session.share < session.until and not session.reason:
        if not workers().first:
            raise EndedTogether(INTERRUPTED)
        raise Interrupted(f"stopped at step {session.state.step}; to continue: sparring resume {run.path}")
