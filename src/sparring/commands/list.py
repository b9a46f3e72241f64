"""`sparring list`: what can be named, by kind."""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap

from sparring.base.errors import check_choice
from sparring.commands.catalog import KINDS

ABOUT = "list what a recipe or an option can name: losses, penalties, networks, tasks, metrics, data ..."
INDENT = "    "


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    about = f"kind of names: {', '.join(KINDS)}; default: an overview of all kinds"
    parser.add_argument("kind", nargs="?", metavar="KIND", help=about)
    parser.add_argument("--json", action="store_true", help="print JSON: entries by kind, with fields and defaults")


def run(chosen: argparse.Namespace) -> None:
    """Print the names of one kind, or of all.

    Raises:
        UserError: there is no such kind.
    """
    if chosen.kind:
        check_choice("list", "kind", chosen.kind, KINDS)
    kinds = [chosen.kind] if chosen.kind else list(KINDS)
    if chosen.json:
        print(json.dumps({kind: as_json(kind) for kind in kinds}, indent=1))
    else:
        print("\n".join(names_of(chosen.kind) if chosen.kind else overview()))


def as_json(kind: str) -> dict[str, object]:
    """A kind as plain values."""
    return {"about": KINDS[kind].about, "entries": [entry.to_json() for entry in KINDS[kind].entries()]}


def overview() -> list[str]:
    """All kinds, each with its names."""
    lines = []
    for name, kind in KINDS.items():
        names = dict.fromkeys(entry.name for entry in kind.entries())
        lines += [f"{name}: {kind.about}", *wrapped(", ".join(names))]
    return [
        *lines,
        "",
        "sparring list KIND       fields and one line about each name",
        "sparring explain NAME    all about one name",
    ]


def names_of(kind: str) -> list[str]:
    """A kind's names, each with its fields and one sentence."""
    lines = [f"{kind}: {KINDS[kind].about}", ""]
    for entry in KINDS[kind].entries():
        lines += [entry.heading, *wrapped(entry.about)]
    use = KINDS[kind].use.format(name="NAME", call="NAME(FIELD=VALUE)", option="--FIELD", value="VALUE")
    return [*lines, "", f"use:     {use}", "details: sparring explain NAME"]


def wrapped(text: str) -> list[str]:
    """Indented lines that fit the terminal."""
    width = min(shutil.get_terminal_size((120, 24)).columns, 120)
    return textwrap.wrap(text, width, initial_indent=INDENT, subsequent_indent=INDENT, break_on_hyphens=False)
