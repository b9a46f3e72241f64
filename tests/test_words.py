"""What people read uses the words of the field: none that only this project uses, and statements, no questions."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
REPLACED = {
    "told": "shown, reported, logged",
    "mend|mends|mended|mending": "fix",
    "ail|ails|ailed|ailing": "is wrong with",
    "silly": "dataset artifact",
    "settled": "resolved",
    "yardstick|yardsticks": "reference",
    "lacking": "missing",
    "plays": "is active",
    "as they are": "unchanged",
    "ill|illness|illnesses|sick|cure|cures|cured|curable|healed": "failing, failure, treated",
    "verdict|verdicts": "finding",
    "remedy|remedies": "fix",
    "ward|wards|bed|beds|plant|plants|planted": "case, fault, injected fault",
    "anew": "again, from the start",
    "tell of|tells of|told of": "report",
}
KEPT = {"src/sparring/__init__.py": "verdicts", "src/sparring/run/log.py": "illness"}  # names in old code and logs
WORDS = {rf"\b({words})\b": instead for words, instead in REPLACED.items()}
SOURCES = sorted(
    p for folder in ("src", "benchmarks") for end in ("py", "toml") for p in (ROOT / folder).rglob(f"*.{end}")
)
PAGES = sorted({ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")})


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=name_of)
def test_no_word_of_our_own(path: Path) -> None:
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.startswith("|") and " -> " in line:  # the change log's table of old and new names
            continue
        for pattern, instead in WORDS.items():
            matches = [match.group() for match in re.finditer(pattern, line, re.IGNORECASE)]
            found += [f"{number}: {word} -> {instead}" for word in matches if word != KEPT.get(name_of(path))]
    assert not found, f"{name_of(path)}: words that only this project uses"


@pytest.mark.parametrize("path", [p for p in SOURCES if p.suffix == ".py"], ids=name_of)
def test_statements_instead_of_questions(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(text)) if isinstance(node, documented)]
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    assert [each for each in (*docs, *comments) if re.search(r"\?(\s|$)", each)] == []
