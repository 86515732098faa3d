"""Sends objects through a pipe, and the large arrays in them through shared memory, not copied on arrival.

A batch of two photos at 800x1088 (21 MB) takes a quarter of the time that it takes through the pipe itself.
The memory is anonymous, so it is returned when the last array that lies in it goes, whatever becomes of the
processes, and is not subject to the size of ``/dev/shm``, which containers keep small.
"""

from __future__ import annotations

import mmap
import os
import pickle
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["receive", "send"]

# Smaller arrays are not worth a call to the system of their own.
MIN_SHARED_BYTES = 1 << 16
ALIGNMENT_BYTES = 64


def send(connection: Connection, value: Any) -> None:
    """Send a value that can be pickled through a two-way connection.

    Raises:
        OSError: The other end is closed.
    """
    if not hasattr(os, "memfd_create"):  # only Linux has it
        connection.send((pickle.dumps(value), []))
        return
    shared: list[memoryview] = []

    def stays_inside(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < MIN_SHARED_BYTES:
            return True
        shared.append(view)
        return False

    pickled = pickle.dumps(value, protocol=5, buffer_callback=stays_inside)
    connection.send((pickled, [view.nbytes for view in shared]))
    if shared:
        with open(os.memfd_create("batch"), "wb") as file:
            for view in shared:
                file.write(view)
                file.write(bytes(-view.nbytes % ALIGNMENT_BYTES))
            file.flush()
            reduction.send_handle(connection, file.fileno(), None)


def receive(connection: Connection) -> Any:
    """Receive what :func:`send` has sent; the arrays may be written to.

    Raises:
        EOFError: The other end is closed.
        OSError: The same, in the middle of a message.
    """
    pickled, sizes = connection.recv()
    buffers = []
    if sizes:
        descriptor = reduction.recv_handle(connection)
        try:
            memory = memoryview(mmap.mmap(descriptor, 0))
        finally:
            os.close(descriptor)
        offset = 0
        for size in sizes:
            buffers.append(memory[offset : offset + size])
            offset += size + -size % ALIGNMENT_BYTES
    return pickle.loads(pickled, buffers=buffers)
