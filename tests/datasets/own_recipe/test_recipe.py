"""The recipes of init: the loader accepts them, their settings follow the data, and training runs with them."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from ppdet_res2net.config import load_config
from ppdet_res2net.config.interval import interval_in_steps
from ppdet_res2net.datasets.own_recipe import SIZES, RecipeOptions, create_recipe
from ppdet_res2net.datasets.own_recipe.anchors import fit_free, fit_octaves
from ppdet_res2net.datasets.own_recipe.measure import Measures
from ppdet_res2net.datasets.own_recipe.settings import choose_settings
from ppdet_res2net.datasets.recipe_fit.matching import Anchors
from ppdet_res2net.errors import DatasetError
from ppdet_res2net.ppdet_modules.registry import create_from_config
from ppdet_res2net.zoo.catalog import get_model_spec
from ppdet_res2net.zoo.formats import save_weights_file
from ppdet_res2net.zoo.load import load_pretrained
from tests.goldens.synthetic import without_random_weights
from tests.helpers.layouts import LAYOUTS, images_of


def measures(sides, images: int = 50, image_px=(800, 600), names=("cat", "dog"), masks: int = 0) -> Measures:
    counts = {name: (len(sides), 1) for name in names}
    return Measures(images, 10, 0, counts, masks, False, image_px, *placed(np.asarray(sides, float), 1.0))


def placed(sides: np.ndarray, image: float) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes of these sides (N, 2), each somewhere in an image, and the sizes of the images."""
    starts = np.random.default_rng(0).uniform(0, 1, sides.shape) * np.maximum(image - sides, 0)
    return np.concatenate([starts, starts + sides], axis=1), np.full(sides.shape, image)


@pytest.mark.parametrize("kind", ["boxes", "masks"])
@pytest.mark.parametrize("size", SIZES)
def test_the_loader_accepts_every_recipe(size, kind, demo_data, tmp_path):
    out = tmp_path / "mine.yml"
    recipe = create_recipe(out, RecipeOptions(demo_data, size=size, kind=kind))
    config = load_config(out)
    chosen = recipe.settings
    assert config["architecture"] == {"boxes": "FasterRCNN", "masks": "MaskRCNN"}[kind]
    assert config["num_classes"] == 3 and config["epoch"] == chosen.epochs
    assert config["RPNHead"]["anchor_generator"]["anchor_sizes"] == [[one] for one in chosen.anchors.sizes]
    sizes = [list(chosen.input_px)] * 2
    readers = [config[f"{split}Reader"]["sample_transforms"][1]["Resize"]["target_size"] for split in ("Eval", "Test")]
    assert readers == sizes and sizes[0] in config["TrainReader"]["sample_transforms"][1]["RandomResize"]["target_size"]


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_a_small_recipe_trains(kind, demo_data, tmp_path):
    from ppdet_res2net.detection.task import train

    out = tmp_path / "mine.yml"
    create_recipe(out, RecipeOptions(demo_data, kind=kind))
    config = load_config(out, [f"save_dir={tmp_path / 'output'}", "worker_num=0", "use_gpu=false"])
    assert train(config, evaluate=True, max_steps=1).metrics["bbox"]["AP"] >= 0


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_a_medium_recipe_starts_from_all_of_a_published_detector_but_its_last_layers(kind, demo_data, tmp_path):
    out = tmp_path / "mine.yml"
    create_recipe(out, RecipeOptions(demo_data, size="medium", kind=kind))
    config = load_config(out)
    published = config["pretrain_weights"]
    with without_random_weights():
        models = [
            create_from_config(one, one["architecture"])
            for one in (load_config(published.removeprefix("ppdet/")), config)
        ]
    path = tmp_path / get_model_spec(published).file_names[0]
    save_weights_file(path, {key: np.zeros(tensor.shape, np.float32) for key, tensor in models[0].state_dict().items()})
    report = str(load_pretrained(models[1], path))
    assert "a different number of classes" in report
    left_out = {"bbox_head.bbox_score", "bbox_head.bbox_delta", "mask_head.mask_fcn_logits"}
    random = {key for key, tensor in models[1].state_dict().items() if np.abs(tensor.numpy()).max() > 0}
    assert all(key.rpartition(".")[0] in left_out for key in random)


@pytest.mark.parametrize(
    "name", ["with space", "quote's", 'double"', "col: on", "# hash", "é", "2024", "😀", "line\u2028end", "a" * 100]
)
def test_any_path_may_be_in_a_recipe(name, demo_data, tmp_path):
    LAYOUTS["cvat"](demo_data, tmp_path / name)
    out = tmp_path / f"{name}.yml"
    recipe = create_recipe(out, RecipeOptions(tmp_path / name))
    arguments = load_config(out)["TrainDataset"].kwargs
    assert arguments["image_dir"] == str(recipe.prepared.train.image_dir)
    assert arguments["anno_path"] == str(tmp_path / f"{name}_annotations" / "train.json")


@pytest.mark.parametrize("line_end", ["\n", "\r", "\x85", "\u2028", "\u2029", "\x0b"])
def test_names_of_classes_cannot_write_settings(line_end, demo_data, tmp_path):
    LAYOUTS["cvat"](demo_data, tmp_path / "data")
    path = tmp_path / "data/annotations/instances_default.json"
    content = json.loads(path.read_text())
    content["categories"][0]["name"] = f"left{line_end}seed: 77{line_end}"
    path.write_text(json.dumps(content))
    create_recipe(tmp_path / "mine.yml", RecipeOptions(tmp_path / "data"))
    assert "seed" not in load_config(tmp_path / "mine.yml")


def test_paths_that_are_not_utf8_are_refused(demo_data, tmp_path):
    folder = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"caf\xe9"))
    LAYOUTS["cvat"](demo_data, Path(folder))
    with pytest.raises(DatasetError, match="is not UTF-8, so no recipe can name it"):
        create_recipe(tmp_path / "mine.yml", RecipeOptions(Path(folder)))


def test_the_same_seed_makes_the_same_files(demo_data, tmp_path):
    LAYOUTS["cvat"](demo_data, tmp_path / "data")
    texts = []
    for name in "ab":
        create_recipe(tmp_path / name / "mine.yml", RecipeOptions(tmp_path / "data", seed=3))
        texts.append([path.read_bytes() for path in sorted((tmp_path / name / "mine_annotations").iterdir())])
    assert texts[0] == texts[1] and len(texts[0]) == 2


def test_small_objects_get_a_larger_input():
    large = choose_settings(measures(np.full((20, 2), 0.2)), "small")
    small = choose_settings(measures(np.full((20, 2), 0.03)), "small")
    tiny = choose_settings(measures(np.full((20, 2), 0.005), image_px=(4000, 3000)), "small")
    assert large.input_px == (320, 320) and "no more is needed" in large.why_input
    assert small.input_px == (544, 544) and small.object_px >= 16
    assert tiny.input_px == (640, 640) and "cut the images into tiles" in tiny.why_input


def test_images_are_not_enlarged_for_small_objects():
    assert choose_settings(measures(np.full((20, 2), 0.01), image_px=(400, 300)), "small").input_px == (416, 416)


def test_small_images_stay_as_they_are():
    assert choose_settings(measures(np.full((20, 2), 0.3), image_px=(96, 72)), "small").input_px == (96, 96)


def test_few_images_are_seen_more_often():
    few, many = (choose_settings(measures(np.full((20, 2), 0.2), images), "small") for images in (14, 2000))
    assert few.epochs == 72 and few.steps == 504
    assert many.steps <= 3000 and many.epochs >= 2


def test_fewer_of_larger_images_are_seen():
    small, large = (choose_settings(measures(np.full((20, 2), share), 200), "small") for share in (0.2, 0.02))
    assert small.steps == 3000 and large.input_px == (640, 640) and large.steps == 1500


@pytest.mark.parametrize(
    ("size", "train", "val", "interval", "share"),
    [
        ("small", 50, 10, 6, 0.01),  # 60 epochs: ten evaluations
        ("small", 50, 200, 15, 0.09),  # four of them, as all images take long
        ("small", 5000, 50, "500 steps", 0.02),  # ten within two epochs
        ("small", 5000, 5000, 1, 0.33),  # two at least
        ("large", 5000, 1000, 1, 0.07),
    ],
)
def test_evaluations_take_a_small_share_of_the_time(size, train, val, interval, share):
    settings = choose_settings(dataclasses.replace(measures([(0.3, 0.3)], images=train), val_images=val), size)
    assert settings.eval_interval == interval
    assert settings.evaluation_share == pytest.approx(share, abs=0.005)
    count = settings.steps / interval_in_steps(interval, settings.steps_per_epoch)
    assert 2 <= count <= 12 and count * val / 3 / (settings.steps * settings.batch_size) == pytest.approx(
        share, abs=0.005
    )


def test_one_image_makes_a_batch_of_one():
    chosen = choose_settings(measures(np.full((20, 2), 0.2), images=1), "small")
    assert chosen.batch_size == 1 and chosen.steps_per_epoch == 1


@pytest.mark.parametrize("name", ["left hand", "Right", "arrow_L"])
def test_classes_with_a_side_are_not_mirrored(name):
    chosen = choose_settings(measures(np.full((20, 2), 0.2), names=(name, "dog")), "small")
    assert chosen.flip == 0.0 and name in chosen.why_flip


@pytest.mark.parametrize("name", ["bright spot", "leftover", "cell"])
def test_other_classes_are_mirrored(name):
    assert choose_settings(measures(np.full((20, 2), 0.2), names=(name,)), "small").flip == 0.5


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_fitted_anchors_are_better_than_the_usual_ones(scale):
    generator = np.random.default_rng(0)
    objects, strides = placed(scale * np.exp(generator.normal(3.5, 0.5, (200, 2))), 320.0), (4, 8, 16, 32)
    anchors = fit_free(*objects, strides, 320)
    usual = Anchors(tuple((4.0 * one,) for one in strides), ((0.5, 1.0, 2.0),) * 4, strides)
    assert anchors.mean_overlap >= usual.best_overlaps(*objects).mean()
    assert list(anchors.sizes) == sorted(anchors.sizes)
    assert all(2 * stride <= size for size, stride in zip(anchors.sizes, strides))


def test_anchors_of_published_detectors_keep_their_octaves():
    strides = (4, 8, 16, 32, 64)
    assert fit_octaves(*placed(np.full((50, 2), 256.0), 800.0), strides).sizes == (32, 64, 128, 256, 512)
    small = fit_octaves(*placed(np.full((50, 2), 12.0), 800.0), strides).sizes
    assert small[0] < 20 and np.allclose(np.diff(np.log2(small)), 1, atol=0.1)


def test_long_objects_get_long_anchors():
    sides = np.array([[100.0, 10.0], [90.0, 8.0], [120.0, 14.0]] * 10)
    anchors = fit_free(*placed(sides, 320.0), (4, 8, 16, 32), 320)
    assert max(anchors.ratios) < 0.2 and anchors.covered > 0.9


def test_comments_and_values_agree(demo_data, tmp_path):
    out = tmp_path / "mine.yml"
    recipe = create_recipe(out, RecipeOptions(demo_data))
    text = out.read_text()
    assert f"{recipe.settings.epochs} epochs of {recipe.settings.steps_per_epoch} steps" in text.replace("\n# ", " ")
    assert f"epoch: {recipe.settings.epochs}\n" in text
    assert str(images_of(demo_data, "train")) in text
