"""NumPy's ``.npz``: an archive with one ``.npy`` file per array."""

from __future__ import annotations

import math
import pickle
import zipfile

import numpy as np
from numpy.lib import format as npy

from ppdet_res2net.zoo.formats.limits import Limits

__all__ = ["is_npz", "read_npz"]

_ENDING = ".npy"


def is_npz(archive: zipfile.ZipFile) -> bool:
    """Whether an archive was written by ``numpy.savez``."""
    names = archive.namelist()
    return bool(names) and all(name.endswith(_ENDING) for name in names)


def read_npz(archive: zipfile.ZipFile, limits: Limits) -> dict[str, np.ndarray]:
    """Return the arrays by name.

    Raises:
        EOFError: An array is cut off.
        pickle.UnpicklingError: An array holds Python objects, or takes more memory than the file may.
    """
    arrays = {}
    for member in archive.infolist():
        limits.add_bytes(member.file_size, f"the archive's {member.filename[:80]}")
        with archive.open(member) as part:
            version = npy.read_magic(part)
            read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, is_fortran, dtype = read_header(part)
            if dtype.hasobject or dtype.names:
                raise pickle.UnpicklingError(
                    f"an array has the type {str(dtype)[:20]!r}; weights are arrays of numbers"
                )
            data, size = part.read(), math.prod(shape) * dtype.itemsize
        if len(data) != size:
            raise EOFError(f"an array has {len(data)} of {size} bytes")
        array = np.frombuffer(data, dtype).reshape(shape, order="F" if is_fortran else "C")
        arrays[member.filename[: -len(_ENDING)]] = np.ascontiguousarray(array, dtype.newbyteorder("=")).reshape(shape)
    return arrays
