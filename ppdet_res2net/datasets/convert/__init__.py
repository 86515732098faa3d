"""Converts annotations in other formats to COCO's, and COCO's to those of YOLO and Pascal VOC."""

from __future__ import annotations

from ppdet_res2net.datasets.convert.builder import DatasetBuilder
from ppdet_res2net.datasets.convert.labelme import convert_labelme
from ppdet_res2net.datasets.convert.names import read_class_table, read_names
from ppdet_res2net.datasets.convert.outward import SPLITS, CocoSplit, write_voc, write_yolo
from ppdet_res2net.datasets.convert.voc import convert_voc
from ppdet_res2net.datasets.convert.yolo import convert_yolo
from ppdet_res2net.datasets.convert.yolo_description import read_split
from ppdet_res2net.datasets.convert.yolo_images import YoloImages

__all__ = [
    "SPLITS",
    "CocoSplit",
    "DatasetBuilder",
    "YoloImages",
    "convert_labelme",
    "convert_voc",
    "convert_yolo",
    "read_class_table",
    "read_names",
    "read_split",
    "write_voc",
    "write_yolo",
]
