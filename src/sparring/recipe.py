"""A recipe: everything that defines a training run, as plain values and component texts."""

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

from sparring.base.choices import DEVICES, DOCTORS, FITS, PRECISIONS, size_text, threads_text
from sparring.base.components import PIPE, names_own_code
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
    "machine": "device, number format and threads",
}
"""Groups of the fields: name -> one line of what they set; a field's group is `field.metadata["group"]`."""


def _field(default: Any, group: str, about: str, allowed: Sequence[str] = (), **limits: Any) -> Any:
    """A field with its group and its help text. Numbers are at least 0 unless `limits` say otherwise."""
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
        raise UserError(
            f"{owner}: {name}={value!r} is not valid Unicode text; write plain text, such as {example!r}"
        ) from None


BUDGETS = {"steps": 0, "minutes": 0.0, "wall_minutes": 0.0}  # fields that limit the length of a run -> no limit
COMPONENTS = (
    "task",
    "generator",
    "discriminator",
    "loss",
    "penalties",
    "augment",
    "turns",
    "generator_optimizer",
    "discriminator_optimizer",
    "adversarial",
    "learning_rate",
    "ema",
    "extractor",
)  # fields that hold components as text


@dataclass(frozen=True)
class Recipe:
    """What to train, and how. Components are text, such as `R1(weight=5, every=16)`; see `sparring.base.components`.

    Raises:
        UserError: a field has the wrong type or is out of range.
    """

    about: str = _field("", "budget", "description of the recipe in one line: its purpose and a measured result")
    data: str = _field(
        "digits",
        "data",
        "dataset: a named set, a folder, archive or .parquet file of images, hub:OWNER/NAME, shards such as "
        "a-{00..99}.tar, .npz or .csv",
    )
    size: str = _field(
        "", "data", 'image size in pixels: "64" (square) or "96x64" (width x height); empty or 0 keeps the size'
    )
    fit: str = _field(
        "crop",
        "data",
        "method to reach `size`: crop (cover, cut the centre), pad, stretch, or patch (random crops at each step)",
        FITS,
    )
    held_out: float = _field(
        0.0,
        "data",
        "share of the samples held out to measure overfitting, 0 to 0.99; 0 uses the set's test split, if any",
        high=0.99,
    )
    task: str = _field(
        "Generate(latent=Normal(100))", "networks", "task: the generator's inputs, its losses and its scores"
    )
    generator: str = _field("DCGANGenerator()", "networks", "generator network")
    discriminator: str = _field("DCGANDiscriminator()", "networks", "discriminator network")
    start: str = _field(
        "", "networks", "run with the same networks whose weights to fine-tune; empty starts from random weights"
    )
    loss: str = _field("NonSaturating()", "game", "adversarial loss")
    adversarial: str = _field(
        "1",
        "game",
        "weight of the adversarial loss relative to the task's own losses, a number of at least 0 or a schedule; "
        "0 trains without a discriminator",
    )
    penalties: str = _field(
        "", "game", 'penalties and weight constraints, separated by commas: "R1(weight=5, every=16)"; empty: none'
    )
    augment: str = _field(
        "auto",
        "game",
        'augmentation of the discriminator\'s inputs, such as "ADA()"; empty: none; '
        "auto: ADA() for fewer than 5,000 images of at least 16x16, else none",
    )
    mirror: bool = _field(
        False, "data", "horizontal flips of half of the training images, chosen at random at each step"
    )
    turns: str = _field("Alternating()", "game", "order of the discriminator's and the generator's updates in a step")
    generator_optimizer: str = _field("Adam()", "game", "optimiser of the generator")
    discriminator_optimizer: str = _field("Adam()", "game", "optimiser of the discriminator")
    learning_rate: str = _field(
        "Constant(1)", "game", "factor of both optimisers' learning rates, a number of at least 0 or a schedule"
    )
    ema: str = _field(
        "EMA()", "networks", "moving average of the generator's weights, which samples use; empty uses the last weights"
    )
    clip_gradients: float = _field(
        0.0, "game", "gradient clipping: the largest norm of a network's gradient; 0 does not clip"
    )
    batch_size: int = _field(64, "budget", "batch size: samples per update, at least 1", low=1)
    micro_batches: int = _field(
        1, "budget", "gradient accumulation: number of equal parts of a batch, computed in turn to save memory", low=1
    )
    steps: int = _field(
        10_000, "budget", "budget in training steps; with equal `threads` a repeat is bit-identical; 0 sets no limit"
    )
    minutes: float = _field(
        0.0,
        "budget",
        "budget in minutes of training, without evaluations, probes, pictures and checkpoints; 0 sets no limit",
    )
    wall_minutes: float = _field(
        0.0,
        "budget",
        "budget in minutes of wall time: training, evaluations, probes, pictures, checkpoints and the timing of "
        "threads, without starting up; 0 sets no limit",
    )
    seed: int = _field(0, "budget", "random seed, at least 0; it determines every random choice")
    precision: str = _field(
        "auto",
        "machine",
        "number format: fp32, bf16, or auto (bf16 where the hardware computes faster in it)",
        PRECISIONS,
    )
    device: str = _field(
        "auto", "machine", "device: cpu, cuda, mps, or auto (the first available of cuda, mps, cpu)", DEVICES
    )
    threads: str = _field(
        "auto",
        "machine",
        "number of CPU threads: at least 1, or auto (the fastest number, timed at the start; with a budget in minutes "
        "timed again when steps become slow; with a GPU torch's own number)",
    )
    log_every: int = _field(50, "budget", "logging interval in steps, at least 1", low=1)
    pictures: int = _field(
        20, "budget", "number of sample sheets saved over the run, all from the same inputs; 0 saves the first and last"
    )
    checkpoint_every: float = _field(
        1.0, "budget", "checkpoint interval in minutes of wall time, above 0", open_low=True
    )
    evaluate_every: int = _field(
        0, "evaluation", "evaluation interval in steps; 0 computes only a quick score at each checkpoint"
    )
    metrics: str = _field(
        "auto",
        "evaluation",
        "metrics of evaluations; the first one selects the best checkpoint; auto depends on the task",
    )
    extractor: str = _field(
        "auto", "evaluation", "feature extractor of the metrics, such as Classifier(); auto depends on the data"
    )
    evaluate_count: int = _field(5000, "evaluation", "number of samples generated for an evaluation, at least 2", low=2)
    evaluate_budget: float = _field(
        0.2,
        "evaluation",
        "largest time of all evaluations as a share of the training time, 0 to 1; 1 sets no limit",
        high=1,
    )
    patience: int = _field(
        0, "evaluation", "early stopping: number of evaluations without improvement before the run ends; 0 never stops"
    )
    doctor: str = _field(
        "watch",
        "doctor",
        "doctor: watch (diagnose during training), treat (also change the recipe to fix failures), or off",
        DOCTORS,
    )
    keep: int = _field(
        3, "budget", "number of latest checkpoints to keep, at least 1; the best one is kept as well", low=1
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", size_text(self.size))  # TOML and Python may have size=64
        object.__setattr__(self, "threads", threads_text(self.threads))  # and threads=2
        check_fields("recipe", self)
        if not self.budgets:
            none = "steps=0, minutes=0 and wall_minutes=0 leave no budget"
            raise UserError(f"recipe: {none}; set one of them, such as steps=1000")
        if self.patience and not self.evaluate_every:
            raise UserError(
                f"recipe: patience={self.patience} needs evaluations; set evaluate_every, such as evaluate_every=500"
            )
        if self.batch_size % self.micro_batches:
            parts = f"{self.micro_batches} equal micro_batches"
            raise UserError(f"recipe: batch_size={self.batch_size} cannot be cut into {parts}; choose a divisor of it")

    def replace(self, **changes: object) -> Recipe:
        """A copy with some fields changed. A budget replaces those that are not given with it (see `BUDGETS`).

        Raises:
            UserError: a field is unknown, or a value is not allowed.
        """
        names = field_names()
        for name in changes:
            if name not in names:
                raise UserError(f"a recipe has no field {name!r}: {did_you_mean(name, names)}")
        if any(changes.get(name) for name in BUDGETS):
            changes = {**BUDGETS, **changes}
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    @property
    def budgets(self) -> dict[str, float]:
        """The budgets that limit the run, at least one: field -> value. The first to be spent ends it."""
        return {name: getattr(self, name) for name in BUDGETS if getattr(self, name)}

    @property
    def timed(self) -> bool:
        """The length of the run depends on time, so that a repeat is not bit-identical."""
        return bool(self.minutes or self.wall_minutes)

    @property
    def trust(self) -> str:
        """The option ` --trust` if a component is the user's own code, or a command writes the data; else "". Commands
        on its runs need it."""
        texts = [getattr(self, name) for name in COMPONENTS]
        own_code = self.data.startswith(PIPE) or any(names_own_code(text) for text in texts if text)
        return " --trust" if own_code else ""

    def longer(self, step: int) -> str:
        """The options of `sparring resume` that double the budget of a run that ended at a step."""
        doubled = {name: 2 * (step if name == "steps" else value) for name, value in self.budgets.items()}
        return " ".join(f"--{name.replace('_', '-')} {_plain(value)}" for name, value in doubled.items())

    def to_toml(self) -> str:
        """The recipe as a TOML document; a comment before each field explains it."""
        import tomli_w

        lines = []
        for f in dataclasses.fields(self):
            lines += [f"# {f.metadata['help']}", tomli_w.dumps({f.name: getattr(self, f.name)}).strip()]
        return "\n".join(lines) + "\n"


def parse_recipe(text: str, source: str) -> Recipe:
    """The recipe in a TOML document. Missing fields have their defaults; `source` names the document in errors.

    Raises:
        UserError: the text is not TOML, a field is unknown, or a value is not allowed.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{source} is not TOML: {error}") from error
    floats = {f.name for f in dataclasses.fields(Recipe) if isinstance(f.default, float)}
    values = {k: float(v) if k in floats and type(v) is int and abs(v) < 1e15 else v for k, v in values.items()}
    try:
        budget = BUDGETS if any(values.get(name) for name in BUDGETS) else {}
        return Recipe(**{**budget, **values})
    except TypeError:
        names = field_names()
        unknown = next(name for name in values if name not in names)
        raise UserError(f"{source}: a recipe has no field {unknown!r}: {did_you_mean(unknown, names)}") from None
    except UserError as error:
        raise UserError(f"{source}: {error}") from error


def load_recipe(name: str) -> Recipe:
    """A recipe by its name, or from the path of a TOML file.

    Raises:
        UserError: there is no such recipe or file, or the file is not a valid recipe.
    """
    folder = resources.files("sparring") / "recipes"
    if name in recipe_names():
        return parse_recipe((folder / f"{name}.toml").read_text(encoding="utf-8"), name)
    path = existing_path(name)
    if path is None:
        raise UserError(f"no recipe {name!r}: {did_you_mean(name, recipe_names())}, or a .toml file")
    return read_recipe_file(path)


def read_recipe_file(path: Path) -> Recipe:
    """The recipe in a TOML file. UserError: the file cannot be read, or is not a valid recipe."""
    try:
        return parse_recipe(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"recipe {path} cannot be read: {error}") from error


def train_command(recipe: str, changes: Mapping[str, object]) -> str:
    """The shell command that trains a recipe with some fields changed."""
    words = ["sparring", "train", recipe]
    for name, value in changes.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words += [option] if value else []
        else:
            words += [option, _plain(value)]
    words += ["--trust"] if str(changes.get("data", "")).startswith(PIPE) else []
    return shlex.join(words)


def _plain(value: object) -> str:
    """The value of an option as text."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def recipe_names() -> list[str]:
    """Names of the recipes in the package, sorted."""
    folder = resources.files("sparring") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def field_names() -> list[str]:
    """Names of the fields of a recipe, in order."""
    return [f.name for f in dataclasses.fields(Recipe)]
