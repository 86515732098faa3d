"""Names that XML cannot hold are refused by the conversion to Pascal VOC, before there is a folder."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from ppdet_res2net.cli.main import main


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\x07b", "a\ufffeb"])
def test_no_xml_is_written_that_no_parser_reads(tmp_path, capsys, name):
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((20, 20, 3), np.uint8))
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 9, 9], "area": 81, "iscrowd": 0}
    image = {"id": 1, "file_name": "a.png", "height": 20, "width": 20}
    data = {"images": [image], "annotations": [box], "categories": [{"id": 1, "name": name}]}
    (tmp_path / "a.json").write_text(json.dumps(data))
    command = ["convert-dataset", "coco", "--annotations", tmp_path / "a.json", "--images", tmp_path / "images"]
    assert main([*map(str, command), "--to", "voc", "--out", str(tmp_path / "voc")]) == 1
    assert "has a control character, which XML cannot hold" in capsys.readouterr().err
    assert not (tmp_path / "voc").exists()
