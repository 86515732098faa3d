"""make-class-folders --coco: what is left out is named, and an empty result is an error."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from ppdet_res2net.datasets.small_sets import write_object_crops
from ppdet_res2net.errors import DatasetError


def write_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6)).save(path)


def write_objects(folder, *boxes, file_name="1.png", **changes):
    """Write an annotation file with an object for each box, and the image."""
    write_image(folder / "images/1.png")
    content = {
        "images": [{"id": 4, "file_name": file_name, "width": 8, "height": 6, **changes}],
        "categories": [{"id": 3, "name": "nut"}],
        "annotations": [
            {"id": number, "image_id": 4, "category_id": 3, "bbox": box} for number, box in enumerate(boxes, 5)
        ],
    }
    (folder / "instances.json").write_text(json.dumps(content))
    return folder / "instances.json", folder / "images", folder / "crops"


def test_crops_that_are_left_out_are_named(tmp_path, caplog):
    arguments = write_objects(tmp_path, [1, 1, 4, 4], [1.1, 1.1, 0.2, 0.2], [2, 2, 0, 0])
    assert write_object_crops(*arguments) == 1
    assert "boxes without a whole pixel, which were left out: 1 (annotation ids 6)" in caplog.text
    assert "annotation id 7" in caplog.text


@pytest.mark.parametrize(
    ("boxes", "changes", "message"),
    [
        (
            [],
            {},
            "instances.json' has no object that can be cut out. '.*check-dataset --annotations .* says what is wrong",
        ),
        ([[9, 9, 4, 4]], {}, "has no object that can be cut out"),
        ([[1.1, 1.1, 0.2, 0.2]], {}, "all boxes are smaller than a pixel, so there is nothing to write"),
        ([[1, 1, 4, 4]], {"file_name": "2.png"}, "image id 4: there is no file '.*2.png'"),
        ([[1, 1, 4, 4]], {"width": 9}, "image id 4 \\('.*1.png'\\): the image is 8x6 pixels"),
    ],
)
def test_nothing_to_cut_out_is_an_error(tmp_path, boxes, changes, message):
    with pytest.raises(DatasetError, match=message):
        write_object_crops(*write_objects(tmp_path, *boxes, **changes))


def test_the_folder_of_the_images_must_be_there(tmp_path):
    file, _, crops = write_objects(tmp_path, [1, 1, 4, 4])
    with pytest.raises(DatasetError, match="there is no image folder '.*gone'. Pass the folder of the images"):
        write_object_crops(file, tmp_path / "gone", crops)
    assert not crops.exists()
