"""Tables in Parquet, read and written with pyarrow, the extra ``parquet``."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator, Sequence
from typing import Any

from res2net_runtime.errors import ImageError, Res2NetError
from res2net_runtime.texts import printable

__all__ = ["ParquetRows", "check_pyarrow", "iterate_rows", "list_columns"]

_ROWS_READ = 10_000
_ROWS_KEPT = 64  # as Python's objects, which need several times the memory of a table


def check_pyarrow() -> None:
    """Refuse Parquet where pyarrow is missing.

    Raises:
        Res2NetError: It is missing.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise Res2NetError(
            "Parquet needs pyarrow, which the extra 'parquet' installs: pip install 'deploy/python[parquet]' in a checkout, or "
            "pip install pyarrow."
        )


def list_columns(path: str) -> list[str]:
    """Return the names of a table's columns. The table is a file, or a folder of files.

    Raises:
        ImageError: It cannot be read.
        Res2NetError: pyarrow is missing.
    """
    return list(_open(path).schema.names)


def iterate_rows(path: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield some columns of each row, file by file in the order of their names.

    Raises:
        ImageError: The table is damaged.
        Res2NetError: pyarrow is missing.
    """
    dataset = _open(path)
    import pyarrow

    try:
        for batch in dataset.to_batches(columns=list(columns), batch_size=_ROWS_READ):
            yield from batch.to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise _unreadable(path, error) from error


def _open(path: str) -> Any:
    check_pyarrow()
    import pyarrow
    import pyarrow.dataset

    try:
        return pyarrow.dataset.dataset(path, format="parquet")
    except (OSError, pyarrow.ArrowException) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: Exception) -> ImageError:
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    return ImageError(
        f"Cannot read the Parquet table '{printable(path)}': {reason}. Check the path, or write it again."
    )


class ParquetRows:
    """Collects rows of one shard, and makes a file of them.

    Args:
        is_detector: Whether rows have ``detections``; they have ``classes`` otherwise.
    """

    def __init__(self, is_detector: bool) -> None:
        self._schema = _schema(is_detector)
        self._rows: list[dict[str, Any]] = []
        self._tables: list[Any] = []

    def add(self, row: dict[str, Any]) -> None:
        """Append a row, as JSON lines have it."""
        self._rows.append(row)
        if len(self._rows) == _ROWS_KEPT:
            self._pack()

    def content(self) -> bytes:
        """Return the file. Equal rows give equal bytes, with one version of pyarrow."""
        import pyarrow
        import pyarrow.parquet

        self._pack()
        file = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.concat_tables(self._tables), file, compression="zstd")
        return file.getvalue()

    def _pack(self) -> None:
        import pyarrow

        self._tables.append(pyarrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []


def _schema(is_detector: bool) -> Any:
    import pyarrow as pa

    fields = [("file_name", pa.string()), ("image_id", pa.int64())]
    if not is_detector:
        classes = pa.struct([("label", pa.int32()), ("name", pa.string()), ("score", pa.float64())])
        return pa.schema([*fields, ("classes", pa.list_(classes))])
    mask = pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])
    detection = pa.struct(
        [
            ("category", pa.string()),
            ("category_id", pa.int64()),
            ("bbox", pa.list_(pa.float64())),
            ("score", pa.float64()),
            ("segmentation", mask),
        ]
    )
    sizes = [("width", pa.int32()), ("height", pa.int32())]
    return pa.schema([*fields, *sizes, ("detections", pa.list_(detection))])
