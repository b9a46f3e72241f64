"""A recipe: everything that a training run is made from, as plain values and component texts."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from sparring.base.choices import DEVICES, DOCTORS, FITS, PRECISIONS, size_text
from sparring.base.errors import UserError, check_flag, did_you_mean, existing_path
from sparring.base.fields import check_fields, checked, choice, number

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT = "digits"
GROUPS = {
    "data": "training samples and how they are prepared",
    "networks": "task, generator, discriminator and the average of the generator's weights",
    "game": "losses, penalties, augmentation, turns and optimisers",
    "budget": "length of the run, batches, seed, and when it logs and saves",
    "evaluation": "metrics during training and early stopping",
    "doctor": "diagnosis and treatment during training",
    "machine": "device and number format",
}
"""Groups of the fields: name -> one line of what they set; a field's group is `field.metadata["group"]`."""


def _field(default: Any, group: str, about: str, allowed: Sequence[str] = (), **limits: Any) -> Any:
    """A field with its group and its help text; a number is at least 0."""
    texts: dict[str, Any] = {"group": group, "help": about}
    if allowed:
        return choice(default, allowed, **texts)
    if isinstance(default, bool):
        return checked(default, partial(check_flag, allowed="true or false"), **texts)  # as TOML writes them
    if isinstance(default, str):
        return checked(default, partial(_check_text, example=default), **texts)
    return number(default, **{"low": 0, **limits, **texts})


def _check_text(owner: str, name: str, value: object, example: str) -> None:
    if not isinstance(value, str):
        raise UserError(f"{owner}: {name}={value!r} must be text, such as {example!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UserError(f"{owner}: {name}={value!r} is not text that can be written") from None


@dataclass(frozen=True)
class Recipe:
    """What to train and how. Components are text, such as `R1(weight=5, every=16)`; see `sparring.base.components`.
    UserError: a field has the wrong type or is out of range."""

    about: str = _field("", "data", "one line: what the recipe is for, and what it was seen to give")
    data: str = _field(
        "digits", "data", "a set's name, a folder, archive or .parquet of images, hub:OWNER/NAME, .npz or .csv"
    )
    size: str = _field(
        "", "data", 'the size images are brought to: "64", or "96x64" (width x height); empty: as they are'
    )
    fit: str = _field(
        "crop", "data", "how: crop (cover, cut the middle), pad, stretch, or patch: parts cut anew at each step", FITS
    )
    held_out: float = _field(
        0.0, "data", "the share of the samples kept away from training, to compare with", high=0.99
    )
    task: str = _field("Generate(latent=Normal(100))", "networks", "what the generator is given and judged by")
    generator: str = _field("DCGANGenerator()", "networks", "the generator network")
    discriminator: str = _field("DCGANDiscriminator()", "networks", "the discriminator network")
    start: str = _field(
        "", "networks", "a run of the same networks whose weights this one begins with; empty: random weights"
    )
    loss: str = _field("NonSaturating()", "game", "the adversarial loss")
    adversarial: str = _field(
        "1", "game", "its weight beside the task's own terms (L1 ...): a number or a schedule; 0: no adversary"
    )
    penalties: str = _field("", "game", 'penalties and constraints, separated by commas: "R1(weight=5, every=16)"')
    augment: str = _field(
        "auto", "game", 'what D sees samples through, "ADA()"; auto: that, if images are few; empty: nothing'
    )
    mirror: bool = _field(
        False, "data", "mirror half of the images, at random: for data where left and right mean nothing"
    )
    turns: str = _field("Alternating()", "game", "the order of the players' turns")
    generator_optimizer: str = _field("Adam()", "game", "the generator's optimiser")
    discriminator_optimizer: str = _field("Adam()", "game", "the discriminator's optimiser")
    learning_rate: str = _field(
        "Constant(1)", "game", "a schedule that both optimisers' learning rates are multiplied with"
    )
    ema: str = _field("EMA()", "networks", "the average of the generator that samples are taken from; empty: none")
    clip_gradients: float = _field(0.0, "game", "largest norm of a player's gradient; 0: any")
    batch_size: int = _field(64, "budget", "samples a turn", low=1)
    micro_batches: int = _field(
        1, "budget", "equal parts of a batch that are computed one after another, to save memory", low=1
    )
    steps: int = _field(10_000, "budget", "the budget in steps, bit for bit repeatable; 0: use minutes")
    minutes: float = _field(0.0, "budget", "the budget in minutes of training; 0: use steps")
    seed: int = _field(0, "budget", "every random choice follows from it")
    precision: str = _field("auto", "machine", "fp32, bf16, or auto: bf16 where the hardware gains by it", PRECISIONS)
    device: str = _field("auto", "machine", "cpu, cuda, mps, or auto", DEVICES)
    log_every: int = _field(50, "budget", "steps between two rows of the log", low=1)
    pictures: int = _field(20, "budget", "pictures of the same latents through the run")
    checkpoint_every: float = _field(1.0, "budget", "minutes between two checkpoints", open_low=True)
    evaluate_every: int = _field(
        0, "evaluation", "steps between two evaluations; 0: only a quick score at each checkpoint"
    )
    metrics: str = _field(
        "auto", "evaluation", "what evaluations compute, the first decides what is best; auto: by the task"
    )
    extractor: str = _field(
        "auto", "evaluation", "what evaluations see samples with, such as Classifier(); auto: by the data"
    )
    evaluate_count: int = _field(5000, "evaluation", "samples that an evaluation draws", low=2)
    evaluate_budget: float = _field(
        0.2, "evaluation", "the largest share of the time that evaluations may take; 1: any", high=1
    )
    patience: int = _field(0, "evaluation", "stop after so many evaluations without a better one; 0: never")
    doctor: str = _field(
        "watch",
        "doctor",
        "watch: look for illnesses while training; treat: and change the recipe against them; off: do not look",
        DOCTORS,
    )
    keep: int = _field(3, "budget", "how many of the last checkpoints to keep, besides the best", low=1)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", size_text(self.size))  # TOML and Python may have size=64
        check_fields("recipe", self)
        if not self.steps and not self.minutes:
            raise UserError("recipe: steps=0 and minutes=0 leave no budget; give one of them, such as steps=1000")
        if self.patience and not self.evaluate_every:
            raise UserError("recipe: patience needs evaluations; add evaluate_every, such as evaluate_every=500")
        if self.batch_size % self.micro_batches:
            parts = f"{self.micro_batches} equal micro_batches"
            raise UserError(f"recipe: batch_size={self.batch_size} cannot be cut into {parts}")

    def replace(self, **changes: object) -> Recipe:
        """The recipe with some fields changed. `steps` and `minutes` replace each other. UserError: an unknown field,
        or a value that is not allowed."""
        names = field_names()
        for name in changes:
            if name not in names:
                raise UserError(f"a recipe has no field {name!r}: {did_you_mean(name, names)}")
        if changes.get("minutes") and "steps" not in changes:
            changes["steps"] = 0
        if changes.get("steps") and "minutes" not in changes:
            changes["minutes"] = 0.0
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def to_toml(self) -> str:
        """The recipe as a TOML document, one line a field, each with what it means."""
        import tomli_w

        lines = []
        for f in dataclasses.fields(self):
            lines += [f"# {f.metadata['help']}", tomli_w.dumps({f.name: getattr(self, f.name)}).strip()]
        return "\n".join(lines) + "\n"


def parse_recipe(text: str, source: str) -> Recipe:
    """Read a TOML document of recipe fields; those that it leaves out have their defaults."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{source} is not TOML: {error}") from error
    floats = {f.name for f in dataclasses.fields(Recipe) if isinstance(f.default, float)}
    values = {k: float(v) if k in floats and type(v) is int and abs(v) < 1e15 else v for k, v in values.items()}
    try:
        budget = {"steps": 0} if values.get("minutes") and "steps" not in values else {}
        return Recipe(**{**values, **budget})
    except TypeError:
        names = field_names()
        unknown = next(name for name in values if name not in names)
        raise UserError(f"{source}: a recipe has no field {unknown!r}: {did_you_mean(unknown, names)}") from None
    except UserError as error:
        raise UserError(f"{source}: {error}") from error


def load_recipe(name: str) -> Recipe:
    """A named recipe, or the one in a TOML file."""
    folder = resources.files("sparring") / "recipes"
    if name in recipe_names():
        return parse_recipe((folder / f"{name}.toml").read_text(encoding="utf-8"), name)
    path = existing_path(name)
    if path is None:
        raise UserError(f"no recipe {name!r}: {did_you_mean(name, recipe_names())}, or a .toml file")
    return read_recipe_file(path)


def read_recipe_file(path: Path) -> Recipe:
    """The recipe in a TOML file."""
    try:
        return parse_recipe(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"recipe {path} cannot be read: {error}") from error


def train_command(recipe: str, changes: Mapping[str, object]) -> str:
    """The command line that trains a recipe with some fields changed, quoted for a shell."""
    words = ["sparring", "train", recipe]
    for name, value in changes.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words += [option] if value else []
        else:
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("sparring") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def field_names() -> list[str]:
    """The fields of a recipe, in order."""
    return [f.name for f in dataclasses.fields(Recipe)]
