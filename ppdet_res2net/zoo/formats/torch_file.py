"""PyTorch's ``.pth``/``.pt``, zip and legacy, read without torch.

Both hold a pickle whose tensors refer to storages; the zip format keeps each storage in a member of its own,
the legacy format (torch before 1.6) appends them all to the pickle.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from typing import Any, BinaryIO

from ppdet_res2net.zoo.formats.dtypes import array_from_bytes
from ppdet_res2net.zoo.formats.pickles import Storage, load_pickle

__all__ = ["LEGACY_MAGIC", "read_torch_legacy", "read_torch_zip"]

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


def read_torch_zip(file: BinaryIO) -> object:
    """Return the pickled object of a zip-format file; tensors are stand-ins.

    Raises:
        zipfile.BadZipFile: The archive is damaged or cut off.
        pickle.UnpicklingError: It is a different kind of archive, or its pickle is refused.
    """
    with zipfile.ZipFile(file) as archive:
        members = {name.partition("/")[2]: name for name in archive.namelist()}
        if "data.pkl" not in members:
            raise pickle.UnpicklingError("the archive has no data.pkl, so torch.save did not write it")
        if "constants.pkl" in members:
            raise pickle.UnpicklingError("it is a TorchScript program; save its state_dict() instead")
        if "byteorder" in members and archive.read(members["byteorder"]) != b"little":
            raise pickle.UnpicklingError("it was written on a big-endian machine")
        storages: dict[str, Storage] = {}

        def find_storage(pid: tuple[Any, ...]) -> Storage:
            dtype, key, count = _storage_reference(pid)
            if key not in storages:
                data = archive.read(members[f"data/{key}"])
                storages[key] = Storage(dtype, array_from_bytes(data, dtype, (-1,)).size, data)
                if storages[key].count != count:
                    raise EOFError(f"storage {key} has {storages[key].count} of {count} elements")
            return storages[key]

        with archive.open(members["data.pkl"]) as data:
            return load_pickle(data, find_storage)


def read_torch_legacy(file: BinaryIO) -> object:
    """Return the pickled object of a legacy file; ``file`` is positioned just after the magic number.

    Raises:
        EOFError: The file is cut off.
        pickle.UnpicklingError: Its pickle is refused.
    """
    protocol, _system = load_pickle(file), load_pickle(file)
    if protocol != _LEGACY_PROTOCOL:
        raise pickle.UnpicklingError(f"torch's legacy protocol is {protocol!r}, not {_LEGACY_PROTOCOL}")
    storages: dict[str, Storage] = {}

    def find_storage(pid: tuple[Any, ...]) -> Storage:
        dtype, key, count = _storage_reference(pid)
        if len(pid) > 5 and pid[5] is not None:
            raise pickle.UnpicklingError("it has views of storages, which torch has not written since 0.4")
        return storages.setdefault(key, Storage(dtype, count))

    result = load_pickle(file, find_storage)
    keys = load_pickle(file)
    if not isinstance(keys, list):
        raise pickle.UnpicklingError("it has no list of its storages")
    for key in keys:
        storage = storages[key]
        header = file.read(8)
        if len(header) < 8:
            raise EOFError(f"storage {key} is missing")
        (count,) = struct.unpack("<q", header)
        size = array_from_bytes(b"", storage.dtype, (0,)).itemsize if storage.dtype != "bfloat16" else 2
        if count != storage.count:
            raise pickle.UnpicklingError(f"storage {key} has {count} elements, its tensors expect {storage.count}")
        storage.data = file.read(count * size)
        if len(storage.data) < count * size:
            raise EOFError(f"storage {key} has {len(storage.data)} of {count * size} bytes")
    return result


def _storage_reference(pid: tuple[Any, ...]) -> tuple[str, str, int]:
    kind, dtype, key, _device, count = pid[:5]
    if kind != "storage" or not isinstance(dtype, str) or not isinstance(key, str) or not isinstance(count, int):
        raise pickle.UnpicklingError(f"it has an unknown reference {pid[:3]!r}")
    return dtype, key, count
