"""Components as text: `make("R1(weight=5, every=16)", penalties)`.

The text is read with `ast`, never executed: a component's name, literals, and nested components. A name is looked up in
the `__all__` of its home modules; a dotted name reaches the user's own code, and only where the user allowed that.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from sparring.errors import UserError, did_you_mean


def make(text: str, *homes: ModuleType, trust: bool = False, context: Sequence[object] = ()) -> Any:
    """Build the one component that `text` describes.

    Args:
        text: such as `"R1(weight=5)"` or `"R1"`; arguments are literals or components.
        homes: modules whose `__all__` names what may be built, the outermost component's first.
        trust: may dotted names import the user's own code?
        context: leading arguments given by the caller to the outermost component (a network's shapes).

    Raises:
        UserError: for anything that is not such text; the message names the mend.
    """
    node = _parse(text)
    return _Maker(text, homes, trust).component(node, context)


def make_all(text: str, *homes: ModuleType, trust: bool = False) -> list[Any]:
    """Build the components of a comma-separated list; empty text gives an empty list."""
    if not text.strip():
        return []
    node = _parse(text)
    nodes = node.elts if isinstance(node, ast.Tuple) else [node]
    maker = _Maker(text, homes, trust)
    return [maker.component(n, ()) for n in nodes]


def _parse(text: str) -> ast.expr:
    if not isinstance(text, str):
        raise UserError(f'{text!r}: a component is written as text, such as "R1(weight=5)"')
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f'{text!r} cannot be read; write a name and its fields, such as "R1(weight=5)"') from error


class _Maker:
    def __init__(self, text: str, homes: Sequence[ModuleType], trust: bool) -> None:
        self.text, self.homes, self.trust = text, homes, trust

    def component(self, node: ast.expr, context: Sequence[object]) -> Any:
        if isinstance(node, ast.Call):
            target, arguments, keywords = node.func, node.args, node.keywords
        else:
            target, arguments, keywords = node, [], []
        if not isinstance(target, (ast.Name, ast.Attribute)):
            raise UserError(f'{self.text!r}: {ast.unparse(node)!r} is not a component; write "Name(field=value)"')
        factory = self._find(ast.unparse(target))
        positional = [*context, *map(self._value, arguments)]
        named = {k.arg: self._value(k.value) for k in keywords if k.arg is not None}
        if len(named) < len(keywords) or any(isinstance(a, ast.Starred) for a in arguments):
            raise UserError(f"{self.text!r}: * and ** cannot be used here; write each field as field=value")
        self._check_fields(factory, positional, named, len(context))
        return factory(*positional, **named)

    def _find(self, name: str) -> Callable[..., Any]:
        if "." in name:
            return self._find_dotted(name)
        for home in self.homes:
            if name in home.__all__:
                return getattr(home, name)  # type: ignore[no-any-return]
        raise UserError(f"unknown component {name!r} in {self.text!r}: {did_you_mean(name, self.homes[0].__all__)}")

    def _find_dotted(self, name: str) -> Callable[..., Any]:
        if not self.trust:
            raise UserError(f"{self.text!r} would run code of {name!r}; if you trust where it comes from, add --trust")
        module, _, attribute = name.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise UserError(f"{name!r} in {self.text!r} cannot be imported: {error}") from error
        if not callable(found):
            raise UserError(f"{name!r} in {self.text!r} is not a class or function")
        return found  # type: ignore[no-any-return]

    def _value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Call):
            return self.component(node, ())
        if isinstance(node, (ast.Tuple, ast.List)):
            return tuple(self._value(n) for n in node.elts)
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
            raise UserError(
                f"{self.text!r}: {ast.unparse(node)!r} is not a value; allowed are numbers, quoted text, True, False, "
                "None, tuples and components"
            ) from error

    def _check_fields(
        self, factory: Callable[..., Any], positional: Sequence[object], named: dict[str, Any], given: int
    ) -> None:
        signature = inspect.signature(factory)
        try:
            signature.bind(*positional, **named)
        except TypeError as error:
            fields = list(signature.parameters)[given:]
            name = getattr(factory, "__name__", str(factory))
            unknown = [k for k in named if k not in fields]
            if unknown:
                detail = f"no field {unknown[0]!r}: {did_you_mean(unknown[0], fields) if fields else 'it has none'}"
            else:
                detail = f"{error}; its fields are: {', '.join(fields) or 'none'}"
            raise UserError(f"{name} in {self.text!r}: {detail}") from error
