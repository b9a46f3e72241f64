"""What the clinic trains: healthy recipes of all kinds, and sick ones with what was planted in them.

All are scaled so that a run takes a minute or less on two cores.
"""

from __future__ import annotations

from dataclasses import replace

from sparring.studies.clinic.case import Case, make_case, read_tables

FILES = ("healthy", "failing", "translating")
CASES = tuple(make_case(name, table) for file in FILES for name, table in read_tables(file).items())


def _matched() -> dict[str, Case]:
    """For each case its control; for those that can be treated one with as much data and as many steps."""
    by_name = {case.name: case for case in CASES}
    found = {}
    for case in CASES:
        control = by_name[case.control]
        same = {name: case.recipe.get(name, 0.0) for name in ("data", "held_out", "steps")}
        other = [f"{value}" for name, value in same.items() if control.recipe.get(name, 0.0) != value]
        if case.treatable and other:
            name = "-".join([control.name, *other])
            control = replace(control, name=name, recipe={**control.recipe, **same})
        found[case.name] = control
    return found


MATCHED = _matched()
