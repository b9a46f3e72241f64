"""From the name of data to samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from sparring.base.choices import check_fit, parse_size, size_text
from sparring.base.errors import UserError, check_number, did_you_mean, existing_path
from sparring.data.arrays import load_csv, load_npy, load_npz
from sparring.data.images import brought_to, load_images
from sparring.data.layout import Layout, Pairs, Sets, Single
from sparring.data.pairs.find import WANTED as PAIRS_WANTED
from sparring.data.pairs.find import find_pairs
from sparring.data.pairs.load import load_pairs
from sparring.data.pairs.two_sets import WANTED as SETS_WANTED
from sparring.data.pairs.two_sets import as_sets, find_sets
from sparring.data.patches import load_whole, patch_of, uncut
from sparring.data.samples import Data, Split
from sparring.data.sets.cifar import load_cifar10
from sparring.data.sets.mnist import load_digits, load_mnist, load_small_mnist, load_stacked_mnist
from sparring.data.sets.points import POINT_SETS
from sparring.data.sets.toys import (
    load_digit_colours,
    load_digit_edges,
    load_digit_inverts,
    load_digit_maps,
    photo_source,
)
from sparring.data.sources.archives import archive_source, is_archive
from sparring.data.sources.decode import Target
from sparring.data.sources.hub import PREFIX, hub_held_out_source, hub_source
from sparring.data.sources.parquet import parquet_parts, parquet_source
from sparring.data.sources.source import PairSource, Source, folder_source, part_like

SPLIT_SETS: dict[str, Callable[[Split], Data]] = {
    "mnist": load_mnist,
    "small-mnist": load_small_mnist,
    "stacked-mnist": load_stacked_mnist,
    "cifar10": load_cifar10,
    **POINT_SETS,
}
SINGLE_SETS = ("digits", *SPLIT_SETS, "photos")
PAIR_SETS: dict[str, Callable[[], Data]] = {"digit-edges": load_digit_edges, "digit-maps": load_digit_maps}
TWO_SETS: dict[str, Callable[[], Data]] = {
    "digit-colours": load_digit_colours,
    "digit-inverts": load_digit_inverts,
}
SETS = (*SINGLE_SETS, *PAIR_SETS, *TWO_SETS)
ARRAYS: dict[str, Callable[[Path], Data]] = {".npz": load_npz, ".npy": load_npy, ".csv": load_csv}
KINDS = "a folder or a .zip, .tar or .tar.gz of images, a .parquet, hub:OWNER/NAME, an .npz, an .npy or a .csv"
SINGLE = Single()


def load_data(
    spec: str, size: str | int = "", held_out: float = 0.0, fit: str = "crop", layout: Layout = SINGLE
) -> Data:
    """Load what `spec` names.

    Args:
        spec: one of `SETS`, a path (write `./ring` for a folder of that name), or `hub:OWNER/NAME`, perhaps with
            `:SPLIT`. A folder that holds `train*.parquet` is the set of these files.
        size: the size that a user's own images are brought to: "64" (square) or "96x64"
            (width x height); "" takes them as they are.
        held_out: the share of the samples that is kept away from training; see `load_held_out`.
        fit: how they are brought to it: "crop" (scaled to cover it, the middle is cut), "pad" (scaled to fit inside,
            with black borders) or "stretch"; or "patch": they stay as they are, and patches of that size are cut.
        layout: single samples, pairs, or two sets: see `find_pairs` and `find_sets` for where these are looked for.

    Raises:
        UserError: no such data, nothing readable in it, or shapes that do not fit together.
    """
    whole = _load(spec, size, fit, layout)
    if not held_out:
        return whole
    train, rest = _shares(whole, held_out)
    return replace(train, rest=rest)


def load_held_out(
    spec: str,
    size: str | int = "",
    held_out: float = 0.0,
    fit: str = "crop",
    layout: Layout = SINGLE,
    train: Data | None = None,
) -> Data | None:
    """Samples of the same distribution that `load_data` with the same arguments leaves out, or None.

    With a share to hold out, that share (of two sets, of each); else the set's own test split (of parquet files and
    the Hub the validation split, where there is no test), if it has one.

    Args:
        train: what `load_data` gave with the same arguments; where it is at hand, nothing of it is read again.
    """
    if held_out:
        return (train or load_data(spec, size, held_out, fit, layout)).rest
    found = _load_test(spec, size, fit, layout, train)
    if found is None or found.source is None:
        return None if found is None else found.renamed(split="test")
    return replace(found, split="test", source=found.source.renamed(split="test"))


def _shares(data: Data, held_out: float) -> tuple[Data, Data]:
    """The share that is trained on and the one that is held out; of two sets, those of each."""
    trained, held = _cut(data, held_out)
    train, rest = data.part(trained), data.part(held, "test")
    if data.source is None or data.paired:
        return train, rest
    sources = _shares(data.source, held_out)
    return replace(train, source=sources[0]), replace(rest, source=sources[1])


def _cut(data: Data, held_out: float) -> tuple[Tensor, Tensor]:
    """Which samples are trained on and which held out, by an order that depends on their number alone."""
    check_number("data", "held_out", held_out, low=0, high=0.99)
    count = round(held_out * len(data))
    if not 0 < count < len(data):
        raise UserError(f"held_out={held_out:g} of {len(data)} samples leaves one part empty; choose another share")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    return order[count:].sort().values, order[:count].sort().values


def _target(size: str | int, fit: str) -> Target:
    check_fit("data", fit)
    return Target(parse_size(size_text(size)), fit)


def _load(spec: str, size: str | int, fit: str, layout: Layout) -> Data:
    target = _target(size, fit)
    if fit == "patch":
        patch_of(target)  # what lacks is told before anything is read
    if isinstance(layout, Pairs):
        _check_layout(spec, PAIR_SETS, "pairs of a source and a target", PAIRS_WANTED)
        if spec in PAIR_SETS:
            return _own(spec, size, target, PAIR_SETS[spec])
        found = find_pairs(spec, layout)
        assert found is not None
        return load_pairs(found, layout, target)
    if isinstance(layout, Sets):
        _check_layout(spec, TWO_SETS, "two sets of images", SETS_WANTED)
        if spec in TWO_SETS:
            return _own(spec, size, target, TWO_SETS[spec])
        sets = find_sets(spec, layout, _path_source)
        assert sets is not None
        return as_sets(spec, *(_from_source(source, target) for source in sets))
    return _load_single(spec, size, target)


def _check_layout(spec: str, fitting: Mapping[str, object], needed: str, wanted: str) -> None:
    """Raise UserError if `spec` names nothing, or a set of another kind."""
    if spec in SETS and spec not in fitting:
        raise UserError(f"data {spec!r} does not hold {needed}, which this task needs; give {wanted}")
    if spec not in fitting and existing_path(spec) is None and not spec.startswith(PREFIX):
        raise UserError(f"no data {spec!r}: {did_you_mean(spec, fitting)}, or the path of {wanted}")
    if spec.startswith(PREFIX):
        raise UserError(f"{spec} can be read as single images only; download it for {needed}, and name its folder")


def _own(spec: str, size: str | int, target: Target, load: Callable[[], Data]) -> Data:
    """A set whose images have one size of their own."""
    data = load()
    if target.fit == "patch":
        return uncut(data, target)
    if target.size is not None and data.form.shape[:0:-1] != target.size:
        raise UserError(
            f"data '{spec}' has its own size {list(data.form.shape)}; size={size} is for folders and archives of images"
        )
    return data


def _load_single(spec: str, size: str | int, target: Target) -> Data:
    if spec in (*PAIR_SETS, *TWO_SETS):
        raise UserError(
            f"data {spec!r} is for tasks that make images from images, such as the recipe pix2pix; this one needs "
            "single images, such as digits"
        )
    if spec == "photos":
        return _from_source(photo_source(), target)
    if spec in SETS:
        return _own(spec, size, target, load_digits if spec == "digits" else partial(SPLIT_SETS[spec], "train"))
    source = _image_source(spec)
    if source is not None:
        return _from_source(source, target)
    path = existing_path(spec)
    if path is None:
        raise UserError(f"no data {spec!r}: {did_you_mean(spec, SETS)}, or the path of {KINDS}")
    if path.suffix not in ARRAYS:
        raise UserError(f"{spec!r} is not data that can be read; give {KINDS}")
    data = ARRAYS[path.suffix](path)
    return uncut(data, target) if target.fit == "patch" else brought_to(target, data)


def _from_source(source: Source, target: Target) -> Data:
    return load_whole(source, target) if target.fit == "patch" else load_images(source, target)


def _load_test(spec: str, size: str | int, fit: str, layout: Layout, train: Data | None) -> Data | None:
    """A set's own test split, if it has one, in the form of the training split."""
    target = _target(size, fit)
    if spec in SPLIT_SETS and isinstance(layout, Single):
        test = SPLIT_SETS[spec]("test")
        return uncut(test, target) if fit == "patch" else test
    if spec in SETS:
        return None
    held: PairSource | Source | tuple[Source, Source] | None
    if isinstance(layout, Pairs):
        held = find_pairs(spec, layout, "test")
    elif isinstance(layout, Sets):
        held = find_sets(spec, layout, _path_source, "test")
    else:
        held = _held_out_source(spec)
    if held is None:
        return None
    form = (train or _load(spec, size, fit, layout)).form
    if isinstance(held, Source):
        return _from_source(part_like(held, form), target)
    assert form.source is not None
    if isinstance(held, PairSource):
        assert isinstance(layout, Pairs)
        return load_pairs(held, layout, target, (form.source.shape[0], form.shape[0]))
    like = [part_like(side, own) for side, own in zip(held, (form.source, form))]
    return as_sets(spec, *(_from_source(side, target) for side in like))


def _image_source(spec: str) -> Source | None:
    """Where the images are that `spec` names, or None if it names no images."""
    if spec.startswith(PREFIX):
        return hub_source(spec)
    path = existing_path(spec)
    return None if path is None else _path_source(path)


def _path_source(path: Path) -> Source | None:
    """The images at a path, or None if it is none of images."""
    if path.is_dir():
        tables = parquet_parts(path)
        return parquet_source(tables, str(path)) if tables else folder_source(path)
    if path.suffix.lower() == ".parquet":
        return parquet_source([path], str(path))
    return archive_source(path) if is_archive(path) else None


def _held_out_source(spec: str) -> Source | None:
    if spec.startswith(PREFIX):
        return hub_held_out_source(spec)
    path = existing_path(spec)
    if path is None or not path.is_dir() or not parquet_parts(path):
        return None
    tables = parquet_parts(path, "test")
    return parquet_source(tables, str(path)) if tables else None
