"""Which file a name in an annotation stands for, and what is said if there is none."""

from __future__ import annotations

import os
import unicodedata

import pytest

from ppdet_res2net.data.image_names import ImageFolder, resolve_image_path
from ppdet_res2net.errors import ImageError

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    return root


@pytest.mark.parametrize("stored", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("named", [COMPOSED, DECOMPOSED])
def test_composed_and_decomposed_letters_are_the_same(folder, stored, named):
    (folder / stored).mkdir()
    file = folder / stored / f"{stored}.jpg"
    file.touch()
    assert ImageFolder(folder).find(f"{named}/{named}.jpg") == str(file)


def test_two_files_that_look_alike_are_named(folder):
    names = "A\u0323\u030a.png", "A\u030a\u0323.png"  # dot below and ring above, in either order
    for name in names:
        (folder / name).touch()
    images = ImageFolder(folder)
    assert [images.find(name) for name in names] == [str(folder / name) for name in names]
    assert images.find("\u1ea0\u030a.png") is None
    assert "but several that look like it: " in images.explain("\u1ea0\u030a.png")
    assert "A\\u030a\\u0323.png' and '" in images.explain("\u1ea0\u030a.png")


@pytest.mark.parametrize(
    ("named", "stored"),
    [
        ("my%20photo.png", "my photo.png"),
        ("my photo.png", "my%20photo.png"),
        ("train\\a.png", "train/a.png"),
        ("C:\\data\\train\\a.png", "a.png"),
        ("upload/1/0a1b2c3d-a.png", "a.png"),
        ("/data/local-files/?d=train%2Fa.png", "train/a.png"),
        ("file:///home/me/a.png", "a.png"),
        ("https://bucket.example/train/a.png?token=x", "train/a.png"),
        ("A.PNG", "a.png"),
        ("a.jpeg", "a.png"),
        ("images/train/a.png", "a.png"),
        ("a.png", "train/a.png"),
        ("./x/../b.png", "train/b.png"),
    ],
)
def test_other_spellings_are_a_hint_and_not_a_match(folder, named, stored):
    file = folder / stored
    file.parent.mkdir(exist_ok=True)
    file.touch()
    images = ImageFolder(folder)
    assert images.find(named) is None
    assert images.hint(named) == f", but there is '{stored}'"


def test_nothing_outside_the_folder_is_found(folder, tmp_path):
    secret = tmp_path / "secret.png"
    secret.touch()
    (tmp_path / "images2").mkdir()
    (tmp_path / "images2" / "x.png").touch()
    images = ImageFolder(folder)
    for name in ("../secret.png", str(secret), "a/../../secret.png", "../images2/x.png", "/etc/passwd"):
        assert images.find(name) is None
        assert "is outside the image folder" in images.explain(name)
        assert "such as '/' for absolute paths" in images.explain(name)
    with pytest.raises(ImageError, match="is outside the image folder"):
        resolve_image_path(folder, "../secret.png")


def test_absolute_names_are_fine_inside_the_folder(folder, tmp_path):
    (folder / "a.png").touch()
    assert ImageFolder(folder).find(str(folder / "a.png")) == str(folder / "a.png")
    assert ImageFolder("/").find(str(folder / "a.png")) == str(folder / "a.png")
    assert ImageFolder("/").hint(str(folder / "none.png")) == ""  # does not read the whole disk


def test_only_files_are_found(folder):
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    images = ImageFolder(folder)
    assert [images.find(name) for name in ("folder.png", "pipe.png", "", ".", "a\0b.png")] == [None] * 5
    assert images.explain("folder.png").endswith("is a folder")
    assert images.explain("pipe.png").endswith("is not a file that can be read")


def test_names_that_are_not_utf8_and_control_characters_are_printed_escaped(folder):
    name = os.fsdecode(b"\xd6\xd0.png")
    assert ImageFolder(folder).explain(name).endswith("\\xd6\\xd0.png'")
    assert ImageFolder(folder).explain("a\nb\x1b[31m\u202e.png").endswith("a\\x0ab\\x1b[31m\\u202e.png'")
    (folder / name).touch()
    assert ImageFolder(folder).find(name) == str(folder / name)
