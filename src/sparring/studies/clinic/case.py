"""What a case of the clinic is, and how it is read from the TOML files beside this one."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from sparring.base.errors import check_choice
from sparring.doctor.diagnosis.rules import FAILURES
from sparring.recipe import Recipe, field_names

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HEALTHY = "healthy"
PACKAGE = "sparring.studies.clinic"


@dataclass(frozen=True)
class Case:
    """A training with a known fault, or a healthy one.

    Attributes:
        illness: what was planted, or `healthy`.
        about: how, in a few words.
        recipe: fields of the recipe.
        control: the healthy case of the same data that its score is compared with; its own name, if it is one.
        also: other illnesses that are right, because what was planted brings them about.
        begins: the share of the run at which what was planted sets in.
        quick: it is one of the few of `--quick`.
    """

    name: str
    failure: str
    about: str
    recipe: Mapping[str, Any] = field(repr=False, hash=False)
    control: str = ""
    also: tuple[str, ...] = ()
    begins: float = 0.0
    quick: bool = False

    @property
    def treatable(self) -> bool:
        """Is the fault in the recipe, so that a change of it can help? A planted network stays what it is."""
        return self.failure != HEALTHY and f"{PACKAGE}.faults." not in f"{self.recipe}"

    @property
    def accepted(self) -> set[str]:
        """The names that are right."""
        return {self.failure, *self.also}

    def make_recipe(self, seed: int) -> Recipe:
        """The recipe to train; it is watched, and examined at twenty moments."""
        fields = {**COMMON, **self.recipe, "seed": seed}
        points = fields["data"] in ("ring", "grid")
        metrics, count = ("wasserstein,modes", 1000) if points else ("frechet,modes", 500)
        fields = {"metrics": metrics, "evaluate_count": count, **fields}
        every = {"evaluate_every": max(1, fields["steps"] // 20), "log_every": max(1, fields["steps"] // 200)}
        return Recipe(**{**fields, **every})


def read_tables(name: str) -> dict[str, dict[str, Any]]:
    """The tables of one of this package's TOML files. A text that begins with `plants.` names a part of that module."""
    text = (resources.files(PACKAGE) / f"{name}.toml").read_text(encoding="utf-8")
    return {title: {key: _in_full(v) for key, v in table.items()} for title, table in tomllib.loads(text).items()}


def _in_full(value: Any) -> Any:
    return f"{PACKAGE}.{value}" if isinstance(value, str) and value.startswith("faults.") else value


BASES = read_tables("bases")  # healthy settings
COMMON = BASES.pop("common")
OWN = ("about", "failure", "base", "control", "also", "begins", "quick")  # of a case; all else is of its recipe


def make_case(name: str, table: Mapping[str, Any]) -> Case:
    """The case of a table: what it is, the base that it starts from, and the fields of the recipe that it changes.
    UserError: a field, a base or an illness that there is not."""
    owner = f"case {name}"
    changes = {key: value for key, value in table.items() if key not in OWN}
    for key in changes:
        check_choice(owner, "field", key, (*OWN, *field_names()))
    base, failure, also = table.get("base", ""), table.get("failure", HEALTHY), tuple(table.get("also", ()))
    check_choice(owner, "base", base, BASES)
    for each in (failure, *also):
        check_choice(owner, "failure", each, (HEALTHY, *FAILURES))
    control = table.get("control", name if failure == HEALTHY else f"{base}-plain")
    steady = {} if failure == HEALTHY else {"learning_rate": "Constant(1)"}  # as it falls, the sick recover
    recipe = {**BASES[base], **steady, **changes}
    begins, quick = table.get("begins", 0.0), table.get("quick", False)
    return Case(name, failure, table.get("about", ""), recipe, control, also, begins, quick)
