"""Lazy imports of names, and aliases for old module names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from importlib.abc import Loader


def lazy_names(package: str, names: Mapping[str, Sequence[str]], modules: Sequence[str] = ()) -> Callable[[str], Any]:
    """The `__getattr__` of a package that imports names and modules on first use.

    Args:
        package: the package's full name.
        names: module in the package -> names that it defines.
        modules: modules that are attributes of the package.
    """
    homes = {name: f"{package}.{module}" for module, held in names.items() for name in held}

    def get(name: str) -> Any:
        if name in homes:
            return getattr(import_module(homes[name]), name)
        if name in modules:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get


def module_names(package: str, path: Sequence[str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package that exposes its modules and all their public functions and classes.

    Args:
        package: the package's full name.
        path: the package's `__path__`.
    """
    modules = [found.name for found in iter_modules(path)]

    def names(module: str) -> dict[str, Any]:
        home = f"{package}.{module}"
        found = vars(import_module(home)).items()
        return {n: v for n, v in found if not n.startswith("_") and getattr(v, "__module__", "") == home}

    def get(name: str) -> Any:
        if name in modules:
            return import_module(f"{package}.{name}")
        for module in () if name.startswith("_") else modules:
            if name in (found := names(module)):
                return found[name]
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get, lambda: sorted({*modules, *(name for module in modules for name in names(module))})


class Aliases:
    """A finder that imports modules, and their submodules, by old or short names such as `sparring.losses`.

    `homes` maps these names to the full names.
    """

    def __init__(self, homes: Mapping[str, str]) -> None:
        self.homes = homes

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, cast("Loader", self)) if self._home(fullname) else None

    def create_module(self, spec: ModuleSpec) -> None:
        """None: Python creates an empty module."""

    def exec_module(self, module: ModuleType) -> None:
        """Replace the empty module by the real one."""
        name = module.__name__
        sys.modules[name] = import_module(self._home(name))

    def _home(self, name: str) -> str:
        for old, new in self.homes.items():
            if name == old or name.startswith(f"{old}."):
                return new + name[len(old) :]
        return ""
