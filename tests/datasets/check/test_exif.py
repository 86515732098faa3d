"""check-dataset names images whose EXIF orientation changes the pixels and not the size."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from ppdet_res2net.cli.check_dataset import main
from ppdet_res2net.data.image_files import decode_as_annotated, is_shown_turned


def encoded(orientation: int, width: int, height: int, kind: str = "JPEG") -> bytes:
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 3] = 250
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(60, 40), (40, 40)])
def test_only_a_change_that_the_size_does_not_tell(kind, orientation, size):
    data = encoded(orientation, *size, kind)
    image, _ = decode_as_annotated(data, None)
    stored = np.asarray(Image.open(io.BytesIO(data)))
    changes = stored.shape == image.shape and np.abs(stored.astype(int) - image).max() > 100
    assert is_shown_turned(data, image) == changes
    if kind == "JPEG":
        assert changes == (orientation in (2, 3, 4) or (orientation > 4 and size == (40, 40)))


@pytest.mark.parametrize("value", [0, 9, 255])
def test_a_value_without_meaning_changes_nothing(value):
    data = encoded(value, 60, 40)
    assert not is_shown_turned(data, decode_as_annotated(data, None)[0])


def test_the_finding_names_the_image_and_the_reading(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    for number, orientation in enumerate((1, 3, 2), 1):
        (tmp_path / "images" / f"{number}.jpg").write_bytes(encoded(orientation, 60, 40))
    content = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 60, "height": 40} for n in (1, 2, 3)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "bbox": [0, 0, 20, 20], "area": 400, "iscrowd": 0}
            for n in (1, 2, 3)
        ],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (tmp_path / "ann.json").write_text(json.dumps(content))
    assert main(["--annotations", str(tmp_path / "ann.json"), "--images", str(tmp_path / "images")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "2 images that their EXIF orientation turns or mirrors without changing their size" in out
    assert "are used as the orientation shows them" in out and "remove the tag from the files" in out
    assert "'2.jpg'" in out and "'3.jpg'" in out
