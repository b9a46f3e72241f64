"""What to change in a recipe against an illness: remedies in order, each as the fields that it changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from sparring import tasks
from sparring.base.components import Spec, make
from sparring.base.errors import UserError
from sparring.data.form import Form
from sparring.game import inputs, losses, optimizers, schedules
from sparring.game import turns as turn_rules
from sparring.game.augment.adaptive import ADA, SMALLEST_CHOSEN
from sparring.game.augment.base import SMALLEST
from sparring.game.penalties.slopes import suggested_gamma
from sparring.recipe import Recipe, train_command
from sparring.tasks import degrade

POINTS_WEIGHT = 0.02  # of R1 and R2 where samples are points of variance 1, as in the recipe `ring`
SMALL_WEIGHT = 0.3  # what the rule of thumb gives of R1's weight for large images, at least
SLOWER = 0.1  # what a learning rate that is too high is multiplied with
STRONGER = 4.0  # and one that is too low
MORE = 3  # turns of D for each of G
USUAL = (5e-4, 2e-3)  # learning rates that the recipes here have with Adam; the lecture's 0.0002 is slow beside R1
RATE = 1e-3  # where neither player's is such a one

# What can be built anew around networks that go on being trained.
PLAYED_BY = ("loss", "penalties", "augment", "turns", "learning_rate", "clip_gradients")
OPTIMIZERS = ("generator_optimizer", "discriminator_optimizer")
IN_FLIGHT = frozenset((*PLAYED_BY, *OPTIMIZERS))

Changes = dict[str, object]


@dataclass(frozen=True)
class Fix:
    """What it does, in a few words, and the fields of the recipe that it changes, with their new values."""

    about: str
    changes: Mapping[str, object]

    def command(self, run: Path) -> str:
        """The command that trains the run's recipe anew with it."""
        return train_command(str(run / "recipe.toml"), self.changes)


def fixes_for(failure: str, recipe: Recipe, form: Form) -> list[Fix]:
    """The remedies for an illness that change anything in this recipe, best first."""
    found = []
    for about, change in FIXES.get(failure, ()):
        try:
            changes = change(recipe, form)
        except UserError:  # it changes what the user's own code would have to be run for, to be known
            continue
        if changes and any(getattr(recipe, name) != value for name, value in changes.items()):
            found.append(Fix(about, changes))
    return found


def slope_penalty(name: str, recipe: Recipe, form: Form) -> str:
    """R1 or R2 as text: for points, patches and small images as the recipes for them have it, for large images by the
    rule of thumb, which of 8x8 gives 0.0002, as good as nothing. Lazily for images, where it is dear."""
    if form.is_points:
        return f"{name}(weight={POINTS_WEIGHT})"
    if Spec.read(recipe.discriminator).name == "PatchDiscriminator":
        return f"{name}(weight=1, every=4)"
    _, height, width = form.shape
    suggested = suggested_gamma(height, width, recipe.batch_size)
    if suggested > SMALL_WEIGHT:
        return f"{name}(weight={suggested:.3g}, every=8)"
    tiny = min(height, width) < SMALLEST_CHOSEN
    return f"{name}({'weight=0.1, every=4' if tiny else 'weight=Linear(1, 0.05), every=8'})"


def _bound_slope(recipe: Recipe, form: Form) -> Changes:
    """R1 beside the other penalties, unless something bounds the slope already."""
    if set(SLOPES) & set(_names(recipe.penalties)):
        return {}
    return {"penalties": _bounded_by(recipe, slope_penalty("R1", recipe, form))}


def _bounded_by(recipe: Recipe, *penalties: Spec | str) -> str:
    """The penalties with these as all that bounds D's slope."""
    kept = [spec for spec in Spec.read_all(recipe.penalties) if spec.name not in SLOPES]
    return ", ".join(map(str, [*kept, *penalties]))


def _relativistic(recipe: Recipe, form: Form) -> Changes:
    """Relativistic pairing; R1 and R2 as the recipe has the one of them, else with a weight that suits the data."""
    turns = {"turns": "Alternating()"} if _is_unrolled(recipe) else {}
    given = [spec for spec in Spec.read_all(recipe.penalties) if spec.name in ("R1", "R2")]
    slope = given[0] if given else Spec.read(slope_penalty("R1", recipe, form))
    penalties = _bounded_by(recipe, *(dataclasses.replace(slope, name=name) for name in ("R1", "R2")))
    return {"loss": "RelativisticPairing()", "penalties": penalties, **turns}


def _settled(loss: str, penalties: tuple[str, ...], recipe: Recipe, form: Form) -> Changes:
    """What the recipes here for points and small images have in common, whatever the sick one has."""
    even = _own(recipe.turns, turn_rules) in EVEN
    return {
        "loss": loss,
        "penalties": _bounded_by(recipe, *(slope_penalty(name, recipe, form) for name in penalties)),
        "turns": recipe.turns if even else "Alternating()",
        **dict.fromkeys(OPTIMIZERS, f"Adam(lr={usual_rate(recipe):g}, betas=(0.0, 0.99))"),
        "learning_rate": "Linear(1, 0, begin=0.5)",
    }


def usual_rate(recipe: Recipe) -> float:
    """The lower one of the players' learning rates that is a usual one, or `RATE`."""
    found = [_own(getattr(recipe, name), optimizers, schedules) for name in OPTIMIZERS]
    known = [made.lr for made in found if made is not None]
    return min([rate for rate in known if USUAL[0] <= rate <= USUAL[1]], default=RATE)


def _own(text: str, *homes: ModuleType) -> Any:
    """The component of a text, if it is one of this program's; None for the user's own code, which is not run."""
    return None if "." in Spec.read(text).name else make(text, *homes)


def _as_large(recipe: Recipe, form: Form) -> Changes:
    """A discriminator with as many units as the generator, where both tell them and it has fewer."""
    mine, others = Spec.read(recipe.discriminator), Spec.read(recipe.generator)
    found: dict[str, int | tuple[int, ...]] = {}
    match mine.get("hidden"), others.get("hidden"):
        case tuple() as few, tuple() as many if sum(few) < sum(many):
            found["hidden"] = many[::-1]
    match mine.get("width"), others.get("width"):
        case int(narrow), int(wide) if narrow < wide:
            found["width"] = wide
    return {"discriminator": str(mine.replace(**found))} if found else {}


def _wasserstein(recipe: Recipe, form: Form) -> Changes:
    penalties = _bounded_by(recipe, "GradientPenalty(weight=10)")
    return {"loss": "Wasserstein()", "penalties": penalties, "turns": "Alternating(n_critic=5)"}


def _non_saturating(recipe: Recipe, form: Form) -> Changes:
    return {"loss": "NonSaturating()", **_bound_slope(recipe, form)}


def _noise(recipe: Recipe, form: Form) -> Changes:
    return {"augment": "InstanceNoise(sigma=Linear(0.3, 0))"} if not recipe.augment.strip() else {}


def _pack(recipe: Recipe, form: Form) -> Changes:
    task = make(recipe.task, tasks, inputs, schedules)
    if not isinstance(task, tasks.Generate) or task.classes or task.codes or task.pack > 1:
        return {}
    even = recipe.batch_size // recipe.micro_batches % 2 == 0
    return {"task": repr(dataclasses.replace(task, pack=2))} if even else {}


def _unroll(recipe: Recipe, form: Form) -> Changes:
    """Unrolling, where D's steps can be differentiated and it is not unrolled already.

    Relativistic losses do not see the last layer's bias, whose steps by Adam are then noise that an unroll amplifies.
    """
    smooth = Spec.read(recipe.discriminator_optimizer).name in ("SGD", "Adam", "AdamW")
    loss = _own(recipe.loss, losses, schedules)
    clipped = recipe.clip_gradients or "WeightClip" in _names(recipe.penalties)
    if _is_unrolled(recipe) or (loss is not None and loss.relative) or not smooth or clipped:
        return {}
    return {"turns": "Unrolled(depth=5)"}


def _clip(recipe: Recipe, form: Form) -> Changes:
    return {} if _is_unrolled(recipe) or 0 < recipe.clip_gradients <= 1 else {"clip_gradients": 1.0}


def _is_unrolled(recipe: Recipe) -> bool:
    return Spec.read(recipe.turns).name == "Unrolled"


def _adaptive(recipe: Recipe, form: Form) -> Changes:
    """ADA that can come to its full strength within a quarter of the budget, where that is one of steps."""
    if form.is_points or form.map or min(form.shape[1:]) < SMALLEST_CHOSEN or "ADA" in _names(recipe.augment):
        return {}
    images = recipe.steps * recipe.batch_size // 4 or ADA.images
    return {"augment": "ADA()" if images >= ADA.images else f"ADA(images={images})"}


def _augmented(recipe: Recipe, form: Form) -> Changes:
    """DiffAugment; of tiny images its shifts alone."""
    if form.is_points or form.map or min(form.shape[1:]) < SMALLEST or recipe.augment.strip():
        return {}
    tiny = min(form.shape[1:]) < SMALLEST_CHOSEN
    return {"augment": "DiffAugment(color=False, cutout=0)" if tiny else "DiffAugment()"}


def _smoothed(recipe: Recipe, form: Form) -> Changes:
    specs = Spec.read_all(recipe.penalties)
    if any(spec.name == "LeCam" for spec in specs):
        return {}
    return {"penalties": ", ".join(map(str, [*specs, "LeCam()"]))}


def _rates(generator: float, discriminator: float, recipe: Recipe, form: Form) -> Changes:
    """Learning rates times these factors."""
    factors = zip(OPTIMIZERS, (generator, discriminator))
    return {name: scaled_rate(getattr(recipe, name), factor) for name, factor in factors if factor != 1}


def scaled_rate(optimizer: str, factor: float) -> str:
    """The optimiser's text with its learning rate times a factor."""
    made = make(optimizer, optimizers, schedules)
    return repr(dataclasses.replace(made, lr=float(f"{made.lr * factor:.3g}")))


def _balanced(choose: Callable[..., float], recipe: Recipe, form: Form) -> Changes:
    """The same learning rate for both, the lower one (`min`) or the higher one (`max`), and R1."""
    rates = {name: make(getattr(recipe, name), optimizers, schedules).lr for name in OPTIMIZERS}
    wanted = choose(rates.values())
    scaled = {n: scaled_rate(getattr(recipe, n), wanted / rate) for n, rate in rates.items() if rate != wanted}
    return {**scaled, **_bound_slope(recipe, form)}


def _more_critic(recipe: Recipe, form: Form) -> Changes:
    """Three turns of D for each of G, unless there are as many."""
    turns = make(recipe.turns, turn_rules)
    return {} if getattr(turns, "n_critic", 1) >= MORE else {"turns": f"Alternating(n_critic={MORE})"}


def _project(recipe: Recipe, form: Form) -> Changes:
    """A critic that is told the class in place of one that tells it, or that has it as an input."""
    critic = Spec.read(recipe.discriminator)
    if critic.get("condition", "projection") == "projection":
        return {}
    kept = [str(spec) for spec in Spec.read_all(recipe.penalties) if spec.name != "AuxiliaryClassifier"]
    return {"discriminator": str(critic.replace(condition="projection")), "penalties": ", ".join(kept)}


def _sighted(recipe: Recipe, form: Form) -> Changes:
    """A critic that sees the source, in tasks that say whether it does."""
    task = make(recipe.task, tasks, inputs, degrade, schedules)
    blind = getattr(task, "conditional", True) is False
    return {"task": str(Spec.read(recipe.task).replace(conditional=True))} if blind else {}


def _names(components: str) -> list[str]:
    return [spec.name for spec in Spec.read_all(components)]


SLOPES = ("R1", "R2", "GradientPenalty", "WeightClip", "Dragan")
EVEN = (turn_rules.Alternating(), turn_rules.Simultaneous())  # turns in which both players have as many
SETTLED = (
    "settled training: the modified loss, R1, a turn each, and Adam at one usual rate that falls to 0 from half on",
    partial(_settled, "NonSaturating()", ("R1",)),
)
PAIRED = (
    "settled training with relativistic pairing, R1 and R2",
    partial(_settled, "RelativisticPairing()", ("R1", "R2")),
)
AS_LARGE = ("a D as large as G", _as_large)
CALMER = ("the lower learning rate for both players, and R1", partial(_balanced, min))
SLOW = ("learning rates a tenth as high", partial(_rates, SLOWER, SLOWER))
ADAPTIVE = ("adaptive augmentation", _adaptive)
AUGMENTED = ("DiffAugment: D sees shifted images, and larger ones with holes and other colours", _augmented)
SMOOTHED = ("LeCam's regularisation, for little data", _smoothed)

FIXES: dict[str, tuple[tuple[str, Callable[[Recipe, Form], Changes]], ...]] = {
    "data-leak": (
        ("noise on D's inputs, which hides some of it, where neither data nor generator can be mended", _noise),
    ),
    "vanishing-gradient": (
        ("the modified loss, whose gradient lives while D is sure, and R1 against steep D", _non_saturating),
        SETTLED,
        PAIRED,
        ("Wasserstein with a gradient penalty: its slope never vanishes", _wasserstein),
        ("noise on D's inputs, so that real and generated samples overlap", _noise),
    ),
    "mode-collapse": (
        AS_LARGE,
        SETTLED,
        PAIRED,
        ("packing: D sees two samples at once, and refuses those that are alike", _pack),
        ("unrolling: G foresees how D answers", _unroll),
        CALMER,
        ("a learning rate of G a tenth as high", partial(_rates, SLOWER, 1)),
    ),
    "non-convergence": (SETTLED, ("R1: it damps the players' circling", _bound_slope), PAIRED, CALMER, SLOW),
    "divergence": (
        SETTLED,
        SLOW,
        ("R1: it holds D's slope in check", _bound_slope),
        PAIRED,
        ("gradients clipped to a norm of 1", _clip),
    ),
    "discriminator-overfit": (ADAPTIVE, AUGMENTED, ("R1", _bound_slope), SETTLED, SMOOTHED),
    "memorising": (ADAPTIVE, AUGMENTED, SMOOTHED),
    "discriminator-too-weak": (
        AS_LARGE,
        SETTLED,
        ("the higher learning rate for both players, and R1", partial(_balanced, max)),
        ("a learning rate of D four times as high", partial(_rates, 1, STRONGER)),
        ("three turns of D for each of G", _more_critic),
    ),
    "ignored-condition": (
        ("a critic that sees the source", _sighted),
        ("a critic that sees the class: projection", _project),
        ("relativistic pairing with R1 and R2, where it is the latent that is ignored", _relativistic),
    ),
}
