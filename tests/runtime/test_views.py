"""What the network sees of an image: slices, mirrored and scaled views, and the options that ask for them."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from res2net_runtime import ImageError, Slicing, TestTimeAugmentation
from res2net_runtime.views import VIEW_OPTIONS, View, find_misused_views, list_views, view_settings


@settings(max_examples=60, deadline=None)
@given(
    image_hw=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    slice_hw=st.tuples(st.integers(32, 400), st.integers(32, 400)),
    overlap=st.floats(0, 0.8),
)
def test_slices_cover_the_image_and_have_one_size(image_hw, slice_hw, overlap):
    slicing = Slicing(*slice_hw, overlap)
    regions = slicing.regions(image_hw)
    seen = np.zeros(image_hw, bool)
    for x0, y0, x1, y1 in regions:
        assert 0 <= x0 < x1 <= image_hw[1] and 0 <= y0 < y1 <= image_hw[0]
        assert (y1 - y0, x1 - x0) == tuple(np.minimum(slice_hw, image_hw))
        seen[y0:y1, x0:x1] = True
    assert seen.all()
    assert len(set(regions)) == len(regions) and regions == sorted(regions, key=lambda one: (one[1], one[0]))
    for axis, side in ((1, 0), (0, 1)):  # neighbours share at least the overlap
        starts = sorted({region[side] for region in regions})
        shared = slice_hw[axis] - np.diff(starts)
        assert (shared >= round(slice_hw[axis] * overlap)).all()


def test_the_last_slices_begin_earlier():
    assert Slicing(100, 200, 0.2).regions((150, 400)) == [
        (0, 0, 200, 100), (160, 0, 360, 100), (200, 0, 400, 100),
        (0, 50, 200, 150), (160, 50, 360, 150), (200, 50, 400, 150),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("image_hw", "count"),
    [((100, 200), 1), ((64, 64), 1), ((1, 1), 1), ((101, 200), 3), ((100, 201), 3), ((300, 20), 5)],
)
def test_the_whole_image_is_the_first_view(image_hw, count):
    views = list_views(image_hw, Slicing(100, 200), None)
    assert views[0] == View((0, 0, image_hw[1], image_hw[0])) and len(views) == count


def test_views_of_both_kinds():
    tta = TestTimeAugmentation(flip=True, scales=(1.25, 1, 1.25))
    assert tta.variants() == [(False, 1.0), (True, 1.0), (False, 1.25), (True, 1.25)]
    views = list_views((100, 250), Slicing(100, 200), tta)
    assert len(views) == 3 * 4
    assert [view.region for view in views[::4]] == [(0, 0, 250, 100), (0, 0, 200, 100), (50, 0, 250, 100)]
    assert list_views((10, 10), None, None) == [View((0, 0, 10, 10), False, 1.0)]


def test_too_many_slices_are_refused():
    with pytest.raises(
        ImageError,
        match="An image of 10000x10000 pixels has 1552516 slices of 40x40, more than the limit of 20000. Use larger slices",
    ):
        Slicing(40, 40, 0.8).regions((10_000, 10_000))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"height": 0}, "The height of a slice is 0 pixels, expected 32 to 65536: it should be a few times as large"),
        ({"width": 31}, "The width of a slice is 31 pixels, expected 32 to 65536"),
        ({"width": 70_000}, "The width of a slice is 70000 pixels"),
        ({"overlap": 1.0}, "The overlap of slices is 1, expected a share from 0 to 0.9."),
        ({"overlap": -0.1}, "The overlap of slices is -0.1"),
        ({"overlap": float("nan")}, "The overlap of slices is nan"),
        ({"batch_size": 0}, "The number of slices that run together is 0, expected at least 1."),
        ({"combine": "concat"}, "combine is 'concat', expected 'nmm' or 'nms'."),
        ({"match_metric": "giou"}, "match_metric is 'giou', expected 'iou' or 'ios'."),
        ({"match_threshold": 1}, "match_threshold is 1, expected a number between 0 and 1."),
    ],
)
def test_wrong_slicing(arguments, message):
    with pytest.raises(ValueError) as caught:
        Slicing(**{"height": 100, "width": 100, **arguments})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scales": (5,)}, "A scale is 5, expected 0.1 to 4."),
        ({"scales": (float("nan"),)}, "A scale is nan, expected 0.1 to 4."),
        ({"scales": (1.1,) * 9}, "There are 9 scales, expected at most 8."),
        ({"merging": "mean"}, "merging is 'mean', expected 'weighted' or 'nms' or 'soft'."),
        ({"match_threshold": 0}, "match_threshold is 0, expected"),
    ],
)
def test_wrong_augmentation(arguments, message):
    with pytest.raises(ValueError) as caught:
        TestTimeAugmentation(**arguments)
    assert str(caught.value).startswith(message)


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    for flag, options in VIEW_OPTIONS.items():
        parser.add_argument(flag, **options)
    return parser.parse_args(words)


@pytest.mark.parametrize("text", ["480,640", "480x640", " 480 , 640 ", "480 640"])
def test_sizes_may_be_written_in_several_ways(text):
    assert view_settings(parse("--slice", text)) == {"slicing": Slicing(480, 640)}


def test_options_become_settings():
    args = parse(
        "--slice", "512", "--overlap", "0.3", "--slice_batch", "4", "--combine_method", "nms", "--match_metric", "ios",
        "--match_threshold", "0.6", "--tta", "flip,scale=0.8,1.25,merge=soft",
    )  # fmt: skip
    assert find_misused_views(args) is None
    assert view_settings(args) == {
        "slicing": Slicing(512, 512, 0.3, 4, "nms", "ios", 0.6),
        "tta": TestTimeAugmentation(True, (0.8, 1.25), "soft", 0.6),
    }
    assert view_settings(parse()) == {}
    assert view_settings(parse("--tta", "scale=1.5"))["tta"] == TestTimeAugmentation(False, (1.5,))
    assert parse("--overlap", "0.25 0.25").overlap == 0.25


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--slice", "640,"), "got '640,', expected height and width in pixels, for instance 640,640"),
        (("--slice", "-1,5"), "got '-1,5', expected height and width in pixels"),
        (("--overlap", "1"), "got 1, expected a number from 0 to 0.9"),
        (("--overlap", "much"), "got 'much', expected a number from 0 to 0.9"),
        (("--overlap", "0.1,0.2"), "got '0.1,0.2', expected one number, which is used in both directions"),
        (("--slice_batch", "0"), "got 0, expected at least 1"),
        (("--match_threshold", "1"), "got '1', expected a number between 0 and 1"),
        (("--tta", "mirror"), "got 'mirror' in 'mirror', expected flip, scale=S and merge=weighted|nms|soft"),
        (("--tta", "flip,scale=big"), "got the scale 'big', expected a number such as 1.25"),
        (("--tta", "scale=9"), "A scale is 9, expected 0.1 to 4"),
        (("--tta", "merge=best"), "merging is 'best', expected 'weighted' or 'nms' or 'soft'"),
        (("--tta", "flip,0.8"), "got '0.8' in 'flip,0.8'"),
    ],
)
def test_wrong_options(words, message):
    with pytest.raises(argparse.ArgumentError) as caught:
        parse(*(f"{words[0]}={words[1]}",))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--overlap", "0.2"), "--overlap goes with --slice"),
        (("--slice_batch", "2"), "--slice_batch goes with --slice"),
        (("--combine_method", "nms", "--tta", "flip"), "--combine_method goes with --slice"),
        (("--match_threshold", "0.5"), "--match_threshold goes with --slice and --tta"),
        (
            ("--slice", "0,10"),
            "--slice 0,10: The height of a slice is 0 pixels, expected 32 to 65536: it should be a few",
        ),
    ],
)
def test_misused_options(words, message):
    found = find_misused_views(parse(*words))
    assert found is not None and found.startswith(message)
