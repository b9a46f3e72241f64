"""Training: one loop, in straight lines."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sparring import checkpoint
from sparring.augment import chosen_augment
from sparring.branch import begin_with
from sparring.build import HeldOut, build_ema, build_game, build_task, build_turns, training_data
from sparring.data import Data, Sampler
from sparring.device import find_device, find_precision, prepare
from sparring.errors import NotFiniteError, UserError
from sparring.fit import check_fit
from sparring.gallery import Gallery
from sparring.game import Moment, Turn
from sparring.interrupts import Interrupted as Interrupted
from sparring.interrupts import interruptible
from sparring.losses import equilibrium
from sparring.match import Batch
from sparring.penalties.base import Side
from sparring.progress import Progress
from sparring.readings import read_turns
from sparring.recipe import DEFAULT, Recipe, load_recipe
from sparring.run import Row, Run
from sparring.seeds import derive_seed
from sparring.state import State, find_checkpoint, score_samples
from sparring.summary import write_summary
from sparring.tasks.base import Translating
from sparring.turns import Checked

if TYPE_CHECKING:
    from sparring.doctor.autopilot import Prescription
    from sparring.doctor.watch import Watch
    from sparring.scoring import Scorer

BEFORE = "recipe-before-treatment.toml"  # what a run was trained by before the doctor changed its recipe


def train(
    recipe: str | Recipe = DEFAULT,
    *,
    out: str | Path | None = None,
    trust: bool = False,
    until: float = 1.0,
    **changes: object,
) -> Path:
    """Train a recipe to the end of its budget; return the run directory.

    Args:
        recipe: a name (see `sparring.recipe_names()`), the path of a TOML file, or a Recipe.
        out: the run directory to make; the default is a new one below `runs/`.
        trust: may component texts import the user's own code?
        until: the share of the budget to stop at, with a checkpoint from which `resume` goes on to the bit.
        changes: fields of the recipe, such as `steps=2000` or `loss="Hinge()"`.

    Raises:
        UserError: a mistake in the arguments, the data or the disk.
        NotFiniteError: NaN or infinity; the last good checkpoint is kept.
        Interrupted: by Ctrl-C, after a checkpoint.
    """
    name = recipe if isinstance(recipe, str) else "run"
    chosen = (load_recipe(recipe) if isinstance(recipe, str) else recipe).replace(**changes)
    device = find_device(chosen.device)
    prepare(device)
    data = training_data(chosen, trust)
    chosen = settled(chosen, data, device, trust)
    state = start_state(chosen, data, device, trust)
    begin_with(state, chosen.start)
    held_out = HeldOut(chosen, trust, data)
    scorer, watch = make_scorer(chosen, data, trust, held_out), start_watch(chosen, data, state, held_out)
    run = Run.create(Path(out) if out else new_folder(Path(name).stem), chosen, data, device)
    with run.locked():
        state.save(run, None, chosen.keep)
        _go_on(Session(run, chosen, data, state, Gallery(run, data, held_out), scorer, watch, trust, until))
    return run.path


def resume(path: str | Path, *, steps: int = 0, minutes: float = 0.0, trust: bool = False, until: float = 1.0) -> Path:
    """Go on with a run from its last checkpoint to the end of its budget.

    Args:
        path: the run directory.
        steps: a new budget, counted from the run's start; 0 keeps the one it has.
        minutes: the same in minutes.
        trust: may component texts import the user's own code?
        until: as in `train`.

    Raises:
        as `train`.
    """
    run = Run.open(Path(path))
    with run.locked():
        manifest = find_checkpoint(run)
        recipe, pending = standing(run, manifest.step)
        if steps or minutes:
            both = recipe.steps and recipe.minutes  # the budget that was not named stays, where there were two
            budget = (steps or recipe.steps, minutes or recipe.minutes) if both else (steps, minutes)
            recipe = recipe.replace(steps=budget[0], minutes=budget[1])
        device = find_device(recipe.device)
        prepare(device)
        data = training_data(recipe, trust)
        digest, _ = run.read_data()
        if data.digest != digest:
            raise UserError(f"data {recipe.data!r} is not what {run.path} was trained on; put it back, or train anew")
        state = start_state(recipe, data, device, trust)
        state.restore(manifest, checkpoint.load(run.checkpoints, manifest))
        if progress_of(recipe, state) >= 1:
            raise UserError(
                f"{run.path} has reached its budget at step {state.step}; to go further: sparring resume {run.path} "
                + (f"--steps {2 * state.step}" if recipe.steps else f"--minutes {2 * recipe.minutes:g}")
            )
        run.clean_up(state.step)
        run.rows()  # a damaged log is told now, not after hours
        if pending is not None:
            from sparring.doctor import autopilot

            recipe, state = autopilot.carry_out(pending, run, recipe, data, state, trust)
        run.write_recipe(recipe)
        changed = run.changed_environment(device)
        if changed:
            print(f"Note: {', '.join(changed)}; the bits may differ from an uninterrupted run", file=sys.stderr)
        run.append(state.row(event="resumed"))
        held_out = HeldOut(recipe, trust, data)
        scorer, watch = make_scorer(recipe, data, trust, held_out), start_watch(recipe, data, state, held_out)
        _go_on(Session(run, recipe, data, state, Gallery(run, data, held_out), scorer, watch, trust, until))
    return run.path


def settled(recipe: Recipe, data: Data, device: torch.device, trust: bool = False) -> Recipe:
    """The recipe with what its fields of `auto` leave to the data, the task and the device."""
    automatic = recipe.augment.strip() == "auto"
    augment = chosen_augment(data.form.shape, len(data)) if automatic else recipe.augment
    metrics = recipe.metrics
    if metrics.strip() == "auto":
        metrics = "usual" if isinstance(build_task(recipe, data.form, trust), Translating) else "frechet"
    return recipe.replace(precision=find_precision(recipe.precision, device), augment=augment, metrics=metrics)


def start_state(recipe: Recipe, data: Data, device: torch.device, trust: bool) -> State:
    """Networks with their random start, before the first step."""
    if recipe.mirror and data.form.is_points:
        raise UserError("mirror is for images; leave it out for points")
    game = build_game(recipe, data.form, device, trust)
    check_fit(game, data, device, recipe.batch_size // recipe.micro_batches)
    turns = build_turns(recipe, trust)
    if isinstance(turns, Checked):
        turns.check(game)
    ema = build_ema(recipe, trust)
    return State(game, ema.start(game.generator.network) if ema else None)


@dataclass
class Session:
    """A run that is being trained, with what goes on beside it.

    Attributes:
        run, recipe, data, state: the run, and where it stands.
        gallery: takes its pictures.
        scorer, watch: what evaluates it and what looks at it as it trains, or None.
        trust: may component texts import the user's own code?
        until: the share of the budget to stop at.
    """

    run: Run
    recipe: Recipe
    data: Data
    state: State
    gallery: Gallery
    scorer: Scorer | None
    watch: Watch | None
    trust: bool
    until: float

    @property
    def share(self) -> float:
        """The share of the budget that is spent."""
        return progress_of(self.recipe, self.state)

    def summarize(self) -> None:
        """Write the run's summary as it stands."""
        state = self.state
        write_summary(self.run, self.data, state.game.loss, state.game.task, state.step, state.seconds)


def _go_on(session: Session) -> None:
    """Train from the state to where it is to stop, and write everything down."""
    run = session.run
    try:
        lines = equilibrium(session.state.game.loss)
        if session.scorer is not None:
            session.scorer.begin(run)
        with (
            interruptible() as stop,
            Progress(session.recipe, run.path, lines, session.state.step, session.state.seconds) as progress,
        ):
            if session.watch is not None:
                session.watch.begin(run, session.state, progress.note)
            while True:
                treat_now(session, progress)
                reason = _loop(session, stop, progress)
                if reason or stop.is_set() or session.share >= session.until:
                    break
    except NotFiniteError as error:
        run.append(session.state.row(event="not finite", what=str(error)))
        session.summarize()
        last = find_checkpoint(run)
        raise NotFiniteError(
            f"{error}. The last good checkpoint is step {last.step} of {run.path}; train again with a lower learning "
            "rate, with R1, or with --clip-gradients 1"
        ) from error
    session.summarize()
    if session.share < session.until and not reason:
        raise Interrupted(f"stopped at step {session.state.step}; to go on: sparring resume {run.path}")


def make_scorer(recipe: Recipe, data: Data, trust: bool, held_out: HeldOut) -> Scorer | None:
    """What evaluates the run as it trains, if the recipe wants that. What it prepares is not training time."""
    if not recipe.evaluate_every:
        return None
    from sparring.scoring import Scorer

    return Scorer(recipe, data, trust, held_out)


def start_watch(recipe: Recipe, data: Data, state: State, held_out: HeldOut) -> Watch | None:
    """What looks for illnesses while the run trains, if the recipe wants it. What it prepares is not training time."""
    if recipe.doctor == "off" or not any(state.game.plays(Moment(progress=share)) for share in (0.0, 1.0)):
        return None
    from sparring.doctor.watch import make_watch

    return make_watch(recipe, data, state, held_out)


def standing(run: Run, step: int) -> tuple[Recipe, Prescription | None]:
    """The recipe that a checkpoint was trained by, and what the doctor prescribed right there, if it did."""
    if not (run.path / BEFORE).exists():
        return run.read_recipe(), None
    from sparring.doctor import autopilot

    return autopilot.standing(run, step)


def treat_now(session: Session, progress: Progress) -> None:
    """Treat the run if its log, as it stands, asks for that now: from here on it has another recipe and state."""
    if session.watch is None or session.recipe.doctor != "treat":
        return
    from sparring.doctor import autopilot

    treatment = autopilot.wanted(session.run, session.recipe, session.data.form, session.watch.history)
    if treatment is None:
        return
    session.watch.history.append(autopilot.prescribe(treatment, session.run, session.recipe, session.state))
    session.recipe, session.state = autopilot.carry_out(
        treatment, session.run, session.recipe, session.data, session.state, session.trust
    )
    session.run.write_recipe(session.recipe)
    session.watch.follow(session.recipe, session.state)
    progress.lines = equilibrium(session.state.game.loss)
    progress.note(f"step {session.state.step:,} | doctor: treated {treatment.illness}: {treatment.told}")


def _loop(session: Session, stop: threading.Event, progress: Progress) -> str:
    """Train to where it is to stop, or to be treated; return why it ended early, if for lack of progress."""
    run, recipe, data, state = session.run, session.recipe, session.data, session.state
    scorer, watch, until = session.scorer, session.watch, session.until
    take_step = Stepper(recipe, data, state, session.trust)
    start = time.perf_counter() - state.seconds
    saved_at, pictured = state.seconds, int(session.share * recipe.pictures)
    if state.step == 0:
        session.gallery.take(state)
    share, stopping, treating, reason = session.share, False, False, ""
    while share < until and not stopping and not treating and not reason:
        turns = take_step(share)
        state.seconds = time.perf_counter() - start
        share = session.share
        if state.step % recipe.log_every == 0 or share >= 1:
            row = log_row(run, progress, state, turns, share)
            if watch is not None:
                treating = watch.look(row, state)
                progress.doctor = watch.says
        stopping = stop.is_set() or share >= until
        evaluating = scorer is not None and scorer.due(state, last=share >= 1)
        if evaluating or state.seconds - saved_at >= 60 * recipe.checkpoint_every or stopping or treating:
            reason = save_scored(session, progress, evaluating, last=share >= 1)
            saved_at = state.seconds
            if reason and state.step % recipe.log_every:
                log_row(run, progress, state, turns, share)
        if int(share * recipe.pictures) > pictured or stopping or reason:
            pictured = int(share * recipe.pictures)
            session.gallery.take(state)
    return reason


def log_row(run: Run, progress: Progress, state: State, turns: dict[Side, Turn], share: float) -> Row:
    """Write down and show the numbers of a step."""
    row = state.row(progress=share, **read_turns(state.game, turns))
    run.append(row)
    progress.show(row)
    return row


def save_scored(session: Session, progress: Progress, evaluating: bool, last: bool) -> str:
    """Save a checkpoint with its score; return why to stop now, if there is a reason."""
    run, recipe, state, scorer = session.run, session.recipe, session.state, session.scorer
    state.check()
    if scorer is not None and evaluating:
        try:
            score = scorer.evaluate(state)
        except UserError:
            state.save(run, None, recipe.keep)  # what was trained is not lost
            raise
        state.save(run, score, recipe.keep, scorer.deciding)
        progress.note(scorer.report(state))
        reason = "" if last else scorer.give_up()
        if reason:
            run.append(state.row(event="stopped", what=reason))
            progress.note(f"Stopped at step {state.step:,}: {reason}")
        return reason
    scores = score_samples(state, session.data, recipe.seed)
    state.save(run, scores.get("sliced_wasserstein") if scorer is None else None, recipe.keep)
    run.append(state.row(event="checkpoint", **scores))
    return ""


class Stepper:
    """Takes one step of the run at a call: seeds, turns, average. Batches are cut into micro-batches."""

    def __init__(self, recipe: Recipe, data: Data, state: State, trust: bool = False) -> None:
        self.recipe, self.data, self.state = recipe, data, state
        self.turns, self.ema = build_turns(recipe, trust), build_ema(recipe, trust)
        self.sampler = Sampler(len(data), recipe.seed)
        self.device = next(state.game.generator.network.parameters()).device

    def __call__(self, progress: float) -> dict[Side, Turn]:
        state, recipe = self.state, self.recipe
        torch.manual_seed(derive_seed(recipe.seed, "step", 0, state.step))  # 0: the first process
        turns = self.turns(state.game, self.next_batches, Moment(state.step, progress))
        if self.ema is not None and state.average is not None:
            seen = state.step * recipe.batch_size
            self.ema.update(state.average, state.game.generator.network, seen, recipe.batch_size)
        state.step += 1
        return turns

    def next_batches(self) -> list[Batch]:
        """The next real samples in the sampler's order, with fresh latents."""
        count, task = self.recipe.batch_size, self.state.game.task
        drawn = task.draw(count)
        samples = self.data.varied(self.sampler.take(self.state.position, count), self.recipe.mirror)
        self.state.position += count
        batch = {name: tensor.to(self.device) for name, tensor in task.prepare({**samples, **drawn}).items()}
        part = count // self.recipe.micro_batches
        return [{n: t[i : i + part] for n, t in batch.items()} for i in range(0, count, part)]


def progress_of(recipe: Recipe, state: State) -> float:
    """The share of the budget that is spent; the larger one where steps and minutes are both given."""
    return share_spent(recipe, state.step, state.seconds)


def share_spent(recipe: Recipe, step: int, seconds: float) -> float:
    """The same at a step, after so many seconds of training."""
    steps = step / recipe.steps if recipe.steps else 0.0
    minutes = seconds / (60 * recipe.minutes) if recipe.minutes else 0.0
    return min(max(steps, minutes), 1.0)


def new_folder(name: str) -> Path:
    """The first of runs/NAME-001, runs/NAME-002, ... that does not exist."""
    return next(p for i in range(1, 10**6) if not (p := Path("runs") / f"{name}-{i:03d}").exists())
