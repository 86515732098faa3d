"""Runs of arrays: read at once or opcode by opcode, a pickle gives the same objects, memo included, and the same errors."""

from __future__ import annotations

import collections
import io
import pickle
import random

import numpy as np
import pytest

from benchmarks.fuzz.weights import change_opcodes
from ppdet_res2net.zoo.formats import limits, load_weights_file
from ppdet_res2net.zoo.formats.array_runs import ArrayRuns
from ppdet_res2net.zoo.formats.limits import Limits
from ppdet_res2net.zoo.formats.pickles import _find, load_pickle
from ppdet_res2net.zoo.formats.stand_ins import ArrayStandIn, DTypeStandIn
from ppdet_res2net.zoo.formats.unpickler import Known, Machine, Opaque

FLOATS = {f"layer{i}.weight": np.arange(i % 7 + 1, dtype=np.float32) for i in range(60)}


def describe(value: object, depth: int = 9) -> object:
    """Return plain data that is equal for equal values of a pickle, which may contain themselves."""
    if depth == 0:
        return type(value)
    if isinstance(value, ArrayStandIn):
        return "array", describe(value._state, depth - 1)
    if isinstance(value, DTypeStandIn):
        return "dtype", value.code, value._order
    if isinstance(value, (list, tuple)):
        return type(value), [describe(one, depth - 1) for one in value]
    if isinstance(value, dict):
        return [(describe(key, depth - 1), describe(one, depth - 1)) for key, one in value.items()]
    return value.name if isinstance(value, (Known, Opaque)) else value


def outcome(content: bytes, make_shortcut) -> object:
    """Return what a machine makes of a pickle: value and memo, how far it has read, how many opcodes it has counted."""
    file, limits = io.BytesIO(content), Limits(len(content))
    machine = Machine(file, _find, None, limits, make_shortcut)
    try:
        value = machine.load()
    except Exception as error:
        return type(error), str(error)
    return describe(value), describe(machine._memo), file.tell(), limits.objects_left()


def assert_same(content: bytes) -> list[int]:
    """Check that the shortcut changes nothing, and return how many opcodes each run had."""
    runs: list[int] = []

    def make_shortcut(source):
        read = ArrayRuns(source).read

        def shortcut(*arguments):
            position, count = read(*arguments)
            runs.append(count)
            return position, count

        return shortcut

    assert outcome(content, make_shortcut) == outcome(content, None)
    return [count for count in runs if count]


@pytest.mark.parametrize(
    "arrays",
    [
        FLOATS,
        collections.OrderedDict(FLOATS),
        {**FLOATS, **{f"n{i}": np.full((2, 3), i) for i in range(9)}},
        {f"{i}" * (i % 4): np.zeros((1,) * (i % 8) + (300, 70_000)[i % 2 : i % 2 + 1], np.uint8) for i in range(40)},
        {f"a{i}": np.arange(4_000 + i, dtype=np.float32) for i in range(60)},  # around the ends of windows and frames
        {f"a{i}": np.asfortranarray(np.ones((2, 3))) if i % 5 == 0 else np.ones((2, 3)) for i in range(30)},
        {"a" * i: np.ones(2) for i in range(250, 270)},
        {"ä\ud800": np.ones(2), "b": np.ones(3), "c": np.ones((0, 3)), "d": np.ones(()), "e": np.ones(9), **FLOATS},
        [FLOATS, {"again": list(FLOATS.values())}],
    ],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_run_gives_what_the_machine_gives(arrays, protocol):
    runs = assert_same(pickle.dumps(arrays, protocol))

    assert bool(runs) == (protocol == 4)  # protocol 5 writes arrays as calls of _frombuffer


def test_changed_opcodes_make_no_difference():
    generator = random.Random(0)
    content = pickle.dumps({f"w{i}": np.full(40, i, np.float32) for i in range(12)}, 4)
    with_runs = 0
    for _ in range(400):
        with_runs += bool(assert_same(change_opcodes(content, generator)))

    assert with_runs > 100


@pytest.mark.parametrize(
    "old, new",
    [
        (b"\x85\x94h\x09\x87\x94R", b"\x85\x94h\x03\x87\x94R"),  # another memo
        (b"h\x04h\x07K\x00", b"h\x07h\x04K\x00"),  # calls the class
        (b"h\x04h\x07K\x00", b"h\xffh\x07K\x00"),  # not stored
        (b"t\x94b\x8c\x02w5", b"t\x94bq\xf0\x8c\x02w5"),  # a gap in the memo
        (b"\x89C\xa0", b"\x89C\x9f"),
    ],
)
def test_a_wrong_entry_is_left_to_the_machine(old, new):
    content = pickle.dumps({f"w{i}": np.full(40, i, np.float32) for i in range(12)}, 4)
    assert old in content
    first = content.index(b"w4")

    assert_same(content[:first] + content[first:].replace(old, new))


def test_opcodes_of_runs_are_counted(monkeypatch):
    monkeypatch.setattr(limits, "MAX_OBJECTS", 1000)
    content = pickle.dumps(FLOATS, 4)

    assert assert_same(content)
    with pytest.raises(pickle.UnpicklingError, match="more than 1,000 values"):
        load_pickle(io.BytesIO(content), Limits(len(content)))


def test_every_array_has_its_numbers(tmp_path):
    arrays = {f"a{i}": np.full(i % 3_000, i, np.float32) for i in range(200)}
    (tmp_path / "x.pdparams").write_bytes(pickle.dumps(arrays, 4))
    read = load_weights_file(tmp_path / "x.pdparams")

    assert list(read) == list(arrays)
    assert all(read[name].tobytes() == array.tobytes() for name, array in arrays.items())
