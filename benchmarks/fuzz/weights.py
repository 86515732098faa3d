"""Damaged and hostile weight files: bytes of every format, opcodes of pickles, and members of archives are changed.

A file is read, its trunk is looked for, and every number of its arrays is touched, so that an array that reaches outside its
memory is noticed.

python -m benchmarks.fuzz.weights --minutes 10
"""

from __future__ import annotations

import argparse
import collections
import functools
import io
import pathlib
import pickle
import pickletools
import random
import struct
import zipfile
from collections.abc import Callable

import numpy as np
import safetensors.numpy

from benchmarks.fuzz.harness import run_main
from ppdet_res2net.zoo.formats import read_weights_file
from ppdet_res2net.zoo.trunks import choose_trunk

__all__ = ["change_opcodes", "prepare", "try_one"]

_GOLDENS = pathlib.Path(__file__).parents[2] / "tests" / "goldens"
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**47, 2**62, 2**63 - 1, 2**64 - 1)
_FAKES = (b"cos\nsystem\n", b"cbuiltins\ngetattr\n", b"comegaconf.dictconfig\nDictConfig\n", b"cnumpy\ndtype\n")
_CALLS = (
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"cbuiltins\nbytearray\n",
    b"cbuiltins\nlist\n",
    b"ccollections\nOrderedDict\n",
)
_LARGEST_BYTES = 4 << 20  # of what is repeated; more only fills the memory of the fuzzer itself
_SLOW_BYTES = 100_000
_OPCODES = [opcode.code.encode("latin1") for opcode in pickletools.opcodes]


def prepare() -> None:
    """Make the sound files before memory is limited."""
    _sound_files()


def try_one(random: random.Random, folder: pathlib.Path) -> str:
    """Change one sound file, read it, and touch all that it gives.

    Returns:
        What came of it.
    """
    content = random.choice(_sound_files())
    for _ in range(random.choice((0, 1, 1, 1, 2, 3, 8))):
        content = random.choice(_mutations(content))(content, random)
    path = folder / "weights.pth"
    path.write_bytes(content)
    file = read_weights_file(path)
    choose_trunk(file.tensors)
    for array in file.tensors.values():
        np.isfinite(array).sum()
    return f"read: {file.format}"


@functools.cache
def _sound_files() -> list[bytes]:
    tensors = {name: np.arange(12, dtype=np.float32).reshape(3, 4) for name in ("layer1.0.convs.0.weight", "a", "b")}
    checkpoint = {
        "state_dict": tensors,
        "state_dict_ema": collections.OrderedDict(tensors),
        "args": argparse.Namespace(lr=0.1, path=pathlib.PurePosixPath("x")),
        "optimizer": {"state": {0: {"step": np.float64(1), "buffer": np.ones(5)}}, "groups": [{"params": [0]}]},
        "count": collections.Counter("abc"),
        "random": random.Random(0).getstate()[1][:20],
    }
    npz = io.BytesIO()
    np.savez(npz, a=tensors["a"], b=tensors["b"])
    goldens = [path.read_bytes() for path in sorted(_GOLDENS.glob("torch_*.pth")) + sorted(_GOLDENS.glob("*.ckpt"))]
    pickles = [pickle.dumps(content, protocol) for content in (tensors, checkpoint) for protocol in range(6)]
    return [*goldens * 3, *pickles, safetensors.numpy.save(tensors), npz.getvalue()]


_Mutation = Callable[[bytes, random.Random], bytes]


def _mutations(content: bytes) -> list[_Mutation]:
    if content.startswith(b"PK"):
        return [_change_bytes, _change_member, _change_member, _change_member]
    if content[:1] in (b"\x80", b"(", b"c", b"}"):
        return [_change_bytes, change_opcodes, change_opcodes, change_opcodes]
    return [_change_bytes]


def _change_bytes(content: bytes, random: random.Random) -> bytes:
    place, length = random.randrange(len(content) + 1), random.choice((1, 1, 2, 4, 8, 30))
    number = struct.pack("<Q", random.choice(_EXTREMES))[: random.choice((1, 2, 4, 8))]
    new = random.choice((b"", bytes(length), random.randbytes(length), number, content[place:][:length] * 2))
    changed = content[:place] + new + content[place + random.choice((0, len(new), length)) :]
    return changed[: random.randrange(len(changed) + 1)] if random.random() < 0.05 else changed


def _change_member(content: bytes, random: random.Random) -> bytes:
    """Change one file of an archive, which gets right checksums; sometimes it is compressed, doubled or left out."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
    except Exception:  # not an archive any more, because its bytes were changed before
        return _change_bytes(content, random)
    if not members:
        return _change_bytes(content, random)
    index = next((i for i, (name, _) in enumerate(members) if name.endswith("data.pkl")), 0)
    if random.random() < 0.2:
        index = random.randrange(len(members))
    name, data = members[index]
    action = random.random()
    if action < 0.05:
        del members[index]
    elif action < 0.1:
        members[index] = (name, data + bytes(random.choice((1, 1 << 10, 32 << 20))))
    else:
        changed = change_opcodes(data, random) if name.endswith(".pkl") else _change_bytes(data, random)
        members[index] = (name, changed)
    buffer = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if random.random() < 0.3 else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def change_opcodes(content: bytes, random: random.Random) -> bytes:
    """Delete, double, exchange, insert or change whole opcodes of a pickle; what follows the pickle stays."""
    if len(content) > _SLOW_BYTES:  # pickletools takes seconds for what is deep already
        return _change_bytes(content, random)
    try:
        starts = [place for _, _, place in pickletools.genops(content) if place is not None]
    except Exception:  # not a pickle any more
        return _change_bytes(content, random)
    end = starts[-1] + 1
    parts = [content[a:b] for a, b in zip(starts, [*starts[1:], end])]
    for _ in range(random.choice((1, 1, 2, 4))):
        index = random.randrange(len(parts))
        other = random.randrange(len(parts))
        action = random.randrange(7)
        if action == 0:
            parts[index] = b""
        elif action == 1:
            times = random.choice((2, 2, 3, 1000))
            parts[index] *= min(times, 1 + _LARGEST_BYTES // (1 + len(parts[index])))
        elif action == 2:
            parts[index], parts[other] = parts[other], parts[index]
        elif action == 3:
            parts.insert(index, random.choice(_hostile(random)))
        elif action == 4:
            parts.insert(index, parts[other])
        elif action == 5:
            parts[index] = random.choice(_OPCODES) + parts[index][1:]
        else:
            parts[index] = parts[index][:1] + _number(random)[: max(0, len(parts[index]) - 1)]
    return b"".join(parts) + content[end:]


def _number(random: random.Random) -> bytes:
    return struct.pack("<Q", random.choice(_EXTREMES))


def _hostile(random: random.Random) -> tuple[bytes, ...]:
    """Return pieces of programs that change what was made before, call functions, or ask for much memory."""
    number = b"\x8a\x09" + _number(random) + b"\x00"
    deep = random.choice((10, 10, 1000, 1000, 200_000))
    return (
        number,
        b"\x8c\x05shape" + number + b"\x85s",
        b"}\x8c\x05shape" + number + b"\x85sb",
        b"N}\x8c\x06offset" + number + b"s\x86b",
        b"(K\x01" + number + b"\x85NNNtb",
        random.choice(_FAKES) + random.choice((b")R", b")\x81", b")}\x92", b"N\x85R", b"")),
        random.choice(_CALLS) + number + random.choice((b"\x85R", b"\x85\x81")),
        b"r" + _number(random)[:4],
        b"j" + _number(random)[:4],
        b"\x8e" + _number(random),
        b"\x96" + _number(random),
        b"\x95" + _number(random),
        b"\x8b" + _number(random)[:4],
        b"]" * deep + b"a" * (deep - 1),
        b"N" + b"\x85" * deep,
        b"}" + b"\x8c\x01a}" * deep,
        b"(" * deep,
        b"2" * deep,
    )


if __name__ == "__main__":
    run_main("benchmarks.fuzz.weights", __doc__ or "")
