"""Other formats of annotations to COCO's."""

from __future__ import annotations

from ppdet_res2net.data.convert.builder import Conversion, read_names
from ppdet_res2net.data.convert.labelme import convert_labelme
from ppdet_res2net.data.convert.voc import convert_voc
from ppdet_res2net.data.convert.yolo import convert_yolo

__all__ = ["Conversion", "convert_labelme", "convert_voc", "convert_yolo", "read_names"]
