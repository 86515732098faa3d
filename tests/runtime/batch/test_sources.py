"""Every kind of source gives the names and ids that its file has."""

import json

import pytest

from res2net_runtime.batch.plan import find_difference, write_plan
from res2net_runtime.batch.sources import Entry, open_source
from res2net_runtime.errors import ImageError


def entries_of(path, **options) -> list[tuple[str, int | None]]:
    return [(one.name, one.image_id) for one in open_source(str(path), **options).entries()]


@pytest.fixture
def images(tmp_path):
    """A folder with two empty files; only their names count here."""
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "images" / "deep").mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).touch()
    (tmp_path / "images" / "deep" / "c.jpg").touch()
    return tmp_path / "images"


def write(path, text, encoding="utf-8"):
    path.write_text(text, encoding=encoding)
    return path


def test_a_folder(images):
    assert entries_of(images) == [("a.jpg", None), ("b.jpg", None)]
    assert entries_of(images, recursive=True) == [("a.jpg", None), ("b.jpg", None), ("deep/c.jpg", None)]


def test_a_list(images, tmp_path):
    assert entries_of(write(images / "list.txt", "a.jpg\n\ndeep/c.jpg\r\n")) == [("a.jpg", None), ("deep/c.jpg", None)]
    listed = write(tmp_path / "list.txt", "a.jpg\n")
    assert entries_of(listed, list_root=str(images)) == [("a.jpg", None)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("indent", [None, 1])
def test_a_coco_file(images, encoding, indent):
    content = {"images": [{"id": 7, "file_name": "a.jpg"}, {"id": 5.0, "file_name": "b.jpg"}], "annotations": []}
    file = write(images / "instances.json", json.dumps(content, indent=indent), encoding)
    assert entries_of(file) == [("a.jpg", 7), ("b.jpg", 5)]


def test_a_table_in_json_lines(images):
    lines = ['{"path": "a.jpg", "image_id": "3", "split": 1}', "", '{"path": "b.jpg", "image_id": 4}']
    assert entries_of(write(images / "table.jsonl", "\n".join(lines))) == [("a.jpg", 3), ("b.jpg", 4)]
    # Spark and BigQuery call such files .json.
    assert entries_of(write(images / "part-0.json", '{"file_name": "a.jpg"}\n')) == [("a.jpg", None)]
    assert entries_of(write(images / "other.jsonl", '{"photo": "b.jpg"}'), column="photo") == [("b.jpg", None)]


def test_a_table_in_parquet(images):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"path": ["a.jpg", "b.jpg"], "image_id": [9, 8]})
    parquet.write_table(table, images / "table.parquet")
    assert entries_of(images / "table.parquet") == [("a.jpg", 9), ("b.jpg", 8)]
    (images / "parts").mkdir()
    for number, name in enumerate(["b.jpg", "a.jpg"]):
        one = pyarrow.table({"photo": [name]})
        parquet.write_table(one, images / "parts" / f"part-{number}.parquet")
    parts = entries_of(images / "parts", column="photo", list_root=str(images))
    assert parts == [("b.jpg", None), ("a.jpg", None)]
    with pytest.raises(ImageError, match="has no column 'url'. It has path, image_id. --column names the one"):
        entries_of(images / "table.parquet", column="url")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "nothing.jpg\n", "Its only image is not below .*--list_root names the folder that paths begin from"),
        ("a.txt", "s3://bucket/a.jpg\n", "Line 1 of .* is a url"),
        ("a.jsonl", '{"a": 1}', "has no column with paths. It has a. --column names the one"),
        ("a.jsonl", '{"path": "a.jpg"}\n{"path": ', "Line 2 of '.*' is not JSON: .*Correct the file"),
        ("a.jsonl", '{"path": "a.jpg"}\n3', "Line 2 of '.*' is 3, expected an object"),
        ("a.jsonl", '{"path": null}', "path of row 1 in '.*' is None, expected the path of an image"),
        ("a.jsonl", '{"path": {"bytes": "..."}}', "is an image itself, expected the path"),
        ("a.jsonl", '{"path": "gs://bucket/a.jpg"}', "names a url, 'gs://bucket/a.jpg'"),
        ("a.jsonl", '{"path": "a.jpg", "image_id": "x"}', "image_id of row 1 in '.*' is x, expected a whole number"),
        ("a.json", '{"images": [{"file_name": "a.jpg"}]}', "id of image 'a.jpg' in '.*' is None, expected a whole number"),
        ("a.json", '{"images": [1]}', "Image 0 of '.*' is 1, expected an object"),
        ("a.json", '{"images": []}', "The COCO file '.*' names no image"),
        ("a.json", '{\n"annotations": []}', "is JSON, but not COCO's: it has no list 'images'"),
        ("a.json", '{\n"images": [', "is not JSON: .*It may be cut off"),
        ("a.json", '["a.jpg"]', "is a list in JSON. Write one path per line instead"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said(images, name, text, message):
    with pytest.raises(ImageError, match=message):
        entries_of(write(images / name, text))


def test_options_without_what_they_are_for_are_refused(images):
    listed = str(write(images / "list.txt", "a.jpg"))
    for options, message in (
        ({"recursive": True}, "--recursive goes with a folder, and '.*list.txt' is not one"),
        ({"column": "path"}, "--column goes with tables, and '.*list.txt' is a list of paths"),
    ):
        with pytest.raises(ImageError, match=message):
            open_source(listed, **options)
    with pytest.raises(
        ImageError, match="--list_root goes with lists, COCO files and tables, and '.*images' is a folder"
    ):
        open_source(str(images), list_root="x")
    with pytest.raises(ImageError, match="^Cannot read '.*missing': No such file"):
        open_source(str(images / "missing"))
    (images / "a.jpg").touch()
    with pytest.raises(ImageError, match="a.jpg' is an image. Pass its folder, or a list with one path per line"):
        open_source(str(images / "a.jpg"))
    with pytest.raises(ImageError, match="is a url. Download the images first, or mount the bucket"):
        open_source("s3://bucket/photos")


def ids_of(plan) -> list[int]:
    return [one.image_id for index in range(plan.shard_count) for one in plan.read_shard(index)]


def test_ids_are_the_sources_or_numbers_in_the_names_or_positions(tmp_path):
    given = write_plan([Entry("b.jpg", 5), Entry("a.jpg", 3)], tmp_path / "given", 1)
    numbers = write_plan([Entry("x/007.jpg"), Entry("3.png")], tmp_path / "numbers", 1)
    positions = write_plan([Entry("7.jpg"), Entry("x.jpg"), Entry("8.jpg")], tmp_path / "positions", 2)
    same_numbers = write_plan([Entry("a/7.jpg"), Entry("b/7.jpg")], tmp_path / "same", 2)
    assert [ids_of(one) for one in (given, numbers, positions, same_numbers)] == [[5, 3], [7, 3], [0, 1, 2], [0, 1]]
    assert [positions.shard_images(index) for index in range(2)] == [2, 1]
    assert [one.name for one in positions.read_shard(1)] == ["8.jpg"]


def test_names_that_are_not_utf8_stay(tmp_path):
    plan = write_plan([Entry("\udcd6.jpg")], tmp_path / "plan", 1)
    assert plan.read_shard(0)[0].name == "\udcd6.jpg"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "There is no image to run on"),
        ([Entry("a"), Entry("b"), Entry("a")], "The image 'a' is there more than once"),
        ([Entry("a", 1), Entry("b", 1)], "The image id '1' is there more than once"),
        ([Entry("a"), Entry("b", 1)], "1 of 2 images have an image_id. Give all of them one, or none"),
    ],
)
def test_results_must_be_told_apart(tmp_path, entries, message):
    with pytest.raises(ImageError, match=message):
        write_plan(entries, tmp_path / "plan", 10)


def test_the_first_difference_is_named(tmp_path):
    def differ(old, new):
        paths = []
        for name, entries in (("old", old), ("new", new)):
            paths.append(write_plan([Entry(*one) for one in entries], tmp_path / name, 10).path)
        return find_difference(*paths)

    assert differ([("a",)], [("a",), ("b",)]) == "after its 1 images, 'b' is new"
    assert differ([("a",), ("b",)], [("a",)]) == "image 2, 'b', and those after it are missing"
    assert differ([("a",)], [("b",)]) == "image 1 was 'a', and is 'b'"
    assert differ([("a", 1)], [("a", 2)]) == "image 1, 'a', has another id"
