"""Sets of the Hugging Face Hub, by a Hub that stands in for it, and by the real package where it is installed."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from PIL import Image

from sparring.assemble.build import HeldOut, training_data
from sparring.data import load_data, load_held_out
from sparring.data.sources.hub import _content
from sparring.data.store.mapped import is_mapped
from sparring.recipe import load_recipe

KIND = pa.struct({"bytes": pa.binary(), "path": pa.string()})
CLASSES = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}}}
SCHEMA = pa.schema({"image": KIND, "label": pa.int64()}).with_metadata({"huggingface": json.dumps(CLASSES)})
FAR = "hf://datasets/them/set@main/"
Refused = Callable[..., str]


def png(level: int, mode: str = "L") -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 6), level).convert(mode).save(file, "PNG")
    return file.getvalue()


class Rows(list[Any]):
    """A streamed split, stored in three parts."""

    features = SimpleNamespace(arrow_schema=SCHEMA)
    num_shards = 3

    def __init__(self, rows: list[Any], begin: Callable[[], None]) -> None:
        super().__init__(rows)
        self.begin = begin

    def __iter__(self) -> Iterator[Any]:
        self.begin()
        return super().__iter__()

    def shard(self, num_shards: int, index: int) -> Rows:
        assert num_shards == self.num_shards
        size = -(-len(self) // num_shards)
        return Rows(self[index * size :][:size], self.begin)

    def select_columns(self, names: list[str]) -> Rows:
        assert names == ["image", "label"]
        return self

    def cast_column(self, name: str, feature: object) -> Rows:
        assert (name, feature) == ("image", {"decode": False})
        return self


class Hub:
    """What the package `datasets` is asked for, of a Hub with one set: `them/set`."""

    Image = staticmethod(lambda **options: options)

    def __init__(self, splits: dict[str, list[Any]]) -> None:
        self.version, self.down, self.opened, self.splits = "v1", False, 0, splits
        self.streamed: list[str] = []

    def _ask(self, name: str) -> None:
        if self.down:
            raise RuntimeError("no route\nto host")
        if name != "them/set":
            raise FileNotFoundError(f"Dataset '{name}' doesn't exist")

    def load_dataset(self, name: str, split: str, streaming: bool) -> Rows:
        self._ask(name)
        assert streaming
        if split not in self.splits:
            raise ValueError(f"Bad split: {split}")
        self.opened += 1
        return Rows(self.splits[split], lambda: self.streamed.append(split))

    def load_dataset_builder(self, name: str) -> SimpleNamespace:
        self._ask(name)
        return SimpleNamespace(hash=self.version)

    def get_dataset_split_names(self, name: str) -> list[str]:
        self._ask(name)
        return list(self.splits)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "far.png").write_bytes(png(77))
    monkeypatch.setattr(fsspec, "open", lambda path, mode: (tmp_path / path.removeprefix(FAR)).open(mode))
    train = [{"image": {"bytes": png(i), "path": None}, "label": i % 2} for i in range(11)]
    train.append({"image": {"bytes": None, "path": f"{FAR}far.png"}, "label": 0})
    found = Hub({"train": train, "test": [{"image": {"bytes": png(90, "RGB"), "path": None}, "label": 1}]})
    monkeypatch.setitem(sys.modules, "datasets", found)  # type: ignore[arg-type]
    return found


def test_a_set_of_the_hub_is_mapped(hub: Hub) -> None:
    data, held = load_data("hub:them/set"), load_held_out("hub:them/set")
    assert held is not None
    assert is_mapped(data.samples)
    assert data.samples[:, 0, 0, 0].tolist() == [*range(11), 77]
    assert (data.form.classes, data.form.counts) == (("cat", "dog"), (7, 5))
    assert held.form == data.form, "as grey as the training split"
    assert (held.samples[:, 0, 0, 0].tolist(), held.labels.tolist()) == ([90], [1])  # type: ignore[union-attr]
    assert load_held_out("hub:them/set:train") is None
    part, rest = load_data("hub:them/set", held_out=0.5), load_held_out("hub:them/set", held_out=0.5)
    assert (len(part), len(rest or ())) == (6, 6)


@pytest.mark.parametrize(
    "path",
    [
        "{here}/far.png",
        "file://{here}/far.png",
        "http://10.0.0.1/far.png",
        "hf://datasets/them/settle@main/far.png",
        "hf://datasets/them/set/../other/far.png",
        "hf://datasets/them/set@main/a.zip::file://{here}/far.png",
        "simplecache::hf://datasets/them/set@main/far.png",
    ],
)
def test_a_row_does_not_lead_to_other_files(path: str, hub: Hub, tmp_path: Path) -> None:
    content = _content({"bytes": None, "path": path.format(here=tmp_path)}, "them/set")
    assert "names a file outside this data set" in str(content)


def test_the_hub_is_read_once_a_version(hub: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    first = load_data("hub:them/set").digest
    assert hub.opened == 2, "once for its columns, once for its images"
    assert (load_data("hub:them/set").digest, hub.opened) == (first, 3)
    hub.down = True
    assert load_data("hub:them/set").digest == first, "without the Hub, what was read serves"
    assert "Note: hub:them/set cannot be read" in capfd.readouterr().err
    hub.down, hub.version = False, "v2"
    hub.splits["train"] = hub.splits["train"][:5]
    assert (len(load_data("hub:them/set")), hub.opened) == (5, 5)


@pytest.mark.parametrize("held_out", [0.0, 0.5])
@pytest.mark.parametrize("fit", ["crop", "patch"])
def test_a_training_streams_each_split_once(fit: str, held_out: float, hub: Hub) -> None:
    recipe = load_recipe("digits").replace(data="hub:them/set", size="4", fit=fit, held_out=held_out)
    train = training_data(recipe)
    held = HeldOut(recipe, train=train).data
    assert held is not None
    assert held.form == train.form
    assert (len(train), len(held)) == ((6, 6) if held_out else (12, 1))
    assert hub.streamed == (["train"] if held_out else ["train", "test"])


def test_a_set_of_the_hub_is_read_once_however_and_wherever_it_is_named(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    first = load_data("hub:them/set").digest
    monkeypatch.chdir(tmp_path)
    assert load_data("hub:them/set:train").digest == first
    assert hub.opened == 3, "twice for its columns, once for its images"
    hub.down = True
    assert load_data("hub:them/set").digest == first
    assert "using its last saved answer" in capfd.readouterr().err
    assert len(list((tmp_path / "cache").rglob("hub-*.json"))) == len(list((tmp_path / "cache").rglob("*.pixels"))) == 1


def test_a_set_of_the_hub_is_streamed_by_its_parts(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparring.data.stream.load.REFERENCE", 6)
    data = load_data("stream:hub:them/set:train", held_out=0.3)
    assert data.stream is not None
    assert [shard.name for shard in data.stream.shards] == [f"hub:them/set:train, part {i} of 3" for i in (1, 2)]
    assert data.samples[:, 0, 0, 0].tolist() == [*range(6)]
    assert data.form.classes == ("cat", "dog")
    rest = load_held_out("stream:hub:them/set:train", held_out=0.3, train=data)
    assert rest is not None
    assert rest.samples[:, 0, 0, 0].tolist() == [8, 9, 10, 77]
    batch = data.stream.reader(0).take(0, 16)
    levels = batch["real"][:, 0, 0, 0].tolist()
    assert sorted(levels) == sorted([*range(8)] * 2)
    assert [level % 2 for level in levels] == batch["label"].tolist()
    assert data.stream.reader(0).take(9, 7)["real"][:, 0, 0, 0].tolist() == levels[9:]


def test_a_stream_of_the_hub_needs_parts(hub: Hub, monkeypatch: pytest.MonkeyPatch, refused: Refused) -> None:
    monkeypatch.delattr(Rows, "num_shards")
    assert 'pip install "datasets>=3.1"' in refused("data", "stream:hub:them/set")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hub:", "'hub:' is not a Hub data set; write hub:OWNER/NAME"),
        ("hub:a/b/c", "is not a Hub data set"),
        ("hub:them/set:", "is not a Hub data set"),
        (
            "hub:them/other",
            "hub:them/other cannot be read from the Hugging Face Hub (FileNotFoundError: Dataset 'them/",
        ),
        ("hub:them/set:dev", "(ValueError: Bad split: dev); check the name and the network"),
    ],
)
def test_what_the_hub_does_not_have(spec: str, message: str, hub: Hub, refused: Refused) -> None:
    assert message in refused("data", spec)


def test_the_hub_is_down(hub: Hub, refused: Refused) -> None:
    hub.down = True
    assert "(RuntimeError: no route to host)" in refused("data", "hub:them/set")


def test_the_hub_needs_a_package(monkeypatch: pytest.MonkeyPatch, refused: Refused) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert 'pip install "sparring[hub]"' in refused("data", "hub:them/set")


@pytest.mark.slow
def test_the_real_package_reads_a_local_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra hub is not installed")
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_CACHE_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache" / "hf"))
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"image": [{"bytes": png(i), "path": None} for i in range(6)], "label": [0, 1, 0, 1, 1, 1]}
    for split in ("train", "test"):
        place = tmp_path / "them" / "set" / f"{split}.parquet"
        place.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(rows, features).to_parquet(place)
    split = tmp_path / "them" / "split" / "data"
    split.mkdir(parents=True)
    for part in range(2):
        some = {name: column[3 * part :][:3] for name, column in rows.items()}
        datasets.Dataset.from_dict(some, features).to_parquet(split / f"train-0000{part}-of-00002.parquet")
    streamed = load_data("stream:hub:them/split").stream
    assert streamed is not None
    assert len(streamed.shards) == 2
    batch = streamed.reader(0).take(0, 6)
    assert sorted(batch["real"][:, 0, 0, 0].tolist()) == [0, 1, 2, 3, 4, 5]
    data, held = load_data("hub:them/set"), load_held_out("hub:them/set")
    assert data.samples[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert (data.form.classes, data.form.counts) == (("cat", "dog"), (2, 4))
    assert len(held or ()) == 6
