"""Weight files: every format is read, no code in them is run, and each kind of damage has its own message."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

GOLDENS = Path(__file__).parents[2] / "goldens"

from ppdet_res2net.errors import WeightsError  # noqa: E402
from ppdet_res2net.zoo.formats import load_weights_file, read_weights_file, save_weights_file  # noqa: E402
from tests.goldens.synthetic import make_tensor  # noqa: E402

SHAPES = {"a.weight": (3, 4), "a.bias": (3,), "b.weight": (2, 3, 3, 3)}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
TENSORS = {name: make_tensor(name, shape) for name, shape in SHAPES.items()}
A = TENSORS["a.weight"]


def assert_equal(got: dict, expected: dict) -> None:
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        assert got[name].shape == array.shape, name
        assert (got[name] == array).all(), name


# Reading what the frameworks themselves wrote


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_torch_tensors(kind):
    file = read_weights_file(GOLDENS / f"torch_{kind}_tensors.pth")
    assert (file.format, file.wrapper) == (f"torch-{kind}", ())
    odd = {
        "transposed": A.T,
        "slice": A[1:, 1:3],
        "parameter": TENSORS["a.bias"],
        "half": A.astype(np.float16),
        "counter": np.array(7),
        "empty": np.zeros((0, 4)),
    }
    bfloat16 = file.tensors.pop("bfloat16")
    assert bfloat16.dtype == np.float32 and np.abs(bfloat16 - A).max() < 2**-8
    assert_equal(file.tensors, {**TENSORS, **odd})


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_torch_training_checkpoint_gives_its_averaged_weights(kind):
    file = read_weights_file(GOLDENS / f"torch_{kind}_checkpoint.pth")
    assert file.wrapper == ("state_dict_ema",)
    assert_equal(file.tensors, TENSORS)


@pytest.mark.parametrize("kind", ["plain", "crc"])
def test_mindspore(kind):
    file = read_weights_file(GOLDENS / f"mindspore_{kind}.ckpt")
    assert file.format == "mindspore"
    assert file.tensors.pop("epoch") == 3
    assert_equal(file.tensors, TENSORS)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_paddle(tmp_path, protocol):
    paddle = pytest.importorskip("paddle")
    layer = paddle.nn.Linear(4, 3)
    expected = {name: tensor.numpy() for name, tensor in layer.state_dict().items()}
    paddle.save(layer.state_dict(), str(tmp_path / "plain.pdparams"), protocol=protocol)
    paddle.save({"model": layer.state_dict(), "epoch": 3}, str(tmp_path / "nested.pdparams"), protocol=protocol)
    assert_equal(load_weights_file(tmp_path / "plain.pdparams"), expected)
    nested = read_weights_file(tmp_path / "nested.pdparams")
    assert nested.wrapper == ("model",)
    assert_equal(nested.tensors, expected)


def test_paddle_parameters_in_slices(tmp_path):
    flat = A.ravel()
    table = {"w": {"OriginShape": A.shape, "slices": ["w@@.0", "w@@.1"]}}
    content = {"w@@.0": flat[:5], "w@@.1": flat[5:], "UnpackBigParamInfor@@": table}
    (tmp_path / "big.pdparams").write_bytes(pickle.dumps(content, protocol=2))
    assert_equal(load_weights_file(tmp_path / "big"), {"w": A})


def test_python_2_pickle(tmp_path):
    """Python 2 wrote an array's bytes as a string; protocol 2, as Paddle 1.8 did."""
    state = (
        b"(I1\n(I2\ntcnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS"
        + b"'\\x00\\x00\\x80?\\x00\\x00\\x00@'\ntb"
    )
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR" + state
    (tmp_path / "old.pdparams").write_bytes(b"\x80\x02}S'w'\n" + array + b"s.")
    assert load_weights_file(tmp_path / "old.pdparams")["w"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    "array", [A, np.asfortranarray(A), A.astype(">f8"), np.float32(3), np.zeros((0, 2)), np.array([True])]
)
def test_numpy_arrays(tmp_path, array, protocol):
    (tmp_path / "x.pdparams").write_bytes(pickle.dumps({"w": array}, protocol=protocol))
    assert_equal(load_weights_file(tmp_path / "x.pdparams"), {"w": np.asarray(array)})


def test_safetensors_bfloat16(tmp_path):
    header = b'{"w":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(header)) + header + b"\x80\x3f\x00\x40")
    assert load_weights_file(tmp_path / "x")["w"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("suffix", [".pdparams", ".safetensors"])
def test_round_trip(tmp_path, suffix):
    path = tmp_path / "new" / f"x{suffix}"
    tensors = {**TENSORS, "scalar": np.array(2.5), "transposed": A.T, "none": np.zeros((0, 2), np.float32)}
    save_weights_file(path, tensors, {"dialect": "paddle"})
    file = read_weights_file(path)
    assert_equal(file.tensors, tensors)
    assert file.metadata == {"dialect": "paddle"} and file.others == ()
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_paddle_reads_what_we_write(tmp_path):
    paddle = pytest.importorskip("paddle")
    save_weights_file(tmp_path / "x.pdparams", TENSORS, {"dialect": "paddle"})
    layer = paddle.nn.Layer()
    layer.a, layer.b = paddle.nn.Linear(3, 4), paddle.nn.Conv2D(3, 2, 3, bias_attr=False)
    state = paddle.load(str(tmp_path / "x.pdparams"))
    assert (state["b.weight"].numpy() == TENSORS["b.weight"]).all()


# Nothing in a file is run


class Attack:
    """Pickles to a call of ``function(*arguments)``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def torch_zip(pickled: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
    return buffer.getvalue()


def torch_legacy(pickled: bytes) -> bytes:
    head = b"".join(pickle.dumps(part, protocol=2) for part in (LEGACY_MAGIC, 1001, {}))
    return head + pickled + pickle.dumps([], protocol=2)


@pytest.mark.parametrize("wrap", [bytes, torch_zip, torch_legacy], ids=["paddle", "torch-zip", "torch-legacy"])
@pytest.mark.parametrize("attack", ["system", "eval", "open", "getattr"])
def test_malicious_pickle_runs_nothing(tmp_path, wrap, attack):
    marker = tmp_path / "ran"
    call, name = {
        "system": (Attack(os.system, f"touch {marker}"), f"{os.system.__module__}.system"),
        "eval": (Attack(eval, f"open({str(marker)!r}, 'w')"), "builtins.eval"),
        "open": (Attack(open, str(marker), "w"), f"{open.__module__}.open"),
        "getattr": (Attack(getattr, "text", "upper"), "builtins.getattr"),
    }[attack]
    path = tmp_path / "weights.pth"
    path.write_bytes(wrap(pickle.dumps({"w": A, "x": call}, protocol=2)))
    with pytest.raises(WeightsError) as caught:
        load_weights_file(path)
    assert not marker.exists()
    assert f"is refused: reading it would call '{name}'" in str(caught.value)
    assert "Nothing was run." in str(caught.value)


def test_a_pickle_cannot_change_what_the_next_one_finds(tmp_path):
    """BUILD can set the state of any object: here it tries to make ``numpy.dtype`` resolve to OrderedDict."""
    attack = b"\x80\x02cnumpy\ndtype\n(ccollections\nOrderedDict\n)}}Vx\nI1\nstb."
    (tmp_path / "attack.pdparams").write_bytes(attack)
    with pytest.raises(WeightsError):
        load_weights_file(tmp_path / "attack.pdparams")
    save_weights_file(tmp_path / "good.pdparams", TENSORS)
    assert_equal(load_weights_file(tmp_path / "good.pdparams"), TENSORS)


def test_arrays_of_objects_are_refused(tmp_path):
    (tmp_path / "x.pdparams").write_bytes(pickle.dumps({"w": np.array([A, "x"], dtype=object)}))
    with pytest.raises(WeightsError, match="weights are arrays of numbers"):
        load_weights_file(tmp_path / "x.pdparams")


def test_a_tensor_outside_its_storage_is_refused(tmp_path):
    source = zipfile.ZipFile(GOLDENS / "torch_zip_tensors.pth")
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as changed:
        for name in source.namelist():
            data = source.read(name)
            # The slice begins at element 5 of 12; let it begin at 11.
            changed.writestr(
                name,
                data.replace(b"K\x05K\x02K\x02\x86", b"K\x0bK\x02K\x02\x86") if name.endswith("data.pkl") else data,
            )
    with pytest.raises(WeightsError, match="a tensor reaches element 16 of a storage of 12"):
        load_weights_file(tmp_path / "x.pth")


# Damage


@pytest.mark.parametrize(
    "content, text",
    [
        (b"", "is empty (0 bytes). Delete it and download it again."),
        (b"<!DOCTYPE html><html>Log in</html>", "is a web page, not weights"),
        (b"\n<?xml version='1.0'?><Error>NoSuchKey</Error>", "is a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer"),
        (b"x" * 257 + b"ustar" + b"x" * 99, "is a tar archive"),
        (b"GGUF1234", "has an unknown format (it begins with b'GGUF1234')"),
        (pickle.dumps({"epoch": 3}), "holds no tensors (found: epoch)"),
        (pickle.dumps([1, 2]), "holds no tensors (found: list)"),
        (torch_zip(b"")[:40], "is cut off or damaged"),
        (b"\x80\x04\x95", "is cut off"),
        (struct.pack("<Q", 90) + b'{"w":', "is cut off or damaged (the header is longer than the file)"),
    ],
    ids=lambda value: value[:32] if isinstance(value, str) else "",
)
def test_damage(tmp_path, content, text):
    path = tmp_path / "weights.pdparams"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        load_weights_file(path)
    assert str(caught.value).startswith(f"weights: {path} ") and text in str(caught.value)


@pytest.mark.parametrize("fraction", [0.3, 0.6, 0.99])
@pytest.mark.parametrize(
    "file",
    [
        "torch_zip_tensors.pth",
        "torch_legacy_tensors.pth",
        "mindspore_plain.ckpt",
        "x.pdparams",
        "x.safetensors",
    ],
)
def test_cut_off_files(tmp_path, file, fraction):
    whole = GOLDENS / file
    if file.startswith("x."):
        whole = tmp_path / file
        save_weights_file(whole, {"w": make_tensor("w", (64, 64))})
    content = whole.read_bytes()
    (tmp_path / "cut").write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(WeightsError, match="is cut off"):
        load_weights_file(tmp_path / "cut")


def test_torchscript_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("x/data.pkl", b"")
        archive.writestr("x/constants.pkl", b"")
    with pytest.raises(WeightsError, match="TorchScript program; save its state_dict"):
        load_weights_file(tmp_path / "x.pt")


# Paths


def test_paths(tmp_path):
    save_weights_file(tmp_path / "model_final.pdparams", TENSORS)
    assert_equal(load_weights_file(str(tmp_path / "model_final")), TENSORS)
    for path, text in (
        (tmp_path / "model_fina", "Did you mean 'model_final.pdparams'?"),
        (tmp_path, f"is a folder; pass a file, for instance {tmp_path / 'model_final.pdparams'}."),
        (
            tmp_path / "no" / "x.pth",
            "exists. Pass a file, a url, or a name that 'ppdet-res2net models' lists.",
        ),
    ):
        with pytest.raises(WeightsError) as caught:
            load_weights_file(path)
        assert text in str(caught.value)
    with pytest.raises(WeightsError, match="must end in .pdparams or .safetensors"):
        save_weights_file(tmp_path / "x.pth", TENSORS)
