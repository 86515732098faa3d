"""``model.pdiparams``: one record per weight, without names, in the order of the names that the graph gives them."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path

from res2net_runtime.backends.graphs.errors import GraphError, check_count
from res2net_runtime.backends.graphs.wire import Message
from res2net_runtime.texts import clip

__all__ = ["ELEMENT_BYTES", "check_params"]

# Paddle's numbers of element types (VarType in framework.proto) -> bytes: bool, int16, int32, int64, float16, float32,
# float64, uint8, int8, bfloat16.
ELEMENT_BYTES = {0: 1, 1: 2, 2: 4, 3: 8, 4: 2, 5: 4, 6: 8, 20: 1, 21: 1, 22: 2}
_HEAD = struct.Struct("<IQIi")  # version, levels of detail, version of the tensor, bytes of its description
_MAX_DESCRIPTION_BYTES = 1000


def check_params(path: Path, weights: Mapping[str, tuple[int, list[int]]]) -> None:
    """Check that the file holds these weights.

    Args:
        path: The file.
        weights: Number of the element type, and shape, by name.

    Raises:
        GraphError: A record is damaged, or differs from the graph.
    """
    where = f"the weights in '{path.name}'"
    size = path.stat().st_size
    with path.open("rb") as file:
        for name in sorted(weights):
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                raise GraphError(f"{where} end before '{clip(name)}'")
            version, levels, tensor_version, description_bytes = _HEAD.unpack(head)
            if version or levels or tensor_version or not 0 < description_bytes <= _MAX_DESCRIPTION_BYTES:
                raise GraphError(f"{where} are damaged at '{clip(name)}'")
            description = Message(memoryview(file.read(description_bytes)))
            found = (description.integer(1, -1), description.integers(2))
            if found[0] not in ELEMENT_BYTES or found != weights[name]:
                raise GraphError(
                    f"{where} have the shape {clip(found[1])} and the type {found[0]} for '{clip(name)}', but the graph says "
                    f"{clip(weights[name][1])} and {weights[name][0]}"
                )
            file.seek(check_count(found[1]) * ELEMENT_BYTES[found[0]], os.SEEK_CUR)
            if file.tell() > size:
                raise GraphError(f"{where} end within '{clip(name)}'")
        if file.tell() != size:
            raise GraphError(f"{where} have {size - file.tell()} bytes more than the graph says")
