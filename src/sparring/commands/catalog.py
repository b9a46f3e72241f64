"""The catalog: everything that a user can name, by kind. Importing it needs no torch; listing most kinds does."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from sparring.base.errors import UserError, shortened
from sparring.commands.entries import (
    Entry,
    components,
    data_sets,
    failures,
    inputs,
    metrics,
    networks,
    recipe_fields,
    recipes,
)


@dataclass(frozen=True)
class Kind:
    """A kind of names.

    Attributes:
        one: what one of them is called.
        about: what they are.
        use: the options that take one; `{name}` or `{call}` stands for it.
        find: gives the entries, each with its own `use`.
    """

    one: str
    about: str
    use: str
    find: Callable[[str], Iterable[Entry]]

    def entries(self) -> list[Entry]:
        return list(self.find(self.use))

    def option_takes_it(self, option: str) -> bool:
        """An option of `sparring train` takes names of this kind."""
        return re.search(rf"(?<![\w-]){option}(?![\w-])", self.use) is not None


def _of(one: str, about: str, home: str, *options: str) -> Kind:
    """The components of a home module."""
    return Kind(one, about, ", ".join(f'{option} "{{call}}"' for option in options), partial(components, home))


KINDS: dict[str, Kind] = {
    "recipes": Kind("recipe", "complete settings of a training", "sparring train {name}", recipes),
    "fields": Kind("field of a recipe", "the settings in a recipe", "{option} {value}", recipe_fields),
    "data": Kind("data set", "named data sets, beside paths and hub:OWNER/NAME", "--data {name}", data_sets),
    "tasks": _of("task", "what the generator learns", "sparring.tasks", "--task"),
    "networks": Kind(
        "network", "generators and discriminators", '--generator "{call}", --discriminator "{call}"', networks
    ),
    "losses": _of("loss", "adversarial losses", "sparring.game.losses", "--loss"),
    "penalties": _of(
        "penalty", "penalties, other loss terms and constraints", "sparring.game.penalties", "--penalties"
    ),
    "augmentations": _of(
        "augmentation", "augmentations of what the discriminator sees", "sparring.game.augment", "--augment"
    ),
    "turns": _of("turn rule", "the order of the players' updates", "sparring.game.turns", "--turns"),
    "optimizers": _of(
        "optimizer",
        "optimizers, one for each player",
        "sparring.game.optimizers",
        "--generator-optimizer",
        "--discriminator-optimizer",
    ),
    "schedules": _of(
        "schedule",
        "numbers that change during training, also inside components: R1(weight=Linear(10, 1))",
        "sparring.game.schedules",
        "--learning-rate",
        "--adversarial",
    ),
    "averages": _of("average", "averages of the generator's weights, for sampling", "sparring.game.ema", "--ema"),
    "latents": Kind(
        "latent distribution",
        "distributions of the generator's input",
        '--task "Generate(latent={call})"',
        partial(inputs, False),
    ),
    "codes": Kind(
        "code distribution",
        "distributions of InfoGAN's codes, a part of the generator's input",
        '--task "Generate(codes=({call},))"',
        partial(inputs, True),
    ),
    "degradations": Kind(
        "degradation",
        "degradations that a generator learns to undo",
        '--task "Restore(degrade={call})"',
        partial(components, "sparring.tasks.degrade"),
    ),
    "metrics": Kind("metric", "scores of samples and of translated images", "--metrics {name}", metrics),
    "extractors": _of(
        "feature extractor", "networks whose features metrics compare", "sparring.metrics.extractors", "--extractor"
    ),
    "failures": Kind("failure", "failures that the doctor diagnoses", "sparring doctor RUN", failures),
}


def meanings(name: str) -> list[tuple[Kind, Entry]]:
    """Every entry of this name, and none for a kind's; case, dashes and arguments do not matter.

    Raises:
        UserError: nothing has this name.
    """
    wanted, known = _folded(name), [(kind, entry) for kind in KINDS.values() for entry in kind.entries()]
    found = [(kind, entry) for kind, entry in known if _folded(entry.name) == wanted]
    found = found or [(kind, entry) for kind, entry in known if wanted in map(_folded, entry.also)]
    if not found and name.lower() not in KINDS:
        near = list(dict.fromkeys(_nearest(wanted, [entry for _, entry in known])))[:3]
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        raise UserError(f"nothing is called {shortened(repr(name))}; {hint}sparring list shows all names")
    return found


def _nearest(wanted: str, entries: Sequence[Entry]) -> list[str]:
    """Names that hold the wanted text, else those spelled like it, else those whose summary has it as a word."""
    names = {_folded(name): name for name in (*KINDS, *(entry.name for entry in entries))}
    near = [name for folded, name in names.items() if len(wanted) > 2 and wanted in folded]
    near = near or [names[folded] for folded in difflib.get_close_matches(wanted, names, n=2, cutoff=0.7)]
    word = re.compile(rf"\b{re.escape(wanted)}\b", re.IGNORECASE)
    return near or [entry.name for entry in entries if wanted and word.search(entry.about)]


def _folded(name: str) -> str:
    return name.partition("(")[0].strip().strip("-").replace("-", "_").lower()
