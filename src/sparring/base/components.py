"""Components as text: `make("R1(weight=5, every=16)", penalties)`.

The text is parsed with `ast` and never executed. It holds a component's name, literals and nested components. A name is
looked up in the `__all__` of the home modules. A dotted name imports the user's own code, only within `trusted(True)`.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from sparring.base.errors import UserError, did_you_mean, shortened

PIPE = "pipe:"  # begins the name of data that a shell command writes, which needs the same trust as the user's own code

_TRUST: ContextVar[bool] = ContextVar("trust", default=False)


@contextmanager
def trusted(trust: bool) -> Iterator[None]:
    """Allow or forbid dotted names, which import the user's own code, and commands as data, within this block. They are
    forbidden outside of any block. Other threads and processes do not inherit the setting."""
    before = _TRUST.set(trust)
    try:
        yield
    finally:
        _TRUST.reset(before)


def is_trusted() -> bool:
    """True if dotted names and commands are allowed here."""
    return _TRUST.get()


def names_own_code(text: str) -> bool:
    """The text of a component, or of several, has a dotted name, which imports the user's own code."""
    try:
        tree = ast.parse(f"({text},)", mode="eval")
    except (SyntaxError, ValueError):
        return False
    return any(isinstance(node, ast.Attribute) for node in ast.walk(tree))


def make(
    text: str, *homes: ModuleType, context: Sequence[object] = (), given: Mapping[str, object] | None = None
) -> Any:
    """Build the component that a text describes, such as `"R1(weight=5)"` or `"R1"`.

    Args:
        text: a name with arguments, which are literals or components.
        homes: modules whose `__all__` lists the components: the first one the outermost component, all of them nested
            components.
        context: leading arguments of the outermost component, such as a network's shapes.
        given: named arguments of the outermost component that the text must not set, such as `classes`. Those with the
            value 0 are left out if the component has no such argument.

    Raises:
        UserError: the text does not describe a component; the message shows what to write.
    """
    return _Maker(text, homes).component(Spec.read(text), context, homes[:1], given or {})


def make_all(text: str, *homes: ModuleType) -> list[Any]:
    """Build the components of a comma-separated list, as `make` does; empty text gives an empty list."""
    maker = _Maker(text, homes)
    return [maker.component(spec, (), homes[:1], {}) for spec in Spec.read_all(text)]


@dataclass(frozen=True)
class Spec:
    """A component's text, parsed but not built: `R1(weight=5, every=16)`. `str` gives the text back."""

    name: str  # such as `R1`; dotted for the user's own code
    positional: tuple[Any, ...] = ()  # unnamed arguments: literals, `Spec`s, and tuples of them
    fields: Mapping[str, Any] = field(default_factory=dict, hash=False)  # named arguments

    @classmethod
    def read(cls, text: str) -> Spec:
        """Parse the text of one component. UserError: it is not one."""
        return _spec(_parse(text), text)

    @classmethod
    def read_all(cls, text: str) -> list[Spec]:
        """Parse a comma-separated list; empty text gives an empty list. UserError: it is not such a list."""
        if not text.strip():
            return []
        node = _parse(text)
        return [_spec(each, text) for each in (node.elts if isinstance(node, ast.Tuple) else [node])]

    def get(self, name: str, default: Any = None) -> Any:
        return self.fields.get(name, default)

    def replace(self, **fields: Any) -> Spec:
        return replace(self, fields={**self.fields, **fields})

    def __str__(self) -> str:
        named = [f"{name}={_text(value)}" for name, value in self.fields.items()]
        return f"{self.name}({', '.join([*map(_text, self.positional), *named])})"


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))}{',' if len(value) == 1 else ''})"
    return str(value) if isinstance(value, Spec) else ast.unparse(ast.Constant(value))


def _spec(node: ast.expr, text: str) -> Spec:
    """The component of a node of the parsed text."""
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    name = _dotted_name(call.func)
    if name is None:
        raise UserError(f'{shortened(text)!r}: {_shown(node)!r} is not a component; write "Name(field=value)"')
    if any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords):
        raise UserError(f"{shortened(text)!r}: * and ** cannot be used here; write each field as field=value")
    fields: dict[str, Any] = {}
    for keyword in call.keywords:
        if str(keyword.arg) in fields:
            raise UserError(f"{name} in {shortened(text)!r}: the field {keyword.arg!r} is given twice")
        fields[str(keyword.arg)] = _value(keyword.value, text)
    return Spec(name, tuple(_value(argument, text) for argument in call.args), fields)


def _value(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.Call):
        return _spec(node, text)
    if isinstance(node, (ast.Tuple, ast.List)):
        return tuple(_value(each, text) for each in node.elts)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        allowed = "numbers, quoted text, True, False, None, tuples and components"
        raise UserError(f"{shortened(text)!r}: {_shown(node)!r} is not a value; allowed are {allowed}") from error


def _parse(text: str) -> ast.expr:
    if not isinstance(text, str):
        raise UserError(f'{text!r}: a component is written as text, such as "R1(weight=5)"')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes in strings
            return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        fix = 'write a name and its fields, such as "R1(weight=5)"'
        raise UserError(f"{shortened(text)!r} cannot be read; {fix}") from error


class _Maker:
    def __init__(self, text: str, homes: Sequence[ModuleType]) -> None:
        self.text, self.homes = text, homes

    def component(
        self, spec: Spec, context: Sequence[object], homes: Sequence[ModuleType], given: Mapping[str, object]
    ) -> Any:
        factory = self._find(spec.name, homes)
        positional = [*context, *map(self._value, spec.positional)]
        named = {name: self._value(value) for name, value in spec.fields.items()}
        signature = _signature(factory)
        if signature is not None:
            given = {key: value for key, value in given.items() if value or key in signature.parameters}
            try:
                if named.keys() & given.keys():
                    raise TypeError("the text must not set it")
                signature.bind(*positional, **named, **given)
            except TypeError as error:
                fields = [field for field in list(signature.parameters)[len(context) :] if field not in given]
                problem = _misnamed(signature, fields, named, given)
                problem = problem or f"{error}; its fields are: {', '.join(fields) or 'none'}"
                raise UserError(f"{spec.name.rpartition('.')[2]} in {shortened(self.text)!r}: {problem}") from error
        return factory(*positional, **named, **given)

    def _find(self, name: str, homes: Sequence[ModuleType]) -> Callable[..., Any]:
        if "." in name:
            return self._find_dotted(name)
        for home in homes:
            if name in home.__all__:
                return getattr(home, name)  # type: ignore[no-any-return]
        known = [known for home in homes for known in home.__all__]
        raise UserError(f"unknown component {name!r} in {shortened(self.text)!r}: {did_you_mean(name, known)}")

    def _find_dotted(self, name: str) -> Callable[..., Any]:
        if not is_trusted():
            code = f"{shortened(self.text)!r} would run code of {name!r}"
            raise UserError(f"{code}; if you trust where it comes from, add --trust")
        module, _, attribute = name.rpartition(".")
        try:
            with _working_folder_importable():
                found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise UserError(f"{name!r} in {shortened(self.text)!r} cannot be imported: {error}") from error
        if not callable(found):
            raise UserError(f"{name!r} in {shortened(self.text)!r} is not a class or function")
        return found  # type: ignore[no-any-return]

    def _value(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(self._value, value))
        return self.component(value, (), self.homes, {}) if isinstance(value, Spec) else value


@contextmanager
def _working_folder_importable() -> Iterator[None]:
    """Let imports find modules of the working folder, after all others, as under `python -m sparring`."""
    if "" in sys.path:
        yield
        return
    sys.path.append("")
    try:
        yield
    finally:
        sys.path.remove("")


def _misnamed(
    signature: inspect.Signature, fields: Sequence[str], named: Mapping[str, object], given: Mapping[str, object]
) -> str:
    """What is wrong with the names of arguments, for a message; "" if nothing."""
    for name, value in given.items():
        if name not in signature.parameters:
            return f"it takes no {name}, but {name}={value} is required; use a component that takes {name}"
    for name in named:
        if name not in fields:
            return f"no field {name!r}: {did_you_mean(name, fields) if fields else 'it has none'}"
    return ""


def _signature(factory: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(factory)
    except (TypeError, ValueError):
        return None  # some builtins have no signature


def _dotted_name(node: ast.expr) -> str | None:
    """`a.b.c` as text, or None for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


def _shown(node: ast.expr) -> str:
    """The source of a node, for a message."""
    try:
        return shortened(ast.unparse(node))
    except RecursionError:
        return type(node).__name__
