"""CIFAR-10 and CIFAR-100 from the archives of their publisher ("python version").

The archives hold pickles. They are read by the same restricted unpickler as weight files, which runs nothing.
"""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ppdet_res2net.data.classification.labelled import Contents, LabelledImages
from ppdet_res2net.data.text_files import read_bytes
from ppdet_res2net.errors import ConfigError, DatasetError
from ppdet_res2net.zoo.formats.limits import Limits
from ppdet_res2net.zoo.formats.pickles import RefusedName, load_pickle
from ppdet_res2net.zoo.formats.stand_ins import as_array, is_tensor

__all__ = ["CIFARDataSet", "is_cifar"]

_SIDE_PX = 32
# Folder inside the archive -> files of each split, file of names, key of the labels, key of the names.
_VERSIONS = {
    "cifar-10-batches-py": (
        {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]},
        "batches.meta",
        "labels",
        "label_names",
    ),
    "cifar-100-python": ({"train": ["train"], "test": ["test"]}, "meta", "fine_labels", "fine_label_names"),
}
# The largest file of CIFAR-100 has 155 MB. What is larger would take all memory.
_MOST_BYTES = 256 << 20
_MOST_MEMBERS = 100
# Kinds of entries whose content is read with the header of the next file
_ATTRIBUTES = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
_MOST_ATTRIBUTE_BYTES = 1 << 16
_SPLITS = {"train": "train", "val": "test", "test": "test"}


def is_cifar(path: Path) -> bool:
    """Return whether ``path`` is an archive, which must then be CIFAR's, the folder unpacked from one, or its parent."""
    if path.is_file():
        return path.name.endswith((".tar.gz", ".tgz", ".tar"))
    return path.name in _VERSIONS or any((path / folder).is_dir() for folder in _VERSIONS)


class CIFARDataSet(LabelledImages):
    """CIFAR-10 or CIFAR-100; the files tell which.

    Args:
        dataset_dir: ``cifar-10-python.tar.gz`` or ``cifar-100-python.tar.gz``, the folder unpacked from it, or the folder
            that holds that folder.
        split: ``train``, ``val`` or ``test``; the last two are the same.
    """

    def __init__(self, dataset_dir: str = "", split: str = "train") -> None:
        if split not in _SPLITS:
            raise ConfigError(f"CIFARDataSet: split is {split!r}; choose one of {', '.join(_SPLITS)}.")
        self.path, self.split = Path(dataset_dir), _SPLITS[split]

    def _read(self) -> Contents:
        folder, read = self._open()
        files, meta, label_key, names_key = _VERSIONS[folder]
        class_names = tuple(map(str, _get(read(meta), names_key, list, self._name(folder, meta))))
        names: list[str] = []
        labels: list[int] = []
        parts = []
        for file in files[self.split]:
            where, batch = self._name(folder, file), read(file)
            rows = batch.get("data") if isinstance(batch, dict) else None
            part = _get(batch, label_key, list, where)
            if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.shape != (len(part), 3 * _SIDE_PX**2):
                raise DatasetError(
                    f"'{where}' holds no images in CIFAR's format. Download the python version of the archive again."
                )
            wrong = [label for label in part if type(label) is not int or not 0 <= label < len(class_names)]
            if wrong:
                raise DatasetError(f"'{where}' has the label {wrong[0]!r}; labels go from 0 to {len(class_names) - 1}.")
            parts.append(rows)
            labels += part
            names += [f"{where}#{number}" for number in range(len(part))]
        planes = np.concatenate(parts).reshape(-1, 3, _SIDE_PX, _SIDE_PX)
        pixels = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
        return Contents(f"'{self.path}'", names, np.array(labels, np.int64), class_names, pixels)

    def _name(self, folder: str, file: str) -> str:
        return f"{self.path}/{folder}/{file}"

    def _open(self) -> tuple[str, Callable[[str], object]]:
        """Return the archive's inner folder, and a function that reads one of its files."""
        if self.path.is_file():
            return self._open_archive()
        for folder in _VERSIONS:
            root = self.path if self.path.name == folder else self.path / folder
            if root.is_dir():
                return folder, lambda file, root=root: _unpickle(
                    read_bytes(root / file, "part of CIFAR"), str(root / file)
                )
        raise DatasetError(
            f"'{self.path}' is not a CIFAR dataset: expected an archive (cifar-10-python.tar.gz, cifar-100-python.tar.gz), "
            f"or a folder {' or '.join(_VERSIONS)}. Nothing is downloaded unless --data cifar10 --download asks for it."
        )

    def _open_archive(self) -> tuple[str, Callable[[str], object]]:
        try:
            with tarfile.open(self.path, tarinfo=_Member) as archive:
                members = _read_members(archive)
        except (tarfile.TarError, OSError, EOFError, OverflowError, RecursionError, ValueError, zlib.error) as error:
            if isinstance(error, DatasetError):
                raise
            raise DatasetError(f"The archive '{self.path}' cannot be read: {error}. Download it again.") from error
        folder = next((name for name in _VERSIONS if any(m.startswith(f"{name}/") for m in members)), None)
        if folder is None:
            raise DatasetError(
                f"The archive '{self.path}' holds neither {' nor '.join(_VERSIONS)}. Download the python version."
            )

        def read(file: str) -> object:
            if f"{folder}/{file}" not in members:
                raise DatasetError(f"The archive '{self.path}' has no '{folder}/{file}'. Download it again.")
            return _unpickle(members[f"{folder}/{file}"], self._name(folder, file))

        return folder, read


class _Member(tarfile.TarInfo):
    """The header of a file in an archive. Python reads long names and other attributes, which precede it, into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        member = super().frombuf(buf, encoding, errors)
        if member.type in _ATTRIBUTES and member.size > _MOST_ATTRIBUTE_BYTES:
            raise DatasetError(
                f"The archive is not CIFAR's: a file in it has attributes of {member.size} bytes, where at most "
                f"{_MOST_ATTRIBUTE_BYTES} are read. Download it from its publisher."
            )
        return member


def _read_members(archive: tarfile.TarFile) -> dict[str, bytes]:
    """Return the content of the files that are needed. Nothing is written to the disk."""
    needed = {f"{folder}/{file}" for folder, version in _VERSIONS.items() for file in _files_of(version)}
    members = {}
    for count, member in enumerate(archive):
        name = member.name.removeprefix("./")
        if count >= _MOST_MEMBERS or member.size > _MOST_BYTES:
            raise DatasetError(
                f"The archive {archive.name!r} is not CIFAR's: those have some ten files of at most {_MOST_BYTES >> 20} MB. "
                "Download it from its publisher."
            )
        if name in needed and member.isreg():
            file = archive.extractfile(member)
            assert file is not None  # of a regular file
            members[name] = file.read()
    return members


def _files_of(version: tuple) -> list[str]:
    files, meta, *_ = version
    return [meta, *(file for split in files.values() for file in split)]


def _unpickle(data: bytes, where: str) -> object:
    limits = Limits(len(data))
    try:
        batch = load_pickle(io.BytesIO(data), limits)
        if not isinstance(batch, dict):
            return batch
        return {key: as_array(value, limits) if is_tensor(value) else value for key, value in batch.items()}
    except RefusedName as error:
        raise DatasetError(
            f"'{where}' refers to {error.name}, which CIFAR's files do not need and which could run code. Nothing was run. "
            f"Download the archive from its publisher."
        ) from error
    except (pickle.UnpicklingError, ValueError, EOFError, IndexError, KeyError, AttributeError, TypeError) as error:
        raise DatasetError(f"'{where}' is damaged: {error}. Download the archive again.") from error


def _get(batch: object, key: str, kind: type, where: str):
    if not isinstance(batch, dict) or not isinstance(batch.get(key), kind):
        raise DatasetError(f"'{where}' has no '{key}'. Download the python version of the archive again.")
    return batch[key]
