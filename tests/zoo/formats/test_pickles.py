"""Pickles: attacks end the reading, settings beside the weights do not, and a small file takes little memory."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import functools
import io
import pathlib
import pickle
import random
import resource
import struct
import types
import uuid
import zipfile

import numpy as np
import pytest

from ppdet_res2net.errors import WeightsError
from ppdet_res2net.zoo.formats import limits, load_weights_file, read_weights_file
from ppdet_res2net.zoo.formats.pickles import load_pickle
from tests.goldens.synthetic import make_tensor

A = make_tensor("a.weight", (3, 4))


def read(tmp_path, content: bytes):
    (tmp_path / "x.pth").write_bytes(content)
    return load_weights_file(tmp_path / "x.pth")


def error_of(tmp_path, content: bytes) -> str:
    with pytest.raises(WeightsError) as caught:
        read(tmp_path, content)
    return str(caught.value)


def program(opcodes: bytes) -> bytes:
    return b"\x80\x04" + opcodes + b"."


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


# Attacks: the name of a function ends the reading, whatever opcode would call it


@pytest.mark.parametrize(
    "opcodes, name",
    [
        (b"cos\nsystem\n" + text("true") + b"\x85R", "os.system"),
        (text("os") + text("path.join") + b"\x93" + text("a") + b"\x85R", "os.path.join"),
        (b"(cos\nsystem\n" + text("true") + b"o", "os.system"),
        (b"(" + text("true") + b"ios\nsystem\n", "os.system"),
        (b"csubprocess\nPopen\n" + text("true") + b"\x85\x81", "subprocess.Popen"),
        (b"csubprocess\nPopen\n" + text("true") + b"\x85}\x92", "subprocess.Popen"),
        (b"cfunctools\npartial\ncos\nsystem\n\x85R", "os.system"),
        (b"ccopyreg\n_reconstructor\ncsubprocess\nPopen\ncbuiltins\nobject\nN\x87R", "subprocess.Popen"),
        (b"ccollections\nOrderedDict\n)R}" + text("__setstate__") + b"cos\nsystem\nsb", "os.system"),
        (text("collections") + text("OrderedDict.fromkeys") + b"\x93)R", "collections.OrderedDict.fromkeys"),
        (
            text("omegaconf.dictconfig") + text("DictConfig.__init__") + b"\x93)R",
            "omegaconf.dictconfig.DictConfig.__init__",
        ),
        (b"comegaconf._utils\nget_type_of\n)R", "omegaconf._utils.get_type_of"),
        (b"ctyping\nget_type_hints\n)R", "typing.get_type_hints"),
        (b"cbuiltins\ngetattr\ncnumpy\nndarray\n" + text("tofile") + b"\x86R", "builtins.getattr"),
        (b"coperator\nattrgetter\n" + text("x") + b"\x85R", "operator.attrgetter"),
        (b"cnumpy\nfromfile\n" + text("/dev/zero") + b"\x85R", "numpy.fromfile"),
        (b"ctorch.serialization\nload\n" + text("x") + b"\x85R", "torch.serialization.load"),
    ],
)
def test_functions_are_refused_by_name(tmp_path, opcodes, name):
    assert f"is refused: reading it would call '{name}'" in error_of(tmp_path, program(opcodes))


def test_text_protocol_is_refused_too(tmp_path):
    assert "would call 'os.system'" in error_of(tmp_path, b"cos\nsystem\n(S'true'\ntR.")


@pytest.mark.parametrize(
    "opcodes, message",
    [
        (b"\x82\x01", "it uses the extension code 1 of a program"),
        (b"\x84\x01\x00\x00\x00", "it uses the extension code 1 of a program"),
        (b"Pname\n", "it refers to something outside the file"),
        (text("name") + b"\x85Q", "it refers to something outside the file"),
        (b"\x97", "it refers to a buffer outside the file"),
        (b"cbuiltins\ntype\n)R", "it calls builtins.type, which is no function"),
        (text("x") + b")R", "it calls str, which is no function"),
        (b"cnumpy\ndtype\n}b", "it sets the state of a numpy.dtype"),
        (b"]}b", "it sets the state of a list"),
        (b"cnumpy\nndarray\nNNs", "it sets entries of a numpy.ndarray"),
        (b"}]Ns", "a list is used as a key"),
        (b"}" + b"N" + b"\x85" * 1000 + b"Ns", "a tuple is used as a key"),
        (b"j\xff\xff\xff\xff", "it refers to value 4294967295, which it has not stored"),
        (b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R", "bytes are made of something else than text or bytes"),
    ],
)
def test_other_tricks_are_refused(tmp_path, opcodes, message):
    assert message in error_of(tmp_path, program(opcodes))


# Stand-ins: what was checked stays as it was


def torch_zip(data_pkl: bytes, storage: bytes = A.tobytes(), compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("x/data.pkl", data_pkl)
        archive.writestr("x/data/0", storage)
    return buffer.getvalue()


def torch_tensor(offset: int, shape: tuple[int, ...], strides: tuple[int, ...], count: int = A.size) -> bytes:
    """Return the opcodes of a float32 tensor."""

    def number(n: int) -> bytes:
        return b"\x8a\x09" + n.to_bytes(9, "little", signed=True)

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(count) + b"tQ"
    view = storage + number(offset) + numbers(shape) + numbers(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + view + b"\x89Nt" + b"R"


def test_torch_tensors_of_these_helpers_are_read(tmp_path):
    content = torch_zip(program(b"}" + text("w") + torch_tensor(0, (3, 4), (4, 1)) + b"s"))
    assert (read(tmp_path, content)["w"] == A).all()


@pytest.mark.parametrize(
    "state", [b"}" + text("shape") + b"K\x09\x85s", b"N}" + text("offset") + b"K\x09s\x86", b"K\x09"]
)
def test_a_tensor_takes_no_state(tmp_path, state):
    content = torch_zip(program(b"}" + text("w") + torch_tensor(0, (3, 4), (4, 1)) + state + b"bs"))
    assert "it changes the state of a TensorStandIn" in error_of(tmp_path, content)


def test_a_tensor_takes_no_entries(tmp_path):
    content = torch_zip(program(torch_tensor(0, (3, 4), (4, 1)) + text("shape") + b"Ns"))
    assert "it sets entries of a TensorStandIn" in error_of(tmp_path, content)


def test_an_array_takes_one_state(tmp_path):
    once = pickle.dumps({"w": A}, protocol=4)
    start, end = once.index(b"numpy"), once.rindex(b"b")
    assert start < end
    twice = once[:end] + b"b(K\x01K\x63\x85NNNtb" + once[end + 1 :]
    assert "an array has a wrong state, or a second one" in error_of(tmp_path, twice)


@pytest.mark.parametrize(
    "offset, shape, strides, message",
    [
        (9, (4,), (1,), "a tensor reaches element 12 of a storage of 12"),
        (0, (2, 4), (9, 1), "a tensor reaches element 12 of a storage of 12"),
        (2**62, (1,), (1,), f"a tensor reaches element {2**62} of a storage of 12"),
        (-1, (2,), (1,), "the shape, the strides or the offset of a tensor are not whole numbers"),
        (0, (2,), (-1,), "the shape, the strides or the offset of a tensor are not whole numbers"),
        (0, (2, 2), (1,), "a tensor does not have one stride per dimension"),
        (0, (2**40,), (0,), "a tensor would take the memory to 4.0 TiB, but a file of"),
        (0, (2,), (2**40,), "a tensor would take the memory to 4.0 TiB, but a file of"),
        (0, (1,) * 40, (1,) * 40, "not whole numbers, or too many"),
    ],
)
def test_bounds_are_checked_where_the_array_is_made(tmp_path, offset, shape, strides, message):
    content = torch_zip(program(b"}" + text("w") + torch_tensor(offset, shape, strides) + b"s"))
    assert message in error_of(tmp_path, content)


def test_a_storage_has_the_size_that_tensors_say(tmp_path):
    content = torch_zip(program(b"}" + text("w") + torch_tensor(0, (3, 4), (4, 1), count=99) + b"s"))
    assert "storage 0 has 12 of 99 elements" in error_of(tmp_path, content)


# Small files that would take all memory


def test_compressed_storages_are_limited(tmp_path):
    zeros = bytes(64 << 20)
    tensor = torch_tensor(0, (len(zeros) // 4,), (1,), len(zeros) // 4)
    content = torch_zip(program(b"}" + text("w") + tensor + b"s"), zeros, zipfile.ZIP_DEFLATED)
    message = error_of(tmp_path, content)
    assert "would take the memory to" in message and "KiB may take" in message


def test_many_views_of_one_storage_are_limited(tmp_path):
    big = np.ones(1 << 20, np.float32)
    tensor = torch_tensor(0, (big.size,), (1,), big.size)
    entries = b"".join(text(f"w{i}") + tensor + b"s" for i in range(20))
    assert "a tensor would take the memory to" in error_of(tmp_path, torch_zip(program(b"}" + entries), big.tobytes()))


@pytest.mark.parametrize(
    "opcodes",
    [
        b"\x8e" + struct.pack("<Q", 2**47),
        b"\x96" + struct.pack("<Q", 2**47),
        b"\x8d" + struct.pack("<Q", 2**47),
        b"\x8b" + struct.pack("<i", 2**31 - 1),
        b"B" + struct.pack("<I", 2**32 - 1),
    ],
    ids=["bytes", "bytearray", "text", "number", "bytes of protocol 3"],
)
def test_announced_sizes_are_those_of_the_file(tmp_path, opcodes):
    assert "bytes, more than the file has" in error_of(tmp_path, program(opcodes))


def test_values_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MAX_OBJECTS", 1000)
    assert "it has more than 1,000 values" in error_of(tmp_path, program(b"]" * 1001))


def test_copies_of_one_value_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MAX_OBJECTS", 1000)
    copies = b"cbuiltins\nlist\n(" + b"N" * 100 + b"lq\x00\x85R" + b"cbuiltins\nlist\nh\x00\x85R" * 20
    assert "it has more than 1,000 values" in error_of(tmp_path, program(copies))


def test_memo_indices_take_no_memory(tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "holds no tensors" in error_of(tmp_path, program(b"Nr\xff\xff\xff\xff"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


@pytest.mark.parametrize("opening, closing", [(b"]", b"a"), (b"}" + text("a"), b"s"), (b"", b"\x85")])
def test_deep_nesting_ends_with_a_message(tmp_path, opening, closing):
    content = program(opening * 100_000 + b"N" + closing * 100_000)
    assert "holds no tensors" in error_of(tmp_path, content)


# What training scripts keep beside the weights


class Fake:
    """An object of a class of another package, as that package's own pickles are."""

    def __init__(self, name: str, *arguments: object, entries: dict | None = None, state: object = None) -> None:
        self.name, self.arguments, self.entries, self.state = name, arguments, entries, state


class Pickler(pickle._Pickler):  # the one in C finds classes by importing them
    def save(self, obj, save_persistent_id=True):
        if not isinstance(obj, Fake):
            return super().save(obj, save_persistent_id)
        module, _, name = obj.name.rpartition(".")
        self.write(f"c{module}\n{name}\n".encode())
        super().save(obj.arguments)
        self.write(pickle.REDUCE)
        for key, value in (obj.entries or {}).items():
            super().save(key)
            self.save(value)
            self.write(pickle.SETITEM)
        if obj.state is not None:
            self.save(obj.state)
            self.write(pickle.BUILD)


def dumped(value: object, protocol: int) -> bytes:
    buffer = io.BytesIO()
    Pickler(buffer, protocol).dump(value)
    return buffer.getvalue()


OBJECTS = {
    "counter": collections.Counter("abca"),
    "default dictionary": collections.defaultdict(list, a=[1]),
    "ordered dictionary": collections.OrderedDict(a=1),
    "deque": collections.deque([1, 2], 3),
    "posix path": pathlib.PurePosixPath("/a/b"),
    "windows path": pathlib.PureWindowsPath("C:/a"),
    "namespace": argparse.Namespace(lr=0.1),
    "simple namespace": types.SimpleNamespace(a=1),
    "time": datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc),
    "duration": datetime.timedelta(1),
    "numpy scalar": np.float64(1.5),
    "numpy type": np.dtype("f4"),
    "numpy class": np.int64,
    "array of objects": np.array([None, "x"], dtype=object),
    "random state": random.getstate(),
    "numpy generator": np.random.default_rng(0),
    "numpy random state": np.random.RandomState(0),
    "partial": functools.partial(dict, a=1),
    "decimal": decimal.Decimal("1.5"),
    "uuid": uuid.UUID(int=5),
    "range and slice": [range(3), slice(1, 2)],
    "numbers": [2**100, -3, 1 + 2j, True, None, b"\xff", bytearray(b"x")],
    "sets": [{1, 2}, frozenset("ab")],
    "omegaconf": Fake(
        "omegaconf.dictconfig.DictConfig",
        state={"_content": {"a": Fake("omegaconf.nodes.AnyNode", state={"_val": 1})}, "_parent": None},
    ),
    "types": Fake("typing._SpecialForm", "Any"),
    "history buffer": Fake("mmengine.logging.history_buffer.HistoryBuffer", state={"_log_history": np.zeros(3)}),
    "mmengine's dictionary": Fake("mmengine.config.config.ConfigDict", entries={"classes": ("a",)}),
    "mmcv's dictionary": Fake("mmcv.utils.config.ConfigDict", entries={"a": 1}, state={"frozen": False}),
    "addict": Fake("addict.addict.Dict", entries={"a": 1}),
    "easydict": Fake("easydict.EasyDict", entries={"a": 1}, state={"a": 1}),
    "yacs": Fake("yacs.config.CfgNode", entries={"a": 1}, state={"__immutable__": False}),
    "lightning": Fake("lightning.fabric.utilities.data.AttributeDict", entries={"lr": 1}),
    "torch device": Fake("torch.device", "cuda", 0),
    "torch optimizer class": Fake("torch.optim.adamw.AdamW", state={"defaults": {}}),
    "enum": Fake("torchvision.transforms.functional.InterpolationMode", "bilinear"),
}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", OBJECTS)
def test_settings_beside_the_weights_are_skipped(tmp_path, name, protocol):
    (tmp_path / "x.pth").write_bytes(dumped({"state_dict": {"w": A}, "beside": OBJECTS[name]}, protocol))
    file = read_weights_file(tmp_path / "x.pth")
    assert file.wrapper == ("state_dict",)
    assert list(file.tensors) == ["w"] and (file.tensors["w"] == A).all()


def test_settings_are_not_created(tmp_path, monkeypatch):
    monkeypatch.setattr(pathlib, "PurePosixPath", None)
    content = b"\x80\x04}" + text("w") + pickle.dumps(A, 4)[2:-1] + b"s" + text("p") + b"cpathlib\nPosixPath\n)Rs."
    assert list(read(tmp_path, content)) == ["w"]


def test_classes_of_a_users_own_are_refused_with_the_remedy(tmp_path):
    content = dumped({"state_dict": {"w": A}, "config": Fake("my_project.config.Config")}, 4)
    message = error_of(tmp_path, content)
    assert "reading it would call 'my_project.config.Config', which weights do not need. Nothing was run." in message
    assert 'torch.save(torch.load(PATH, weights_only=False)["state_dict"], "weights.pth")' in message


def test_a_pickle_of_one_object_is_named(tmp_path):
    content = dumped(Fake("torch.nn.modules.container.Sequential", state={}), 2)
    assert "it is one object, of torch.nn.modules.container.Sequential" in error_of(tmp_path, content)


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol(tmp_path, protocol):
    content = {"model": {"w": A, "s": np.float32(2)}, "__author__": "somebody", "matching_heuristics": True}
    tensors = read(tmp_path, pickle.dumps(content, protocol))
    assert (tensors["w"] == A).all() and tensors["s"] == 2


@pytest.mark.parametrize("protocol", range(3, 6))
@pytest.mark.parametrize("size", [*range(16_370, 16_390), 32_768, 100_000])
def test_a_pickle_is_read_to_its_end_and_no_further(protocol, size):
    # It is read in windows of 16 KiB: at some of these sizes, opcodes and their arguments lie across the border.
    value = {"name": [b"x" * size, "text", 70_000, -1, 2**70, (1, 2, 3), {"a": None}], "same": ["t" * size] * 2}
    content = pickle.dumps(value, protocol)
    file = io.BytesIO(content + b"what follows")
    assert load_pickle(file, limits.Limits(len(content))) == value
    assert file.read() == b"what follows"


@pytest.mark.parametrize("protocol", range(3, 6))
def test_a_pickle_that_is_cut_off_anywhere_says_so(protocol):
    content = pickle.dumps([b"x" * 16_370, "text", 70_000, 2**70, (1, 2, 3)], protocol)
    for end in [*range(1, 20), *range(16_350, len(content))]:
        with pytest.raises(EOFError, match="it ends inside a pickle"):
            load_pickle(io.BytesIO(content[:end]), limits.Limits(len(content)))
