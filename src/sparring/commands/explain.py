"""`sparring explain`: the documentation of one name."""

from __future__ import annotations

import argparse

from sparring.commands.catalog import KINDS, Kind, meanings
from sparring.commands.entries import Entry
from sparring.commands.list import INDENT, names_of

ABOUT = "explain a name: a component, metric, data set, recipe, field of a recipe or failure"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    about = "name, such as R1, DCGANGenerator, frechet, learning_rate or mnist; capitals do not matter"
    parser.add_argument("name", help=about)


def run(chosen: argparse.Namespace) -> None:
    """Print every meaning of a name; of a kind's name, the kind.

    Raises:
        UserError: nothing has this name.
    """
    parts = [explained(kind, entry) for kind, entry in meanings(chosen.name)]
    parts += [names_of(chosen.name.lower())] if chosen.name.lower() in KINDS else []
    print("\n\n".join("\n".join(lines) for lines in parts))


def explained(kind: Kind, entry: Entry) -> list[str]:
    """The lines about one meaning: what it is, its documentation, its fields, and what takes it."""
    option = entry.use.split()[0]
    holding = [name for name, each in KINDS.items() if kind is KINDS["fields"] and each.option_takes_it(option)]
    details = [*entry.details, *(f"values: sparring list {name}" for name in holding)]
    lines = [f"{entry.name}: {kind.one}", *([entry.heading] if entry.heading != entry.name else []), "", entry.text, ""]
    lines += [*(INDENT + line for line in details), *([""] if details else []), f"use:    {entry.use}"]
    return [*lines, *([f"module: {entry.module}"] if entry.module else [])]
