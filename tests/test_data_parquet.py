"""Parquet files, and CIFAR-10, which may be such."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from sparring.base.errors import UserError
from sparring.cli import main
from sparring.data.load import load_data, load_held_out
from sparring.data.sets.cifar import CLASSES, FILE, RECORD
from sparring.data.store.mapped import is_mapped

KIND = pa.struct({"bytes": pa.binary(), "path": pa.string()})
Refused = Callable[..., str]


def png(level: int, mode: str = "L") -> bytes:
    return encoded(Image.new("L", (8, 6), level).convert(mode))


def encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def images(count: int, mode: str = "L", first: int = 0) -> pa.Array:
    return pa.array([{"bytes": png(first + i, mode), "path": None} for i in range(count)], KIND)


def write(path: Path, columns: dict[str, Any], classes: dict[str, list[str]] | None = None) -> Path:
    table = pa.table(columns)
    features = {name: {"_type": "ClassLabel", "names": names} for name, names in (classes or {}).items()}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table.replace_schema_metadata(metadata), path, row_group_size=3)
    return path


def names(path: Path) -> list[str] | None:
    data = load_data(str(path))
    return None if data.labels is None else [data.form.classes[i] for i in data.labels]


@pytest.mark.parametrize(
    ("columns", "classes", "expected"),
    [
        ({"label": [1, 0, 1, 1]}, {"label": ["cat", "dog"]}, ["dog", "cat", "dog", "dog"]),
        ({"label": [10, 7, 10, 9]}, {}, ["10", "7", "10", "9"]),
        ({"labels": ["b", "a", "b", "b"]}, {}, ["b", "a", "b", "b"]),
        ({"breed": [1, 0, 1, 1], "age": [1, 2, 3, 4]}, {"breed": ["cat", "dog"]}, ["dog", "cat", "dog", "dog"]),
        ({"breed": [1, 0, 1, 1], "style": [0, 0, 0, 0]}, {"breed": ["cat", "dog"], "style": ["x"]}, None),
        ({"age": [1, 2, 3, 4]}, {}, None),
        ({"label": [-1, -1, -1, -1]}, {"label": ["cat", "dog"]}, None),
    ],
    ids=["label", "plain numbers", "texts", "the only classes", "two of classes", "no classes", "all unknown"],
)
def test_labels_are_found(
    columns: dict[str, Any], classes: dict[str, list[str]], expected: list[str] | None, tmp_path: Path
) -> None:
    assert names(write(tmp_path / "a.parquet", {"image": images(4), **columns}, classes)) == expected


@pytest.mark.parametrize("others", [["image", "mask"], ["img", "mask"], ["picture"]])
def test_the_column_of_images_is_found(others: list[str], tmp_path: Path) -> None:
    columns = {name: images(4, first=100 * i) for i, name in reversed(list(enumerate(others)))}
    data = load_data(str(write(tmp_path / "a.parquet", {"caption": ["x"] * 4, **columns})))
    assert data.samples[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert data.form.shape == (1, 6, 8)


def test_a_list_of_labels_is_ignored_with_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"image": images(2), "label": [[1], [2]]})
    assert load_data(str(path)).labels is None
    assert "warning: column 'label' holds list<" in load_data(str(path)).remarks[0]


@pytest.mark.parametrize("mapped", [False, True])
def test_a_folder_of_splits(mapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if mapped:
        monkeypatch.setenv("SPARRING_MEMORY", "0.00000001")
    folder = tmp_path / "set"
    write(folder / "train-00000-of-00002.parquet", {"image": images(4), "label": [5, 5, 3, 3]})
    write(folder / "train-00001-of-00002.parquet", {"image": images(2, "RGB", 50), "label": [8, 5]})
    write(folder / "test.parquet", {"image": images(1, first=90), "label": [5]})
    write(folder / "test_small.parquet", {"image": images(1), "label": [5]})
    write(folder / "validation.parquet", {"image": images(3), "label": [5, 5, 5]})
    data, held = load_data(str(folder)), load_held_out(str(folder))
    assert held is not None
    assert is_mapped(data.samples) == is_mapped(held.samples) == mapped
    assert data.samples[:, 2, 0, 0].tolist() == [0, 1, 2, 3, 50, 51]
    assert (data.form.classes, data.form.counts) == (("3", "5", "8"), (2, 3, 1))
    assert held.form == data.form, "grey images of the test split are as coloured as the others, of the same classes"
    assert (held.samples[:, 1, 0, 0].tolist(), held.labels.tolist(), held.split) == ([90], [1], "test")  # type: ignore[union-attr]
    for name in ("test.parquet", "test_small.parquet"):
        (folder / name).unlink()
    assert len(load_held_out(str(folder)) or ()) == 3, "without a test split, the validation split"
    (folder / "validation.parquet").unlink()
    assert load_held_out(str(folder)) is None
    assert load_held_out(str(folder / "train-00000-of-00002.parquet")) is None


def test_splits_of_two_sizes_are_not_compared(tmp_path: Path, refused: Refused) -> None:
    write(tmp_path / "set" / "train.parquet", {"image": images(4)})
    turned = [{"bytes": encoded(Image.new("L", (6, 8), i)), "path": None} for i in range(4)]
    write(tmp_path / "set" / "test.parquet", {"image": pa.array(turned, KIND)})
    words = ("evaluate", "--images", tmp_path / "set" / "train.parquet", "--against", tmp_path / "set")
    assert "samples of shape [1, 8, 6]" in (message := refused(*words, "--metrics", "sliced_wasserstein"))
    assert "of shape [1, 6, 8]; add --size" in message
    assert main([*map(str, words), "--metrics", "sliced_wasserstein", "--size", "5x7", "--fit", "stretch"]) == 0


def test_a_snapshot_of_the_hub(tmp_path: Path) -> None:
    write(tmp_path / "data" / "train-00000-of-00001.parquet", {"image": images(4)})
    assert len(load_data(str(tmp_path))) == 4


@pytest.mark.parametrize(
    ("columns", "classes", "message"),
    [
        ({"x": [1, 2]}, {}, r"a.parquet holds no images; its columns are x \(int64\); name the column of images"),
        ({"a": images(2), "b": images(2)}, {}, "holds several columns of images"),
        ({"image": pa.nulls(2, KIND)}, {}, "2 of 2 images in .* cannot be read .*row 0: the row has no image bytes"),
        ({"image": images(0)}, {}, "a.parquet holds no images"),
        ({"image": images(2), "label": pa.array([1, None])}, {}, "a.parquet: 1 of 2 samples have no label"),
        ({"image": images(2), "label": [0, -1]}, {}, "a.parquet: sample 1 has label -1"),
        (
            {"image": images(2), "label": [0, 9]},
            {"label": ["x", "y"]},
            "sample 1 has label 9, which is not one of the 2",
        ),
        ({"image": images(2), "label": [0, 1]}, {"label": ["x", "y", "z"]}, "has 3 classes but only 2 samples"),
    ],
)
def test_refusals(
    columns: dict[str, Any], classes: dict[str, list[str]], message: str, tmp_path: Path, refused: Refused
) -> None:
    path = write(tmp_path / "a.parquet", columns, classes)
    with pytest.raises(UserError, match=message):
        load_data(str(path))
    refused("data", path)


def test_images_that_cannot_be_decoded(tmp_path: Path, refused: Refused) -> None:
    rows = [{"bytes": png(i), "path": None} for i in range(20)]
    rows[7]["bytes"] = b"torn"
    column = {"image": pa.array(rows, KIND)}
    path = write(tmp_path / "a.parquet", column)
    assert load_data(str(path)).notes == (f"left out {path}, row 7: not an image",)
    rows[8]["bytes"] = rows[9]["bytes"] = b"torn"
    path = write(tmp_path / "a.parquet", {"image": pa.array(rows, KIND)})
    assert f"3 of 20 images in {path} cannot be read ({path}, row 7: not an image" in refused("data", path)


def test_damaged_files(tmp_path: Path, refused: Refused) -> None:
    path = write(tmp_path / "a.parquet", {"image": images(200)})
    whole = path.read_bytes()
    for content in (whole[:-100], b"", b"PAR1 nothing PAR1", whole[:4] + b"\xff" * 2000 + whole[2004:]):
        path.write_bytes(content)
        assert f"{path} is damaged or not a parquet file (" in refused("data", path)


def test_damaged_metadata(tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"image": images(2)}).replace_schema_metadata({"huggingface": "{"}), path)
    assert "its metadata 'huggingface' are damaged" in refused("data", path)


def test_files_of_two_kinds_in_a_folder(tmp_path: Path, refused: Refused) -> None:
    write(tmp_path / "train-1.parquet", {"image": images(2)})
    write(tmp_path / "train-2.parquet", {"image": images(2), "label": [0, 1]})
    assert "train-2.parquet has other columns or classes than" in refused("data", tmp_path)


@pytest.mark.parametrize(
    ("name", "size", "shape", "counts", "held"),
    [
        ("anime_faces", "", (6241, 3, 64, 64), (), 759),
        ("super_resolution/train.parquet", "64", (200, 3, 64, 64), (), None),
        ("super_resolution", "96x64", (200, 3, 64, 96), (), 19),
        ("camvid", "", (367, 3, 180, 240), (), 233),
        ("edges2shoes_handbags", "", (2000, 3, 128, 128), (1000, 1000), 400),
        ("emoji_captions", "", (3756, 3, 64, 64), (), 419),
        ("facades_artdeco", "", (144, 3, 256, 256), (), 14),
        ("face2genshin_unpaired", "", (1498, 3, 128, 128), (736, 762), 197),
        ("faces_utk", "", (10803, 3, 64, 64), (5861, 4942), 1233),
    ],
)
@pytest.mark.slow
def test_real_sets(
    name: str,
    size: str,
    shape: tuple[int, ...],
    counts: tuple[int, ...],
    held: int | None,
    real_set: Callable[[str], Path],
) -> None:
    spec = str(real_set(name))
    data, held_out = load_data(spec, size), load_held_out(spec, size)
    assert (tuple(data.samples.shape), data.form.counts, data.notes) == (shape, counts, ())
    assert (None if held_out is None else len(held_out)) == held
    assert held_out is None or held_out.form == data.form


# -------------------------------------------------------------------------------------------------------- CIFAR-10


def cifar_archive(path: Path, count: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for batch, name in enumerate([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]):
            records = np.zeros((count, RECORD), np.uint8)
            records[:, 0] = (np.arange(count) + batch) % 10
            records[:, 1 + 2 * 32 + 5] = 100 + batch  # red, row 2, column 5
            records[:, 1 + 2048] = np.arange(count)  # blue, the first pixel
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = records.nbytes
            tar.addfile(info, io.BytesIO(records.tobytes()))
    return path


def check_cifar() -> None:
    data, held = load_data("cifar10"), load_held_out("cifar10")
    assert held is not None
    assert (data.name, data.form.classes, data.form.shape) == ("cifar10", CLASSES, (3, 32, 32))
    assert data.samples[:, 0, 2, 5].tolist() == [100 + i // 3 for i in range(15)]
    assert data.samples[:, 2, 0, 0].tolist() == [0, 1, 2] * 5
    assert data.labels.tolist() == [(i % 3 + i // 3) % 10 for i in range(15)]  # type: ignore[union-attr]
    assert (len(held), held.split, held.samples[:, 0, 2, 5].tolist()) == (3, "test", [105] * 3)


@pytest.fixture
def nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPARRING_DATA", str(tmp_path / "sets"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_cifar_from_the_original_archive(nothing_there: Path) -> None:
    cifar_archive(nothing_there / "sets" / "cifar10" / FILE)
    check_cifar()


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def mirror(nothing_there: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    file = cifar_archive(nothing_there / "mirror" / FILE)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(file.parent)))
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.02))
    thread.start()
    monkeypatch.setenv("SPARRING_CIFAR_URL", f"http://127.0.0.1:{server.server_port}")
    yield file
    server.shutdown()
    thread.join()
    server.server_close()


def test_cifar_is_downloaded_once(mirror: Path, nothing_there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.md5(mirror.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr("sparring.data.sets.cifar.MD5", digest)
    check_cifar()
    mirror.unlink()
    check_cifar()


def test_a_wrong_cifar_is_not_kept(mirror: Path, nothing_there: Path, refused: Refused) -> None:
    message = refused("data", "cifar10")
    assert f"cannot fetch {FILE}" in message
    assert "MD5 sum is" in message
    assert f"put {FILE}, or train.parquet and test.parquet, in $SPARRING_DATA/cifar10" in message
    assert not list((nothing_there / "cache").rglob("*.gz*"))


def test_a_damaged_cifar(nothing_there: Path, refused: Refused) -> None:
    path = cifar_archive(nothing_there / "sets" / "cifar10" / FILE)
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("data_batch_1.bin")
        info.size = 100
        tar.addfile(info, io.BytesIO(bytes(100)))
    assert "data_batch_1.bin is not a batch of CIFAR-10" in refused("data", "cifar10")
    with tarfile.open(path, "w:gz"):
        pass
    assert "does not contain data_batch_1.bin, data_batch_2.bin" in refused("data", "cifar10")


@pytest.mark.slow
def test_real_cifar(real_set: Callable[[str], Path]) -> None:
    real_set("cifar10")
    data, held = load_data("cifar10"), load_held_out("cifar10")
    assert held is not None
    assert data.form == held.form
    assert (data.form.classes, data.form.counts, held.form.counts) == (CLASSES, (5000,) * 10, (1000,) * 10)
