"""Archives of images: read in place, and refused where they are not what they seem."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from sparring.data.load import load_data
from sparring.data.sources.archives import LARGEST

Refused = Callable[..., str]


def png(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8), level).save(file, "PNG")
    return file.getvalue()


MEMBERS = {"dog/deep/1.png": png(10), "cat/1.png": png(20), "cat/2.PNG": png(30), "cat/notes.txt": b"no image"}


def pack(path: Path, members: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


KINDS = ("a.zip", "a.tar", "a.tar.gz", "a.tgz", "A.ZIP")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top", ["", "flowers/", "./flowers/"])
def test_sub_folders_are_classes(kind: str, top: str, tmp_path: Path) -> None:
    members = {f"{top}{name}": content for name, content in MEMBERS.items()}
    path = pack(tmp_path / kind.lower(), {**members, "__MACOSX/cat/._1.png": b"attributes"}).rename(tmp_path / kind)
    data = load_data(str(path))
    found = sorted(zip(data.samples[:, 0, 0, 0].tolist(), [data.form.classes[i] for i in data.labels]))  # type: ignore[union-attr]
    assert found == [(10, "dog"), (20, "cat"), (30, "cat")]
    assert data.form.counts == (2, 1)
    assert data.name == str(path)
    assert data.notes == ()
    assert sorted(p.name for p in tmp_path.iterdir()) == [kind], "nothing is unpacked"


@pytest.mark.parametrize("kind", KINDS[:3])
def test_images_of_one_folder_or_none_have_no_classes(kind: str, tmp_path: Path) -> None:
    for members in ({"a/1.png": png(1), "a/2.png": png(2)}, {"1.png": png(1), "a/2.png": png(2)}):
        data = load_data(str(pack(tmp_path / kind, members)))
        assert data.labels is None
        assert len(data) == 2


def test_a_zip_equals_the_folder_that_it_was_made_of(tmp_path: Path) -> None:
    for name, content in MEMBERS.items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(content)
        (tmp_path / "set" / name).with_name("._" + Path(name).name).write_bytes(b"attributes")
    archive, folder = load_data(str(pack(tmp_path / "a.zip", MEMBERS))), load_data(str(tmp_path / "set"))
    assert torch.equal(archive.samples, folder.samples)
    assert archive.digest == folder.digest


def test_a_broken_member_is_named_and_left_out(tmp_path: Path) -> None:
    members = {f"{i}.png": png(i) for i in range(20)} | {"7.png": b"torn"}
    for kind in KINDS[:3]:
        data = load_data(str(pack(tmp_path / kind, members)))
        assert len(data) == 19
        assert data.notes == (f"left out {tmp_path / kind}/7.png: not an image",)


def test_a_member_of_a_wrong_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for i in range(12):
            archive.writestr(f"{i}.png", png(i))
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 5] ^= 1
    path.write_bytes(content)
    assert "left out" in load_data(str(path)).notes[0]
    assert "CRC" in load_data(str(path)).notes[0]


# ------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("kind", KINDS[:4])
@pytest.mark.parametrize("name", ["../x.png", "a/../../x.png", "/etc/x.png", "C:\\x.png", "..\\x.png", "../notes.txt"])
def test_a_path_that_leaves_the_archive(kind: str, name: str, tmp_path: Path, refused: Refused) -> None:
    path = pack(tmp_path / kind, {**MEMBERS, name: png(1)})
    assert f"{path} holds {name!r}, a path that leads out of the archive" in refused("data", path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_members_of_a_tar_that_are_no_files(kind: bytes, tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("x.png")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    assert "holds 'x.png', " in (message := refused("data", path))
    assert "which may lead out of the archive" in message


def test_a_link_in_a_zip(tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "a.zip"
    info = zipfile.ZipInfo("x.png")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert "holds 'x.png', a link" in refused("data", path)


@pytest.mark.parametrize("kind", KINDS[:4])
def test_a_damaged_archive(kind: str, tmp_path: Path, refused: Refused) -> None:
    path = pack(tmp_path / kind, {f"{i}.png": png(i) * 9 for i in range(300)})
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"nothing of the kind", whole[:512] + b"\xff" * 9000 + whole[9512:]):
        path.write_bytes(content)
        message = refused("data", path)
        assert f"{path} is damaged or not an archive (" in message or "cannot be read" in message


def test_a_zip_that_wants_a_newer_program(tmp_path: Path, refused: Refused) -> None:
    path = pack(tmp_path / "a.zip", MEMBERS)
    first, *others = path.read_bytes().split(b"PK\x01\x02")  # the directory's entries
    wanting = [entry[:2] + (99).to_bytes(2, "little") + entry[4:] for entry in others]  # version 9.9
    path.write_bytes(b"PK\x01\x02".join([first, *wanting]))
    assert f"{path} is damaged or not an archive (zip file version 9.9" in refused("data", path)


@pytest.mark.parametrize("kind", KINDS[:3])
def test_an_archive_without_images(kind: str, tmp_path: Path, refused: Refused) -> None:
    path = pack(tmp_path / kind, {"notes.txt": b"x"})
    assert f"{path} holds no images; looked for .bmp" in refused("data", path)


@pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz"])
def test_a_bomb(kind: str, tmp_path: Path, refused: Refused) -> None:
    path = pack(tmp_path / kind, {"1.png": bytes(80 << 20), "2.png": png(1)})
    assert path.stat().st_size < 1 << 20
    assert "unpacks to more than 100 times its size" in refused("data", path)


def test_many_small_bombs(tmp_path: Path, refused: Refused) -> None:
    path = pack(tmp_path / "a.zip", {f"{i}.png": bytes(20 << 20) for i in range(4)})
    assert "it unpacks to more than 100 times its size" in refused("data", path)


def test_a_member_that_is_too_large(tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "a.tar"
    info = tarfile.TarInfo("1.png")
    info.size = LARGEST + 1
    path.write_bytes(info.tobuf() + bytes(1024))
    assert "'1.png' unpacks to 256 MiB; at most 256 MiB are allowed" in refused("data", path)


def test_a_head_that_asks_for_much(tmp_path: Path, refused: Refused) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 1 << 32
    path = tmp_path / "a.tar"
    path.write_bytes(info.tobuf() + bytes(1024))
    assert "'a header' unpacks to 4,096 MiB" in refused("data", path)


def test_a_zip_that_declares_less_than_it_holds(tmp_path: Path, refused: Refused) -> None:
    path = pack(tmp_path / "a.zip", {"1.png": bytes(1 << 20)})
    content = path.read_bytes()
    path.write_bytes(content.replace((1 << 20).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    assert "1 of 1 images in" in refused("data", path)


def test_too_many_members(tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparring.data.sources.archives.MOST", 3)
    for kind in KINDS[:3]:
        assert "holds more than 3 members" in refused("data", pack(tmp_path / kind, MEMBERS))
