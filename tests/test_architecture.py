"""The import order of the packages: each imports only packages before it, without cycles."""

from __future__ import annotations

import ast
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from sparring.cli import main

SOURCE = Path(__file__).parents[1] / "src" / "sparring"
ORDER = (
    "base",
    "recipe",
    "networks",
    "data",
    "run",
    "metrics",
    "game",
    "tasks",
    "assemble",
    "apply",
    "doctor",
    "evaluation",
    "training",
    "studies",
    "studio",
    "commands",
    "cli",
    "__init__",
    "__main__",
)
"""Bottom to top; docs/architecture.md shows it."""
MOST_FRAMES = 8


class Import(NamedTuple):
    """One module that one line imports, both as parts of a path below `sparring`."""

    importer: tuple[str, ...]
    imported: tuple[str, ...]
    line: str


def modules(root: Path) -> dict[tuple[str, ...], Path]:
    """All modules below a package's folder; `a/__init__.py` is ("a", "__init__")."""
    return {path.relative_to(root).with_suffix("").parts: path for path in sorted(root.rglob("*.py"))}


def imports(root: Path) -> Iterator[Import]:
    """Every import of the package's own modules, also inside functions and for type checking."""
    known = modules(root)
    for importer, path in known.items():
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            for name in _named(node):
                found = _module(name.split("."), known)
                if found and found != importer:
                    line = (
                        f"{path.relative_to(root.parent)}:{node.lineno}: {text.splitlines()[node.lineno - 1].strip()}"  # type: ignore[attr-defined]
                    )
                    yield Import(importer, found, line)


def _named(node: ast.AST) -> list[str]:
    """The dotted names that an import statement may refer to."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def _module(parts: list[str], known: dict[tuple[str, ...], Path]) -> tuple[str, ...] | None:
    """The module that defines a dotted name of this package; None for other packages."""
    if parts[0] != SOURCE.name:
        return None
    inner = tuple(parts[1:])
    return next(
        (found for found in (inner, (*inner, "__init__"), inner[:-1], (*inner[:-1], "__init__")) if found in known),
        None,
    )


def upward(found: list[Import], order: tuple[str, ...]) -> list[str]:
    """The lines that import a package above the importer's."""
    return [i.line for i in found if order.index(i.imported[0]) > order.index(i.importer[0])]


def cycles(found: list[Import]) -> list[str]:
    """For each cycle of imports, the shortest one: its first line and the line that closes it."""
    after: dict[tuple[str, ...], dict[tuple[str, ...], str]] = {}
    for i in found:
        after.setdefault(i.importer, {}).setdefault(i.imported, i.line)

    def chain(start: tuple[str, ...], end: tuple[str, ...]) -> list[tuple[tuple[str, ...], str]]:
        """The shortest chain of imports, each as the module it reaches and its line; empty if there is none."""
        seen, waiting = {start}, [(start, [])]
        while waiting:
            at, steps = waiting.pop(0)
            for following, line in after.get(at, {}).items():
                if following == end:
                    return [*steps, (following, line)]
                if following not in seen:
                    seen.add(following)
                    waiting.append((following, [*steps, (following, line)]))
        return []

    shown, closed = [], set()
    for module in after:
        steps = chain(module, module)
        if steps and not closed & {name for name, _ in steps}:
            closed |= {name for name, _ in steps}
            shown.append(f"{steps[0][1]}\n    closed by {steps[-1][1]}")
    return shown


def test_every_package_is_in_the_order() -> None:
    assert {parts[0] for parts in modules(SOURCE)} <= set(ORDER)


def test_no_upward_imports() -> None:
    found = upward(list(imports(SOURCE)), ORDER)
    assert not found, "\n".join(found)


def test_there_are_no_import_cycles() -> None:
    found = cycles(list(imports(SOURCE)))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("turns", ["Alternating()", "Simultaneous()", "Unrolled(depth=1)"])
def test_few_frames_lie_between_the_command_and_backward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turns: str
) -> None:
    backward, stacks = torch.Tensor.backward, []

    def noted(self: torch.Tensor, *arguments: object, **named: object) -> None:
        stacks.append([f.name for f in traceback.extract_stack() if Path(f.filename).is_relative_to(SOURCE)])
        backward(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.Tensor, "backward", noted)
    words = ["--generator=MLPGenerator(hidden=(8,))", "--discriminator=MLPDiscriminator(hidden=(8,))", "--penalties="]
    assert main(["train", "digits", "--steps=1", f"--turns={turns}", f"--out={tmp_path / 'run'}", *words]) == 0
    assert len(stacks) == 2
    assert stacks[0][:4] == ["main", "run", "train", "train_on"]
    assert max(map(len, stacks)) <= MOST_FRAMES, stacks


def test_the_documentation_shows_the_order_and_names_files_that_exist() -> None:
    text = (SOURCE.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    picture = text.split("```")[1]
    shown = [name for line in picture.splitlines() for name in re.findall(r"^ *([a-z]+)(?:, cli)?\b", line)]
    packages = [name for name in ORDER if (SOURCE / name).is_dir() or name == "recipe"]
    assert shown[::-1] == packages
    named = set(re.findall(r"`([a-z_]+/[a-z_/]*\.py)`", text))
    assert named
    missing = {name for name in named if not (SOURCE / name).exists() and not (SOURCE.parents[1] / name).exists()}
    assert not missing


ALLOWED = {
    "tasks": "it defines the kinds",
    "apply": "a generator of samples cannot be applied to images, nor the reverse: the user's mistake",
    "doctor": "probes of images use fewer samples",
}
"""Packages that may check the kind of a task, and why; so may `evaluation.evaluator`, once, to choose the scoring."""


def test_only_listed_modules_check_for_translating_tasks() -> None:
    found = [
        parts
        for parts, path in modules(SOURCE).items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.If | ast.IfExp | ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Assign)
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
        and getattr(call.func, "id", "") == "isinstance"
        and any(getattr(name, "id", "") == "Translating" for name in ast.walk(call.args[1]))
    ]
    assert {parts for parts in found if parts[0] not in ALLOWED} == {("evaluation", "evaluator")}
