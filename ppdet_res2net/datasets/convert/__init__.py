"""Converts annotations in other formats to COCO's."""

from __future__ import annotations

from ppdet_res2net.datasets.convert.builder import DatasetBuilder
from ppdet_res2net.datasets.convert.labelme import convert_labelme
from ppdet_res2net.datasets.convert.names import read_class_table, read_names
from ppdet_res2net.datasets.convert.voc import convert_voc
from ppdet_res2net.datasets.convert.yolo import convert_yolo

__all__ = ["DatasetBuilder", "convert_labelme", "convert_voc", "convert_yolo", "read_class_table", "read_names"]
