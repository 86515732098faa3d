"""Each defect of paddledet and Paddle that is worked around, with and without the workaround."""

from __future__ import annotations

import builtins
import importlib.util
import os
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest

paddle = pytest.importorskip("paddle")
if importlib.util.find_spec("ppdet") is None:
    pytest.skip("paddledet is not installed", allow_module_level=True)

from ppdet_res2net.compat import prepare_ppdet  # noqa: E402
from ppdet_res2net.compat.multiclass_nms import multiclass_nms  # noqa: E402
from ppdet_res2net.compat.one_element import accept_one_element_tensors_as_numbers  # noqa: E402
from ppdet_res2net.compat.onednn_division import divide_out_of_place  # noqa: E402
from ppdet_res2net.compat.onednn_interpolate import upsample_without_interpolate  # noqa: E402
from ppdet_res2net.compat.ppdet_import import import_ppdet_quietly  # noqa: E402
from ppdet_res2net.compat.rois_num_type import correct_rois_num_type  # noqa: E402
from ppdet_res2net.errors import SetupError  # noqa: E402

prepare_ppdet()

PATHS = os.pathsep.join(path for path in sys.path if path)


def run_python(code: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": PATHS}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# ---------------------------------------------------------------- import


def test_importing_paddledet_drops_its_warnings_and_nothing_else():
    code = (
        "import builtins\n"
        "real = builtins.__import__\n"
        "def noisy(name, *rest):\n"
        "    if name == 'ppdet.optimizer': print('something else')\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = noisy\n"
        "from ppdet_res2net.compat import prepare_ppdet; prepare_ppdet(); prepare_ppdet()\n"
        "from PIL import ImageFile; assert not ImageFile.LOAD_TRUNCATED_IMAGES\n"
    )
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    assert set(result.stdout.splitlines()) == {"something else"}
    for word in ("Unable to use", "motmetrics", "numba", "SyntaxWarning", "ccache"):
        assert word not in result.stderr


def test_packages_that_r_cnns_never_use_are_imported_when_they_are_used():
    code = (
        "import sys\n"
        "from ppdet_res2net.compat import prepare_ppdet; prepare_ppdet()\n"
        "print(sorted({'matplotlib', 'pandas', 'scipy', 'sklearn'} & set(sys.modules)))\n"
        "from ppdet.modeling.mot.motion import kalman_filter\n"
        "from ppdet.modeling.transformers import matchers\n"
        "print(matchers.linear_sum_assignment([[0, 1], [1, 0]])[1].tolist(), 'scipy.optimize' in sys.modules)\n"
        "import scipy.linalg\n"
        "print(kalman_filter.scipy.linalg.LinAlgError is scipy.linalg.LinAlgError)\n"
    )
    result = run_python(code)
    assert result.stdout.splitlines() == ["[]", "[0, 1] True", "True"], result.stderr


def test_compat_itself_imports_nothing_heavy():
    code = "import sys, ppdet_res2net.compat; print(sorted({'paddle', 'ppdet', 'cv2'} & set(sys.modules)))"
    assert run_python(code).stdout == "[]\n"


@pytest.mark.parametrize(
    "missing, message",
    [
        (
            "ppdet",
            "paddledet is not installed. Install it without its outdated requirements: "
            "'pip install --no-deps paddledet==2.6.0'; then run 'ppdet-res2net doctor'.",
        ),
        ("paddle", "Paddle is not installed. Run 'pip install paddlepaddle' (CPU) or"),
        (
            "requests",
            "paddledet needs the module 'requests', which is not installed. Run 'ppdet-res2net doctor'",
        ),
    ],
)
def test_a_missing_package_is_named_with_the_remedy(missing, message):
    code = (
        "import sys\n"
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] == {missing!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Blocker())\n"
        "from ppdet_res2net.compat import prepare_ppdet\n"
        "from ppdet_res2net.errors import SetupError\n"
        "try:\n"
        "    prepare_ppdet()\n"
        "except SetupError as error:\n"
        "    print(error)\n"
    )
    result = run_python(code)
    assert message in result.stdout, result.stderr


def test_a_package_that_cannot_be_loaded_is_named(monkeypatch):
    error = ImportError("libGL.so.1: cannot open shared object file")
    monkeypatch.setattr(builtins, "__import__", _failing_import("ppdet.data", error))
    with pytest.raises(SetupError, match="cannot be imported: libGL.so.1: .*Run 'ppdet-res2net doctor'"):
        import_ppdet_quietly()


def test_a_file_that_hides_a_module_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("click", "calendar", "mine"):
        module = ModuleType(name)
        module.__file__ = str(tmp_path / f"{name}.py")
        monkeypatch.setitem(sys.modules, name, module)
    error = AttributeError("module 'click' has no attribute 'Group'")
    monkeypatch.setattr(builtins, "__import__", _failing_import("ppdet.data", error))
    with pytest.raises(
        SetupError, match="no attribute 'Group'.*other modules in its place: .*Rename what hides"
    ) as caught:
        import_ppdet_quietly()
    assert f"'{tmp_path / 'click.py'}' hides the module 'click'" in str(caught.value)
    assert "calendar.py' hides" in str(caught.value) and "mine.py" not in str(caught.value)


def _failing_import(failing, error):
    original = builtins.__import__

    def import_or_fail(name, *args, **kwargs):
        if name == failing:
            raise error
        return original(name, *args, **kwargs)

    return import_or_fail


# ---------------------------------------------------------------- 0-D tensors


def test_paddledets_modules_can_concatenate_scalars():
    from ppdet.modeling.proposal_generator import rpn_head

    scalars = [paddle.to_tensor(3), paddle.to_tensor(5)]
    assert scalars[0].ndim == 0
    with pytest.raises(Exception, match="(?i)0-D|zero-dim|rank|dimension"):
        paddle.concat(scalars)  # Paddle itself stays as it is
    assert rpn_head.paddle is not paddle
    assert rpn_head.paddle.concat(scalars).numpy().tolist() == [3, 5]
    assert rpn_head.paddle.concat([scalars[0], paddle.to_tensor([7, 8])]).numpy().tolist() == [3, 7, 8]


def test_the_view_is_paddle_otherwise():
    from ppdet.modeling.proposal_generator import rpn_head

    view = rpn_head.paddle
    assert view.Tensor is paddle.Tensor and view.nn is paddle.nn and view.float32 is paddle.float32
    matrix = paddle.arange(6, dtype="float32").reshape([2, 3])
    for axis in (0, 1, -1):
        expected = paddle.concat([matrix, matrix], axis=axis).numpy()
        np.testing.assert_array_equal(view.concat([matrix, matrix], axis=axis).numpy(), expected)
        np.testing.assert_array_equal(view.concat(x=(matrix, matrix), axis=axis).numpy(), expected)
    with pytest.raises(AttributeError, match="no_such_name"):
        view.no_such_name  # noqa: B018


def test_every_module_of_paddledet_that_concatenates_has_the_view():
    left_out = [
        name
        for name, module in sys.modules.items()
        if name.startswith("ppdet.modeling") and getattr(module, "paddle", None) is paddle
    ]
    assert left_out == []


# ---------------------------------------------------------------- one-element tensors


def test_one_element_tensors_are_numbers():
    accept_one_element_tensors_as_numbers()
    one = paddle.to_tensor([3], dtype="int64")
    assert int(one) == 3 and float(one) == 3.0 and [7, 8, 9, 10][one] == 10
    assert list(range(one)) == [0, 1, 2]
    assert float(paddle.to_tensor([[0.5]])) == 0.5
    assert int(paddle.to_tensor(4)) == 4
    with pytest.raises((TypeError, AssertionError), match="(?i)one element|single element|only one|1 element"):
        int(paddle.to_tensor([3, 4]))


# ---------------------------------------------------------------- crowds


def test_boxes_in_a_crowd_are_ignored_by_their_own_share():
    from ppdet.modeling.proposal_generator.target import label_box

    boxes = paddle.to_tensor([[0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 90.0, 90.0]])
    anchors = paddle.to_tensor(
        [[0.0, 0.0, 10.0, 9.0], [50.0, 50.0, 90.0, 88.0], [60.0, 60.0, 65.0, 65.0], [200.0, 200.0, 210.0, 210.0]]
    )
    crowd = paddle.to_tensor([[0], [1]], dtype="int32")
    arguments = (anchors, boxes, 0.7, 0.3, True)
    _, plain = label_box(*arguments, -1.0, None)
    _, labels = label_box(*arguments, -1.0, crowd)
    _, ignored = label_box(*arguments, 0.5, is_crowd=crowd)
    _, only_crowds = label_box(*arguments, 0.5, paddle.ones([2, 1], "int32"))
    matches, second = label_box(*arguments, 0.5, paddle.to_tensor([[1], [0]], dtype="int32"))
    assert plain.flatten().numpy().tolist() == [1, 1, 0, 0]
    assert labels.flatten().numpy().tolist() == [1, 0, 0, 0]
    assert ignored.flatten().numpy().tolist() == [1, -1, -1, 0]  # the third is small, but all of it is in the crowd
    assert only_crowds.flatten().numpy().tolist() == [-1, -1, -1, 0]
    assert second.flatten().numpy().tolist() == [-1, 1, 0, 0]
    assert matches.flatten().numpy()[1] == 1


# ---------------------------------------------------------------- static graphs


def test_upsampling_without_interpolate_gives_the_same_numbers_and_is_undone():
    from ppdet.modeling.necks import fpn

    functional = fpn.F
    rng = np.random.RandomState(0)
    maps = [paddle.to_tensor(rng.randn(2, 3, h, w).astype("float32")) for h, w in ((1, 1), (5, 7))]
    with upsample_without_interpolate():
        assert fpn.F is not functional
        assert fpn.F.relu is functional.relu
        for x in maps:
            found = fpn.F.interpolate(x, scale_factor=2.0, mode="nearest")
            expected = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            np.testing.assert_array_equal(found.numpy(), expected.numpy())
        for options in ({"scale_factor": 3.0}, {"size": [9, 9]}, {"scale_factor": 2.0, "mode": "bilinear"}):
            np.testing.assert_array_equal(
                fpn.F.interpolate(maps[1], **options).numpy(),
                functional.interpolate(maps[1], **options).numpy(),
            )
    assert fpn.F is functional
    with pytest.raises(KeyError), upsample_without_interpolate():
        raise KeyError
    assert fpn.F is functional


def test_a_whole_fpn_gives_the_same_numbers():
    from ppdet.modeling.necks.fpn import FPN

    neck = FPN([8, 16], 4, spatial_scales=[0.25, 0.125])
    neck.eval()
    features = [paddle.randn([1, 8, 8, 12]), paddle.randn([1, 16, 4, 6])]
    with paddle.no_grad():
        expected = neck(features)
        with upsample_without_interpolate():
            found = neck(features)
    for mine, reference in zip(found, expected):
        np.testing.assert_array_equal(mine.numpy(), reference.numpy())


def test_dividing_out_of_place_is_exact():
    x, y = paddle.rand([100]) * 1000 - 500, paddle.rand([100]) + 0.1
    np.testing.assert_array_equal(divide_out_of_place(x, y).numpy(), (x / y).numpy())


def test_counts_are_left_alone_in_eager_mode():
    counts = paddle.to_tensor([1, 2], dtype="int32")
    assert correct_rois_num_type(counts, counts) is counts


@pytest.mark.parametrize("background", [-1, 3])
def test_multiclass_nms_is_paddledets(background):
    from ppdet.modeling import ops

    rng = np.random.RandomState(0)
    corner = rng.uniform(0, 50, (40, 3, 2))
    boxes = paddle.to_tensor(np.concatenate([corner, corner + rng.uniform(5, 50, (40, 3, 2))], -1).astype("float32"))
    scores = paddle.to_tensor(rng.uniform(0, 1, (40, 3)).astype("float32"))
    counts = paddle.to_tensor([25, 15], dtype="int32")
    options = {
        "score_threshold": 0.3,
        "nms_top_k": 20,
        "keep_top_k": 9,
        "nms_threshold": 0.5,
        "normalized": True,
        "nms_eta": 1.0,
        "background_label": background,
    }
    found, num = multiclass_nms(boxes, scores, counts, **options)
    expected, expected_num, _ = ops.multiclass_nms(boxes, scores, rois_num=counts, return_index=True, **options)
    assert num.numpy().tolist() == expected_num.numpy().tolist() == [9, 9]
    np.testing.assert_array_equal(found.numpy(), expected.numpy())
