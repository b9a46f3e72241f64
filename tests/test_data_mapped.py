"""Sets that outgrow memory: what lies in the cache, how it is shared, and how much memory a process takes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY
from PIL import Image

from sparring import resume, train
from sparring.assemble.build import HeldOut, training_data
from sparring.base.errors import UserError
from sparring.data import Data, Sets, Single, load_data, load_held_out
from sparring.data.decoded import Decoding
from sparring.data.images import load_images
from sparring.data.samples import image_data
from sparring.data.sources.archives import archive_source
from sparring.data.sources.decode import Target
from sparring.data.sources.parquet import parquet_source
from sparring.data.sources.source import Item, Source, folder_source
from sparring.data.store.cache import Entry
from sparring.data.store.mapped import GIB, chunks, is_mapped, memory_bound, select
from sparring.data.store.pixels import StackInFile, StackInMemory, TooLargeError
from sparring.doctor.checkup.report import describe_data, duplicates
from sparring.evaluation.evaluator import RunEvaluator
from sparring.evaluation.options import Options
from sparring.recipe import load_recipe

SMALL = str(1000 / GIB)  # 1,000 bytes


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a bound that no set of these tests stays below."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SPARRING_MEMORY", SMALL)
    return tmp_path / "cache" / "sparring" / "mapped"


def noise(seed: int, size: tuple[int, int] = (16, 12), grey: bool = False) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0]) if grey else (size[1], size[0], 3), np.uint8))


def folder(path: Path, count: int = 20) -> Path:
    for i in range(count):
        place = path / ("cat" if i % 4 else "dog")
        place.mkdir(parents=True, exist_ok=True)
        noise(i).save(place / f"{i:02d}.png")
    return path


def test_a_mapped_set_equals_the_one_in_memory(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path / "set")
    (tmp_path / "set" / "cat" / "02.png").write_bytes(b"torn")
    mapped = load_data(str(tmp_path / "set"))
    again = load_data(str(tmp_path / "set"))
    monkeypatch.setenv("SPARRING_MEMORY", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    plain = load_data(str(tmp_path / "set"))
    assert (is_mapped(mapped.samples), is_mapped(again.samples), is_mapped(plain.samples)) == (True, True, False)
    assert not (tmp_path / "none").exists()
    for data in (mapped, again):
        assert torch.equal(data.samples, plain.samples)
        assert data.digest == plain.digest
        assert (data.form, data.form.counts, data.notes) == (plain.form, plain.form.counts, plain.notes)
        assert data.form.counts == (14, 5)
        indices = torch.tensor([3, 0, 17])
        for name, tensor in data.batch(indices).items():
            assert torch.equal(tensor, plain.batch(indices)[name])
    assert describe_data(mapped).lines == describe_data(plain).lines


def test_the_cache_serves_until_the_source_changes(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(folder(tmp_path / "set"))
    first = load_data(source)
    with monkeypatch.context() as patch:
        patch.setattr("sparring.data.sources.records.decode", lambda *_: pytest.fail("it is decoded twice"))
        assert load_data(source).digest == first.digest
    assert load_data(source, size="8x6").form.shape == (3, 6, 8)
    assert load_data(source, size="8x6", fit="stretch").form.shape == (3, 6, 8)
    assert len(list(cache.glob("*.pixels"))) == 3
    noise(99).save(tmp_path / "set" / "cat" / "01.png")
    assert load_data(source).digest != first.digest
    assert len(list(cache.glob("*.pixels"))) == len(list(cache.glob("*.json"))) == 3, "what is outdated is removed"
    assert not list(cache.glob("*.part"))


@pytest.mark.parametrize("kind", ["folder", "zip", "parquet", "columns"])
def test_a_set_has_one_place_in_the_cache_however_its_path_is_spelled(
    kind: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = folder(tmp_path / "here" / "set")
    (tmp_path / "link").symlink_to(tmp_path / "here", target_is_directory=True)
    (tmp_path / "here" / "inner").mkdir()
    name, layout = "set", Sets() if kind == "columns" else Single()
    if kind == "folder":
        (images / "cat" / "02.png").write_bytes(b"torn")
    elif kind == "zip":
        name = Path(shutil.make_archive(str(images), "zip", images)).name
    else:
        name = "tables"
        columns = ("A", "B") if kind == "columns" else ("image",)
        as_table(tmp_path / "here" / name / "train.parquet", images / "cat", *columns)
    passes = []

    def decode(decoding: Decoding, entry: Entry) -> Data:
        passes.append(decoding.source.name)
        return in_cache(decoding, entry)

    in_cache = Decoding._in_cache
    monkeypatch.setattr(Decoding, "_in_cache", decode)
    found = []
    for place in (tmp_path / "here", tmp_path / "here" / "inner", tmp_path):
        monkeypatch.chdir(place)
        for spelled in (tmp_path / "here" / name, tmp_path / "link" / name, tmp_path / "here" / "inner" / ".." / name):
            for spec in (str(spelled), os.path.relpath(spelled)):
                data = load_data(spec, layout=layout)
                found.append(data.digest)
                assert data.name == spec
                assert all(note.startswith(f"left out {spec}/") for note in data.notes)
                assert len(data.notes) == (kind == "folder")
    files = 2 if kind == "columns" else 1
    assert len(set(found)) == 1
    assert len(passes) == len(list(cache.glob("*.pixels"))) == files


def test_what_is_read_of_one_set_in_several_ways_has_several_places(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = folder(tmp_path / "set")
    for split in ("train", "test"):
        as_table(images / f"{split}.parquet", images / "cat", "A", "B")
    folder(tmp_path / "two" / "trainA")
    folder(tmp_path / "two" / "trainB")

    def load_all() -> None:
        for spec in (str(images), str(tmp_path / "two")):
            load_data(spec, layout=Sets())
        assert load_held_out(str(images), layout=Sets()) is not None
        load_data(str(tmp_path / "two" / "trainA"))  # with its labels, which no set of two has

    load_all()
    assert len(list(cache.glob("*.pixels"))) == 7
    monkeypatch.setattr("sparring.data.sources.records.decode", lambda *_: pytest.fail("it is decoded twice"))
    load_all()


def test_the_cache_knows_the_digest(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = str(folder(tmp_path / "set"))
    as_table(tmp_path / "tables" / "train.parquet", tmp_path / "set" / "cat", "image")
    as_table(tmp_path / "tables" / "test.parquet", tmp_path / "set" / "dog", "image")
    tables = str(tmp_path / "tables")

    def digests() -> list[str]:
        held = load_held_out(tables)
        assert held is not None
        assert held.split == "test"
        return [load_data(source).digest, load_data(source, size="8x6").digest, load_data(tables).digest, held.digest]

    with monkeypatch.context() as patch:
        patch.setenv("SPARRING_MEMORY", "1")
        plain = digests()
    assert digests() == plain
    with monkeypatch.context() as patch:
        patch.setattr("sparring.data.samples.chunks", lambda _: pytest.fail("all samples are hashed again"))
        assert digests() == plain
    data = load_data(source)
    assert data.part(torch.arange(4)).digest == image_data("", data.samples[:4], data.labels[:4]).digest  # type: ignore[index]
    assert replace(data, samples=data.samples.flip(0)).digest not in (data.digest, plain[0])
    noise(99).save(tmp_path / "set" / "cat" / "01.png")
    assert load_data(source).digest != plain[0]


def test_writing_to_samples_does_not_reach_the_cache(tmp_path: Path, cache: Path) -> None:
    source = str(folder(tmp_path / "set"))
    data = load_data(source)
    digest = data.digest
    data.samples[:] = 0
    assert load_data(source).digest == digest


def test_parts_of_a_mapped_set(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = str(folder(tmp_path / "set"))
    train, held = load_data(source, held_out=0.25), load_held_out(source, held_out=0.25)
    assert held is not None
    assert is_mapped(train.samples)
    assert (len(train), len(held), held.split) == (15, 5, "test")
    assert tuple(a + b for a, b in zip(train.form.counts, held.form.counts)) == (15, 5)
    assert sorted(p.suffix for p in cache.iterdir()) == [".json", ".lock", ".pixels"], "parts leave no files"
    monkeypatch.setenv("SPARRING_MEMORY", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    assert load_data(source, held_out=0.25).digest == train.digest
    assert torch.equal(select(train.samples, torch.tensor([2, 1])), train.samples[[2, 1]])
    assert not is_mapped(select(train.samples, torch.tensor([2, 1])))


def test_a_damaged_cache_is_reported(tmp_path: Path, cache: Path) -> None:
    source = str(folder(tmp_path / "set"))
    load_data(source)
    pixels = next(cache.glob("*.pixels"))
    os.truncate(pixels, 100)
    with pytest.raises(UserError, match=r"\.json is damaged \(.*\.pixels has 100 bytes instead of 11520\); remove it"):
        load_data(source)
    next(cache.glob("*.json")).unlink()
    assert len(load_data(source)) == 20, "without its manifest a file of pixels is nothing"


def test_the_digest_of_damaged_pixels_is_not_trusted(tmp_path: Path, cache: Path) -> None:
    source = str(folder(tmp_path / "set"))
    first = load_data(source)
    (pixels,), (manifest,) = cache.glob("*.pixels"), cache.glob("*.json")
    saved = json.loads(manifest.read_text())
    assert saved["digest"] == first.digest
    manifest.write_text(json.dumps({**saved, "modified": None, "digest": "of another program"}))
    assert load_data(source).digest == first.digest, "an older manifest does not tell when the pixels were written"
    manifest.write_text(json.dumps(saved))
    time.sleep(0.02)  # longer than a file system's clock takes to move on
    with pixels.open("r+b") as file:
        byte = file.read(1)[0]
        file.seek(0)
        file.write(bytes([byte ^ 1]))
    assert load_data(source).digest != first.digest


@pytest.mark.parametrize("kind", ["folder", "zip", "parquet"])
def test_what_changes_while_it_is_read_is_not_kept(kind: str, tmp_path: Path, cache: Path) -> None:
    images = folder(tmp_path / "set")

    def source() -> Source:
        if kind == "folder":
            return folder_source(images)
        if kind == "zip":
            return archive_source(Path(shutil.make_archive(str(images), "zip", images)))
        return parquet_source([as_table(tmp_path / "set.parquet", images / "cat", "image")], "set")

    found = source()
    noise(99).save(images / "cat" / "01.png")
    if kind != "folder":
        source()  # the file is written again
    data = load_images(found, Target())
    assert is_mapped(data.samples)
    assert [path.suffix for path in cache.iterdir()] == [".lock"], "it belongs to no state of the source"
    assert load_images(source(), Target()).digest == data.digest
    kept = sorted(cache.iterdir())
    assert [path.suffix for path in kept] == [".lock", ".pixels", ".json"]
    assert load_images(found, Target()).digest == data.digest
    assert sorted(cache.iterdir()) == kept, "the newer state stays"


def test_states_of_a_set_share_a_lock_and_leave_nothing(tmp_path: Path, cache: Path) -> None:
    source = folder(tmp_path / "set")
    load_data(str(source))
    (manifest,) = cache.glob("*.json")
    manifest.with_suffix(".lock").touch()  # as older versions left them
    (cache / f"{manifest.stem}0.part").touch()  # of a process that was killed
    noise(99).save(source / "cat" / "01.png")
    load_data(str(source))
    left = sorted(cache.iterdir())
    assert [path.suffix for path in left] == [".lock", ".pixels", ".json"]
    assert left[2].stem != manifest.stem
    assert left[0].stem == f".{manifest.stem.partition('-')[0]}"


def test_a_state_that_is_removed_while_it_is_opened_is_decoded_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(folder(tmp_path / "set"))
    first, plain = load_data(source), json.loads

    def evicted(text: str) -> object:
        for path in (*cache.glob("*.json"), *cache.glob("*.pixels")):
            path.unlink()
        return plain(text)

    with monkeypatch.context() as patch:
        patch.setattr("sparring.data.store.cache.json.loads", evicted)
        assert load_data(source).digest == first.digest
    assert load_data(source).digest == first.digest


def test_a_stop_in_the_middle_leaves_nothing(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder(tmp_path / "set")
    (source / "dog" / "z.png").write_bytes(b"torn")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sparring.data.sources.reading.check_broken", stop)
        with pytest.raises(KeyboardInterrupt):
            load_data(str(source))
    assert [p.suffix for p in cache.iterdir()] == [".lock"]
    assert len(load_data(str(source))) == 20


def test_two_at_once_decode_once(tmp_path: Path, cache: Path) -> None:
    passes, started, found = [], threading.Event(), []

    def items() -> list[Item]:
        passes.append(threading.get_ident())
        started.wait(5)
        return [Item(str(i), noise(i)) for i in range(8)]

    source = Source("two", "v1", lambda: iter(items()))
    threads = [threading.Thread(target=lambda: found.append(load_images(source, Target()).digest)) for _ in range(2)]
    for thread in threads:
        thread.start()
    started.set()
    for thread in threads:
        thread.join()
    assert len(passes) == 1
    assert len(set(found)) == 1
    assert len(found) == 2


@pytest.mark.parametrize("held_out", [0.0, 0.25])
@pytest.mark.parametrize("fit", ["crop", "patch"])
@pytest.mark.parametrize("task", ["Generate(latent=Normal(8))", "Translate(source='A', target='B')", "Cycle()"])
def test_nothing_is_decoded_twice_for_what_is_held_out(
    task: str, fit: str, held_out: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path / "images", 24)
    columns = ("image",) if task.startswith("Generate") else ("A", "B")
    for split, kind in (("train", "cat"), ("test", "dog")):  # 18 and 6
        as_table(tmp_path / "set" / f"{split}.parquet", tmp_path / "images" / kind, *columns)
    opened, open_image = [], Image.open
    monkeypatch.setattr(Image, "open", lambda file: opened.append(file) or open_image(file))
    recipe = load_recipe("digits").replace(task=task, data=str(tmp_path / "set"), size="8", fit=fit, held_out=held_out)
    train = training_data(recipe)
    held = HeldOut(recipe, train=train).data
    assert held is not None
    assert held.form == train.form
    assert (len(train), len(held)) == ((14, 4) if held_out else (18, 6))
    assert len(opened) == (18 if held_out else 24) * len(columns)
    again = HeldOut(recipe).data
    assert again is not None
    assert again.digest == held.digest


@pytest.mark.slow
def test_a_run_with_held_out_samples_decodes_each_image_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder(tmp_path / "set", 40)
    opened, open_image = [], Image.open
    monkeypatch.setattr(Image, "open", lambda file: opened.append(file) or open_image(file))
    tiny = {"generator": "MLPGenerator(hidden=(8,))", "discriminator": "MLPDiscriminator(hidden=(8,))", "penalties": ""}
    reported = {"steps": 4, "batch_size": 4, "metrics": "sliced_wasserstein", "evaluate_every": 2}
    out = tmp_path / "run"
    train("digits", out=out, data=str(source), held_out=0.25, until=0.5, **tiny, **reported, device=TINY["device"])
    assert sorted(map(str, opened)) == sorted(map(str, source.rglob("*.png")))
    opened.clear()
    resume(out)
    assert len(opened) == 40
    opened.clear()
    assert RunEvaluator(out, Options("sliced_wasserstein", "auto", 8, split="test")).scoring.held_out is not None
    assert len(opened) == 40


@pytest.mark.parametrize("first_grey", [0, 1, 7])
def test_grey_images_before_the_first_coloured_one(first_grey: int, tmp_path: Path) -> None:
    images = [np.asarray(noise(i, grey=i < first_grey)) for i in range(9)]
    rows = [image[None] if image.ndim == 2 else image.transpose(2, 0, 1) for image in images]
    memory = StackInMemory(9, 10**6)
    with (tmp_path / "x").open("w+b") as file:
        stored = StackInFile(file)
        for row in rows:
            memory.add(row)
            stored.add(row)
        file.seek(0)
        written = np.frombuffer(file.read(), np.uint8).reshape(stored.layout())
    expected = np.stack([np.broadcast_to(row, (3, 12, 16)) for row in rows])
    assert np.array_equal(memory.stored().numpy(), expected)
    assert np.array_equal(written, expected)


def test_the_bound_counts_what_colour_needs() -> None:
    memory = StackInMemory(2, 8 * 8 * 2 * 3 + 10)
    memory.add(np.zeros((1, 8, 8), np.uint8))
    with pytest.raises(TooLargeError):
        memory.add(np.zeros((3, 8, 8), np.uint8))


def test_chunks_hold_all_samples_in_order() -> None:
    samples = torch.arange(40, dtype=torch.uint8).view(5, 1, 2, 4).repeat(1, 1, 1000, 1500)
    parts = list(chunks(samples))
    assert len(parts) > 1
    assert torch.equal(torch.cat(parts), samples)
    assert list(chunks(samples[:0])) == []
    assert duplicates(torch.cat([samples, samples[2:3]])) == 1
    assert image_data("a", samples).digest == image_data("b", samples.clone()).digest


@pytest.mark.parametrize("text", ["much", "0", "-1", "nan", "inf", "1e30"])
def test_a_bound_that_is_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARRING_MEMORY", text)
    with pytest.raises(UserError, match=f"SPARRING_MEMORY='{text}' must be a number of GiB above 0, such as 0.5"):
        memory_bound()


def test_the_usual_bound_is_a_quarter_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARRING_MEMORY", raising=False)
    monkeypatch.setattr("sparring.data.store.mapped.LIMITS", ())
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert memory_bound() == total // 4
    for name, text, expected in (("old", "max", total), ("new", "40000000", 40_000_000)):
        (tmp_path / name).write_text(f"{text}\n")
        monkeypatch.setattr("sparring.data.store.mapped.LIMITS", (str(tmp_path / name), str(tmp_path / "none")))
        assert memory_bound() == expected // 4, "a container may have less"
    monkeypatch.setenv("SPARRING_MEMORY", "0.5")
    assert memory_bound() == GIB // 2


def test_no_room_for_the_cache(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = str(folder(tmp_path / "set"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot write .*set XDG_CACHE_HOME"):
        load_data(source)


# ------------------------------------------------------------------------------------------------- resident memory

# MiB: the bound on samples in memory, and what decoding, batches and allocators may take in addition. Reading all
# samples may take SLACK more than reading as many as are read at once.
BOUND, SLACK = 48, 48
COUNT, SIDE = 1100, 256  # 206 MiB of pixels
NAMES = ("loading", "batches", "digest and report", "parts", "features")

MEASURE = """
import re, sys, torch
from sparring.data import load_data, load_held_out, Sampler
from sparring.doctor.checkup.report import describe_data
from sparring.extractors import Pixels

def memory(what):  # not getrusage, which counts what the parent had
    words = open("/proc/self/status").read().split()
    return int(words[words.index(what + ":") + 1]) / 1024

def begin():
    global base
    base = memory("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")  # resets the peak

def load(spec):
    data = load_data(spec)
    marks.append(memory("VmHWM") - base)
    sampler = Sampler(len(data), 0)
    for start in range(0, len(data), 32):
        data.batch(sampler.take(start, 32))
    marks.append(memory("VmHWM") - base)
    return data

def look(spec, data):
    data.digest
    describe_data(data)
    marks.append(memory("VmHWM") - base)
    load_data(spec, held_out=0.5).digest
    load_held_out(spec, held_out=0.5).digest
    marks.append(memory("VmHWM") - base)
    Pixels().prepare(data, torch.device("cpu"))(data.samples[-len(data) // 2 :])
    marks.append(memory("VmHWM") - base)

tiny, middle, large = sys.argv[1:]
base, marks = 0, []
load(tiny)  # what is imported on the way
marks = []
begin()
data = load(large)
loading, marks = marks, []
begin()
look(middle, load_data(middle))
needed, marks = marks, []
begin()
look(large, data)
print(base, *loading, *(mark - need for mark, need in zip(marks, needed)))
print("middle", needed, "large", marks, file=sys.stderr)
"""


def many(path: Path, count: int) -> Path:
    path.mkdir()
    for i in range(count):
        Image.effect_noise((SIDE // 8, SIDE // 8), 60).convert("RGB").resize((SIDE, SIDE)).save(
            path / f"{i:05d}.jpg", quality=40
        )
    return path


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux tells it")
@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_resident_memory_stays_bounded(kind: str, tmp_path: Path) -> None:
    counts = {"tiny": 64, "middle": 520, "large": COUNT}  # half of the middle one fills a chunk of an extractor
    specs = [many(tmp_path / name, count) for name, count in counts.items()]
    if kind == "parquet":
        specs = [as_parquet(spec) for spec in specs]
    environment = {**os.environ, "SPARRING_MEMORY": str(BOUND / 1024), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-c", MEASURE, *map(str, specs)]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    base, *above = (round(float(word), 1) for word in found.stdout.split())
    marks = dict(zip(NAMES, above, strict=True))
    print(f"{kind}: base {base} MiB, above it {marks}; {found.stderr}")
    assert COUNT * SIDE * SIDE * 3 / 2**20 > BOUND + SLACK + 100, "the set must not fit"
    for name, mark in marks.items():
        assert mark < BOUND + SLACK, f"{name}: {mark} MiB above the base"


def as_parquet(folder_of_images: Path) -> Path:
    return as_table(folder_of_images.with_suffix(".parquet"), folder_of_images, "image")


def as_table(path: Path, folder_of_images: Path, *columns: str) -> Path:
    import pyarrow as pa
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"bytes": image.read_bytes(), "path": image.name} for image in sorted(folder_of_images.iterdir())]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    parquet.write_table(pa.table({column: pa.array(rows, kind) for column in columns}), path, row_group_size=500)
    return path
