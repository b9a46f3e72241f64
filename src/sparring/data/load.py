"""Loading data by name or path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from sparring.base.choices import check_fit, parse_size, size_text
from sparring.base.errors import UserError, check_number, did_you_mean, existing_path
from sparring.data.arrays import load_csv, load_npy, load_npz
from sparring.data.form import Form
from sparring.data.images import load_images, resized
from sparring.data.layout import Layout, Pairs, Sets, Single
from sparring.data.pairs.find import WANTED as PAIRS_WANTED
from sparring.data.pairs.find import find_pairs
from sparring.data.pairs.load import load_pairs
from sparring.data.pairs.two_sets import WANTED as SETS_WANTED
from sparring.data.pairs.two_sets import as_sets, find_sets
from sparring.data.patches import load_whole, patch_of, with_patches
from sparring.data.samples import Data, Split
from sparring.data.sets import toys
from sparring.data.sets.cifar import load_cifar10
from sparring.data.sets.mnist import load_digits, load_mnist, load_small_mnist, load_stacked_mnist
from sparring.data.sets.points import POINT_SETS
from sparring.data.sources.archives import archive_source, is_archive
from sparring.data.sources.decode import Target
from sparring.data.sources.hub import PREFIX, hub_held_out_source, hub_source
from sparring.data.sources.parquet import parquet_parts, parquet_source
from sparring.data.sources.source import PairSource, Source, folder_source, part_like
from sparring.data.stream.load import load_stream
from sparring.data.stream.names import is_stream

SPLIT_SETS: dict[str, Callable[[Split], Data]] = {
    "mnist": load_mnist,
    "small-mnist": load_small_mnist,
    "stacked-mnist": load_stacked_mnist,
    "cifar10": load_cifar10,
    **POINT_SETS,
}
SINGLE_SETS = ("digits", *SPLIT_SETS, "photos")
PAIR_SETS = {"digit-edges": toys.load_digit_edges, "digit-maps": toys.load_digit_maps}
TWO_SETS = {"digit-colours": toys.load_digit_colours, "digit-inverts": toys.load_digit_inverts}
SETS = (*SINGLE_SETS, *PAIR_SETS, *TWO_SETS)
ARRAYS: dict[str, Callable[[Path], Data]] = {".npz": load_npz, ".npy": load_npy, ".csv": load_csv}
KINDS = (
    "a folder or a .zip, .tar or .tar.gz of images, a .parquet, hub:OWNER/NAME, shards such as a-{00..99}.tar, "
    "an .npz, an .npy or a .csv"
)
SINGLE = Single()
Found = Source | PairSource | tuple[Source, Source]


def load_data(
    spec: str, size: str | int = "", held_out: float = 0.0, fit: str = "crop", layout: Layout = SINGLE
) -> Data:
    """Load a data set by name or path.

    Args:
        spec: one of `SETS`, a path, `hub:OWNER/NAME` or `hub:OWNER/NAME:SPLIT`, or shards: paths with ranges or lists
            in braces such as `shards/{0000..0127}.tar`, addresses of such files, `pipe:COMMAND`, or
            `stream:hub:OWNER/NAME`. Write `./ring` for a folder with the name of a set. In a folder with
            `train*.parquet`, only these files are read.
        size: the size to resize the user's images to: "64" (square) or "96x64" (width x height); "" keeps their size.
        held_out: the share of the samples to hold out from training, 0 to 0.99, of shards the share of shards; see
            `load_held_out`.
        fit: how images are resized: "crop" (scale to cover, cut the middle), "pad" (scale to fit, black borders) or
            "stretch"; or "patch": images keep their size, and patches of `size` are cut from them.
        layout: single samples, pairs or two sets; `find_pairs` and `find_sets` list the accepted files.

    Returns:
        The training samples; of shards the first ones, with `Data.stream` for training.

    Raises:
        UserError: no such data, nothing readable in it, or sizes that do not fit together.
    """
    if is_stream(spec):
        return load_stream(spec, _target(size, fit), held_out, layout)
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
    """Load the samples that `load_data` with the same arguments leaves out.

    * `held_out` above 0: that share of the samples; with two sets, that share of each.
    * Otherwise: the test split. For parquet files and the Hub, the validation split replaces a missing test split.

    Args:
        spec: as in `load_data`.
        size: as in `load_data`.
        held_out: as in `load_data`.
        fit: as in `load_data`.
        layout: as in `load_data`.
        train: the result of `load_data` with the same arguments, if available; it saves reading the data again.

    Returns:
        The held-out samples, or None if there are none.

    Raises:
        UserError: as `load_data`.
    """
    if held_out:
        return (train or load_data(spec, size, held_out, fit, layout)).rest
    found = _load_test(spec, size, fit, layout, train)
    return None if found is None else found.renamed(split="test")


def _shares(data: Data, held_out: float) -> tuple[Data, Data]:
    """Split into training and held-out samples by a permutation that depends only on the number of samples.

    With two sets, each is split.
    """
    check_number("data", "held_out", held_out, low=0, high=0.99)
    count = round(held_out * len(data))
    if not 0 < count < len(data):
        raise UserError(
            f"held_out={held_out:g} of {len(data)} samples leaves one part empty; both parts need a sample: set "
            "held_out=0.5 or add samples"
        )
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    train, rest = data.part(order[count:].sort().values), data.part(order[:count].sort().values, "test")
    if data.source is None or data.paired:
        return train, rest
    sources = _shares(data.source, held_out)
    return replace(train, source=sources[0]), replace(rest, source=sources[1])


def _target(size: str | int, fit: str) -> Target:
    check_fit("data", fit)
    return Target(parse_size(size_text(size)), fit)


def _load(spec: str, size: str | int, fit: str, layout: Layout) -> Data:
    target = _target(size, fit)
    if fit == "patch":
        patch_of(target)  # raises on a missing size before anything is read
    own = _own_sets(spec, layout)
    if spec in own:
        data = own[spec]()
        if Path(spec).exists():
            remark = f"warning: {spec} is the named set; write ./{spec} for the file or folder of this name"
            data = replace(data, remarks=(*data.remarks, remark))
        if fit == "patch":
            return with_patches(data, target)
        if target.size is not None and data.form.shape[:0:-1] != target.size:
            shape = list(data.form.shape)
            raise UserError(
                f"data '{spec}' has the fixed shape {shape}; size={size} is for images of your own: remove the size"
            )
        return data
    if (found := _find(spec, layout, "train")) is not None:
        return _read(spec, found, layout, target)
    path = existing_path(spec)
    if path is None:
        raise UserError(f"no data {spec!r}: {did_you_mean(spec, SETS)}, or the path of {KINDS}")
    if path.suffix not in ARRAYS:
        raise UserError(f"{spec!r} is not a supported kind of data; give {KINDS}")
    data = ARRAYS[path.suffix](path)
    return with_patches(data, target) if fit == "patch" else resized(data, target)


def _own_sets(spec: str, layout: Layout) -> dict[str, Callable[[], Data]]:
    """The loaders of the named sets with this layout; raises UserError if `spec` names a set of another layout."""
    if isinstance(layout, Single):
        if spec in (*PAIR_SETS, *TWO_SETS):
            raise UserError(
                f"data {spec!r} holds pairs or two sets, for image translation such as the recipe pix2pix; this task "
                "needs single images; try --data digits"
            )
        return {"digits": load_digits, **{name: partial(load, "train") for name, load in SPLIT_SETS.items()}}
    if isinstance(layout, Pairs):
        own, needed, wanted = PAIR_SETS, "pairs of a source and a target", PAIRS_WANTED
    else:
        own, needed, wanted = TWO_SETS, "two sets of images", SETS_WANTED
    if spec in SETS and spec not in own:
        raise UserError(f"data {spec!r} does not hold {needed}, which this task needs; give {wanted}")
    if spec.startswith(PREFIX):
        raise UserError(f"{spec} can only be read as single images; for {needed}, download it and give its folder")
    if spec not in own and existing_path(spec) is None:
        raise UserError(f"no data {spec!r}: {did_you_mean(spec, own)}, or the path of {wanted}")
    return {**own}


def _load_test(spec: str, size: str | int, fit: str, layout: Layout, train: Data | None) -> Data | None:
    """The test split in the form of the training split, or None."""
    target = _target(size, fit)
    if spec in SPLIT_SETS and isinstance(layout, Single):
        test = SPLIT_SETS[spec]("test")
        return with_patches(test, target) if fit == "patch" else test
    held = None if spec in SETS else _find(spec, layout, "test")
    if held is None:
        return None
    return _read(spec, held, layout, target, (train or _load(spec, size, fit, layout)).form)


def _find(spec: str, layout: Layout, split: Split) -> Found | None:
    """The source of the images of a split, or None."""
    if isinstance(layout, Pairs):
        return find_pairs(spec, layout, split)
    if isinstance(layout, Sets):
        return find_sets(spec, layout, _path_source, split)
    if spec == "photos":
        return toys.photo_source()
    if spec.startswith(PREFIX):
        return hub_source(spec) if split == "train" else hub_held_out_source(spec)
    path = existing_path(spec)
    return None if path is None else _path_source(path, split)


def _path_source(path: Path, split: Split = "train") -> Source | None:
    """The source of the images of a split at a path, or None; only folders of parquet files have a test split."""
    if path.is_dir() and parquet_parts(path):
        tables = parquet_parts(path, split)
        return parquet_source(tables, str(path)) if tables else None
    if split == "test":
        return None
    if path.is_dir():
        return folder_source(path)
    if path.suffix.lower() == ".parquet":
        return parquet_source([path], str(path))
    return archive_source(path) if is_archive(path) else None


def _read(spec: str, found: Found, layout: Layout, target: Target, like: Form | None = None) -> Data:
    """Load a source; a test part gets the classes and channels of the form `like` of its training part."""
    if isinstance(found, PairSource):
        assert isinstance(layout, Pairs)
        return load_pairs(found, layout, target, like)
    load = load_whole if target.fit == "patch" else load_images
    if isinstance(found, Source):
        return load(found if like is None else part_like(found, like), target)
    if like is not None:
        assert like.source is not None
        found = part_like(found[0], like.source), part_like(found[1], like)
    return as_sets(spec, *(load(source, target) for source in found))
