"""Folders of runs and datasets of classifiers that somebody else has prepared: refused by name, and nothing outside is read."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from ppdet_res2net.classification.model import load_classifier
from ppdet_res2net.data.classification.cifar import CIFARDataSet
from ppdet_res2net.data.classification.imagenet import ImageNetDataSet
from ppdet_res2net.errors import DatasetError, WeightsError
from ppdet_res2net.training.checkpoint import read_checkpoint_info, recover
from ppdet_res2net.training.run_state import check_form
from tests.helpers.toy_task import train_toy

SOUND = {
    "position": {"steps": 3, "best_score": 1},
    "optimizer": {},
    "scaler": {},
    "versions": {},
    "steps_per_epoch": 2,
    "images_per_step": 2,
    "seed": 0,
    "world_size": 1,
    "config": "",
}


@pytest.mark.parametrize(
    "change, named",
    [
        ({"position": []}, "position"),
        ({"position": {"steps": "x"}}, "position.steps"),
        ({"position": {"steps": True}}, "position.steps"),
        ({"position": {"steps": -1}}, "position.steps"),
        ({"position": {"metrics": 3}}, "position.metrics"),
        ({"position": {"__class__": 3}}, "position.__class__"),
        ({"optimizer": None}, "optimizer"),
        ({"config": 3}, "config"),
        ({"seed": "0"}, "seed"),
        ({"average": []}, "average"),
    ],
)
def test_plain_data_of_a_checkpoint_has_the_types_that_a_run_writes(change, named):
    check_form("run/1", SOUND)
    with pytest.raises(WeightsError, match=f"'run/1.pdstate' is damaged: '{named}' is not what a run writes"):
        check_form("run/1", {**SOUND, **change})


def test_a_checkpoint_whose_plain_data_is_a_list_is_damaged():
    with pytest.raises(WeightsError, match="'values' is not what a run writes"):
        check_form("run/1", [SOUND])


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "3",
        "[" * 100_000,
        '{"class_names": "ab", "category_ids": [1, 2]}',
        '{"class_names": {"a": 1}, "category_ids": {"b": 1}}',
        '{"class_names": [["a"]], "category_ids": [1]}',
        '{"class_names": ["a"], "category_ids": ["../x"]}',
        '{"class_names": ["a"], "category_ids": [true]}',
        '{"class_names": ["a"], "category_ids": [' + "9" * 5000 + "]}",
    ],
)
def test_a_description_of_classes_is_checked(tmp_path, content):
    (tmp_path / "model.json").write_text(content)
    with pytest.raises(WeightsError, match="should describe the classes of the weights beside it"):
        read_checkpoint_info(tmp_path / "model.pdparams")


@pytest.mark.parametrize(
    "backbone, preprocess, named",
    [
        ({"width": 100_000}, {}, "weights"),
        ({"path": "/etc/passwd"}, {}, "path"),
        ([], {}, "mapping"),
        ({"depth": 50}, {"size_px": "x"}, "size_px"),
        ({"depth": 50}, [], "items|mapping"),
    ],
)
def test_the_description_of_a_classifier_is_checked(tmp_path, backbone, preprocess, named):
    info = {"class_names": ["a"], "category_ids": [0], "backbone": backbone, "preprocess": preprocess}
    (tmp_path / "model.json").write_text(json.dumps(info))
    with pytest.raises(Exception, match=named) as raised:
        load_classifier(weights=str(tmp_path / "model.pdparams"))
    assert type(raised.value).__module__.partition(".")[0] in ("ppdet_res2net", "res2net_runtime")


def test_links_in_the_place_of_unfinished_saves_are_left_alone(tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    run.mkdir()
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    (run / ".a.saved").symlink_to(other)
    (run / ".b.saving").symlink_to(other)
    (run / ".c.saving").write_text("a file")
    recover(run)
    assert [path.name for path in other.iterdir()] == ["mine.txt"]


def test_a_run_with_such_links_trains(tmp_path):
    run = train_toy(tmp_path, epoch=1).run_dir
    (run / ".b.saving").symlink_to(tmp_path)
    assert train_toy(tmp_path, {"resume": "auto"}, epoch=2).steps > 0


def cifar_archive(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_an_archive_with_a_huge_file_is_refused_before_it_is_read(tmp_path):
    member = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
    member.size = 8 << 30
    path = tmp_path / "cifar-10-python.tar"
    path.write_bytes(member.tobuf())
    with pytest.raises(DatasetError, match="is not CIFAR's: those have some ten files of at most 256 MB"):
        len(CIFARDataSet(str(path)))


def test_an_archive_with_thousands_of_files_is_refused(tmp_path):
    path = cifar_archive(tmp_path / "cifar-10-python.tar.gz", {f"a/{n}": b"" for n in range(1000)})
    with pytest.raises(DatasetError, match="is not CIFAR's"):
        len(CIFARDataSet(str(path)))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_attributes_in_an_archive_have_a_limit(kind, tmp_path):
    """Python reads them into memory before anything can be asked of the file."""
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 8 << 30
    path = tmp_path / "cifar-10-python.tar"
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(DatasetError, match=r"attributes of 8589934592 bytes, where at most 65536 are read"):
        CIFARDataSet(str(path), split="train").parse_dataset()


def test_an_archive_of_nothing_but_attributes(tmp_path):
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 12
    path = tmp_path / "cifar-10-python.tar"
    path.write_bytes((header.tobuf(tarfile.GNU_FORMAT) + b"12 path=abc\n".ljust(512, b"\0")) * 5000)
    with pytest.raises(DatasetError, match="cannot be read|is not CIFAR's|holds neither"):
        CIFARDataSet(str(path), split="train").parse_dataset()


@pytest.mark.parametrize("cut", [30, 60])
def test_a_damaged_archive_is_named(tmp_path, cut):
    path = cifar_archive(tmp_path / "cifar-10-python.tar.gz", {"cifar-10-batches-py/batches.meta": os.urandom(5000)})
    data = bytearray(path.read_bytes())
    data[cut : cut + 20] = b"\xff" * 20
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="cifar-10-python.tar.gz"):
        len(CIFARDataSet(str(path)))


def test_links_and_pipes_of_cifar_are_not_followed(tmp_path):
    with tarfile.open(tmp_path / "cifar-10-python.tar", "w") as archive:
        link = tarfile.TarInfo("cifar-10-batches-py/batches.meta")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(DatasetError, match="cifar-10-python.tar' holds neither"):
        len(CIFARDataSet(str(tmp_path / "cifar-10-python.tar")))
    (tmp_path / "cifar-10-batches-py").mkdir()
    os.mkfifo(tmp_path / "cifar-10-batches-py" / "batches.meta")
    with pytest.raises(DatasetError, match="is a pipe, a socket or a device"):
        len(CIFARDataSet(str(tmp_path)))


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "a\0b"])
def test_kaggles_table_names_images_of_its_folder_only(tmp_path, name):
    (tmp_path / "val").mkdir()
    (tmp_path / "LOC_synset_mapping.txt").write_text("n01440764 tench\n")
    (tmp_path / "LOC_val_solution.csv").write_text(f"ImageId,PredictionString\n{name},n01440764 1 1 2 2\n")
    with pytest.raises(DatasetError, match=r"outside the image folder|has a NUL character"):
        len(ImageNetDataSet(str(tmp_path), "val"))
