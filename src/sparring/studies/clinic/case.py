"""A case of the clinic, and how it is read from the TOML files of this package."""

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
    """A training with an injected fault, or a healthy one.

    Attributes:
        name: the name of the case.
        failure: the failure that the injected fault causes, or `healthy`.
        about: the fault in a few words.
        recipe: fields of the recipe.
        control: the healthy case on the same data whose score it is compared with; for a healthy case, itself.
        also: other failures that the fault causes; a finding of one of them counts as correct.
        begins: the share of the run at which the fault sets in.
        quick: whether `--quick` includes it.
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
        """The fault is in the recipe, so another recipe can fix it; a network of faults.py cannot be fixed."""
        return self.failure != HEALTHY and f"{PACKAGE}.faults." not in f"{self.recipe}"

    @property
    def accepted(self) -> set[str]:
        """The failures whose finding counts as correct."""
        return {self.failure, *self.also}

    def make_recipe(self, seed: int) -> Recipe:
        """The recipe to train, watched by the doctor and evaluated twenty times."""
        fields = {**COMMON, **self.recipe, "seed": seed}
        points = fields["data"] in ("ring", "grid")
        metrics, count = ("wasserstein,modes", 1000) if points else ("frechet,modes", 500)
        fields = {"metrics": metrics, "evaluate_count": count, **fields}
        every = {"evaluate_every": max(1, fields["steps"] // 20), "log_every": max(1, fields["steps"] // 200)}
        return Recipe(**{**fields, **every})


def read_tables(name: str) -> dict[str, dict[str, Any]]:
    """The tables of one of this package's TOML files; values that begin with `faults.` name a class of faults.py."""
    text = (resources.files(PACKAGE) / f"{name}.toml").read_text(encoding="utf-8")
    return {title: {key: _in_full(v) for key, v in table.items()} for title, table in tomllib.loads(text).items()}


def _in_full(value: Any) -> Any:
    return f"{PACKAGE}.{value}" if isinstance(value, str) and value.startswith("faults.") else value


BASES = read_tables("bases")  # healthy settings
COMMON = BASES.pop("common")
OWN = ("about", "failure", "base", "control", "also", "begins", "quick")  # fields of the case; others are of its recipe


def make_case(name: str, table: Mapping[str, Any]) -> Case:
    """Make a case from a table: its own fields, the base recipe, and the recipe fields that it changes.

    Raises:
        UserError: there is no such field, base or failure.
    """
    owner = f"case {name}"
    changes = {key: value for key, value in table.items() if key not in OWN}
    for key in changes:
        check_choice(owner, "field", key, (*OWN, *field_names()))
    base, failure, also = table.get("base", ""), table.get("failure", HEALTHY), tuple(table.get("also", ()))
    check_choice(owner, "base", base, BASES)
    for each in (failure, *also):
        check_choice(owner, "failure", each, (HEALTHY, *FAILURES))
    control = table.get("control", name if failure == HEALTHY else f"{base}-plain")
    constant = {} if failure == HEALTHY else {"learning_rate": "Constant(1)"}  # a falling rate would hide the failure
    recipe = {**BASES[base], **constant, **changes}
    begins, quick = table.get("begins", 0.0), table.get("quick", False)
    return Case(name, failure, table.get("about", ""), recipe, control, also, begins, quick)
