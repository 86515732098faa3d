"""browse-dataset: the images are those that training gets."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ppdet_res2net.cli.main import main
from ppdet_res2net.datasets.browse import restore_pixels, write_browse_page
from ppdet_res2net.datasets.demo import make_demo_data
from ppdet_res2net.errors import DatasetError
from res2net_runtime.preprocess import Preprocessor
from tests.data.test_fused import NORMALIZE
from tests.helpers.datasets import BATCH_TRANSFORMS, SAMPLE_TRANSFORMS, dataset_in, loader_for


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_demo_data(tmp_path_factory.mktemp("data") / "demo", 14, 1, image_size_px=96)


@pytest.mark.parametrize(
    "arguments", [NORMALIZE["NormalizeImage"], {"is_scale": False, "mean": [9, 8, 7], "std": [2, 3, 4]}]
)
def test_normalisation_is_undone(arguments):
    pixels = np.random.RandomState(0).randint(0, 256, (7, 5, 3), np.uint8)
    prepare = Preprocessor.from_config([{"type": "NormalizeImage", **arguments}, {"type": "Permute"}])
    restored = restore_pixels(prepare(pixels)["image"], [{"Decode": {}}, {"NormalizeImage": arguments}])
    np.testing.assert_array_equal(restored, pixels)


def test_the_page_shows_the_batches_of_training(folder, tmp_path):
    loader = loader_for(dataset_in(folder))
    page = tmp_path / "out" / "page.html"
    names = ["<disk>", "box", "star"]
    assert write_browse_page(loader, names, SAMPLE_TRANSFORMS, page, "Pictures", 5, epoch=3) == 5
    html = page.read_text()
    batches = list(loader_for(dataset_in(folder)).epoch(3))[:3]
    expected = [
        f"step {step}, image id {int(image_id)}, {image.shape[2]}x{image.shape[1]}"
        for step, batch in enumerate(batches)
        for image_id, image in zip(batch["im_id"][:, 0], batch["image"])
    ][:5]
    assert re.findall(r"<figcaption>(.*?)</figcaption>", html) == expected
    shown = sum(len(boxes) for batch in batches for boxes in batch["gt_bbox"]) - len(batches[2]["gt_bbox"][1])
    assert html.count("<rect") == shown
    assert "&lt;disk&gt;" in html and html.count("data:image/jpeg") == 5
    assert write_browse_page(loader, names, SAMPLE_TRANSFORMS, page, "Pictures", 99) == 14
    with pytest.raises(DatasetError, match="cannot write '.*Choose another folder"):
        write_browse_page(loader, names, SAMPLE_TRANSFORMS, page / "x", "Pictures", 1)


def test_data_without_masks(folder, tmp_path):
    loader = loader_for(
        dataset_in(folder, data_fields=["image", "gt_bbox", "gt_class"]), batch_transforms=BATCH_TRANSFORMS
    )
    assert write_browse_page(loader, "abc", SAMPLE_TRANSFORMS, tmp_path / "page.html", "Pictures", 2) == 2
    html = (tmp_path / "page.html").read_text()
    assert "<rect" in html and "<path" not in html


def test_the_command(folder, tmp_path, capsys):
    page = tmp_path / "page.html"
    arguments = ["-n", "3", "--html", str(page), "-o", f"TrainDataset.dataset_dir={folder}"]
    assert main(["browse-dataset", "-c", "demo_mask_rcnn", *arguments]) == 0
    assert f"wrote {page} with 3 images of epoch 0" in capsys.readouterr().out
    assert "Training images of demo_mask_rcnn" in page.read_text()


def test_the_title_is_escaped(folder, tmp_path):
    write_browse_page(
        loader_for(dataset_in(folder)), ["a", "b", "c"], SAMPLE_TRANSFORMS, tmp_path / "a.html", "<script>", 1
    )
    assert "<script>" not in (tmp_path / "a.html").read_text()
