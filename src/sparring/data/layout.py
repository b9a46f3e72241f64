"""What a task wants of a set: single images, pairs of images, or two sets; and where they are found in it."""

from __future__ import annotations

from dataclasses import dataclass

from sparring.base.errors import UserError, check_number, shortened

MOST_CLASSES = 255  # a byte holds them, and one number more for pixels of no class
IGNORED = 255  # how a pixel of no class is stored

Classes = tuple[str, ...] | int


@dataclass(frozen=True)
class Single:
    """Samples by themselves: images or points, with or without labels."""


@dataclass(frozen=True)
class Pairs:
    """A source and a target for each sample: what is translated, and what it is to become.

    Attributes:
        source, target: names of columns or sub-folders; "" finds them. Of images that hold both side by side, source
            may be "left" or "right".
        source_classes, target_classes: the classes' names, from id 0 on, or how many there are, where the pixels are
            ids of classes; () or 0: they are colours.
        ignore: an id that stands for no class, besides 255.
    """

    source: str = ""
    target: str = ""
    source_classes: Classes = ()
    target_classes: Classes = ()
    ignore: int | None = None

    def __post_init__(self) -> None:
        for name in ("source", "target"):
            _check_name("Pairs", name, getattr(self, name))
        sides = class_names(self.source_classes), class_names(self.target_classes)
        if self.ignore is not None:
            check_number("Pairs", "ignore", self.ignore, low=0, high=65535, whole=True)
            for names in sides:
                if self.ignore < len(names):
                    raise UserError(f"Pairs: ignore={self.ignore} is one of the {len(names)} classes")


@dataclass(frozen=True)
class Sets:
    """Two sets of images that do not belong together one by one: `a` is the source, `b` the target.

    The names are those of sub-folders or columns, or what the names of files end with (trainA.parquet).
    """

    a: str = "A"
    b: str = "B"

    def __post_init__(self) -> None:
        for name in ("a", "b"):
            _check_name("Sets", name, getattr(self, name))
        if not self.a or self.a == self.b:
            raise UserError(f"Sets: a={self.a!r} and b={self.b!r} must be two names, such as 'A' and 'B'")


Layout = Single | Pairs | Sets


def class_names(classes: object) -> tuple[str, ...]:
    """Names of the classes that a map's ids stand for: as given, or made up for a number of them; raises UserError if
    they are neither different names nor a number, or more than 255."""
    if isinstance(classes, int):
        check_number("Pairs", "classes", classes, low=0, high=MOST_CLASSES, whole=True)
        return tuple(f"class {i}" for i in range(classes))
    names = classes if isinstance(classes, tuple) and all(isinstance(name, str) for name in classes) else None
    if names is None or len(set(names)) < len(names) or len(names) > MOST_CLASSES:
        raise UserError(
            f"Pairs: classes={shortened(repr(classes))} must be at most {MOST_CLASSES} different names, such as "
            "('sky', 'road'), or how many there are"
        )
    return names


def _check_name(owner: str, field: str, name: object) -> None:
    if not isinstance(name, str) or "/" in name or "\\" in name or name in (".", ".."):
        raise UserError(f"{owner}: {field}={shortened(repr(name))} must be the name of a column or of a sub-folder")
