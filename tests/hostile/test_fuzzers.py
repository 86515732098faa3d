"""A few inputs of each fuzzer, so that the fuzzers keep working; and that they notice what they look for."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_utils

from benchmarks.fuzz import annotations, harness, recipes, run_lengths
from benchmarks.fuzz.watch import CANARY, MARK, watched
from ppdet_res2net.data.masks import outline_box, read_mask
from ppdet_res2net.errors import DatasetError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the fuzzers read /proc")

# Fuzzer -> number of inputs, and what must be among the outcomes
SAMPLES = {
    "run_lengths": (
        run_lengths,
        300,
        {"refused: DatasetError", "read: a list", "read: compressed", "written by the runtime"},
    ),
    "annotations": (annotations, 40, {"coco: check fix train score crops", "coco: refused by all"}),
    "recipes": (recipes, 40, {"refused: ConfigError", "built"}),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_few_inputs_give_no_finding(name, tmp_path):
    module, count, expected = SAMPLES[name]
    if hasattr(module, "prepare"):
        module.prepare()
    outcomes: Counter[str] = Counter()
    for seed in range(count):
        answer = harness.try_seed(module, seed, tmp_path)
        assert "finding" not in answer, f"python -m benchmarks.fuzz.{name} --seed {seed} --count 1\n{answer['finding']}"
        outcomes[answer["outcome"]] += 1
    assert expected <= set(outcomes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("act", "noticed"),
    [
        (lambda folder: (folder.parent / "outside.txt").write_text("x"), "writes .*outside.txt"),
        (lambda folder: (folder / CANARY / "secret.txt").read_text(), "reads .*secret.txt"),
        (lambda folder: os.listdir("/etc"), "reads /etc"),
        (lambda folder: os.rename(folder / "a", folder.parent / "b"), "os.rename writes"),
        (lambda folder: subprocess.run(["true"]), "subprocess.Popen"),
        (lambda folder: eval(f"'{MARK}'"), "compiled"),
        (lambda folder: logging.getLogger("ppdet_res2net").warning("\x1b[31m"), "the log has a message with control"),
    ],
)
def test_what_leaves_the_folder_is_noticed(act, noticed, tmp_path):
    folder = tmp_path / "input"
    (folder / CANARY).mkdir(parents=True)
    (folder / CANARY / "secret.txt").write_text("secret")
    (folder / "a").write_text("a")
    with pytest.raises(AssertionError, match=noticed), watched(folder):
        act(folder)


def test_what_stays_in_the_folder_is_allowed(tmp_path):
    with watched(tmp_path):
        (tmp_path / "a").write_text("a")
        assert (tmp_path / "a").read_text() == "a" and os.listdir(tmp_path) == ["a"]


@settings(max_examples=200, deadline=None, database=None)
@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=8), min_size=1, max_size=8), st.data())
def test_every_form_of_a_bitmap_is_the_same_mask(rows, data):
    """Runs may be split by runs without pixels, and written as a list or compressed."""
    width = min(map(len, rows))
    bitmap = np.array([row[:width] for row in rows], np.uint8)
    size = list(bitmap.shape)
    runs = [0]
    for pixel in bitmap.flatten(order="F"):
        if pixel != (len(runs) - 1) % 2:
            runs.append(0)
        runs[-1] += 1
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(runs)))
        runs[place:place] = [0, 0]
    compressed = mask_utils.frPyObjects({"size": size, "counts": runs}, *size)["counts"]
    for counts in (runs, compressed, compressed.decode(), list(map(str, runs))):
        if len(runs) > bitmap.size + 1:
            assert "run lengths for" in read_mask({"size": size, "counts": counts}, *size).complaint
            continue
        mask = read_mask({"size": size, "counts": counts}, *size).mask
        assert mask == mask_utils.encode(np.asfortranarray(bitmap))
        if bitmap.any():
            assert (outline_box(mask) <= [width, size[0], width, size[0]]).all()


def test_messages_of_errors_are_printable():
    error = DatasetError("'\x1b[2J\u202ea.png'\nis not there")
    assert str(error) == "'\\x1b[2J\\u202ea.png'\nis not there"
    assert error.args == ("'\x1b[2J\u202ea.png'\nis not there",)
