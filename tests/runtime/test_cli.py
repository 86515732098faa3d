"""deploy/python/infer.py, as a user calls it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from res2net_runtime.errors import ImageError
from res2net_runtime.image_lists import name_images
from res2net_runtime.pictures import picture_names
from res2net_runtime.result_files import ResultFiles
from tests.helpers.runtime_toys import BRIGHT, DARK, picture, toy_model_dir

SCRIPT = Path(__file__).parents[2] / "deploy" / "python" / "infer.py"


@pytest.fixture(scope="module")
def infer():
    spec = importlib.util.spec_from_file_location("deploy_infer", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return toy_model_dir(tmp_path_factory)


@pytest.fixture
def image_dir(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name, size, value in [
        ("12.jpg", (40, 60), BRIGHT),
        ("7.png", (60, 40), BRIGHT),
        ("9.bmp", (40, 60), DARK),
    ]:
        cv2.imwrite(str(folder / name), picture(*size, value))
    return folder


def run(infer, model_dir, output_dir, *arguments) -> int:
    return infer.main(
        ["--model_dir", str(model_dir), "--output_dir", str(output_dir), "--cpu_threads", "1", *arguments]
    )


def test_folder_gives_pictures_and_coco_results(infer, model_dir, image_dir, tmp_path, capsys):
    output = tmp_path / "out" / "deep"
    assert run(infer, model_dir, output, "--image_dir", str(image_dir), "--save_results", "--batch_size", "2") == 0
    assert sorted(path.name for path in output.iterdir()) == [
        "12.jpg",
        "7.png",
        "9.png",
        "bbox.json",
        "mask.json",
    ]
    assert (cv2.imread(str(output / "7.png")) != BRIGHT).any()
    assert (cv2.imread(str(output / "9.png")) == DARK).all()
    boxes, masks = (json.loads((output / name).read_text()) for name in ("bbox.json", "mask.json"))
    assert [(entry["file_name"], entry["image_id"], entry["category_id"]) for entry in boxes] == [
        ("12.jpg", 12, 18),
        ("7.png", 7, 18),
    ]
    assert set(boxes[0]) == {"file_name", "image_id", "category_id", "bbox", "score"}
    np.testing.assert_allclose(boxes[0]["bbox"], [0, 0, 60, 40], rtol=1e-5)
    assert set(masks[0]) == {"file_name", "image_id", "category_id", "segmentation", "score"}
    assert masks[0]["segmentation"]["size"] == [40, 60]
    assert coco_mask.area(masks[0]["segmentation"]) > 0.9 * 40 * 60
    out = capsys.readouterr().out
    assert "3 of 3 images, 2 detections with a score of at least 0.5, Paddle" in out
    assert f"Pictures and results are in '{output}'." in out


def test_threshold_is_for_the_pictures_and_results_hold_all(infer, model_dir, image_dir, tmp_path):
    arguments = ["--image_file", str(image_dir / "7.png"), "--threshold", "0.999", "--save_results"]
    assert run(infer, model_dir, tmp_path / "out", *arguments) == 0
    assert (cv2.imread(str(tmp_path / "out" / "7.png")) == BRIGHT).all()
    assert len(json.loads((tmp_path / "out" / "bbox.json").read_text())) == 1


def test_one_image_prints_its_detections(infer, model_dir, image_dir, tmp_path, capsys):
    assert run(infer, model_dir, tmp_path, "--image_file", str(image_dir / "12.jpg"), "--run_mode", "paddle") == 0
    assert "dog 0.757: left 0.0, top 0.0, right 60.0, bottom 40.0" in capsys.readouterr().out
    assert (tmp_path / "12.jpg").exists() and not (tmp_path / "bbox.json").exists()


def test_bad_images_are_reported_and_the_others_done(infer, model_dir, image_dir, tmp_path, capsys):
    (image_dir / "8.jpg").write_bytes(b"broken")
    (image_dir / "empty.png").touch()
    assert run(infer, model_dir, tmp_path / "out", "--image_dir", str(image_dir), "--save_results") == 1
    captured = capsys.readouterr()
    assert "3 of 5 images" in captured.out and "2 of 5 images failed; see above." in captured.err
    assert "Cannot decode image" in captured.err and "8.jpg" in captured.err and "empty.png' is empty" in captured.err
    ids = {entry["file_name"]: entry["image_id"] for entry in json.loads((tmp_path / "out" / "bbox.json").read_text())}
    assert ids == {"12.jpg": 0, "7.png": 1}  # "empty" is not a number, so ids are positions


def test_gigantic_images_do_not_stop_the_others(infer, model_dir, image_dir, tmp_path, capsys):
    claims_much = bytearray(cv2.imencode(".png", picture(4, 4))[1].tobytes())
    claims_much[16:24] = (60_000).to_bytes(4, "big") * 2  # the size in the header
    (image_dir / "bomb.png").write_bytes(claims_much)
    Image.fromarray(picture(1, 70_000)).save(image_dir / "ribbon.jpg", format="PNG")
    arguments = ["--image_dir", str(image_dir), "--batch_size", "4"]
    assert run(infer, model_dir, tmp_path / "out", *arguments) == 1
    captured = capsys.readouterr()
    assert "3 of 5 images" in captured.out
    assert "bomb.png' is 60000x60000 = 3600000000 pixels, more than the limit of 178956970" in captured.err
    assert "The picture of 70000x1 pixels cannot be saved as '" in captured.err
    assert "JPEG holds at most 65500 pixels per side: save the image as PNG" in captured.err
    assert run(infer, model_dir, tmp_path / "out", *arguments, "--max_pixels", "100") == 1
    captured = capsys.readouterr()
    assert captured.out == "" and "12.jpg' is 60x40 = 2400 pixels, more than the limit of 100" in captured.err


def test_results_so_far_survive_ctrl_c(infer, model_dir, image_dir, tmp_path, capsys, monkeypatch):
    add = ResultFiles.add

    def add_and_interrupt(self, entries, **more):
        add(self, entries, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr(ResultFiles, "add", add_and_interrupt)
    assert run(infer, model_dir, tmp_path, "--image_dir", str(image_dir), "--save_results") == 130
    assert "Interrupted; the pictures and results so far are kept." in capsys.readouterr().err
    for name in ("bbox.json", "mask.json"):
        assert [entry["file_name"] for entry in json.loads((tmp_path / name).read_text())] == ["12.jpg"]


def test_results_without_detections_are_empty_lists(infer, model_dir, image_dir, tmp_path):
    assert run(infer, model_dir, tmp_path, "--image_file", str(image_dir / "9.bmp"), "--save_results") == 0
    assert [json.loads((tmp_path / name).read_text()) for name in ("bbox.json", "mask.json")] == [[], []]


def test_unusual_images_run_through(infer, model_dir, tmp_path, capsys):
    folder = tmp_path / "odd"
    folder.mkdir()
    grey = picture(40, 60)[:, :, 0]
    exif = Image.Exif()
    exif[0x0112] = 6
    cv2.imwrite(str(folder / "deep.png"), picture(40, 60).astype(np.uint16) * 257)
    for name, image, options in [
        ("grey.png", Image.fromarray(grey), {}),
        ("alpha.png", Image.fromarray(np.dstack([picture(40, 60), grey])), {}),
        ("cmyk.jpg", Image.fromarray(picture(40, 60)).convert("CMYK"), {}),
        ("rotated.jpg", Image.fromarray(picture(40, 60)), {"exif": exif}),
        ("pixel.png", Image.fromarray(picture(1, 1)), {}),
        ("long.png", Image.fromarray(picture(1, 5000)), {}),
        (
            "animated.webp",
            Image.fromarray(grey),
            {"save_all": True, "append_images": [Image.fromarray(grey // 2)]},
        ),
    ]:
        image.save(folder / name, **options)
    arguments = ["--image_dir", str(folder), "--save_results", "--batch_size", "3"]
    assert run(infer, model_dir, tmp_path / "out", *arguments) == 0
    assert "8 of 8 images, 8 detections" in capsys.readouterr().out
    boxes = {entry["file_name"]: entry["bbox"] for entry in json.loads((tmp_path / "out" / "bbox.json").read_text())}
    np.testing.assert_allclose(boxes["rotated.jpg"], [0, 0, 40, 60], rtol=1e-4)
    np.testing.assert_allclose(boxes["long.png"], [0, 0, 5000, 1], rtol=1e-4)
    assert cv2.imread(str(tmp_path / "out" / "rotated.jpg")).shape == (60, 40, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image_file", "gone.jpg"], "Error: Cannot read image 'gone.jpg'"),
        (["--image_dir", "gone"], "Error: There is no image folder 'gone'"),
        (["--image_file", "x.jpg", "--model_dir", "gone"], "Error: There is no model folder 'gone'"),
        (["--image_file", "x.jpg", "--run_mode", "trt_fp16"], "Error: Backend 'tensorrt' runs on gpu only"),
    ],
)
def test_nothing_could_be_done(infer, model_dir, tmp_path, capsys, arguments, message):
    assert run(infer, model_dir, tmp_path, *arguments) == 1
    captured = capsys.readouterr()
    assert captured.err.strip().startswith(message) and len(captured.err.strip().splitlines()) == 1
    assert captured.out == ""


def test_output_that_cannot_be_written(infer, model_dir, image_dir, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert run(infer, model_dir, tmp_path / "file", "--image_dir", str(image_dir)) == 1
    assert "cannot be created: " in capsys.readouterr().err
    assert run(infer, model_dir, image_dir, "--image_dir", str(image_dir)) == 1
    assert "holds the images themselves; pass another folder" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="/proc is a folder in which nobody can write, on Linux")
def test_a_folder_that_cannot_be_written_fails_early(infer, model_dir, image_dir, capsys):
    assert run(infer, model_dir, "/proc", "--image_dir", str(image_dir)) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("Error: The folder '/proc' cannot be written into: ") and captured.out == ""


def test_the_others_are_done_when_a_picture_cannot_be_written(infer, model_dir, image_dir, tmp_path, capsys):
    (tmp_path / "out" / "7.png").mkdir(parents=True)  # in the way of the picture
    assert run(infer, model_dir, tmp_path / "out", "--image_dir", str(image_dir), "--save_results") == 1
    captured = capsys.readouterr()
    assert f"Error: The picture '{tmp_path}/out/7.png' cannot be written: Is a directory." in captured.err
    assert "2 of 3 images" in captured.out
    assert [entry["file_name"] for entry in json.loads((tmp_path / "out" / "bbox.json").read_text())] == ["12.jpg"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [],
            "one of the arguments --image_file --image_dir --image_list --video_file --camera_id --stream_url is required",
        ),
        (["--image_file", "a", "--image_dir", "b"], "not allowed with argument"),
        (
            ["--image_file", "a", "--run_mode", "mkldnn", "--backend", "paddle"],
            "--run_mode already says backend",
        ),
        (["--image_file", "a", "--batch_size", "0"], "argument --batch_size: got 0, expected at least 1"),
        (
            ["--image_file", "a", "--slice", "0,10"],
            "--slice 0,10: The height of a slice is 0 pixels, expected 32 to 65536",
        ),
        (
            ["--image_file", "a", "--slice", "64,64", "--overlap", "1"],
            "argument --overlap: got 1, expected a number from 0",
        ),
        (["--image_file", "a", "--overlap", "0.1"], "--overlap goes with --slice"),
        (["--image_file", "a", "--tta", "rotate"], "argument --tta: got 'rotate' in 'rotate', expected flip, scale=S"),
    ],
)
def test_wrong_arguments(infer, capsys, arguments, message):
    with pytest.raises(SystemExit) as exit_info:
        infer.main(["--model_dir", "m", *arguments])
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err


def test_slices_and_augmentation(infer, model_dir, tmp_path, capsys):
    image = np.concatenate(
        [picture(60, 90), picture(60, 90, DARK)], axis=1
    )  # the toy finds its box in bright views only
    cv2.imwrite(str(tmp_path / "wide.png"), image)
    arguments = ["--image_file", str(tmp_path / "wide.png"), "--save_results", "--slice", "60,90", "--tta", "flip"]
    assert run(infer, model_dir, tmp_path / "out", *arguments, "--slice_batch", "2") == 0
    found = json.loads((tmp_path / "out" / "bbox.json").read_text())
    assert [0, 0, 90, 60] in [np.round(entry["bbox"]).tolist() for entry in found]
    capsys.readouterr()
    assert (
        run(infer, model_dir, tmp_path / "out", "--image_file", str(tmp_path / "wide.png"), "--tta", "scale=4,2") == 0
    )


def test_names_of_pictures_do_not_collide():
    names = picture_names(["a.bmp", "a.png", "A.PNG", "b.gif"])
    assert names == ["a.bmp.png", "a.png.png", "A.PNG.png", "b.png"]


def test_images_of_one_name_are_refused():
    with pytest.raises(ImageError, match="Several images are called 'x.jpg', so their pictures would overwrite"):
        name_images([Path("a/x.jpg"), Path("b/x.jpg")])


def test_runs_from_a_checkout_without_the_training_packages(model_dir, image_dir, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    check = (
        "import runpy, sys; sys.argv[0] = sys.argv[1]; del sys.argv[1]; sys.path[0] = sys.argv.pop(1)\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end: code = end.code\n"
        "print('loaded', [name for name in ('ppdet', 'ppdet_res2net') if name in sys.modules], code)"
    )
    command = [sys.executable, "-c", check, str(SCRIPT), str(SCRIPT.parent), "--model_dir", str(model_dir)]
    command += ["--image_dir", str(image_dir), "--output_dir", str(tmp_path / "out")]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert "loaded [] 0" in done.stdout, done.stdout + done.stderr
