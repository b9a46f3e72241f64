"""The layout of data that a task needs: single samples, pairs of images, or two unpaired sets."""

from __future__ import annotations

from dataclasses import dataclass

from sparring.base.errors import UserError, check_number, shortened

MOST_CLASSES = 255  # a byte holds these and the id of no class
IGNORED = 255  # stored id of a pixel of no class

Classes = tuple[str, ...] | int


@dataclass(frozen=True)
class Single:
    """Single samples: images or points, with or without labels."""


@dataclass(frozen=True)
class Pairs:
    """Pairs: a source image and the target image that it is translated to.

    Attributes:
        source: the column or sub-folder of the sources; "" finds it by its usual names. For images that hold both side
            by side: "left" or "right".
        target: the same for the targets.
        source_classes: for sources that are maps of class ids: the class names from id 0 on, or their number; () or 0
            for ordinary images.
        target_classes: the same for the targets.
        ignore: an id that stands for no class, in addition to 255.

    Raises:
        UserError: a field is not allowed.
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
                    raise UserError(
                        f"Pairs: ignore={self.ignore} is one of the class ids 0 to {len(names) - 1}; give a higher id"
                    )


@dataclass(frozen=True)
class Sets:
    """Two unpaired sets of images.

    Attributes:
        a: the source set: a sub-folder, a column, or the ending of a file name (`trainA.parquet`).
        b: the target set, likewise.

    Raises:
        UserError: the names are equal or not allowed.
    """

    a: str = "A"
    b: str = "B"

    def __post_init__(self) -> None:
        for name in ("a", "b"):
            _check_name("Sets", name, getattr(self, name))
        if not self.a or self.a == self.b:
            raise UserError(f"Sets: a={self.a!r} and b={self.b!r} must be two different names, such as 'A' and 'B'")


Layout = Single | Pairs | Sets


def class_names(classes: object) -> tuple[str, ...]:
    """The names of the classes of a map: as given, or "class 0", "class 1", ... for a number.

    Raises:
        UserError: not a tuple of different names or a number, or more than 255.
    """
    if isinstance(classes, int):
        check_number("Pairs", "classes", classes, low=0, high=MOST_CLASSES, whole=True)
        return tuple(f"class {i}" for i in range(classes))
    names = classes if isinstance(classes, tuple) and all(isinstance(name, str) for name in classes) else None
    if names is None or len(set(names)) < len(names) or len(names) > MOST_CLASSES:
        raise UserError(
            f"Pairs: classes={shortened(repr(classes))} must be at most {MOST_CLASSES} different names, such as "
            "('sky', 'road'), or their number"
        )
    return names


def _check_name(owner: str, field: str, name: object) -> None:
    if not isinstance(name, str) or "/" in name or "\\" in name or name in (".", ".."):
        raise UserError(f"{owner}: {field}={shortened(repr(name))} must be the name of a column or of a sub-folder")
