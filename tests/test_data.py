"""Data: named sets, downloads, a user's own files, and the order in which samples are drawn."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sparring.base.errors import UserError
from sparring.data.form import Form
from sparring.data.load import load_data, load_held_out
from sparring.data.sampler import Sampler
from sparring.data.samples import image_data, point_data
from sparring.data.sets.mnist import MNIST_MD5, download, load_mnist, read_idx
from sparring.data.sets.points import POINT_SETS
from sparring.doctor.checkup.report import describe_data

TRAIN = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")


# ---------------------------------------------------------------------------------------------------- named sets


def test_digits() -> None:
    data = load_data("digits")
    assert data.samples.shape == (1797, 1, 8, 8)
    assert data.samples.dtype == torch.uint8
    assert (data.samples.min(), data.samples.max()) == (0, 255)
    assert data.form == Form((1, 8, 8), tuple("0123456789"))
    assert data.labels is not None
    assert data.labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_a_named_set_has_its_own_size() -> None:
    assert load_data("digits", size=8).form.shape == (1, 8, 8)
    with pytest.raises(UserError, match=r"'digits' has the fixed shape \[1, 8, 8\]; size=16"):
        load_data("digits", size=16)
    with pytest.raises(UserError, match="'ring' has the fixed shape"):
        load_data("ring", size=16)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("digist", "no data 'digist': did you mean 'digits'.*path of a folder"),
        ("/no/such/place", "no data '/no/such/place'"),
        ("a" * 5000, "no data 'aaaa"),
        ("~no-such-user-at-all/pictures", "no data '~no-such-user"),
    ],
)
def test_no_such_data(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_data(spec)


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "data.txt"
    path.write_text("1,2")
    with pytest.raises(UserError, match=r"data.txt' is not a supported kind of data"):
        load_data(str(path))


@pytest.mark.parametrize("name", POINT_SETS)
def test_point_sets(name: str) -> None:
    data = load_data(name)
    assert data.samples.shape == (50_000, 2)
    assert data.samples.dtype == torch.float32
    assert data.samples.isfinite().all()
    assert torch.equal(data.samples, load_data(name).samples)
    inputs = data.batch(torch.arange(50_000))["real"].double()
    assert inputs.mean(0).abs().max() < 1e-5
    assert abs(inputs.square().mean().item() - 1) < 1e-5
    assert data.form.low == tuple(data.samples.amin(0).tolist())
    assert data.form.high == tuple(data.samples.amax(0).tolist())


@pytest.mark.parametrize(("name", "modes", "deviation"), [("ring", 8, 0.02), ("grid", 25, 0.05)])
def test_mixtures(name: str, modes: int, deviation: float) -> None:
    data = load_data(name)
    assert data.mixture is not None
    assert data.labels is not None
    assert data.mixture.centres.shape == (modes, 2)
    assert len(data.form.classes) == modes
    for mode, centre in enumerate(data.mixture.centres):
        points = data.samples[data.labels == mode]
        assert abs(len(points) - 50_000 / modes) < 6 * (50_000 / modes) ** 0.5
        error = 6 * deviation / len(points) ** 0.5
        assert (points.mean(0) - centre).abs().max() < error
        assert (points.std(0) - deviation).abs().max() < error


def test_ring_and_grid_centres() -> None:
    ring, grid = load_data("ring").mixture, load_data("grid").mixture
    assert ring is not None
    assert grid is not None
    h = 2**0.5
    expected = [[2, 0], [h, h], [0, 2], [-h, h], [-2, 0], [-h, -h], [0, -2], [h, -h]]
    torch.testing.assert_close(ring.centres, torch.tensor(expected, dtype=torch.float32))
    assert sorted(map(tuple, grid.centres.tolist())) == [(x, y) for x in range(-4, 5, 2) for y in range(-4, 5, 2)]


def test_checkerboard_fields_touch_only_at_corners() -> None:
    data = load_data("checkerboard")
    cells = {tuple(cell) for cell in (data.samples.floor().long() + 2).tolist()}
    assert len(cells) == 8
    assert len({(x + y) % 2 for x, y in cells}) == 1


# --------------------------------------------------------------------------------------------------------- mnist


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)


PIXELS = np.arange(5 * 28 * 28).reshape(5, 28, 28) % 256
LABELS = np.array([3, 1, 4, 1, 5])


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "sets" / "mnist"
    folder.mkdir(parents=True)
    (folder / TRAIN[0]).write_bytes(idx(PIXELS))
    (folder / TRAIN[1]).write_bytes(idx(LABELS))
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and nothing else where MNIST could be found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPARRING_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sparring" / "mnist"


def test_mnist_from_a_folder(idx_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARRING_DATA", str(idx_folder.parent))
    data = load_data("mnist")
    assert data.samples.tolist() == PIXELS[:, None].tolist()
    assert data.labels is not None
    assert data.labels.tolist() == LABELS.tolist()
    assert data.form == Form((1, 28, 28), tuple("0123456789"))


def test_a_folder_beside_the_working_folder_is_no_source(
    idx_folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = tmp_path / "shared" / "data"
    shutil.copytree(idx_folder, beside / "mnist")
    (beside / "cifar10").mkdir()
    (beside / "cifar10" / "train.parquet").write_bytes(b"")
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.delenv("SPARRING_DATA")
    for name in ("MNIST", "CIFAR"):
        monkeypatch.setenv(f"SPARRING_{name}_URL", "http://127.0.0.1:9")
    for name, file in (("mnist", TRAIN[0]), ("cifar10", "cifar-10-binary.tar.gz")):
        with pytest.raises(UserError, match=f"cannot fetch {file}"):
            load_data(name)
    monkeypatch.setenv("SPARRING_DATA", "../shared/data")
    assert load_data("mnist").samples.tolist() == PIXELS[:, None].tolist()


# without the time, which would give the test another name in each process
@pytest.mark.parametrize(
    "content", [b"", b"not gzip", idx(PIXELS)[:-20], gzip.compress(b"\0\0\x09\x01\0\0\0\0", mtime=0)]
)
def test_a_damaged_idx_file(content: bytes, idx_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARRING_DATA", str(idx_folder.parent))
    (idx_folder / TRAIN[0]).write_bytes(content)
    with pytest.raises(UserError, match=rf"{TRAIN[0]}.*remove it to download it again"):
        load_data("mnist")


def test_an_idx_file_that_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "short.gz"
    path.write_bytes(gzip.compress(gzip.decompress(idx(PIXELS))[:-1]))
    with pytest.raises(UserError, match="short.gz is not an IDX file of bytes, or is truncated"):
        read_idx(path)


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, *arguments: object) -> None:
        pass


class Breaks(BaseHTTPRequestHandler):
    """Promises more bytes than it sends."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.write(b"x" * 1000)

    def log_message(self, *arguments: object) -> None:
        pass


def _serve(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.02))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def mirror(idx_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for address in _serve(partial(Quiet, directory=str(idx_folder))):
        monkeypatch.setenv("SPARRING_MNIST_URL", address)
        yield address


@pytest.fixture
def broken_mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for address in _serve(Breaks):
        monkeypatch.setenv("SPARRING_MNIST_URL", address)
        yield address


def _vouch(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for name in TRAIN:
        content = gzip.decompress((folder / name).read_bytes())
        monkeypatch.setitem(MNIST_MD5, name, hashlib.md5(content, usedforsecurity=False).hexdigest())


def test_download(mirror: str, idx_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _vouch(monkeypatch, idx_folder)
    assert load_mnist().samples.tolist() == PIXELS[:, None].tolist()
    assert sorted(p.name for p in cache.iterdir()) == sorted(TRAIN)
    monkeypatch.setenv("SPARRING_MNIST_URL", "http://127.0.0.1:9/nobody-listens")
    assert len(load_mnist()) == 5, "the cache serves the second time"


def test_a_download_with_a_wrong_checksum_is_not_kept(mirror: str, cache: Path) -> None:
    with pytest.raises(
        UserError, match=rf"cannot fetch {TRAIN[0]}.*MD5.*is \w{{32}}, not {MNIST_MD5[TRAIN[0]]}.*digits"
    ):
        load_mnist()
    assert not cache.exists() or not list(cache.iterdir())


def test_a_file_that_the_mirror_lacks(mirror: str, idx_folder: Path, cache: Path) -> None:
    (idx_folder / TRAIN[0]).unlink()
    with pytest.raises(UserError, match=rf"{mirror}/{TRAIN[0]}: (?i:.*not found)"):
        load_mnist()


def test_a_download_that_breaks_off(broken_mirror: str, cache: Path) -> None:
    with pytest.raises(UserError, match=f"cannot fetch {TRAIN[0]} .*{broken_mirror}"):
        load_mnist()


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9", "nonsense", "http://[", "http://127.0.0.1:port", "http://a b"]
)
def test_a_mirror_that_does_not_answer(address: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARRING_MNIST_URL", address)
    with pytest.raises(UserError, match=f"cannot fetch {TRAIN[0]}.*SPARRING_DATA/mnist.*--data digits"):
        load_mnist()


def test_the_second_mirror_is_asked_when_the_first_fails(mirror: str, idx_folder: Path, tmp_path: Path) -> None:
    md5 = hashlib.md5(gzip.decompress(idx(LABELS)), usedforsecurity=False).hexdigest()
    download(["http://127.0.0.1:9/x", f"{mirror}/{TRAIN[0]}", f"{mirror}/{TRAIN[1]}"], tmp_path / "new" / "x.gz", md5)
    assert read_idx(tmp_path / "new" / "x.gz").tolist() == LABELS.tolist()


def test_a_cache_that_cannot_be_written(
    mirror: str, idx_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _vouch(monkeypatch, idx_folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(idx_folder / TRAIN[0]))
    with pytest.raises(UserError, match="cannot write .*set XDG_CACHE_HOME"):
        load_mnist()


def test_real_mnist(real_set: Callable[[str], Path]) -> None:
    folder = real_set("mnist")
    data = load_mnist("test")
    assert data.samples.shape == (10_000, 1, 28, 28)
    assert data.labels is not None
    assert data.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    raw = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    assert hashlib.md5(raw, usedforsecurity=False).hexdigest() == MNIST_MD5["t10k-images-idx3-ubyte.gz"]


# ------------------------------------------------------------------------------------------------------- folders


def write(path: Path, image: Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def grey(level: int, size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new("L", size, level)


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    write(tmp_path / "dog" / "deep" / "1.png", grey(10))
    write(tmp_path / "cat" / "1.png", grey(20))
    write(tmp_path / "cat" / "2.PNG", grey(30))
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    data = load_data(str(tmp_path))
    assert data.form.classes == ("cat", "dog")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1]
    assert data.samples[:, 0, 0, 0].tolist() == [20, 30, 10]


def test_images_beside_sub_folders_have_no_classes(tmp_path: Path) -> None:
    write(tmp_path / "dog" / "1.png", grey(10))
    write(tmp_path / "1.png", grey(20))
    data = load_data(str(tmp_path))
    assert data.labels is None
    assert data.form == Form((1, 8, 8))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (grey(77), [77]),
        (Image.new("1", (8, 8), 1), [255]),
        (Image.new("RGB", (8, 8), (1, 2, 3)), [1, 2, 3]),
        (Image.new("RGBA", (8, 8), (1, 2, 3, 255)), [1, 2, 3]),
        (Image.new("RGBA", (8, 8), (1, 2, 3, 0)), [255, 255, 255]),
        (Image.new("RGBA", (8, 8), (0, 0, 100, 51)), [204, 204, 224]),
        (Image.new("LA", (8, 8), (9, 255)), [9]),
        (Image.new("LA", (8, 8), (9, 0)), [255]),
        (Image.new("RGB", (8, 8), (255, 0, 0)).convert("P"), [255, 0, 0]),
        (Image.fromarray(np.full((8, 8), 0xABCD, np.uint16)), [0xAB]),
        (Image.fromarray(np.full((8, 8), 0xFFFF, np.uint16)), [255]),
        (Image.fromarray(np.full((8, 8), 0x00FF, np.uint16)), [0]),
    ],
    ids=[
        "L",
        "1",
        "RGB",
        "RGBA",
        "clear RGBA",
        "fifth RGBA",
        "LA",
        "clear LA",
        "P",
        "16 bit",
        "16 bit white",
        "16 bit dark",
    ],
)
def test_kinds_of_pixels(image: Image.Image, expected: list[int], tmp_path: Path) -> None:
    write(tmp_path / "1.png", image)
    data = load_data(str(tmp_path))
    assert data.samples.dtype == torch.uint8
    assert data.samples[0, :, 3, 4].tolist() == expected
    assert data.form.shape == (len(expected), 8, 8)


def test_a_clear_palette_entry_is_white(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((0, 0), 1)
    write(tmp_path / "1.png", image, transparency=0)
    pixels = load_data(str(tmp_path)).samples[0]
    assert pixels[:, 0, 0].tolist() == [40, 50, 60]
    assert pixels[:, 5, 5].tolist() == [255, 255, 255]


def test_one_colour_image_makes_all_of_them_colour(tmp_path: Path) -> None:
    write(tmp_path / "1.png", grey(7))
    write(tmp_path / "2.png", Image.new("RGB", (8, 8), (1, 2, 3)))
    samples = load_data(str(tmp_path)).samples
    assert samples[:, :, 0, 0].tolist() == [[7, 7, 7], [1, 2, 3]]


def test_rows_and_columns_are_not_swapped(tmp_path: Path) -> None:
    image = grey(0, (12, 9))
    image.putpixel((11, 2), 200)
    write(tmp_path / "1.png", image)
    data = load_data(str(tmp_path))
    assert data.form.shape == (1, 9, 12)
    assert data.samples.nonzero().tolist() == [[0, 0, 2, 11]]


def test_exif_orientation(tmp_path: Path) -> None:
    image = grey(0, (12, 8))
    image.putpixel((0, 0), 200)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    write(tmp_path / "1.png", image, exif=exif)
    data = load_data(str(tmp_path))
    assert data.form.shape == (1, 12, 8)
    assert data.samples.nonzero().tolist() == [[0, 0, 0, 7]]


def test_a_broken_image_is_named_and_left_out(tmp_path: Path) -> None:
    for i in range(9):
        write(tmp_path / "a" / f"{i}.png", grey(i))
    whole = (tmp_path / "a" / "8.png").read_bytes()
    (tmp_path / "a" / "8.png").write_bytes(whole[: len(whole) // 2])
    write(tmp_path / "b" / "9.png", grey(9))
    data = load_data(str(tmp_path))
    assert data.samples[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 9]
    assert data.labels is not None
    assert data.labels.tolist() == [0] * 8 + [1]
    assert len(data.notes) == 1
    assert data.notes[0].startswith(f"left out {tmp_path / 'a' / '8.png'}: ")


def test_too_many_broken_images(tmp_path: Path) -> None:
    for i in range(10):
        write(tmp_path / f"{i}.png", grey(i))
    (tmp_path / "3.png").write_text("not an image")
    (tmp_path / "4.png").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"2 of 10 images in .* cannot be read \(.*3.png: not an image.*repair or remove"
    ):
        load_data(str(tmp_path))


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match=r"holds no images; looked for .*\.png"):
        load_data(str(tmp_path))


def test_different_sizes(tmp_path: Path) -> None:
    write(tmp_path / "1.png", grey(50, (8, 8)))
    write(tmp_path / "2.png", grey(60, (20, 10)))
    write(tmp_path / "3.png", grey(60, (20, 10)))
    with pytest.raises(UserError, match=r"have 2 sizes: 20x10 \(2 times\), 8x8 \(1 times\); add --size"):
        load_data(str(tmp_path))
    data = load_data(str(tmp_path), size=16)
    assert data.form.shape == (1, 16, 16)
    assert data.samples[:, 0, 7, 7].tolist() == [50, 60, 60]


def test_size_crops_the_middle(tmp_path: Path) -> None:
    image = grey(0, (30, 10))
    image.paste(200, (10, 0, 20, 10))
    write(tmp_path / "1.png", image)
    assert (load_data(str(tmp_path), size=10).samples == 200).all()


@pytest.mark.parametrize("size", [-3, 10**12])
def test_a_size_that_no_image_has(size: int, tmp_path: Path) -> None:
    write(tmp_path / "1.png", grey(50))
    with pytest.raises(UserError, match="size=") as caught:
        load_data(str(tmp_path), size=size)
    assert "repair or remove" not in str(caught.value)


# -------------------------------------------------------------------------------------------------- npz and csv


def npz(path: Path, **arrays: object) -> str:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return str(path)


LEVELS = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"images": LEVELS}, LEVELS),
        ({"arr_0": LEVELS}, LEVELS),
        ({"anything": LEVELS}, LEVELS),
        ({"anything": LEVELS, "x": 255 - LEVELS}, 255 - LEVELS),
        ({"images": LEVELS[..., None]}, LEVELS),
        ({"images": LEVELS.astype(np.int64)}, LEVELS),
        ({"images": LEVELS / 255}, LEVELS),
        ({"images": (LEVELS / 127.5 - 1).astype(np.float32)}, LEVELS),
    ],
    ids=["images", "arr_0", "the only one", "x before others", "last axis 1", "int64", "0 to 1", "-1 to 1"],
)
def test_npz_images(arrays: dict[str, object], expected: np.ndarray, tmp_path: Path) -> None:
    data = load_data(npz(tmp_path / "a.npz", **arrays))
    assert data.samples.dtype == torch.uint8
    assert data.samples.tolist() == expected[:, None].tolist()


def test_npz_colours_come_first(tmp_path: Path) -> None:
    pixels = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    data = load_data(npz(tmp_path / "a.npz", images=pixels))
    assert data.form.shape == (3, 4, 5)
    assert data.samples[1, 2, 3, 4] == pixels[1, 3, 4, 2]


@pytest.mark.parametrize("name", ["labels", "label", "y"])
def test_npz_labels(name: str, tmp_path: Path) -> None:
    data = load_data(npz(tmp_path / "a.npz", images=LEVELS, **{name: np.array([7, 3, 7, 5])}))
    assert data.form.classes == ("3", "5", "7")
    assert data.labels is not None
    assert data.labels.tolist() == [2, 0, 2, 1]


def test_npz_points(tmp_path: Path) -> None:
    points = np.array([[1.0, 2, 3], [4, 5, 7]])
    data = load_data(npz(tmp_path / "a.npz", samples=points))
    assert data.form.shape == (3,)
    assert data.samples.dtype == torch.float32
    assert data.samples.tolist() == points.tolist()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": LEVELS, "b": LEVELS}, r"holds \['a', 'b'\]; name the array of samples 'images'"),
        ({"labels": np.zeros(3)}, "holds no samples"),
        ({"images": np.zeros((2, 3, 4, 5, 6))}, r"'images' has shape \[2, 3, 4, 5, 6\].*allowed are images"),
        ({"images": np.zeros(5)}, r"'images' has shape \[5\]"),
        ({"images": np.float32(5)}, r"'images' has shape \[\]"),
        ({"images": np.zeros((0, 8, 8))}, r"'images' has shape \[0, 8, 8\]"),
        ({"images": np.zeros((5, 0, 8))}, r"'images' has shape \[5, 0, 8\]"),
        ({"images": np.array([["a", "b"]])}, r"type <U1"),
        ({"images": np.array([[1j, 2]])}, "type complex128"),
        ({"images": np.array([[object()]])}, "not an .npz of plain arrays"),
        ({"images": LEVELS * np.nan}, "holds NaN, infinity or values beyond"),
        ({"images": LEVELS * 1.0}, r"pixels span 0 to 255; allowed are uint8, floats in \[0, 1\]"),
        ({"images": LEVELS.astype(int) - 1}, "pixels span -1 to 254"),
        ({"images": np.zeros((3, 8, 8, 4), np.uint8)}, r"the last axis must be 1 \(grey\) or 3 \(RGB\)"),
        ({"images": LEVELS, "labels": np.zeros(3)}, r"labels have shape \[3\]; 4 samples need labels of \[4\]"),
        ({"images": np.array([[0.0, np.inf]])}, "holds NaN, infinity or values beyond"),
        ({"images": np.array([[0.0, 1e300], [1, 1]])}, "images"),
        ({"images": np.zeros((5, 1))}, r"'images' has shape \[5, 1\]"),
    ],
)
def test_npz_refusals(arrays: dict[str, object], message: str, tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=f"a.npz.*{message}"):
        load_data(path)


def _array_file() -> bytes:
    import io

    file = io.BytesIO()
    np.save(file, LEVELS)
    return file.getvalue()


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off", _array_file()])
def test_what_is_no_npz(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match="a.npz is (not an .npz of plain arrays|a single array)"):
        load_data(str(path))


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfx,y\r\n0.5,-1.25\r\n\r\n 2e0 ,3\r\n")
    data = load_data(str(path))
    assert data.samples.tolist() == [[0.5, -1.25], [2, 3]]
    assert data.form.low == (0.5, -1.25)
    path.write_text("1,2\n3,4\n")
    assert load_data(str(path)).samples.tolist() == [[1, 2], [3, 4]], "the first row may be numbers"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no points; write one per row"),
        ("x,y\n", "holds no points"),
        ("x,y\n1,2\n3,four\n", r"row 3: \['3', 'four'\] is not a row of numbers"),
        ("1,2\n3\n", r"row 2: \['3'\] must be 2 finite numbers"),
        ("1,2\n3,4,5\n", "row 2: .* must be 2 finite numbers"),
        ("1\n2\n", "row 1: .*must be at least two finite numbers"),
        ("1,2\n3,nan\n", "row 2: .* must be 2 finite numbers"),
        ("1,2\n3,1e999\n", "row 2: .* must be 2 finite numbers"),
        ("1,2\n3,1e300\n", "row 2|1e300"),
        ("1,2\n3;4\n", "row 2: .*is not a row of numbers"),
    ],
)
def test_csv_refusals(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=f"a.csv.*({message})"):
        load_data(str(path))


def test_a_csv_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xff\xfe1,2\n")
    with pytest.raises(UserError, match="a.csv cannot be read as a table"):
        load_data(str(path))


# --------------------------------------------------------------------------------------- form, report and order


def test_all_levels_survive_input_and_back() -> None:
    form = Form((1, 16, 16))
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    inputs = form.to_input(levels)
    assert inputs.dtype == torch.float32
    assert (inputs.min(), inputs.max()) == (-1, 1)
    assert torch.equal(form.to_stored(inputs), levels)


def test_outputs_beyond_the_range_are_clamped() -> None:
    outputs = torch.tensor([-5.0, -1.001, 1.001, 5.0]).view(1, 1, 2, 2)
    assert Form((1, 2, 2)).to_stored(outputs).flatten().tolist() == [0, 0, 255, 255]


def test_points_go_to_input_and_back() -> None:
    data = point_data("test", torch.tensor([[0.0, 10], [4, 10], [2, 16]]))
    inputs = data.batch(torch.arange(3))["real"]
    torch.testing.assert_close(inputs.mean(0), torch.zeros(2))
    torch.testing.assert_close(data.form.to_stored(inputs), data.samples)
    one = point_data("test", torch.tensor([[3.0, 4.0]]))
    assert one.batch(torch.tensor([0]))["real"].tolist() == [[0, 0]], "one point has no spread to divide by"


def test_the_digest_tells_data_apart() -> None:
    images = torch.arange(128, dtype=torch.uint8).view(2, 1, 8, 8)
    digests = {
        image_data("a", images).digest,
        image_data("a", images.view(2, 1, 4, 16)).digest,
        image_data("a", images.flip(0)).digest,
        image_data("a", images, torch.tensor([0, 1]), ("x", "y")).digest,
        image_data("a", images, torch.tensor([1, 0]), ("x", "y")).digest,
    }
    assert len(digests) == 5
    assert image_data("other name", images.clone()).digest in digests


def test_report() -> None:
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    images[0, 1:] = 9
    images[1, 2] = 200
    data = image_data("test", images, torch.tensor([0, 1, 1, 1]), ("a", "b"), notes=("left out x.png: torn",))
    lines = dict(describe_data(data).lines)
    assert lines["samples"] == "4"
    assert lines["channels"] == "3 (RGB)"
    assert lines["values"].startswith("0 to 200 ")
    assert lines["warning"].startswith("channel 0 has one value in all images")
    assert lines["classes"] == "2: a (1), b (3)"
    assert lines["duplicates"].startswith("1 exact copies")
    assert lines["left out"] == "x.png: torn"


@given(st.integers(1, 40), st.integers(0, 5), st.integers(0, 5))
def test_each_epoch_is_a_permutation(count: int, seed: int, epoch: int) -> None:
    taken = Sampler(count, seed).take(epoch * count, count)
    assert sorted(taken.tolist()) == list(range(count))


@given(st.integers(1, 20), st.lists(st.integers(1, 50), min_size=1, max_size=8))
def test_the_order_does_not_depend_on_how_it_is_taken(count: int, parts: list[int]) -> None:
    sampler, position = Sampler(count, 3), 0
    whole = Sampler(count, 3).take(0, sum(parts)).tolist()
    for part in parts:
        expected = whole[position : position + part]
        assert sampler.take(position, part).tolist() == expected
        assert Sampler(count, 3).take(position, part).tolist() == expected, "with a new sampler"
        position += part


def test_epochs_and_seeds_differ() -> None:
    orders = [Sampler(50, seed).take(50 * epoch, 50).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(map(tuple, orders))) == 4


def test_small_mnist_is_600_of_mnists_images(real_set: Callable[[str], Path]) -> None:
    real_set("mnist")
    small, whole, held = load_data("small-mnist"), load_data("mnist"), load_held_out("small-mnist")
    assert (small.name, len(small), sum(small.form.counts)) == ("small-mnist", 600, 600)
    assert min(small.form.counts) > 30, "a random choice has all digits"
    known = {image.numpy().tobytes() for image in whole.samples}
    assert all(image.numpy().tobytes() in known for image in small.samples)
    assert held is not None
    assert len(held) == 10_000
