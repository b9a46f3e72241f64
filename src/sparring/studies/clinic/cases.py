"""The cases of the clinic: healthy recipes of all kinds, and recipes with an injected fault.

Each takes a minute or less on two cores.
"""

from __future__ import annotations

from dataclasses import replace

from sparring.studies.clinic.case import Case, make_case, read_tables

FILES = ("healthy", "failing", "translating")
CASES = tuple(make_case(name, table) for file in FILES for name, table in read_tables(file).items())


def _matched() -> dict[str, Case]:
    """Case name -> control; the control of a treatable case has the same data and number of steps."""
    by_name = {case.name: case for case in CASES}
    found = {}
    for case in CASES:
        control = by_name[case.control]
        shared = {name: case.recipe.get(name, 0.0) for name in ("data", "held_out", "steps")}
        differing = [f"{value}" for name, value in shared.items() if control.recipe.get(name, 0.0) != value]
        if case.treatable and differing:
            name = "-".join([control.name, *differing])
            control = replace(control, name=name, recipe={**control.recipe, **shared})
        found[case.name] = control
    return found


MATCHED = _matched()
