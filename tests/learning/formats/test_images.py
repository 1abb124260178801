"""Images in folders named after their classes, in a folder or a zip, with what people put beside them."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from meshlearn.errors import DataError
from meshlearn.learning.formats import images
from meshlearn.learning.formats.images import class_files, decode_image, load_images

RED, GREEN, GREY = (255, 0, 0), (0, 255, 0), 128


def picture(colour: Any = RED, size: tuple[int, int] = (4, 3), form: str = "PNG", **options: Any) -> bytes:
    """One picture of one colour; ``size`` is (width, height), as Pillow has it."""
    mode = {int: "L", tuple: "RGB"}[type(colour)]
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, form, **options)
    return file.getvalue()


PETS = {
    f"pets/{part}/{kind}/{index}.png": picture(colour)
    for part, count in (("train", 3), ("test", 2))
    for kind, colour in (("cat", RED), ("dog", GREEN))
    for index in range(count)
}


def folder_of(tmp_path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "data"


def zip_of(tmp_path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as out:
        for name, data in files.items():
            out.writestr(name, data)
    return tmp_path / "data.zip"


@pytest.mark.parametrize("pack", [folder_of, zip_of])
def test_train_and_test_folders_of_classes(tmp_path: Path, pack: Any) -> None:
    train, test = load_images(pack(tmp_path, PETS))
    assert train.inputs.shape == (6, 3, 4, 3)
    assert test.inputs.shape == (4, 3, 4, 3)
    assert train.inputs.dtype == np.uint8
    assert (train.class_names, train.name) == (("cat", "dog"), "data")
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert train.inputs[0, 0, 0].tolist() == list(RED)
    assert test.inputs[-1, 0, 0].tolist() == list(GREEN)


def test_what_systems_put_beside_the_images_is_passed_over(tmp_path: Path) -> None:
    beside = {
        "__MACOSX/pets/train/cat/._0.png": b"fork",
        "pets/.DS_Store": b"x",
        "pets/README.md": b"x",
        "pets/train/cat/.1.png": b"x",
    }
    train, _ = load_images(zip_of(tmp_path, PETS | beside))
    assert len(train) == 6


def test_without_a_test_folder_a_share_is_held_out_and_validation_stands_in(tmp_path: Path) -> None:
    only = {name.replace("pets/train/", ""): data for name, data in PETS.items() if "/train/" in name}
    train, test = load_images(zip_of(tmp_path, only), test_share=0.3)
    assert (len(train), len(test)) == (4, 2)
    validation = {name.replace("/test/", "/val/"): data for name, data in PETS.items()}
    train, test = load_images(zip_of(tmp_path, validation))
    assert (len(train), len(test)) == (6, 4)
    train, test = load_images(zip_of(tmp_path, PETS | validation))
    assert (len(train), len(test)) == (10, 4)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["cat/1.png", "dog/1.JPG"], [("", "cat"), ("", "dog")]),
        (["a/b/cat/1.png", "a/b/dog/1.png"], [("", "cat"), ("", "dog")]),
        (["train/cat/1.png", "test/cat/1.png"], [("train", "cat"), ("test", "cat")]),
        (["x/Training/cat/1.png", "x/valid/cat/1.png"], [("train", "cat"), ("validation", "cat")]),
        (["x/train/cat/1.png", "x/train/dog/1.png"], [("", "cat"), ("", "dog")]),
        (["cat/young/1.png", "dog/1.png"], [("", "cat"), ("", "dog")]),
        (["1.png", "dog/1.png"], []),
        (["readme.txt"], []),
        ([], []),
    ],
)
def test_classes_are_found_below_the_folders_that_all_share(names: list[str], found: list[tuple[str, str]]) -> None:
    assert [(part, kind) for part, kind, _ in class_files(names)] == found


def test_grey_images_have_one_channel_unless_one_is_coloured(tmp_path: Path) -> None:
    grey = {f"{kind}/{index}.png": picture(GREY + index) for kind in ("cat", "dog") for index in range(4)}
    train, _ = load_images(zip_of(tmp_path, grey))
    assert train.inputs.shape[1:] == (3, 4, 1)
    train, test = load_images(zip_of(tmp_path, grey | {"dog/9.png": picture(RED)}))
    assert train.inputs.shape[1:] == (3, 4, 3)
    colours = {tuple(part.inputs[i, 0, 0].tolist()) for part in (train, test) for i in range(len(part))}
    assert colours == {RED} | {(GREY + index,) * 3 for index in range(4)}


def test_sizes_must_agree_or_be_told(tmp_path: Path) -> None:
    path = zip_of(tmp_path, PETS | {"pets/train/dog/9.png": picture(GREEN, (8, 8))})
    with pytest.raises(DataError, match=r"9\.png is 8 x 8 pixels, but .*0\.png is 4 x 3; give a size that all are resized to"):
        load_images(path)
    train, _ = load_images(path, size=(6, 5))
    assert train.inputs.shape == (7, 6, 5, 3)
    assert train.inputs[-1, 2, 2].tolist() == list(GREEN)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "GIF", "WEBP"])
def test_every_form_is_decoded(form: str) -> None:
    image = decode_image(picture(RED, form=form), "it")
    assert image.shape == (3, 4, 3)
    assert np.abs(image.astype(int) - RED).max() < 8


def test_transparency_palettes_and_black_and_white_are_decoded() -> None:
    for mode, colour, expected in (("RGBA", (9, 8, 7, 0), [9, 8, 7]), ("LA", (9, 100), [9]), ("1", 1, [255])):
        file = io.BytesIO()
        Image.new(mode, (2, 2), colour).save(file, "PNG")
        assert decode_image(file.getvalue(), "it")[0, 0].tolist() == expected


def test_a_photograph_is_turned_as_its_camera_was_held() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by a quarter
    assert decode_image(picture(RED, (4, 3), "JPEG", exif=exif), "it").shape == (4, 3, 3)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "it is no sound image"),
        (b"GIF89a" + bytes(range(40)), "it is no sound image"),
        (picture()[:-30], "it is no sound image"),
        (picture(form="TIFF"), "it is no sound image: cannot identify image file"),
    ],
    ids=["empty", "junk", "cut off", "foreign"],
)
def test_damaged_and_foreign_images_are_refused(data: bytes, told: str) -> None:
    with pytest.raises(DataError, match=told):
        decode_image(data, "it")


def test_deep_and_enormous_images_are_refused() -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(file, "PNG")
    with pytest.raises(DataError, match="has more than 8 bits a channel; convert it to 8 bits"):
        decode_image(file.getvalue(), "it")
    small = picture(GREY)
    header = small.index(b"IHDR") + 4
    claim = b"IHDR" + (9_000).to_bytes(4, "big") * 2 + small[header + 8 : header + 13]
    enormous = small[: header - 4] + claim + zlib.crc32(claim).to_bytes(4, "big") + small[header + 17 :]
    with pytest.raises(DataError, match="it has 9000 x 9000 pixels, more than can be used; make it smaller"):
        decode_image(enormous, "it")


def test_sets_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no images in folders named after their classes"):
        load_images(zip_of(tmp_path, {"1.png": picture()}))
    with pytest.raises(DataError, match="has test images of the class bird, but none to train on"):
        load_images(zip_of(tmp_path, PETS | {"pets/test/bird/0.png": picture()}))
    with pytest.raises(DataError, match="has 1 classes"):
        load_images(zip_of(tmp_path, {"cat/1.png": picture(), "cat/2.png": picture()}))


def test_a_zip_that_inflates_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "FILE_BYTES_MAX", 1_000_000)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("cat/1.png", bytes(1_000_001))
        out.writestr("dog/1.png", picture())
    with pytest.raises(DataError, match=r"cat/1\.png in .*bomb\.zip is larger than 1000000 bytes"):
        load_images(path)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path, PETS)
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flags of each member, here and in the directory
        position = data.find(mark)
        while position >= 0:
            data[position + offset] |= 1
            position = data.find(mark, position + 4)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"cannot be read: .* is encrypted"):
        load_images(path)
