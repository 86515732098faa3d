"""split-dataset: both parts have every class in proportion, and no picture is in both."""

from __future__ import annotations

import json
from collections import Counter

import cv2
import numpy as np
import pytest

from ppdet_res2net.cli.split_dataset import main
from ppdet_res2net.data.annotations import read_annotations
from ppdet_res2net.data.coco_file import parse_coco
from ppdet_res2net.datasets.check import DatasetSource, check_datasets
from ppdet_res2net.datasets.check.pictures import examine_pictures
from ppdet_res2net.datasets.rearrange.alike import group_alike, group_to_split
from ppdet_res2net.datasets.rearrange.split import choose_held_out
from ppdet_res2net.errors import ConfigError, DatasetError
from tests.helpers.layouts import annotations_of, images_of, write_json


def random_content(images: int = 200, shares=(0.9, 0.3, 0.05), seed: int = 0) -> dict:
    """Return annotations whose classes occur in these shares of the images."""
    generator = np.random.default_rng(seed)
    annotations = [
        {"image_id": image, "category_id": category, "bbox": [1, 1, 8, 8]}
        for image in range(images)
        for category, share in enumerate(shares)
        for _ in range(int(generator.integers(1, 4)) if generator.random() < share else 0)
    ]
    return {
        "images": [{"id": image, "file_name": f"{image}.png", "width": 32, "height": 32} for image in range(images)],
        "annotations": [{**one, "id": number} for number, one in enumerate(annotations, 1)],
        "categories": [{"id": category, "name": f"c{category}"} for category in range(len(shares))],
    }


def counts_of(file, chosen) -> Counter:
    return Counter(one.category_id for one in file.annotations if one.image.id in chosen)


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_every_class_is_split_in_proportion(fraction):
    file = parse_coco(random_content())
    chosen = choose_held_out(file, fraction)
    everything, held_out = counts_of(file, range(200)), counts_of(file, chosen)
    assert len(chosen) == pytest.approx(fraction * 200, abs=6)
    for category, count in everything.items():
        assert held_out[category] == pytest.approx(fraction * count, abs=max(2.0, 0.05 * count))


def test_stratified_splits_are_closer_than_random_ones():
    file = parse_coco(random_content(60, (0.5, 0.2, 0.08)))
    everything = counts_of(file, range(60))

    def distance(chosen):
        return sum(abs(counts_of(file, chosen)[category] / count - 0.2) for category, count in everything.items())

    generator = np.random.default_rng(0)
    random = [distance(generator.permutation(60)[:12].tolist()) for _ in range(50)]
    assert distance(choose_held_out(file, 0.2)) < np.quantile(random, 0.1)


def test_a_class_in_one_image_is_trained_on():
    content = random_content(20, (0.9,))
    content["categories"].append({"id": 9, "name": "rare"})
    content["annotations"].append({"id": 999, "image_id": 7, "category_id": 9, "bbox": [1, 1, 8, 8]})
    assert all(7 not in choose_held_out(parse_coco(content), 0.3, seed) for seed in range(5))


def test_seeds_choose_and_repeat():
    file = parse_coco(random_content())
    assert choose_held_out(file, 0.2, 1) == choose_held_out(file, 0.2, 1) != choose_held_out(file, 0.2, 2)


def test_groups_stay_together():
    groups = {image: image // 5 for image in range(200)}
    chosen = choose_held_out(parse_coco(random_content()), 0.2, 0, groups)
    assert all(len({image in chosen for image in range(start, start + 5)}) == 1 for start in range(0, 200, 5))
    assert len(chosen) == pytest.approx(40, abs=10)


@pytest.mark.parametrize(
    ("images", "groups", "what"),
    [
        (1, None, "one image alone cannot be split"),
        (6, dict.fromkeys(range(6), 0), "the 6 images all look alike, so they cannot be split"),
    ],
)
def test_what_cannot_be_split(images, groups, what):
    with pytest.raises(DatasetError, match=what):
        choose_held_out(parse_coco(random_content(images)), 0.2, 0, groups)


def test_objects_in_one_image_cannot_be_split():
    content = random_content(5, (0.9,))
    content["annotations"] = [{"id": 1, "image_id": 2, "category_id": 0, "bbox": [1, 1, 8, 8]}]
    with pytest.raises(DatasetError, match="the objects are all in one image"):
        choose_held_out(parse_coco(content), 0.2)


def test_both_parts_have_objects():
    content = random_content(20, (0.9,))
    content["annotations"] = [
        {"id": image, "image_id": image, "category_id": 0, "bbox": [1, 1, 8, 8]} for image in (3, 4)
    ]
    for seed in range(10):
        assert len({3, 4} & choose_held_out(parse_coco(content), 0.2, seed)) == 1


@pytest.fixture
def pictures(tmp_path):
    """Return a function that writes pictures by name, and returns what was found out about them."""

    def write(**pictures):
        content = random_content(len(pictures))
        for entry, (name, picture) in zip(content["images"], pictures.items()):
            entry["file_name"] = f"{name}.png"
            cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
        return list(examine_pictures({one.id: one for one in parse_coco(content).images}, tmp_path))

    return write


def scene(seed: int) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return cv2.resize(small, (160, 120), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: picture[:, ::-1],
        lambda picture: np.rot90(picture),
        lambda picture: (picture * 0.6 + 20).astype(np.uint8),
        lambda picture: cv2.resize(picture, (80, 60)),
        lambda picture: cv2.GaussianBlur(picture, (5, 5), 0),
    ],
    ids=["mirrored", "turned", "darker", "smaller", "blurred"],
)
def test_copies_are_one_group(change, pictures):
    first, copy, other = group_alike(pictures(a=scene(1), b=np.ascontiguousarray(change(scene(1))), c=scene(2)))
    assert first == copy != other


def test_augmented_copies_of_roboflow_are_one_group(pictures):
    names = [f"photo_jpg.rf.{digit * 32}" for digit in "ab"]
    groups = group_alike(pictures(**{names[0]: scene(1), names[1]: scene(2), "other": scene(3)}))
    assert groups[0] == groups[1] != groups[2]


def fixed_camera(count: int) -> dict[str, np.ndarray]:
    """Return pictures of one scene in which something small moves."""
    pictures = {}
    for number in range(count):
        picture = scene(1)
        cv2.circle(picture, (20 + 13 * number, 60), 4, (255, 255, 255), -1)
        pictures[f"frame{number}"] = picture
    return pictures


def test_pictures_of_a_fixed_camera_can_be_split(pictures):
    frames = fixed_camera(8)
    frames["copy"] = frames["frame3"]
    found = pictures(**frames)
    assert len(set(group_alike(found))) == 1
    groups, note = group_to_split(found, 0.2)
    assert len(set(groups.values())) > 1 and groups[found[3].image_id] == groups[found[8].image_id]
    assert note.startswith("Most images look alike, as those of a fixed camera do")


def test_pictures_that_differ_in_nothing_but_noise_can_be_split(pictures):
    noise = np.random.default_rng(0)
    found = pictures(
        **{f"f{number}": scene(1) // 2 + noise.integers(0, 9, (120, 160, 3), np.uint8) for number in range(6)}
    )
    groups, note = group_to_split(found, 0.2)
    assert len(set(groups.values())) == 6 and "only copies of a file were kept together" in note


def test_other_pictures_are_grouped_without_a_note(pictures):
    groups, note = group_to_split(pictures(a=scene(1), b=scene(1)[:, ::-1], c=scene(2), d=scene(3)), 0.2)
    assert len(set(groups.values())) == 3 and note == ""


def test_plain_pictures_are_not_alike(pictures):
    plain = [np.full((40, 60, 3), shade, np.uint8) for shade in (0, 120, 255)]
    assert len(set(group_alike(pictures(a=plain[0], b=plain[1], c=plain[2])))) == 3


def test_the_command(demo_data, tmp_path, capsys):
    annotations = demo_data / "annotations/instances_train2017.json"
    words = ["--annotations", str(annotations), "--images", str(images_of(demo_data, "train"))]
    out = tmp_path / "split"
    assert main([*words, "--test_fraction", "0.2", "--val_fraction", "0.2", "--out", str(out)]) == 0
    files = {path.stem: read_annotations(path) for path in out.iterdir()}
    assert set(files) == {"train", "val", "test"}
    ids = [image.id for file in files.values() for image in file.images]
    content = annotations_of(demo_data, "train")
    assert sorted(ids) == sorted(image["id"] for image in content["images"])
    assert sum(len(file.annotations) for file in files.values()) == len(content["annotations"])
    assert json.loads((out / "val.json").read_text())["categories"] == content["categories"]
    printed = capsys.readouterr().out
    assert printed.startswith(f"wrote {out}/train.json: ") and "next: " in printed
    sources = [DatasetSource(path, images_of(demo_data, "train")) for path in sorted(out.iterdir())]
    codes = {problem.code for report in check_datasets(sources) for problem in report.groups}
    assert "in-both-splits" not in codes
    with pytest.raises(ConfigError, match="train.json' exists already"):
        main([*words, "--out", str(out)])


def test_sets_with_errors_are_refused(demo_data, tmp_path):
    content = annotations_of(demo_data, "train")
    content["images"][0]["file_name"] = "missing.png"
    path = write_json(tmp_path / "all.json", content)
    with pytest.raises(DatasetError, match="whose file is missing"):
        main(["--annotations", str(path), "--images", str(images_of(demo_data, "train")), "--out", str(tmp_path / "x")])


@pytest.mark.parametrize("share", ["0", "1"])
def test_wrong_fractions(share, tmp_path):
    with pytest.raises(ConfigError, match="expected more than 0 and less than 1"):
        main(["--annotations", "a.json", "--images", ".", "--val_fraction", share, "--out", str(tmp_path)])
