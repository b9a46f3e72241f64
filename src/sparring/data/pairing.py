"""From pairs of encoded images to a set: both decoded, and brought to a size together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from PIL import Image
from torch import Tensor

from sparring.data.decode import NotDecodedError, Size, Target, decode
from sparring.data.fitting import Fitting, fit_alike
from sparring.data.layout import Pairs, class_names
from sparring.data.mapped import chunks, map_file, mapped_folder, memory_bound, nameless_file
from sparring.data.maps import class_pixels, decode_map, map_remarks
from sparring.data.pairs import Pair, PairSource
from sparring.data.pixels import InFile, InMemory, Pixels, TooLargeError
from sparring.data.reading import channels_first, check_broken
from sparring.data.samples import Data, Form
from sparring.data.source import Item
from sparring.data.toys import joined
from sparring.data.uncut import Keeper, check_left, cut_middle, lacking, patch_of, patch_remarks, reflected, too_small
from sparring.data.whole import Whole
from sparring.errors import UserError

SHOWN = 10
SHAPE = 0.02  # by which the ratio of width to height of a pair's members may differ, before it is told


@dataclass(frozen=True)
class Side:
    """One side of all pairs: its classes, where it is a map; which id is no class; and 1 or 3 channels, or 0: found."""

    what: str
    classes: tuple[str, ...] = ()
    ignore: int | None = None
    channels: int = 0

    def read(self, item: Item) -> Image.Image:
        """An image of mode L or RGB, of its own size.

        Raises:
            NotDecodedError: it cannot be read; the message names it.
            UserError: it is no map, or has an id that is no class.
        """
        try:
            if isinstance(item.content, Exception):
                raise NotDecodedError(str(item.content))
            if self.classes:
                return decode_map(item.name, item.content, len(self.classes), self.ignore)
            return decode(item.content, Target())[0]
        except NotDecodedError as error:
            raise NotDecodedError(f"{item.name}: {error}") from error

    def data(self, name: str, samples: Tensor, whole: Whole | None) -> Data:
        """The side as a set."""
        form = Form(tuple(samples.shape[1:]), self.classes, map=bool(self.classes))
        remarks: tuple[str, ...] = ()
        if self.classes:
            counts = class_pixels(chunks(samples) if whole is None else whole.in_order())
            form = replace(form, counts=tuple(counts[: len(self.classes)].tolist()))
            remarks = map_remarks(self.what, counts, self.classes)
        return Data(name, samples, form, remarks=remarks, whole=whole)


@dataclass
class _Told:
    """What a pass over pairs found besides pixels."""

    fitting: Fitting
    sizes: tuple[Counter[Size], Counter[Size]] = field(default_factory=lambda: (Counter(), Counter()))
    broken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unequal: list[str] = field(default_factory=list)
    bent: list[str] = field(default_factory=list)
    padded: int = 0

    def note(self, source: Size, target: Size) -> None:
        self.fitting.note(target)
        for sizes, size in zip(self.sizes, (source, target)):
            sizes[size] += 1


def load_pairs(found: PairSource, layout: Pairs, target: Target, like: tuple[int, int] = (0, 0)) -> Data:
    """All pairs of a source, both members brought to the target's size in the same way.

    Without a size they stay as they are; then all sources are of one size and all targets of one, which may be a whole
    number of times as large, or the other way round. A pair of which a member is broken is named in `notes` and left
    out. There are no labels.

    Args:
        like: how many channels source and target must have, because another part of the set has them; 0 finds them.

    Raises:
        UserError: no pairs, too many broken ones, sizes that do not fit together, or class ids out of range.
    """
    sides = (
        Side("source", class_names(layout.source_classes), layout.ignore, like[0]),
        Side("target", class_names(layout.target_classes), layout.ignore, like[1]),
    )
    if target.fit == "patch":
        return _load_patches(found, sides, target)
    with ExitStack() as stack:
        try:
            memory = [InMemory(found.count, memory_bound() // 2) for _ in sides]
            told = _read(found, sides, target, memory)
            tensors = [pixels.tensor() for pixels in memory]
        except TooLargeError:
            del memory
            files = [InFile(stack.enter_context(nameless_file()), mapped_folder()) for _ in sides]
            told = _read(found, sides, target, files)
            for pixels in files:
                pixels.file.flush()
            tensors = [map_file(pixels.file, pixels.shape) for pixels in files]
    return _together(found.name, sides, told, (*told.fitting.remarks(), *_bent(told.bent)), tensors)


def _bent(names: Sequence[str]) -> tuple[str, ...]:
    """A line about pairs whose sources were squeezed into the shape of their targets."""
    if not names:
        return ()
    return (f"careful: {len(names):,} sources are of another shape than their targets, and squeezed: {names[0]}, ...",)


def _together(
    name: str,
    sides: tuple[Side, Side],
    told: _Told,
    remarks: tuple[str, ...],
    tensors: Sequence[Tensor],
    wholes: Sequence[Whole | None] = (None, None),
) -> Data:
    source, target = (side.data(name, *rest) for side, rest in zip(sides, zip(tensors, wholes)))
    notes = (*told.broken, *told.notes)
    remarks = (*remarks, *source.remarks, *target.remarks)
    return replace(joined(name, source, target, paired=True), notes=notes, remarks=remarks)


def _decoded(found: PairSource, sides: tuple[Side, Side], told: _Told) -> Iterator[tuple[Pair, list[Image.Image]]]:
    """The pairs of which both members can be read, with these; the sizes, and what cannot be read, go into `told`."""
    for pair in found.items():
        try:
            images = [side.read(item) for side, item in zip(sides, pair)]
        except NotDecodedError as error:
            told.broken.append(f"left out {error}")
            continue
        source, target = (image.size for image in images)
        told.note(source, target)
        yield pair, images


def _read(found: PairSource, sides: tuple[Side, Side], target: Target, sinks: list[InMemory] | list[InFile]) -> _Told:
    told = _Told(Fitting(target, "pairs"))
    for pair, images in _decoded(found, sides, told):
        source, frame = (image.size for image in images)
        if target.size is not None:
            if abs(source[0] * frame[1] / (source[1] * frame[0]) - 1) > SHAPE:
                told.bent.append(_unequal(pair.target.name, source, frame))
            images = [fit_alike(image, frame, target, bool(side.classes)) for side, image in zip(sides, images)]
        elif not factor(source, frame):
            told.unequal.append(_unequal(pair.target.name, source, frame))
        if target.size is not None or (not told.unequal and all(len(sizes) == 1 for sizes in told.sizes)):
            _add(sinks, sides, images)
    check_broken(found.name, told.broken, sum(told.sizes[1].values()), "pairs")
    if target.size is None:
        _check_sizes(found.name, told)
    return told


def _add(sinks: list[InMemory] | list[InFile], sides: tuple[Side, Side], images: list[Image.Image]) -> None:
    sink: Pixels
    for sink, side, image in zip(sinks, sides, images):
        sink.add(channels_first(image, side.channels))


def factor(source: Size, target: Size) -> int:
    """How many times one of two images is larger than the other; 0 if it is not a whole number."""
    small, large = sorted((source, target))
    times = large[0] // small[0]
    return times if (small[0] * times, small[1] * times) == large else 0


def _unequal(name: str, source: Size, target: Size) -> str:
    return f"{name} (source {source[0]}x{source[1]}, target {target[0]}x{target[1]})"


def _check_sizes(name: str, told: _Told) -> None:
    if told.unequal:
        raise UserError(f"{_members_differ(name, told)}; add --size 64 to bring both to one, or mend them")
    for what, sizes in zip(("sources", "targets"), told.sizes):
        if len(sizes) > 1:
            common = ", ".join(f"{w}x{h} ({n} times)" for (w, h), n in sizes.most_common(3))
            raise UserError(
                f"the {what} in {name} have {len(sizes)} sizes: {common}; add --size 64 to bring them to one"
            )


def _members_differ(name: str, told: _Told) -> str:
    more = f", and {len(told.unequal) - SHOWN} more" if len(told.unequal) > SHOWN else ""
    return (
        f"{len(told.unequal)} pairs in {name} have members of different sizes: {', '.join(told.unequal[:SHOWN])}{more}"
    )


# ------------------------------------------------------------------------------------------------------------ patches


def _load_patches(found: PairSource, sides: tuple[Side, Side], target: Target) -> Data:
    """Pairs at their own sizes; patches are as large as the target's size says, of sources in proportion."""
    patch = patch_of(target)
    keepers = [Keeper(memory_bound() // 2) for _ in sides]
    told, larger = _Told(Fitting(target, "pairs")), Counter[tuple[int, bool]]()
    for pair, images in _decoded(found, sides, told):
        source, frame = (image.size for image in images)
        times = factor(source, frame)
        if not times:
            told.unequal.append(_unequal(pair.target.name, source, frame))
            continue
        larger[times, source > frame] += 1
        missing = lacking(frame, patch)
        if missing is None:
            told.notes.append(too_small(pair.target.name, frame, patch))
            continue
        told.padded += any(missing)
        for keeper, side, image, lacks in zip(keepers, sides, images, _scaled(missing, source, frame)):
            step = times if image.size > min(source, frame) else 1
            keeper.add(reflected(channels_first(image, side.channels), lacks, step))
    return _cut_alike(found, sides, keepers, told, larger, patch)


def _scaled(missing: Size, source: Size, target: Size) -> tuple[Size, Size]:
    """What is missing of source and target: of the smaller one, whole pixels; of the larger one, as much in
    proportion."""
    if source > target:
        times = source[0] // target[0]
        return (missing[0] * times, missing[1] * times), missing
    times = target[0] // source[0]
    coarse = -(-missing[0] // times), -(-missing[1] // times)
    return coarse, (coarse[0] * times, coarse[1] * times)


def _cut_alike(
    found: PairSource,
    sides: tuple[Side, Side],
    keepers: list[Keeper],
    told: _Told,
    larger: Counter[tuple[int, bool]],
    patch: Size,
) -> Data:
    check_broken(found.name, told.broken, sum(told.sizes[1].values()), "pairs")
    if told.unequal:
        raise UserError(
            f"{_members_differ(found.name, told)}; patches are cut from both: mend them, or choose --fit crop"
        )
    check_left(found.name, len(keepers[0].shapes), told.notes)
    if len(larger) > 1:
        kinds = ", ".join(f"{times} times ({n})" for (times, _), n in larger.most_common(3))
        raise UserError(
            f"the members of pairs in {found.name} differ in size by {kinds}; keep pairs of one kind together"
        )
    ((times, of_source),) = larger
    if not of_source and any(side % times for side in patch):
        near = f"{patch[0] // times * times or times}x{patch[1] // times * times or times}"
        raise UserError(
            f"{found.name} has targets {times} times as large as sources; patches of {patch[0]}x{patch[1]} must be a "
            f"multiple of {times}, such as {near}"
        )
    units = (times, 1) if of_source else (1, times)
    sources = (patch[0] * times, patch[1] * times) if of_source else (patch[0] // times, patch[1] // times)
    wholes = [keeper.whole(unit) for keeper, unit in zip(keepers, units)]
    tensors = [cut_middle(whole, (width, height)) for whole, (width, height) in zip(wholes, (sources, patch))]
    return _together(
        found.name, sides, told, patch_remarks(told.sizes[1], patch, told.padded, "pairs"), tensors, wholes
    )
