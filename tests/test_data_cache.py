"""Sets that are decoded once: in threads, into the cache, and mapped from it at the next start."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import PIL
import pytest
import torch
from PIL import Image

from sparring.base.download import ROOM
from sparring.base.errors import NotWrittenError, UserError, writing
from sparring.base.process import exclusively
from sparring.data import Data, Layout, Pairs, Sets, Single, load_data, load_held_out
from sparring.data.images import load_images
from sparring.data.pairs.find import find_pairs
from sparring.data.sources import records
from sparring.data.sources.decode import Target
from sparring.data.sources.source import Item, Source, folder_source
from sparring.data.store import cache as store
from sparring.data.store import pixels
from sparring.data.store.mapped import is_large, is_mapped

COUNT = 12
KINDS: dict[str, tuple[str, Layout, dict[str, Any]]] = {
    "folder": ("images", Single(), {}),
    "resized": ("images", Single(), {"size": 8}),
    "zip": ("images.zip", Single(), {}),
    "parquet": ("table.parquet", Single(), {}),
    "patches": ("images", Single(), {"size": 8, "fit": "patch"}),
    "two folders": ("pairs", Pairs(), {"size": 8}),
    "pairs of columns": ("pairs.parquet", Pairs(source="A", target="B"), {}),
    "halves": ("halves", Pairs(), {}),
    "patches of pairs": ("pairs", Pairs(), {"size": 8, "fit": "patch"}),
    "maps": ("pairs", Pairs(source="A", target="maps", target_classes=("low", "high")), {}),
    "two sets": ("pairs.parquet", Sets(), {}),
}


def noise(seed: int, width: int = 12, grey: bool = False) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (10, width) if grey else (10, width, 3), np.uint8))


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a set of each kind, an empty cache, and a limit above which all of them are kept in it."""
    import pyarrow as pa
    from pyarrow import parquet

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sparring.data.sources.source.MANY", COUNT)
    for i in range(COUNT):
        levels = np.random.default_rng(i).integers(0, 2, (10, 12), np.uint8)
        found = {
            f"images/{'cat' if i % 3 else 'dog'}": noise(i, grey=i < 4),
            "pairs/A": noise(i),
            "pairs/B": noise(100 + i),
            "pairs/maps": Image.fromarray(levels),
            "halves": noise(i, width=24),
        }
        for name, image in found.items():
            (tmp_path / name).mkdir(parents=True, exist_ok=True)
            image.save(tmp_path / name / f"{i:02d}.png")
    (tmp_path / "images" / "cat" / "01.png").write_bytes(b"torn")
    (tmp_path / "halves" / "07.png").write_bytes(b"torn")
    shutil.make_archive(str(tmp_path / "images"), "zip", tmp_path / "images")
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    for name, columns in {"table": ["A"], "pairs": ["A", "B"]}.items():
        rows = {c: [{"bytes": p.read_bytes(), "path": None} for p in ordered(tmp_path / "pairs" / c)] for c in columns}
        rows["A"][5] = None if name == "table" else rows["A"][5]
        table = pa.table({column: pa.array(found, kind) for column, found in rows.items()})
        parquet.write_table(table, tmp_path / f"{name}.parquet", row_group_size=5)
    return tmp_path


def ordered(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def load(sets: Path, kind: str) -> Data:
    name, layout, options = KINDS[kind]
    return load_data(str(sets / name), layout=layout, **options)


def files(sets: Path) -> list[str]:
    """The kinds of files in the cache."""
    folder = sets / "cache" / "sparring" / "mapped"
    return sorted(path.suffix for path in folder.iterdir()) if folder.exists() else []


def same(a: Data, b: Data) -> bool:
    """All that two sets hold is equal."""
    assert (a.form, a.form.counts, a.notes, a.remarks) == (b.form, b.form.counts, b.notes, b.remarks)
    assert torch.equal(a.samples, b.samples)
    assert (a.labels is None) == (b.labels is None)
    assert a.labels is None or b.labels is None or torch.equal(a.labels, b.labels)
    assert (a.source is None) == (b.source is None)
    return a.digest == b.digest and (a.source is None or b.source is None or same(a.source, b.source))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set the number of threads that decode, each one image at once."""
    monkeypatch.setattr(records, "MOST_AT_ONCE", 3)
    return lambda count: monkeypatch.setattr(records, "available_cores", lambda: count)


def refuse(*_: object) -> NoReturn:
    pytest.fail("an image is decoded again")


# --------------------------------------------------------------------------------------------------------- threads


@pytest.mark.parametrize("kind", KINDS)
def test_threads_give_what_one_thread_gives(kind: str, sets: Path, at_once: Callable[[int], None]) -> None:
    found = []
    for threads in (1, 2, 5):
        at_once(threads)
        shutil.rmtree(sets / "cache", ignore_errors=True)
        found.append(load(sets, kind))
    assert all(same(data, found[0]) for data in found[1:])


@pytest.mark.parametrize(("gib", "threads"), [("0.1", []), ("0.6", [2]), ("2", [4])])
def test_memory_bounds_the_threads(
    gib: str, threads: list[int], sets: Path, at_once: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(4)
    pool, made = records.ThreadPoolExecutor, []
    monkeypatch.setattr(records, "ThreadPoolExecutor", lambda count: (made.append(count), pool(count))[1])
    monkeypatch.setenv("SPARRING_MEMORY", gib)
    load(sets, "resized")
    assert made == threads


def test_pixels_are_those_of_pillow(sets: Path, at_once: Callable[[int], None]) -> None:
    at_once(4)
    paths = [path for path in sorted((sets / "images").rglob("*.png")) if path.stem != "01"]
    expected = np.stack([np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1) for path in paths])
    assert np.array_equal(load(sets, "folder").samples.numpy(), expected)


def test_images_decoded_late_keep_their_place(at_once: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(4)
    decode, third = records.decode, threading.Event()

    def wait_for_third(content: Any, target: Target) -> Any:
        if content.getpixel((0, 0)) == 2:
            third.set()
        assert content.getpixel((0, 0)) or third.wait(10), "images are decoded one by one"
        if content.getpixel((0, 0)) % 12 == 11:
            raise records.NotDecodedError("torn")
        return decode(content, target)

    monkeypatch.setattr(records, "decode", wait_for_third)
    items = [Item(f"image {i}", Image.new("L", (2, 2), i), i % 5) for i in range(25)]
    data = load_images(Source("set", "v1", lambda: iter(items), 25), Target())
    kept = [i for i in range(25) if i % 12 != 11]
    assert data.samples[:, 0, 0, 0].tolist() == kept
    assert data.labels is not None
    assert data.labels.tolist() == [i % 5 for i in kept]
    assert data.notes == ("left out image 11: torn", "left out image 23: torn")


@pytest.mark.parametrize("threads", [1, 3])
def test_the_first_mistake_is_reported(threads: int, sets: Path, at_once: Callable[[int], None]) -> None:
    at_once(threads)

    def items() -> Any:
        for i in range(9):
            yield Item(str(i), Image.new("L", (4 + (i in (2, 6)), 4)) if i != 7 else ValueError("torn"))
        raise UserError("the source ends here")

    with pytest.raises(UserError, match="the source ends here"):
        load_images(Source("set", "v1", items), Target())
    wide = Source("set", "v1", lambda: (Item(str(i), Image.new("L", (4 + i % 2, 4))) for i in range(9)))
    with pytest.raises(UserError, match=r"2 sizes: 4x4 \(5 times\), 5x4 \(4 times\)"):
        load_images(wide, Target())
    noise(0).save(sets / "pairs" / "maps" / "03.png")  # no map
    Image.new("L", (12, 10), 9).save(sets / "pairs" / "maps" / "04.png")
    with pytest.raises(UserError, match=r"03\.png is a colour image"):
        load(sets, "maps")


# ----------------------------------------------------------------------------------------------------------- cache


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_start_decodes_nothing(kind: str, sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(sets, kind)
    with monkeypatch.context() as patch:
        for name in ("decode", "decode_map", "read_header"):
            patch.setattr(records, name, refuse)
        patch.setattr("sparring.data.pairs.find.decode", refuse)
        again = load(sets, kind)
    stored = again.samples if again.whole is None else again.whole.images[0]
    assert is_mapped(stored)
    assert not is_large(stored)
    monkeypatch.setattr("sparring.data.sources.source.MANY", COUNT + 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(sets / "none"))
    plain = load(sets, kind)
    assert not (sets / "none").exists(), "a small set leaves no files"
    assert not is_mapped(plain.samples if plain.whole is None else plain.whole.images[0])
    assert same(first, plain)
    assert same(again, plain)


@pytest.mark.parametrize("kind", ["folder", "two folders", "patches of pairs", "pairs of columns"])
def test_the_digest_is_kept_with_the_pixels(kind: str, sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = load(sets, kind).digest
    again = load(sets, kind)
    with monkeypatch.context() as patch:
        patch.setattr("sparring.data.samples.chunks", lambda _: pytest.fail("all samples are hashed again"))
        assert again.digest == digest


@pytest.mark.parametrize("kind", ["zip", "parquet", "two folders", "pairs of columns", "halves"])
def test_a_changed_source_makes_a_new_entry(kind: str, sets: Path) -> None:
    digest, before = load(sets, kind).digest, files(sets)
    if kind == "two folders":
        noise(99).save(sets / "pairs" / "B" / "03.png")
    elif kind == "halves":
        noise(99, width=24).save(sets / "halves" / "03.png")
    else:
        noise(99).save(sets / "pairs" / "A" / "03.png")
        noise(99).save(sets / "images" / "cat" / "03.png")
        write_again(sets)
    assert load(sets, kind).digest != digest
    assert files(sets) == before, "the old state is removed"


def write_again(sets: Path) -> None:
    """Write the files of the sets again, after an image changed."""
    import pyarrow as pa
    from pyarrow import parquet

    shutil.make_archive(str(sets / "images"), "zip", sets / "images")
    changed = {"bytes": (sets / "pairs" / "A" / "03.png").read_bytes(), "path": None}
    for name in ("table", "pairs"):
        table = parquet.read_table(sets / f"{name}.parquet")
        rows = table.column("A").to_pylist()
        column = pa.array([*rows[:3], changed, *rows[4:]], table.schema.field("A").type)
        parquet.write_table(table.set_column(0, "A", column), sets / f"{name}.parquet")


def test_a_path_is_spelled_as_in_the_call(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise(3, width=17).save(sets / "pairs" / "A" / "03.png")
    (sets / "pairs" / "B" / "05.png").write_bytes(b"torn")
    load(sets, "two folders")
    monkeypatch.chdir(sets)
    monkeypatch.setattr(records, "decode", refuse)
    data = load_data("pairs", size=8, layout=Pairs())
    assert data.notes == ("left out pairs/B/05.png: not an image",)
    assert "to match: pairs/B/03.png (source 17x10" in data.remarks[-1]


def test_two_versions_of_pillow_keep_their_own_pixels(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(sets, "folder")
    with monkeypatch.context() as patch:
        patch.setattr(PIL, "__version__", "0.1")
        load(sets, "folder")
    monkeypatch.setattr(records, "decode", refuse)
    load(sets, "folder")
    assert files(sets).count(".pixels") == 2


@pytest.mark.parametrize("kind", ["pairs of columns", "parquet"])
def test_the_splits_of_a_folder_stay(kind: str, sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Pairs(source="A", target="B") if kind == "pairs of columns" else Single()
    folder = sets / "splits"
    folder.mkdir()
    for split in ("train", "test"):
        shutil.copy(sets / KINDS[kind][0], folder / f"{split}.parquet")

    def both() -> tuple[Data, Data]:
        held = load_held_out(str(folder), layout=layout)
        assert held is not None
        return load_data(str(folder), layout=layout), held

    first = both()
    monkeypatch.setattr(records, "decode", refuse)
    assert all(same(a, b) for a, b in zip(first, both()))
    places = [found.place for split in ("train", "test") if (found := find_pairs(str(folder), Pairs(), split))]
    assert len({*places}) == len(places)


def test_training_parts_that_differ_keep_their_test_part(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = replace(folder_source(sets / "images"), part=True, classes=("cat", "dog"), channels=1)
    parts = [part, replace(part, channels=3), replace(part, classes=("cat", "dog", "fox"))]
    first = [load_images(each, Target()) for each in parts]
    assert [data.samples.shape[1] for data in first] == [1, 3, 1]
    assert [data.form.classes for data in first] == [each.classes for each in parts]
    monkeypatch.setattr(records, "decode", refuse)
    assert all(same(load_images(each, Target()), data) for each, data in zip(parts, first))


def test_the_sets_read_longest_ago_are_removed(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("folder", "resized", "two folders"):
        load(sets, kind)
    folder = sets / "cache" / "sparring" / "mapped"
    by_size = sorted(folder.glob("*.0.pixels"), key=lambda path: path.stat().st_size)
    resized, images = by_size[0], by_size[-1]  # the middle one belongs to the pairs
    pairs = by_size[1]
    for age, path in enumerate((pairs, images, resized)):  # the pairs were read last
        os.utime(path.with_name(f"{path.name.split('.')[0]}.json"), (10**9 + age, 10**9 - age))
    held = sum(path.stat().st_size for path in folder.glob("*.pixels"))
    free = 4 * (held - 1) - held
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    store.make_room()
    assert files(sets).count(".pixels") == 4, "sets of this process stay"
    monkeypatch.setattr(store, "_own", set())
    with exclusively(folder / resized.name.partition("-")[0]):  # another process is writing it
        store.make_room()
        assert [resized.exists(), images.exists(), pairs.exists()] == [True, False, True]
        assert not images.with_name(f"{images.name.split('.')[0]}.json").exists()
    free = -held
    load(sets, "zip")
    assert [p.name.split(".")[0] for p in folder.glob("*.pixels")] == [p.stem for p in folder.glob("*.json")]
    assert files(sets).count(".pixels") == 1, "what has just been written stays"
    load(sets, "parquet")
    for path in folder.glob("*.json"):
        os.utime(path, (10**9, 10**9))
    load(sets, "zip")
    monkeypatch.setattr(store, "_own", set())
    store.make_room()
    assert files(sets).count(".pixels") == 1, "a set that was read today stays"
    monkeypatch.setattr(records, "decode", refuse)
    load(sets, "zip")


def test_incomplete_files_of_ended_processes_are_removed(sets: Path) -> None:
    load(sets, "resized")
    folder = sets / "cache" / "sparring" / "mapped"
    names = ["a-b.0.part", "a-b.json.part", "c-d.0.part", "hub-e.json.part"]
    for name in names:
        (folder / name).touch()
    with exclusively(folder / "c"):  # another process is writing it
        load(sets, "zip")
    assert [name for name in names if (folder / name).exists()] == names[2:]


@pytest.mark.parametrize("kind", ["folder", "patches", "two folders", "parquet"])
def test_a_full_disk(
    kind: str, sets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = []

    def add(sink: Any, image: records.Pixel) -> None:
        written.append(image)
        with writing(Path("the cache"), ROOM):
            if len(written) > 6:
                raise OSError(errno.ENOSPC, "No space left on device")
        plain[type(sink)](sink, image)

    plain = {each: each.add for each in (pixels.StackInFile, pixels.ImagesInFile)}
    with monkeypatch.context() as patch:
        for each in plain:
            patch.setattr(each, "add", add)
        data = load(sets, kind)
        message = capsys.readouterr().err
        assert "cannot write" in message
        assert (
            "No space left on device; free some space or set XDG_CACHE_HOME; until then each start decodes" in message
        )
        assert not is_mapped(data.samples)
        assert files(sets) == [".lock"]
        patch.setenv("SPARRING_MEMORY", "1e-9")
        with pytest.raises(UserError, match="No space left on device; free some space or set XDG_CACHE_HOME"):
            load(sets, kind)
    assert same(load(sets, kind), data)


def test_a_cache_that_cannot_be_made(
    sets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (sets / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(sets / "file"))
    assert len(load(sets, "folder")) == COUNT - 1
    assert "Note: cannot write" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full, a disk that is always full")
def test_a_disk_that_is_full_when_files_close(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = load(sets, "folder")
    (stored,) = (sets / "cache" / "sparring" / "mapped").glob("*.pixels")
    shutil.rmtree(stored.parent)
    stored.parent.mkdir()
    stored.with_suffix(".part").symlink_to("/dev/full")
    data = load(sets, "folder")
    assert "Note: cannot write" in capsys.readouterr().err
    assert not is_mapped(data.samples)
    assert files(sets) == [".lock"]
    assert same(data, expected)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot remove mapped files")
def test_a_set_that_cannot_be_kept_is_decoded_once(
    sets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    decode, decoded = records.decode, []
    with monkeypatch.context() as patch:
        patch.setattr(records, "decode", lambda *given: (decoded.append(given), decode(*given))[1])
        patch.setattr(store, "write_atomically", lambda *_: (_ for _ in ()).throw(NotWrittenError("full")))
        data = load(sets, "folder")
    assert capsys.readouterr().err == f"Note: full; until then each start decodes {sets / 'images'} again\n"
    assert len(decoded) == COUNT
    assert files(sets) == [".lock"], "pixels without a manifest do not stay"
    with monkeypatch.context() as patch:
        patch.setattr("sparring.data.decoded.make_room", lambda: (_ for _ in ()).throw(PermissionError("mapped")))
        assert same(load(sets, "folder"), data)
    assert not capsys.readouterr().err
    monkeypatch.setattr(records, "decode", refuse)
    load(sets, "folder")


def test_the_first_pass_is_released_before_the_second(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first: list[weakref.ref[Any]] = []
    in_memory = pixels.StackInMemory.add

    def fail(sink: Any, _: records.Pixel) -> None:
        first.append(weakref.ref(sink))
        raise NotWrittenError("full")

    def add(sink: Any, image: records.Pixel) -> None:
        assert first[0]() is None, "the first pass is still held"
        in_memory(sink, image)

    monkeypatch.setattr(pixels.StackInFile, "add", fail)
    monkeypatch.setattr(pixels.StackInMemory, "add", add)
    assert len(load(sets, "folder")) == COUNT - 1
    assert len(first) == 1


LOADS = """
import sys, time
from pathlib import Path
from sparring.data import load_data
from sparring.data.sources import records, source

source.MANY, folder, first = 1, Path(sys.argv[1]), sys.argv[2] == "first"
decode, decoded = records.decode, []

def counted(content, target):
    decoded.append(content)
    (folder / "decoding").touch()
    while first and not (folder / "second").exists():
        time.sleep(0.01)
    return decode(content, target)

records.decode = counted
if not first:
    while not (folder / "decoding").exists():
        time.sleep(0.01)
    (folder / "second").touch()
print(load_data(str(folder / "images")).digest, len(decoded))
"""


@pytest.mark.slow
def test_two_processes_at_once_decode_once(sets: Path) -> None:
    words = [sys.executable, "-c", LOADS, str(sets)]
    both = [subprocess.Popen([*words, order], stdout=subprocess.PIPE, text=True) for order in ("first", "second")]
    found = [process.communicate(timeout=120)[0].split() for process in both]
    assert found[0][0] == found[1][0]
    assert [int(count) for _, count in found] == [COUNT, 0]
