"""Sends objects through a pipe, and the large arrays in them through shared memory.

The receiver does not copy these arrays: a batch of two photos at 800x1088 (21 MB) takes a quarter of the time that it takes
through the pipe itself. The memory is anonymous: the system frees it together with the last array in it, even if a process
is killed. It is not limited by the size of ``/dev/shm``, which is small in containers.
"""

from __future__ import annotations

import mmap
import os
import pickle
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["receive", "send"]

# Sharing a smaller array costs more than copying it.
MIN_SHARED_BYTES = 1 << 16
ALIGNMENT_BYTES = 64


def send(connection: Connection, value: Any) -> None:
    """Send a value through a two-way connection. The value must be picklable.

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
    """Receive what :func:`send` has sent. The arrays are writable.

    Raises:
        EOFError: The other end is closed.
        OSError: The other end was closed in the middle of a message.
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
