"""merge-datasets: categories by name, new ids, and images that are found in the end."""

from __future__ import annotations

import json
import shutil

import pytest

from ppdet_res2net.cli.merge_datasets import main
from ppdet_res2net.datasets.check import DatasetSource, check_datasets
from ppdet_res2net.errors import ConfigError, DatasetError
from tests.helpers.layouts import annotations_of, images_of, write_json


def named_objects(content: dict) -> list:
    """Return class and box of each object by the last part of its image's name."""
    names = {one["id"]: one["name"] for one in content["categories"]}
    files = {one["id"]: one["file_name"].rpartition("/")[2] for one in content["images"]}
    return sorted((files[one["image_id"]], names[one["category_id"]], one["bbox"]) for one in content["annotations"])


@pytest.fixture
def two(demo_data, tmp_path):
    """Two datasets with the same names of images; the second one has other ids and one category more."""
    first, second = annotations_of(demo_data, "train"), annotations_of(demo_data, "val")
    second["categories"] = [{"id": 77, "name": "new"}, *({**one, "id": one["id"] + 10} for one in second["categories"])]
    for one in second["annotations"]:
        one["category_id"] += 10
        one["own_key"] = "kept"
    for name, content, split in (("a", first, "train"), ("b", second, "val")):
        shutil.copytree(images_of(demo_data, split), tmp_path / name / "images")
        write_json(tmp_path / name / "labels.json", content)
    return tmp_path, first, second


def test_two_datasets_with_their_folders(two, capsys):
    folder, first, second = two
    files, images = ([str(folder / name / what) for name in "ab"] for what in ("labels.json", "images"))
    out = folder / "all.json"
    assert main(["--annotations", *files, "--images", *images, "--out", str(out)]) == 0
    merged = json.loads(out.read_text())
    assert named_objects(merged) == sorted([*named_objects(first), *named_objects(second)])
    assert [one["name"] for one in merged["categories"]] == [*(one["name"] for one in first["categories"]), "new"]
    for entries in (merged["images"], merged["annotations"], merged["categories"]):
        assert [one["id"] for one in entries] == list(range(1, len(entries) + 1))
    assert sum(one.get("own_key") == "kept" for one in merged["annotations"]) == len(second["annotations"])
    (report,) = check_datasets([DatasetSource(out, folder)])
    assert not report.count("error")
    assert f"{len(first['images']) + len(second['images'])} images" in capsys.readouterr().out


def test_images_of_the_same_name_are_refused(two):
    folder, first, second = two
    second["images"][0]["file_name"] = first["images"][0]["file_name"]
    write_json(folder / "b" / "labels.json", second)
    files = [str(folder / name / "labels.json") for name in "ab"]
    with pytest.raises(DatasetError, match="both have an image '.*'. Pass the image folder of each file with --images"):
        main(["--annotations", *files, "--out", str(folder / "all.json")])
    assert not (folder / "all.json").exists()


def test_images_in_one_folder_keep_their_names(two):
    folder, first, second = two
    for image in second["images"]:
        image["file_name"] = f"other_{image['file_name']}"
    write_json(folder / "b" / "labels.json", second)
    out = folder / "all.json"
    assert main(["--annotations", *(str(folder / name / "labels.json") for name in "ab"), "--out", str(out)]) == 0
    names = [image["file_name"] for image in json.loads(out.read_text())["images"]]
    assert names == [image["file_name"] for image in (*first["images"], *second["images"])]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--annotations", "a.json"], "names one file; expected two or more"),
        (["--annotations", "a.json", "b.json", "--images", "x"], "2 files, but --images 1 folders"),
    ],
)
def test_wrong_arguments(words, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        main([*words, "--out", str(tmp_path / "all.json")])


def test_a_missing_folder(two):
    folder, _, _ = two
    files = [str(folder / name / "labels.json") for name in "ab"]
    with pytest.raises(DatasetError, match="there is no image folder"):
        main(
            [
                "--annotations",
                *files,
                "--images",
                str(folder / "a/images"),
                "nowhere",
                "--out",
                str(folder / "all.json"),
            ]
        )
