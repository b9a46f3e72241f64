"""Fixes for each failure, best first: the fields of the recipe that they change, and their new values."""

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

POINTS_WEIGHT = 0.02  # of R1 and R2 for points of variance 1, as in the recipe `ring`
SMALL_WEIGHT = 0.3  # least suggested weight of R1 that counts as one for large images
SLOWER = 0.1  # factor for a learning rate that is too high
STRONGER = 4.0  # factor for one that is too low
MORE = 3  # updates of D per update of G
USUAL = (5e-4, 2e-3)  # Adam's learning rates in the recipes here; the lecture's 0.0002 is slow together with R1
RATE = 1e-3  # where neither network has a usual one

# Fields that can change while the networks keep training.
TRAINED_BY = ("loss", "penalties", "augment", "turns", "learning_rate", "clip_gradients")
OPTIMIZERS = ("generator_optimizer", "discriminator_optimizer")
IN_FLIGHT = frozenset((*TRAINED_BY, *OPTIMIZERS))

Changes = dict[str, object]


@dataclass(frozen=True)
class Fix:
    """A change of the recipe.

    Attributes:
        about: What it does, in a few words.
        changes: The fields that it changes, with their new values.
        trust: `Recipe.trust` of the recipe with these changes.
    """

    about: str
    changes: Mapping[str, object]
    trust: str = ""

    def command(self, run: Path) -> str:
        """The command that trains the run's recipe from the start with this fix."""
        return train_command(str(run / "recipe.toml"), self.changes) + self.trust


def fixes_for(failure: str, recipe: Recipe, form: Form) -> list[Fix]:
    """The fixes for a failure that change anything in this recipe, best first."""
    found = []
    for about, change in FIXES.get(failure, ()):
        try:
            changes = change(recipe, form)
        except UserError:  # the fix depends on the user's own code, which is not run here
            continue
        if changes and any(getattr(recipe, name) != value for name, value in changes.items()):
            found.append(Fix(about, changes, recipe.replace(**changes).trust))
    return found


def slope_penalty(name: str, recipe: Recipe, form: Form) -> str:
    """R1 or R2 as text, with a weight that suits the data.

    For points, patches and small images the weight is that of the recipes for them; for large images it follows the
    rule of thumb, which for 8x8 gives a useless 0.0002. For images the penalty is lazy, because it is expensive.
    """
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
    """R1 in addition to the other penalties, unless one of them bounds the slope already."""
    if set(SLOPES) & set(_names(recipe.penalties)):
        return {}
    return {"penalties": _bounded_by(recipe, slope_penalty("R1", recipe, form))}


def _bounded_by(recipe: Recipe, *penalties: Spec | str) -> str:
    """The penalties, with these as the only ones that bound D's slope."""
    kept = [spec for spec in Spec.read_all(recipe.penalties) if spec.name not in SLOPES]
    return ", ".join(map(str, [*kept, *penalties]))


def _relativistic(recipe: Recipe, form: Form) -> Changes:
    """Relativistic pairing; R1 and R2 with the weight that the recipe has for either, or one that suits the data."""
    turns = {"turns": "Alternating()"} if _is_unrolled(recipe) else {}
    given = [spec for spec in Spec.read_all(recipe.penalties) if spec.name in ("R1", "R2")]
    slope = given[0] if given else Spec.read(slope_penalty("R1", recipe, form))
    penalties = _bounded_by(recipe, *(dataclasses.replace(slope, name=name) for name in ("R1", "R2")))
    return {"loss": "RelativisticPairing()", "penalties": penalties, **turns}


def _baseline(loss: str, penalties: tuple[str, ...], recipe: Recipe, form: Form) -> Changes:
    """The settings that the recipes here for points and small images have in common."""
    balanced = _built(recipe.turns, turn_rules) in ONE_EACH
    return {
        "loss": loss,
        "penalties": _bounded_by(recipe, *(slope_penalty(name, recipe, form) for name in penalties)),
        "turns": recipe.turns if balanced else "Alternating()",
        **dict.fromkeys(OPTIMIZERS, f"Adam(lr={usual_rate(recipe):g}, betas=(0.0, 0.99))"),
        "learning_rate": "Linear(1, 0, begin=0.5)",
    }


def usual_rate(recipe: Recipe) -> float:
    """The lower of the networks' learning rates that are usual, or `RATE`."""
    found = [_built(getattr(recipe, name), optimizers, schedules) for name in OPTIMIZERS]
    known = [made.lr for made in found if made is not None]
    return min([rate for rate in known if USUAL[0] <= rate <= USUAL[1]], default=RATE)


def _built(text: str, *homes: ModuleType) -> Any:
    """A built-in component from its text; None for the user's own code, which is not run."""
    return None if "." in Spec.read(text).name else make(text, *homes)


def _as_large(recipe: Recipe, form: Form) -> Changes:
    """A discriminator with as many units as the generator, where both state theirs and it has fewer."""
    discriminator, generator = Spec.read(recipe.discriminator), Spec.read(recipe.generator)
    found: dict[str, int | tuple[int, ...]] = {}
    match discriminator.get("hidden"), generator.get("hidden"):
        case tuple() as few, tuple() as many if sum(few) < sum(many):
            found["hidden"] = many[::-1]
    match discriminator.get("width"), generator.get("width"):
        case int(narrow), int(wide) if narrow < wide:
            found["width"] = wide
    return {"discriminator": str(discriminator.replace(**found))} if found else {}


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
    """Unrolling, where D's updates are differentiable and the recipe does not unroll already.

    Not with relativistic losses: they do not depend on the last layer's bias, so Adam's updates of it are noise that
    unrolling amplifies.
    """
    smooth = Spec.read(recipe.discriminator_optimizer).name in ("SGD", "Adam", "AdamW")
    loss = _built(recipe.loss, losses, schedules)
    clipped = recipe.clip_gradients or "WeightClip" in _names(recipe.penalties)
    if _is_unrolled(recipe) or (loss is not None and loss.relative) or not smooth or clipped:
        return {}
    return {"turns": "Unrolled(depth=5)"}


def _clip(recipe: Recipe, form: Form) -> Changes:
    return {} if _is_unrolled(recipe) or 0 < recipe.clip_gradients <= 1 else {"clip_gradients": 1.0}


def _is_unrolled(recipe: Recipe) -> bool:
    return Spec.read(recipe.turns).name == "Unrolled"


def _adaptive(recipe: Recipe, form: Form) -> Changes:
    """ADA that can reach its full strength within a quarter of the budget, where that is in steps."""
    if form.is_points or form.map or min(form.shape[1:]) < SMALLEST_CHOSEN or "ADA" in _names(recipe.augment):
        return {}
    images = recipe.steps * recipe.batch_size // 4 or ADA.images
    return {"augment": "ADA()" if images >= ADA.images else f"ADA(images={images})"}


def _augmented(recipe: Recipe, form: Form) -> Changes:
    """DiffAugment; for tiny images only its shifts."""
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
    """The learning rates times these factors."""
    factors = zip(OPTIMIZERS, (generator, discriminator))
    return {name: scaled_rate(getattr(recipe, name), factor) for name, factor in factors if factor != 1}


def scaled_rate(optimizer: str, factor: float) -> str:
    """The text of an optimiser with its learning rate times a factor."""
    made = make(optimizer, optimizers, schedules)
    return repr(dataclasses.replace(made, lr=float(f"{made.lr * factor:.3g}")))


def _balanced(choose: Callable[..., float], recipe: Recipe, form: Form) -> Changes:
    """One learning rate for both networks, the lower (`min`) or the higher one (`max`), and R1."""
    rates = {name: make(getattr(recipe, name), optimizers, schedules).lr for name in OPTIMIZERS}
    wanted = choose(rates.values())
    scaled = {n: scaled_rate(getattr(recipe, n), wanted / rate) for n, rate in rates.items() if rate != wanted}
    return {**scaled, **_bound_slope(recipe, form)}


def _more_critic(recipe: Recipe, form: Form) -> Changes:
    """Three updates of D per update of G, unless the recipe has as many."""
    turns = make(recipe.turns, turn_rules)
    if getattr(turns, "n_critic", 1) >= MORE:
        return {}
    spec = Spec.read(recipe.turns if isinstance(turns, turn_rules.Alternating) else "Alternating()")
    return {"turns": str(spec.replace(n_critic=MORE))}


def _project(recipe: Recipe, form: Form) -> Changes:
    """A projection discriminator in place of an auxiliary classifier or of one with the class as an input."""
    critic = Spec.read(recipe.discriminator)
    if critic.get("condition", "projection") == "projection":
        return {}
    kept = [str(spec) for spec in Spec.read_all(recipe.penalties) if spec.name != "AuxiliaryClassifier"]
    return {"discriminator": str(critic.replace(condition="projection")), "penalties": ", ".join(kept)}


def _sees_source(recipe: Recipe, form: Form) -> Changes:
    """A discriminator that sees the source, in tasks that have this option."""
    task = make(recipe.task, tasks, inputs, degrade, schedules)
    blind = getattr(task, "conditional", True) is False
    return {"task": str(Spec.read(recipe.task).replace(conditional=True))} if blind else {}


def _names(components: str) -> list[str]:
    return [spec.name for spec in Spec.read_all(components)]


SLOPES = ("R1", "R2", "GradientPenalty", "WeightClip", "Dragan")
ONE_EACH = (turn_rules.Alternating(), turn_rules.Alternating(reuse=True), turn_rules.Simultaneous())
BASELINE = (
    "stable baseline: non-saturating loss, R1, one update each, Adam at one learning rate that falls to 0 from half on",
    partial(_baseline, "NonSaturating()", ("R1",)),
)
PAIRED = (
    "stable baseline with relativistic pairing, R1 and R2",
    partial(_baseline, "RelativisticPairing()", ("R1", "R2")),
)
AS_LARGE = ("a discriminator as large as the generator", _as_large)
LOWER_RATE = ("the lower of the two learning rates for both networks, and R1", partial(_balanced, min))
TENTH_RATES = ("both learning rates divided by 10", partial(_rates, SLOWER, SLOWER))
ADAPTIVE = ("adaptive augmentation (ADA)", _adaptive)
AUGMENTED = ("DiffAugment: random shifts, and for larger images cutout and colour changes", _augmented)
SMOOTHED = ("LeCam regularisation, for little data", _smoothed)

FIXES: dict[str, tuple[tuple[str, Callable[[Recipe, Form], Changes]], ...]] = {
    "data-leak": (
        ("noise on D's inputs: hides part of the leak, if neither the data nor the generator can be fixed", _noise),
    ),
    "vanishing-gradient": (
        (
            "non-saturating loss, whose gradient does not vanish while D is confident, and R1 to bound D's slope",
            _non_saturating,
        ),
        BASELINE,
        PAIRED,
        ("Wasserstein loss with a gradient penalty: its slope never vanishes", _wasserstein),
        ("noise on D's inputs, so that real and generated samples overlap", _noise),
    ),
    "mode-collapse": (
        AS_LARGE,
        BASELINE,
        PAIRED,
        ("packing: D sees two samples at once and rejects pairs that are alike", _pack),
        ("unrolling: G anticipates D's next updates", _unroll),
        LOWER_RATE,
        ("G's learning rate divided by 10", partial(_rates, SLOWER, 1)),
    ),
    "non-convergence": (
        BASELINE,
        ("R1: damps the rotation of the two networks", _bound_slope),
        PAIRED,
        LOWER_RATE,
        TENTH_RATES,
    ),
    "divergence": (
        BASELINE,
        TENTH_RATES,
        ("R1: bounds D's slope", _bound_slope),
        PAIRED,
        ("gradient clipping to a norm of 1", _clip),
    ),
    "discriminator-overfit": (ADAPTIVE, AUGMENTED, ("R1", _bound_slope), BASELINE, SMOOTHED),
    "memorising": (ADAPTIVE, AUGMENTED, SMOOTHED),
    "discriminator-too-weak": (
        AS_LARGE,
        BASELINE,
        ("the higher of the two learning rates for both networks, and R1", partial(_balanced, max)),
        ("D's learning rate times 4", partial(_rates, 1, STRONGER)),
        ("three updates of D per update of G", _more_critic),
    ),
    "ignored-condition": (
        ("a discriminator that sees the source", _sees_source),
        ("a projection discriminator, which sees the class", _project),
        ("relativistic pairing with R1 and R2, if the latent is ignored", _relativistic),
    ),
}
