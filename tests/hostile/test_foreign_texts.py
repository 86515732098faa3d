"""No text of a file changes a terminal: every command is run on data whose every text tries to."""

from __future__ import annotations

import ast
import json
import logging
import pickle
import shutil
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from ppdet_res2net.cli.main import main
from ppdet_res2net.errors import DatasetError
from res2net_runtime.cli import main as infer_exported
from res2net_runtime.console import PrintableFormatter
from tests.helpers.runtime_toys import CONFIG, picture, toy_model_dir
from tests.helpers.training_runs import edit_annotations, overrides_for

ROOT = Path(__file__).resolve().parents[2]
# The title of the window, a C1 control, a change of direction, DEL, a letter of no width, a line separator
HARMLESS_LOOKING = "\u202e\u200b"  # a recipe may have these
ATTACK = "x\x1b]0;pwn\x07\x9b31m\u202e\x7f\u200b\u2028y"


def strange(text: str) -> list[str]:
    """Return the characters that no command may print."""
    return sorted(
        {hex(ord(c)) for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in "\n"}
    )


def run(capfd, *words: object, main=main) -> str:
    """Run a command; return all that it prints, after checking that the attack is in it only as visible letters."""
    try:
        main([str(word) for word in words])
    except SystemExit:
        pass
    out, err = capfd.readouterr()
    # Progress bars move the cursor to the beginning of their line.
    assert not strange(out) and not strange(err.replace("\r", "")), (strange(out), strange(err), (out + err)[-3000:])
    return out + err


def texts_in(folder: Path) -> str:
    """Return the texts of all files that a command has written for people."""
    files = [file for file in folder.rglob("*") if file.suffix in (".log", ".json", ".jsonl", ".html", ".yml", ".txt")]
    return "\n".join(file.read_text("utf-8") for file in files)


def spoil(value: object) -> object:
    """Put the attack into every text of plain data; keys that a format needs stay."""
    if isinstance(value, dict):
        return {**{key: spoil(inner) for key, inner in value.items()}, ATTACK: ATTACK}
    if isinstance(value, list):
        return [spoil(inner) for inner in value]
    return ATTACK if isinstance(value, str) else value


@pytest.fixture
def hostile_coco(tmp_path) -> Path:
    """A dataset in which nothing is right and every text is an attack."""
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / "a.png"), picture(40, 60))
        shutil.move(tmp_path / "a.png", tmp_path / "images" / f"{name}{ATTACK}.png")
    (tmp_path / "images" / f"broken{ATTACK}.png").write_bytes(b"no image" + ATTACK.encode())
    images = [
        {"id": number, "file_name": f"{name}{ATTACK}.png", "width": 60, "height": 40}
        for number, name in enumerate(("a", "b", "a", "broken", "missing", "../out", "/abs", "http://h/"))
    ]
    categories = [{"id": n, "name": f"{ATTACK}{n % 2}", "supercategory": ATTACK} for n in range(3)]
    good = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 30], "area": 900, "iscrowd": 0}
    wrong = [
        {"bbox": ATTACK}, {"bbox": [ATTACK] * 4}, {"area": ATTACK}, {"category_id": ATTACK}, {"image_id": ATTACK},
        {"iscrowd": ATTACK}, {"segmentation": ATTACK}, {"segmentation": [[ATTACK] * 6]}, {"id": ATTACK},
        {"segmentation": {"size": [40, 60], "counts": ATTACK}}, {"segmentation": {ATTACK: ATTACK}}, {"ignore": ATTACK},
    ]  # fmt: skip
    annotations = [{"id": number, **good, **change} for number, change in enumerate([{}, *wrong])]
    images += [{"id": ATTACK, "file_name": "a", "width": ATTACK, "height": 3}, {"id": 99, "file_name": 3, ATTACK: 1}]
    content = {
        "images": images,
        "annotations": annotations,
        "categories": categories,
        "info": {ATTACK: ATTACK},
        ATTACK: 1,
    }
    (tmp_path / "all.json").write_text(json.dumps(content))
    return tmp_path


def test_check_dataset(hostile_coco, capfd):
    dataset = ("check-dataset", "--annotations", hostile_coco / "all.json", "--images", hostile_coco / "images")
    assert r"x\x1b]0;pwn\x07\x9b31m\u202e\x7f\u200b\u2028y" in run(capfd, *dataset)
    run(capfd, *dataset, "--html", hostile_coco / "out/page.html", "--fix", hostile_coco / "out/fixed.json")
    assert "pwn" in json.loads(run(capfd, *dataset, "--json"))["datasets"][0]["statistics"]["classes"][0]["name"]
    run(capfd, *dataset, "--json", hostile_coco / "out/report.json")
    texts = texts_in(hostile_coco / "out")
    assert texts.count("pwn") > 50 and not strange(texts), strange(texts)


@pytest.mark.parametrize("content", [
    [], {"images": ATTACK}, {"images": [ATTACK], "annotations": [], "categories": []}, {ATTACK: ATTACK}, ATTACK,
    {"version": "5.0", "shapes": [], "imagePath": ATTACK}, [{"file_name": ATTACK, "annotations": []}],
])  # fmt: skip
def test_files_that_are_no_annotations(content, tmp_path, capfd):
    (tmp_path / f"{ATTACK}.json").write_text(json.dumps(content))
    text = run(capfd, "check-dataset", "--annotations", tmp_path / f"{ATTACK}.json", "--images", tmp_path)
    assert text.startswith("Error: ")


@pytest.mark.parametrize("content", [f"<{ATTACK}>", ATTACK, f'{{"a": {ATTACK}', "\x9b\x1b" * 100])
def test_texts_that_are_no_json(content, tmp_path, capfd):
    (tmp_path / "a.json").write_text(content)
    assert run(capfd, "check-dataset", "--annotations", tmp_path / "a.json", "--images", tmp_path).startswith("Error: ")


def test_training_evaluation_and_prediction(demo_data, tmp_path, capfd):
    data = tmp_path / f"data{HARMLESS_LOOKING}"
    shutil.copytree(demo_data, data)
    for split in ("train", "val"):
        edit_annotations(data, _with_hostile_names, split)
        for image in (data / f"{split}2017").iterdir():
            image.rename(image.with_name(f"{ATTACK}{image.name}"))
    recipe = ["-c", "demo_mask_rcnn", "-o", *overrides_for(data, tmp_path / "out"), "classwise=true"]
    run(capfd, "train", *recipe, "TrainDataset.sample_num=2", "EvalDataset.sample_num=2", "--eval")
    (run_dir,) = {file.parent for file in (tmp_path / "out").rglob("train.log")}
    assert "pwn" in (run_dir / "train.log").read_text() and not strange(texts_in(run_dir))
    weights = f"weights={run_dir / 'model_final'}"
    image = next((data / "val2017").iterdir())
    out = tmp_path / "results"
    assert "pwn" in run(capfd, "eval", *recipe, weights, "EvalDataset.sample_num=2", "--json", out / "eval.json")
    assert "pwn" in run(capfd, "infer", *recipe, weights, "--infer_img", image, "--draw_threshold", 0,
                        "--output_dir", out, "--save_results")  # fmt: skip
    (data / f"broken{ATTACK}.png").write_bytes(b"no")
    assert "pwn" in run(
        capfd, "infer", *recipe, weights, "--infer_img", data / f"broken{ATTACK}.png", "--output_dir", out
    )
    run(capfd, "browse-dataset", *recipe, "--html", out / "browse.html", "--num_images", 2)
    run(capfd, "config", *recipe)
    assert "pwn" in texts_in(out) and not strange(texts_in(out))


def _with_hostile_names(content: dict) -> None:
    for entry in content["categories"]:
        entry["name"] += ATTACK
    for entry in content["images"]:
        entry["file_name"] = ATTACK + entry["file_name"]
    content["annotations"] += [{**content["annotations"][0], "id": 9999, "bbox": [ATTACK] * 4}]


def test_what_config_prints_is_yaml_with_the_same_texts(tmp_path, capfd):
    dataset_dir = str(tmp_path / f"a: {HARMLESS_LOOKING} #b")
    text = run(capfd, "config", "-c", "demo_mask_rcnn", "-o", f"TrainDataset.dataset_dir={json.dumps(dataset_dir)}")

    class Tagged(yaml.SafeLoader):
        pass

    Tagged.add_multi_constructor("!", lambda loader, suffix, node: loader.construct_mapping(node, deep=True))
    assert yaml.load(text, Tagged)["TrainDataset"]["dataset_dir"] == dataset_dir


@pytest.mark.parametrize(
    "recipe",
    [
        {ATTACK: 1}, {"TrainDataset": {ATTACK: 1}}, {"Res2Net": {ATTACK: ATTACK}}, {"Res2Net": {"depth": ATTACK}},
        {"Res2Net": {"norm_type": ATTACK}}, {"MaskRCNN": {"neck": ATTACK}}, {"architecture": ATTACK}, {"epoch": ATTACK},
        {"TrainReader": {"sample_transforms": [{ATTACK: {}}]}}, {"OptimizerBuilder": {"optimizer": {"type": ATTACK}}},
        {"_BASE_": [ATTACK]}, {"metric": ATTACK}, {"pretrain_weights": ATTACK}, {"use_gpu": ATTACK},
        {"snapshot_epoch": [ATTACK]},
        {"LearningRate": {"schedulers": [{"name": ATTACK}]}},
    ],
)  # fmt: skip
def test_recipes(recipe, tmp_path, capfd):
    file = tmp_path / f"{ATTACK}.yml"
    file.write_text(yaml.safe_dump({"_BASE_": ["demo_mask_rcnn.yml"], **recipe}))
    shutil.copytree(ROOT / "configs/res2net", tmp_path, dirs_exist_ok=True)
    run(capfd, "config", "-c", file)
    run(capfd, "train", "-c", file, "-o", f"TrainDataset.dataset_dir={tmp_path}")


@pytest.mark.parametrize("text", [
    f"!{ATTACK} {{}}", f"a: !!{ATTACK} b", "a: 1\na: 1", f'"{ATTACK}', f'"a": !!timestamp "{ATTACK}"', f"&{ATTACK} a: *b",
    "a: \x1b", f'? ["{ATTACK}"]\n: 1', '"\\ud800\\e": 1', "a: !!python/object/apply:os.\\x9b []",
])  # fmt: skip
def test_yaml_that_is_no_recipe(text, tmp_path, capfd):
    (tmp_path / "a.yml").write_text(text, "utf-8", "surrogatepass")
    assert run(capfd, "config", "-c", tmp_path / "a.yml").startswith("Error: ")


@pytest.mark.parametrize("words", [
    ["-o", f"{ATTACK}=1"], ["-o", f"Res2Net.depth={ATTACK}"], ["-o", f"Res2Net={{{ATTACK}: 1}}"], [ATTACK], [f"--{ATTACK}"],
    ["-c", ATTACK], [f"--trust_recipe={ATTACK}"],
])  # fmt: skip
def test_command_lines(words, capfd):
    run(capfd, "config", *(() if "-c" in words else ("-c", "demo_mask_rcnn")), *words)
    run(capfd, "models", *words)
    run(capfd, *words, main=infer_exported)
    run(capfd, f"{words[0]}")


class _Named:
    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


def _pickle_that_names(module: str, name: str) -> bytes:
    module_bytes, name_bytes = module.encode(), name.encode()
    sizes = [len(text).to_bytes(4, "little") for text in (module_bytes, name_bytes)]
    return b"\x80\x04X" + sizes[0] + module_bytes + b"X" + sizes[1] + name_bytes + b"\x93)R."


def _weight_files() -> dict[str, bytes]:
    tensor = np.zeros(3, np.float32)
    header = json.dumps({ATTACK: {"dtype": ATTACK, "shape": [3], "data_offsets": [0, 12]}}).encode()
    dtype = (
        b"\x80\x04X\x05\0\0\0numpyX\x05\0\0\0dtype\x93X" + len(ATTACK.encode()).to_bytes(4, "little") + ATTACK.encode()
    )
    return {
        "foreign names": pickle.dumps({f"{ATTACK}{n}": tensor for n in range(9)}, 4),
        "wrapped": pickle.dumps({"state_dict": {f"backbone.{ATTACK}": tensor}, ATTACK: ATTACK}, 4),
        "metadata": pickle.dumps({"a": tensor, "ppdet_res2net@@": {"dialect": ATTACK * 1000, "model": ATTACK}}, 4),
        "no tensors": pickle.dumps({ATTACK: ATTACK}, 4),
        "one text": pickle.dumps(ATTACK, 4),
        "a call": _pickle_that_names(ATTACK, ATTACK),
        "a harmless class": _pickle_that_names("argparse", "Namespace")[:-1] + b"X\x01\0\0\0ab.",
        "dtype": dtype + b"\x85R.",
        "safetensors": len(header).to_bytes(8, "little") + header + bytes(12),
        "safetensors' header": len(ATTACK.encode()).to_bytes(8, "little") + b"{" + ATTACK.encode(),
        "slices": pickle.dumps({"a": tensor, "UnpackBigParamInfor@@": {ATTACK: {"slices": [ATTACK]}}}, 4),
        "a page": f"<html>{ATTACK}".encode(),
        "unknown": ATTACK.encode() * 9,
        "mindspore": b"\x0a\x0c\x0a\x01a\x12\x07\x12\x05\x1b]0;\x07",
    }


@pytest.mark.parametrize("kind", _weight_files())
def test_weights(kind, tmp_path, capfd):
    file = tmp_path / f"{ATTACK}.pdparams"
    file.write_bytes(_weight_files()[kind])
    assert "Error: " in run(capfd, "convert-weights", "timm/res2net50d", file, tmp_path / "out.pdparams")
    assert "Error: " in run(capfd, "infer", "-c", "demo_mask_rcnn", "-o", f"weights={file}", "--infer_img", file)


def test_converters(tmp_path, capfd):
    cv2.imwrite(str(tmp_path / "a.png"), picture(40, 60))
    image = tmp_path / f"{ATTACK}.png"
    shutil.move(tmp_path / "a.png", image)
    visible = ATTACK.translate(
        {code: f"&#{code};" for code in (0x9B, 0x202E, 0x7F, 0x200B, 0x2028)} | {0x1B: None, 7: None}
    )
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{}</xmax><ymax>20</ymax></bndbox>"
    objects = "".join(f"<object><name>{visible}</name>{box.format(x)}</object>" for x in ("20", visible))
    for folder in ("voc", "labelme", "yolo/labels"):
        (tmp_path / folder).mkdir(parents=True)
    size = "<size><width>60</width><height>40</height></size>"
    (tmp_path / "voc" / f"{ATTACK}.xml").write_text(
        f"<annotation><filename>{visible}.png</filename>{size}{objects}</annotation>"
    )
    (tmp_path / "voc" / f"b{ATTACK}.xml").write_text(f"<annotation><{visible}>")
    shape = {"label": ATTACK, "shape_type": "polygon", "points": [[1, 1], [20, 1], [20, 20]], "flags": {ATTACK: True}}
    labelme = {"version": ATTACK, "imagePath": image.name, "imageHeight": 40, "imageWidth": 60}
    shapes = [shape, {**shape, "shape_type": ATTACK}, {**shape, "points": ATTACK}, {**shape, "label": None}]
    (tmp_path / "labelme" / f"{ATTACK}.json").write_text(json.dumps({**labelme, "shapes": shapes}))
    (tmp_path / "labelme" / "b.json").write_text(json.dumps({**labelme, "shapes": ATTACK}))
    (tmp_path / "yolo/labels" / f"{ATTACK}.txt").write_text(f"0 .5 .5 .5 .5\n0 .5 .5 .5 {ATTACK}\n")
    (tmp_path / "yolo/data.yaml").write_text(yaml.safe_dump({"names": [ATTACK], ATTACK: ATTACK, "path": ATTACK}))
    for form, folder in (("voc", "voc"), ("labelme", "labelme"), ("yolo", "yolo/labels")):
        words = ["convert-dataset", form, "--annotations", tmp_path / folder, "--images", tmp_path]
        words += ["--out", tmp_path / "out" / f"{form}.json", "--skip_unsupported"]
        run(capfd, *words, *(["--names", tmp_path / "yolo/data.yaml"] if form == "yolo" else []))
        for file in list((tmp_path / folder).iterdir())[1:]:
            file.unlink()
        run(capfd, *words, *(["--names", tmp_path / "yolo/data.yaml"] if form == "yolo" else []))


@pytest.mark.parametrize("change", [
    {"label_list": [ATTACK, ATTACK]}, {"arch": ATTACK}, {"task": ATTACK}, {"schema": {"name": ATTACK}}, {ATTACK: ATTACK},
    {"Preprocess": [{"type": ATTACK}]}, {"formats": {ATTACK: {}}}, {"formats": {"paddle": {"model_file": ATTACK}}},
    {"versions": {ATTACK: ATTACK}}, {"draw_threshold": ATTACK}, {"outputs": [ATTACK]}, {"category_ids": [ATTACK]},
])  # fmt: skip
def test_exported_folders(change, tmp_path, tmp_path_factory, capfd):
    folder = tmp_path / f"model{ATTACK}"
    shutil.copytree(toy_model_dir(tmp_path_factory), folder)
    formats = yaml.safe_load((folder / "infer_cfg.yml").read_text())["formats"]
    (folder / "infer_cfg.yml").write_text(yaml.safe_dump({**CONFIG, "formats": formats, **change}))
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(tmp_path / "a.png"), picture(40, 60))
    shutil.move(tmp_path / "a.png", images / f"{ATTACK}.png")
    (images / f"broken{ATTACK}.png").write_bytes(b"no")
    text = run(capfd, "--model_dir", folder, "--image_file", images / f"{ATTACK}.png", "--output_dir", tmp_path / "out",
               "--save_results", "--save_jsonl", main=infer_exported)  # fmt: skip
    assert "pwn" in text or "label_list" not in change
    run(capfd, "--model_dir", folder, "--image_dir", images, "--output_dir", tmp_path / "out", main=infer_exported)
    (tmp_path / "list.txt").write_text(f"{ATTACK}.png\n{ATTACK}\n", "utf-8")
    listed = ("--image_list", tmp_path / "list.txt")
    run(capfd, "--model_dir", folder, *listed, "--output_dir", tmp_path / "out", main=infer_exported)
    if (tmp_path / "out").exists():
        assert not strange(texts_in(tmp_path / "out"))


def test_log_records_and_their_tracebacks(caplog):
    try:
        raise ValueError(ATTACK)
    except ValueError:
        logging.getLogger("ppdet_res2net").error("a\n%s", ATTACK, exc_info=True)
    text = PrintableFormatter("%(message)s").format(caplog.records[-1])
    assert text.count("pwn") == 2 and not strange(text) and text.startswith("a\nx")


def test_errors_as_texts():
    assert str(DatasetError(f"'{ATTACK}'\nnext")) == r"'x\x1b]0;pwn\x07\x9b31m\u202e\x7f\u200b\u2028y'" + "\nnext"


def test_nothing_prints_but_the_console():
    """``print`` writes what it is given; ``console.say`` makes it printable."""
    exceptions = {"console.py", "_probe.py", "__main__.py", "engines.py"}  # the last three print no foreign text
    for package in (ROOT / "ppdet_res2net", ROOT / "deploy/python/res2net_runtime"):
        for file in package.rglob("*.py"):
            calls = (node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call))
            prints = [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]
            assert not prints or file.name in exceptions, f"{file}: lines {prints} call print; call console.say"
