"""PyTorch's ``.pth``/``.pt``, zip and legacy, read without torch.

Both hold a pickle whose tensors refer to storages; the zip format keeps each storage in a member of its own,
the legacy format (torch before 1.6) appends them all to the pickle. A storage is read when a tensor of it is asked for.
"""

from __future__ import annotations

import functools
import io
import pickle
import struct
import zipfile
from typing import Any, BinaryIO

from ppdet_res2net.zoo.formats.dtypes import item_bytes
from ppdet_res2net.zoo.formats.limits import Limits
from ppdet_res2net.zoo.formats.pickles import TorchType, load_pickle
from ppdet_res2net.zoo.formats.stand_ins import Storage

__all__ = ["LEGACY_MAGIC", "read_torch_legacy", "read_torch_zip"]

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


def read_torch_zip(archive: zipfile.ZipFile, limits: Limits) -> object:
    """Return the pickled object of a zip-format file; tensors are stand-ins, which need the archive to stay open.

    Raises:
        zipfile.BadZipFile: The archive is damaged or cut off.
        pickle.UnpicklingError: It is a different kind of archive, or its pickle is refused.
    """
    members = {name.partition("/")[2]: name for name in archive.namelist()}
    if "data.pkl" not in members:
        raise pickle.UnpicklingError("the archive has no data.pkl, so torch.save did not write it")
    if "constants.pkl" in members:
        raise pickle.UnpicklingError("it is a TorchScript program; save its state_dict() instead")

    def read(member: str) -> bytes:
        limits.add_bytes(archive.getinfo(members[member]).file_size, f"the archive's {member}")
        return archive.read(members[member])

    if "byteorder" in members and read("byteorder") != b"little":
        raise pickle.UnpicklingError("it was written on a big-endian machine")
    storages: dict[str, Storage] = {}

    def find_storage(reference: tuple[Any, ...]) -> Storage:
        dtype, key, count = _storage_reference(reference)
        if key not in storages:
            if f"data/{key}" not in members:
                raise EOFError(f"storage {key} is missing")
            each, size = _item_bytes(dtype), archive.getinfo(members[f"data/{key}"]).file_size
            if each is not None and size != count * each:
                raise EOFError(f"storage {key} has {size // each} of {count} elements")
            storages[key] = Storage(dtype, count, lambda: memoryview(read(f"data/{key}")))
        return storages[key]

    return load_pickle(io.BytesIO(read("data.pkl")), limits, find_storage)


def read_torch_legacy(file: BinaryIO, limits: Limits) -> object:
    """Return the pickled object of a legacy file; ``file`` is positioned just after the magic number, and stays open.

    Raises:
        EOFError: The file is cut off.
        pickle.UnpicklingError: Its pickle is refused.
    """
    protocol, _system = load_pickle(file, limits), load_pickle(file, limits)
    if protocol != _LEGACY_PROTOCOL:
        raise pickle.UnpicklingError(f"torch's legacy protocol is not {_LEGACY_PROTOCOL}")
    storages: dict[str, Storage] = {}

    def find_storage(reference: tuple[Any, ...]) -> Storage:
        dtype, key, count = _storage_reference(reference)
        if len(reference) > 5 and reference[5] is not None:
            raise pickle.UnpicklingError("it has views of storages, which torch has not written since 0.4")
        return storages.setdefault(key, Storage(dtype, count))

    result = load_pickle(file, limits, find_storage)
    keys = load_pickle(file, limits)
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in storages for key in keys):
        raise pickle.UnpicklingError("it has no list of its storages")
    for key in keys:
        storage = storages[key]
        header = file.read(8)
        if len(header) < 8:
            raise EOFError(f"storage {key} is missing")
        (count,) = struct.unpack("<q", header)
        if count != storage.count:
            raise pickle.UnpicklingError(f"storage {key} has {count} elements, its tensors expect {storage.count}")
        size, start = count * item_bytes(storage.dtype), file.tell()
        if start + size > limits.file_bytes:
            raise EOFError(f"storage {key} has {limits.file_bytes - start} of {size} bytes")
        storage.read = functools.partial(_read_at, file, start, size)
        file.seek(start + size)
    return result


def _read_at(file: BinaryIO, start: int, size: int) -> memoryview:
    file.seek(start)
    return memoryview(file.read(size))


def _storage_reference(reference: tuple[Any, ...]) -> tuple[str, str, int]:
    kind, dtype, key, _device, count = reference[:5]
    is_known = kind == "storage" and isinstance(dtype, TorchType) and isinstance(key, str)
    if not is_known or not isinstance(count, int) or count < 0:
        raise pickle.UnpicklingError("it has a reference that is none to a storage of torch")
    return dtype.dtype, key, count


def _item_bytes(dtype: str) -> int | None:
    """Return the size of an element; None for types that only checkpoints' other entries may have."""
    try:
        return item_bytes(dtype)
    except ValueError:
        return None
