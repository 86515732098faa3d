"""Reads single rows of YOLO's label files: a box, an outline, or a box with key points."""

from __future__ import annotations

import math

import numpy as np

from ppdet_res2net.datasets.convert.builder import DatasetBuilder
from ppdet_res2net.datasets.convert.names import ClassTable
from ppdet_res2net.errors import DatasetError

__all__ = ["RowReader"]

BOX_NUMBERS = 5
MIN_SEGMENT_NUMBERS = 7  # a class and three points
# Tools round, and some let a box reach a little over the edge; YOLO's own training allows as much.
TOLERANCE = 0.01

_KEY_POINTS = "key points of objects, whose boxes were taken"
_OUTLINES = "rows of more than five numbers, which were read as outlines (a data.yaml with kpt_shape reads key points)"
_SAY_KEY_POINTS = (
    "Pass a data.yaml with --names in which kpt_shape says how many there are, as in 'kpt_shape: [17, 3]'."
)


class RowReader:
    """Reads rows and adds their objects.

    Args:
        builder: Gets the objects.
        table: Class names by number.
    """

    def __init__(self, builder: DatasetBuilder, table: ClassTable) -> None:
        self._builder = builder
        self._table = table

    def add(self, image: dict, row: str, where: str) -> None:
        """Add the object of a row.

        Args:
            image: Entry of its image.
            row: The row.
            where: The row, for messages.

        Raises:
            DatasetError: The row has another count of numbers than it can have, or something that is not a finite number,
                or its class does not exist, or its coordinates are no fractions of the image.
        """
        numbers = self._read_numbers(row, where)
        name = self._read_class(numbers[0], where)
        scale = np.array([image["width"], image["height"]])
        if self._has_box(numbers, where):
            box = numbers[1:BOX_NUMBERS]
            self._check_fractions(box, where)
            if min(box[2:]) < 0:
                raise DatasetError(f"{where}: the box has a negative width or height. Correct the line.")
            centre, size = np.array(box).reshape(2, 2) * scale
            self._builder.add_object(image, name, where, [*(centre - size / 2), *(centre + size / 2)])
            if len(numbers) > BOX_NUMBERS:
                self._builder.notes.add(_KEY_POINTS, where)
        else:
            self._check_fractions(numbers[1:], where)
            points = np.array(numbers[1:]).reshape(-1, 2) * scale
            self._builder.add_object(image, name, where, segmentation=[points.ravel().tolist()])
            self._builder.notes.add(_OUTLINES, where)

    def _read_numbers(self, row: str, where: str) -> list[float]:
        try:
            numbers = [float(part) for part in row.split()]
        except ValueError as error:
            raise DatasetError(f"{where}: '{row.strip()[:60]}' is not a list of numbers. Correct the line.") from error
        if not all(map(math.isfinite, numbers)):
            raise DatasetError(f"{where} has numbers that are not finite. Correct the line.")
        return numbers

    def _read_class(self, number: float, where: str) -> str:
        if number in self._table:  # 0.0 is 0
            return self._table[int(number)]
        known = list(self._table)
        if known == list(range(len(known))):
            counted = f"there are {len(known)} names, counted from 0"
        else:
            counted = f"the names have the numbers {', '.join(map(str, known[:20]))}{', ...' * (len(known) > 20)}"
        raise DatasetError(f"{where}: class {number:g} does not exist; {counted}.")

    def _has_box(self, numbers: list[float], where: str) -> bool:
        """Tell whether a row begins with a box; otherwise it is an outline."""
        count = len(numbers)
        if count == BOX_NUMBERS:
            return True
        if self._table.keypoint_shape is not None:
            points, values = self._table.keypoint_shape
            if count == BOX_NUMBERS + points * values:
                return True
            raise DatasetError(
                f"{where} has {count} numbers; expected 5, or {BOX_NUMBERS + points * values} with the {points} key points of "
                f"{values} numbers that kpt_shape in the data.yaml says."
            )
        if self._has_visibilities(numbers):
            raise DatasetError(f"{where} looks like a box with key points and their visibility. {_SAY_KEY_POINTS}")
        if count >= MIN_SEGMENT_NUMBERS and count % 2:
            return False
        hint = ""
        if count == BOX_NUMBERS + 1:
            hint = (
                " A sixth number is the confidence of a detection: these are predictions of a model, not annotations."
            )
        raise DatasetError(
            f"{where} has {count} numbers; expected 5 (class, centre, width, height), or a class and at least three points."
            f"{hint}"
        )

    def _has_visibilities(self, numbers: list[float]) -> bool:
        """Tell whether every third number behind the box is 0, 1 or 2; in an outline, that would be a great coincidence."""
        visibilities = numbers[BOX_NUMBERS + 2 :: 3]
        return bool(visibilities) and (len(numbers) - BOX_NUMBERS) % 3 == 0 and set(visibilities) <= {0, 1, 2}

    def _check_fractions(self, numbers: list[float], where: str) -> None:
        wrong = next((one for one in numbers if not -TOLERANCE <= one <= 1 + TOLERANCE), None)
        if wrong is None:
            return
        hint = " These look like pixels: divide x by the width of the image, and y by its height." if wrong > 2 else ""
        raise DatasetError(
            f"{where} has the coordinate {wrong:g}; expected fractions of the image's width and height, from 0 to 1.{hint}"
        )
