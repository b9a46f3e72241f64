"""MkDocs hook: writes the options of every command into reference/commands.md, from the parsers themselves."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import Any

from sparring import cli

MARK = "<!-- every command -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the commands in the place of the mark; other pages stay unchanged."""
    return markdown.replace(MARK, "\n".join(reference())) if MARK in markdown else markdown


def reference() -> Iterator[str]:
    """The lines of the reference: a section a command, a table for each group of its options."""
    parser = cli._parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        yield from (f"## {name}", "", sentence(command.description), "", "```text", usage(command), "```", "")
        for group in command._action_groups:
            yield from table(group)
        epilog = re.search(r"\n\n(metrics: .*)\Z", command.format_help(), re.DOTALL)
        if epilog is not None:
            yield from (sentence(" ".join(epilog[1].split())), "")


def usage(command: argparse.ArgumentParser) -> str:
    """The shortest form: what must be given, and that there are options."""
    places = command._get_positional_actions()
    needed = [action for action in command._get_optional_actions() if action.required]
    words = [f"{action.option_strings[-1]} {value_of(action)}" for action in needed]
    words += [value_of(action) if action.nargs not in ("?", "*") else f"[{value_of(action)}]" for action in places]
    return " ".join([command.prog, *words, "[options]"])


def table(group: argparse._ArgumentGroup) -> Iterator[str]:
    """The options of a group; nothing of a group that has none to show."""
    shown = [a for a in group._group_actions if a.help != argparse.SUPPRESS and not isinstance(a, argparse._HelpAction)]
    if not shown:
        return
    title = "arguments" if group.title == "positional arguments" else group.title
    yield from (f"**{sentence(title)[:-1]}**" + (f": {group.description}" if group.description else ""), "")
    yield from ("| option | meaning |", "| --- | --- |")
    for action in shown:
        yield f"| {spelling(action)} | {cell(action.help)} |"
    yield ""


def spelling(action: argparse.Action) -> str:
    """An option as it is typed."""
    names = [f"`{name}`" for name in action.option_strings]
    value = "" if action.nargs == 0 else value_of(action)
    if not names:
        return f"`{value}`"
    names[-1] = f"`{action.option_strings[-1]} {value}`" if value else names[-1]
    return " ".join(names)


def value_of(action: argparse.Action) -> str:
    """What stands for an option's value."""
    if isinstance(action.metavar, str):
        return action.metavar
    if action.choices is not None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    numbers: dict[object, str] = {int: "N", float: "NUMBER"}
    return numbers.get(action.type) or (action.dest.split("_")[-1] if action.option_strings else action.dest).upper()


def cell(text: str | None) -> str:
    """Text as a cell of a table holds it."""
    return (text or "").replace("%%", "%").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def sentence(text: str | None) -> str:
    """Text with a capital letter and a full stop."""
    text = (text or "").rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."
