"""Names of packages that are imported on first use, and old module names that keep working."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from importlib.abc import Loader


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose names are imported on first use; `homes` are the modules that hold them, ""
    where a name is itself a module of the package."""

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = homes[name]
        return getattr(import_module(home), name) if home else import_module(f"{package}.{name}")

    return get


class Aliases:
    """Import old names of modules, such as `sparring.losses`, as the modules that they are now, and their submodules.

    `homes` are the present names."""

    def __init__(self, homes: Mapping[str, str]) -> None:
        self.homes = homes

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, cast("Loader", self)) if self._home(fullname) else None

    def create_module(self, spec: ModuleSpec) -> None:
        """An empty module is made as usual."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the module that is meant in the place of the empty one which was made for the old name."""
        name = module.__name__
        sys.modules[name] = import_module(self._home(name))

    def _home(self, name: str) -> str:
        for old, new in self.homes.items():
            if name == old or name.startswith(f"{old}."):
                return new + name[len(old) :]
        return ""
