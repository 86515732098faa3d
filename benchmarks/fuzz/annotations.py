"""Damaged and hostile annotations: COCO's, through everything that reads them, and those that convert-dataset reads.

COCO files are checked, corrected, trained on, scored, cut into crops and shown on pages. Nothing may be read or written outside
the folder of the dataset.

python -m benchmarks.fuzz.annotations [--seed SEED] [--count COUNT] [--minutes MINUTES]
"""

from __future__ import annotations

import base64
import contextlib
import copy
import functools
import io
import json
import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks.fuzz.harness import find_fault, run_main
from benchmarks.fuzz.mutations import change_bytes, change_text, change_tree
from benchmarks.fuzz.watch import CANARY, watched
from ppdet_res2net.data.annotations import read_annotations
from ppdet_res2net.data.coco import DATA_FIELDS, COCODataSet
from ppdet_res2net.data.coco_file import parse_coco
from ppdet_res2net.data.ground_truth import select_scored_objects
from ppdet_res2net.data.image_names import ImageFolder
from ppdet_res2net.data.loader import BatchLoader
from ppdet_res2net.data.problems import ERROR
from ppdet_res2net.datasets import check, convert
from ppdet_res2net.datasets.browse import write_browse_page
from ppdet_res2net.datasets.small_sets import write_object_crops
from ppdet_res2net.errors import Res2NetError

__all__ = ["prepare", "try_one"]

HEIGHT, WIDTH = 40, 60
_LONGEST_MESSAGE = 6000  # names up to twenty files or problems
_OUTLINE = [4.0, 4.0, 30.0, 4.0, 30.0, 28.0, 4.0, 28.0]
_SCRIPT = "<script>alert(1)</script>"
_TRANSFORMS: list[dict[str, Any]] = [
    {"Decode": {}},
    {"RandomResize": {"target_size": [[64, 96], [80, 112]], "keep_ratio": True, "interp": 2}},
    {"RandomFlip": {"prob": 0.5}},
    {"NormalizeImage": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2], "is_scale": True}},
    {"Permute": {}},
]
# Names that lead out of the folder, to what must not be opened, or into a page or terminal
_NAMES = (
    f"../{CANARY}/secret.png", f"../../{CANARY}/secret.png", f"images/../../{CANARY}/secret.png",
    f"a/../../../{CANARY}/secret.png", f"..\\{CANARY}\\secret.png", f"file:../{CANARY}/secret.png",
    "https://example.org/a.png", "/etc/hosts", "/dev/zero", "/dev/stdin", "pipe.png", "~/a.png", "/proc/self/environ",
    ".", "..", "", " ", "1.png\0", "a\nb.png", "\x1b[31mred", "\u202egnp.1", "con", "nul.png", "a" * 300, "x/" * 3000,
    "é.png", "e\u0301.png", "\ud800", "1.png/", "1.png/2.png", "linked.png", _SCRIPT, '"><img src=x onerror=y>',
    "&amp;", "]]>", "%2e%2e%2fsecret.png", "$(touch x)", "`id`",
)  # fmt: skip
_NUMBERS = (
    0, 1, -1, 2, 5, 11, 39, 60, 1.5, -0.5, 0.1, 1e-300, 1e9, -1e9, 2e8, 1e300, 2**31, 2**32, 2**53 + 1, 2**63, 2**64,
    10**40, float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
_SEGMENTATIONS: tuple[Any, ...] = (
    _OUTLINE, [_OUTLINE, _OUTLINE], [[0, 0, 1e6, 0, 0, 1e6] * 50], [[*_OUTLINE[:6], 2e8, 3e8]], [[1e300] * 8], [[[]]],
    {"size": [HEIGHT, WIDTH], "counts": [0, 0, HEIGHT * WIDTH]}, {"size": [HEIGHT, WIDTH], "counts": "0" * 99},
    {"size": [HEIGHT, WIDTH], "counts": [5] * 480}, {"size": [60_000, 60_000], "counts": [3_600_000_000]},
    json.dumps([_OUTLINE]), {"all_points_x": [4, 30, 30], "all_points_y": [4, 4, 28]},
    [[x, x % 29] for x in range(3000)],
)  # fmt: skip
_ATOMS: tuple[Any, ...] = (
    *_NUMBERS, *_NAMES, *_SEGMENTATIONS, True, False, None, [], {}, [[]], [None], {"id": 1}, "1", "1.0", "nan", "true",
    "[1,2,3,4]",
)  # fmt: skip
_TOKENS = (
    "9" * 5000, "1e999", "-0", "00", "0x10", "NaN", "-Infinity", "null", "true", "1.", "[" * 3000, "{", "]", '"',
    '"\\ud800"', '"\\u0000"', '"\\u001b[2J"', "\ufeff", "//x", "1e-999", "٣",
)  # fmt: skip
_JSON_TOKEN = r'"(?:[^"\\]|\\.)*"|-?[0-9.]+(?:e-?[0-9]+)?|null|true|false|[\[\]{},:]'
_XML_TOKEN = r"<[^<>]*>|[^<>]+"
_XML = (
    "<object>", "</object>", "<name/>", "<bndbox/>", "<!--", "<![CDATA[", "&a;", "&lt;", "&#0;", "&#27;", "<a>" * 3000, "nan",
    "1e999", "-5", "9" * 5000, "<?xml version='1.0' encoding='utf-7'?>", "<?xml version='1.0' encoding='punycode'?>",
    "<!DOCTYPE annotation [<!ENTITY a SYSTEM 'file:../../canary/secret.txt'>]>",
    "<!DOCTYPE a [<!ENTITY a '" + "x" * 1000 + "'>" + "".join(
        f"<!ENTITY a{k} '{'&a%s;' % (k - 1 if k else '') * 10}'>" for k in range(9)
    ) + "]>", "&a8;", *_NAMES,
)  # fmt: skip
_ROWS = (
    "0", "1", "2", "-1", "0.5", "1.0001", "nan", "inf", "1e999", "9" * 5000, "x", "0x1", "", "\n", "\t", ",", "\0", "\x1b[2J",
    "1_0", "٣", "0.5 " * 5000, "#",
    *(name for name in _NAMES if CANARY not in name),  # lists of images may name any image, as YOLO's do
)  # fmt: skip
_DESCRIPTIONS = (
    "names: [a, b]", "names: {0: a, 1: b}", "names: {1000000000: a}", "nc: 1000000000", "names: &a [*a]", "[" * 500,
    "null", "train: images/../images", "train: [images, images]", "train: list.txt", "names: !!python/name:os.system",
    "path: .", "kpt_shape: [9, 3]", "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]", "train: images/1.png", "train: ''",
    "2024-13-45", "\0",
)  # fmt: skip


@functools.cache
def _pictures() -> dict[str, bytes]:
    noise = np.random.RandomState(0)
    return {
        f"{number}.png": cv2.imencode(".png", noise.randint(0, 255, (HEIGHT, WIDTH, 3), np.uint8))[1].tobytes()
        for number in (1, 2)
    }


def _sound() -> dict[str, Any]:
    bitmap = np.zeros((HEIGHT, WIDTH), np.uint8)
    bitmap[4:28, 4:30] = 1
    packed = mask_utils.encode(np.asfortranarray(bitmap))
    masks = [
        [_OUTLINE],
        {**packed, "counts": packed["counts"].decode()},
        {"size": [HEIGHT, WIDTH], "counts": [100, 2300]},
    ]
    return {
        "images": [
            {"id": number, "file_name": f"{number}.png", "height": HEIGHT, "width": WIDTH} for number in (1, 2)
        ],
        "categories": [{"id": 1, "name": "nut", "supercategory": "part"}, {"id": 5, "name": "bolt"}],
        "annotations": [
            {"id": 11 + k, "image_id": 1 + k % 2, "category_id": (1, 5)[k % 2], "bbox": [4, 4, 26, 24], "area": 624.0,
             "iscrowd": int(k == 2), "segmentation": mask}
            for k, mask in enumerate([*masks, masks[0]])
        ],
    }  # fmt: skip


def _labelme() -> dict[str, Any]:
    bitmap = base64.b64encode(cv2.imencode(".png", np.full((9, 9), 255, np.uint8))[1].tobytes()).decode()
    return {
        "version": "5.4.1", "imagePath": "1.png", "imageHeight": HEIGHT, "imageWidth": WIDTH,
        "imageData": base64.b64encode(_pictures()["1.png"]).decode(),
        "shapes": [
            {"label": "nut", "shape_type": "polygon", "points": [[4, 4], [30, 4], [30, 28]], "group_id": None, "flags": {}},
            {"label": "nut", "shape_type": "rectangle", "points": [[4, 4], [30, 28]], "group_id": 1, "difficult": True},
            {"label": "bolt", "shape_type": "circle", "points": [[20, 20], [25, 20]]},
            {"label": "bolt", "shape_type": "mask", "points": [[5, 5], [13, 13]], "mask": bitmap},
            {"label": "bolt", "shape_type": "rotation", "points": [[4, 4], [9, 4], [9, 9], [4, 9]], "direction": 1.2},
        ],
    }  # fmt: skip


_VOC = """<annotation><folder>images</folder><filename>1.png</filename><size><width>60</width><height>40</height></size>
<object><name>nut</name><difficult>1</difficult><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>30</xmax><ymax>28</ymax></bndbox></object>
<object><name>bolt</name><polygon><x1>4</x1><y1>4</y1><x2>30</x2><y2>4</y2><x3>30</x3><y3>28</y3></polygon></object>
<object><name>bolt</name><robndbox><cx>20</cx><cy>20</cy><w>9</w><h>7</h><angle>0.3</angle></robndbox></object>
<object><name>nut</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>30</xmax><ymax>28</ymax></bndbox><attributes><attribute>
<name>rotation</name><value>12.5</value></attribute></attributes></object></annotation>"""
_YOLO = "0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.5 0.1 0.5 0.5\n0 0.5 0.5 0.2 0.2 0.5 0.5 2\n"
_DATA_YAML = "path: .\ntrain: images\nval: images\nnames:\n  0: nut\n  1: bolt\n"


def prepare() -> None:
    """Use a sound dataset, so that all is loaded that is loaded on first use."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_images(folder)
        assert _use_coco(json.dumps(_sound()).encode(), folder, None, True) == "check fix train score crops"


def _write_images(folder: Path) -> None:
    (folder / "images").mkdir()
    for name, data in _pictures().items():
        (folder / "images" / name).write_bytes(data)


def try_one(generator: random.Random, folder: Path) -> str:
    """Damage the annotations of a small dataset, and give them to all that reads them.

    Raises:
        AssertionError: Something outside was touched, or a result is wrong.
    """
    dataset, canary = folder / "data", folder / CANARY
    dataset.mkdir()
    canary.mkdir()
    _write_images(dataset)
    (dataset / "images" / "linked.png").symlink_to("1.png")
    os.mkfifo(dataset / "images" / "pipe.png")
    (canary / "secret.png").write_bytes(_pictures()["1.png"])
    (canary / "secret.txt").write_text("secret")
    trial = generator.choices((_try_coco, _try_labelme, _try_voc, _try_yolo), (6, 1, 1, 1))[0]
    with watched(folder):
        return trial(generator, dataset)


def _damage(
    text: str, tokens: str, others: tuple[str, ...], generator: random.Random, change_values: Callable[[str], str]
) -> bytes:
    """Change a text a few times: as values, as tokens, or as bytes; and maybe its encoding."""
    for _ in range(generator.choice((0, 1, 1, 1, 2, 4))):
        text = change_values(text) if generator.random() < 0.7 else change_text(text, tokens, others, generator)
    encoding = generator.choices(("utf-8", "utf-8-sig", "utf-16", "gb18030", "latin-1"), (20, 1, 1, 1, 1))[0]
    data = text.encode(encoding, "surrogatepass" if encoding == "utf-8" else "replace")
    for _ in range(generator.choice((0, 0, 0, 0, 0, 1, 3))):
        data = change_bytes(data, generator)
    return data


def _damage_json(content: Any, generator: random.Random) -> bytes:
    def change_values(text: str) -> str:
        try:
            tree = json.loads(text)
        except (ValueError, RecursionError):
            return text
        for _ in range(generator.choice((1, 1, 2, 5))):
            change_tree(tree, _ATOMS, generator)
        return json.dumps(tree, ensure_ascii=generator.random() < 0.5)

    return _damage(json.dumps(content), _JSON_TOKEN, _TOKENS, generator, change_values)


def _try_coco(generator: random.Random, folder: Path) -> str:
    data = _damage_json(_sound(), generator)
    with_masks = generator.choice((True, False, None))
    return f"coco: {_use_coco(data, folder, with_masks, generator.random() < 0.5) or 'refused by all'}"


def _use_coco(data: bytes, folder: Path, with_masks: bool | None, read_images: bool) -> str:
    """Give an annotation file to all that reads it, and return the names of what does not refuse it."""
    file, images = folder / "all.json", folder / "images"
    file.write_bytes(data)
    source = check.DatasetSource(file, images, with_masks=with_masks)
    masks = with_masks is not False
    uses: dict[str, Callable[[], None]] = {
        "check": lambda: _check(source, folder, read_images),
        "fix": lambda: _fix(source, folder),
        "train": lambda: _train(file, images, folder, masks),
        "score": lambda: _score(file, masks),
        "crops": lambda: _cut_crops(file, images, folder),
    }
    return " ".join(name for name, use in uses.items() if _works(use))


def _works(use: Callable[[], None]) -> bool:
    """Return whether something is not refused.

    Raises:
        AssertionError: It is, with a message that is too long or controls a terminal.
    """
    try:
        use()
        return True
    except Res2NetError as error:
        fault = find_fault(str(error), _LONGEST_MESSAGE)
        assert fault is None, fault
        return False


def _check(source: check.DatasetSource, folder: Path, read_images: bool) -> None:
    reports = check.check_datasets([source], read_images)
    text = check.format_report(reports[0])
    _check_text(text)
    json.dumps(check.to_json(reports)).encode()
    check.write_page(reports, folder / "page.html")
    _check_page(folder / "page.html")


def _check_text(text: str) -> None:
    fault = find_fault(text, longest=10**6)
    assert fault is None, fault


def _check_page(path: Path) -> None:
    text = path.read_text("utf-8")
    assert _SCRIPT not in text and "<img src=x" not in text, "a page with foreign markup"


def _fix(source: check.DatasetSource, folder: Path) -> None:
    (report,) = check.check_datasets([source])
    changes = check.fix_dataset(report, folder / "fixed.json")
    _check_text("\n".join(changes))
    (again,) = check.check_datasets(
        [check.DatasetSource(folder / "fixed.json", source.image_dir, "fixed", source.with_masks)]
    )
    assert not again.count(ERROR), f"left: {check.summarize(again)}"


def _train(file: Path, images: Path, folder: Path, masks: bool) -> None:
    fields = [name for name in DATA_FIELDS if masks or name != "gt_poly"]
    dataset = COCODataSet("", str(images), str(file), fields, load_crowd=True, allow_empty=True)
    options = {"batch_size": 1, "shuffle": False, "drop_last": False, "num_workers": 0, "seed": 7}
    classes = len(dataset.class_names)
    loader = BatchLoader(dataset, _TRANSFORMS, [{"PadBatch": {"pad_to_stride": 32}}], num_classes=classes, **options)  # type: ignore[arg-type]
    for batch in loader.epoch(0):
        assert all(np.isfinite(boxes).all() for boxes in batch["gt_bbox"])
        assert all((labels < classes).all() for labels in batch["gt_class"])
    write_browse_page(loader, dataset.class_names, _TRANSFORMS, folder / "browse.html", "browse")
    _check_page(folder / "browse.html")


def _score(file: Path, masks: bool) -> None:
    objects = select_scored_objects(read_annotations(file), masks, str(file))
    for iou_type in ("bbox", "segm") if masks else ("bbox",):
        truth, found = COCO(), COCO()
        truth.dataset = objects.to_coco(iou_type)
        found.dataset = copy.deepcopy(truth.dataset)
        for one in found.dataset["annotations"]:
            one.update(score=0.5, iscrowd=0)
        with contextlib.redirect_stdout(io.StringIO()):
            truth.createIndex()
            found.createIndex()
            scored = COCOeval(truth, found, iou_type)
            scored.evaluate()
            scored.accumulate()
            scored.summarize()


def _cut_crops(file: Path, images: Path, folder: Path) -> None:
    count = write_object_crops(file, images, folder / "crops")
    assert count == sum(path.is_file() for path in (folder / "crops").glob("*/*.png"))


def _try_labelme(generator: random.Random, folder: Path) -> str:
    labels = folder / "labels"
    labels.mkdir()
    (labels / generator.choice(("1.json", "9.json"))).write_bytes(_damage_json(_labelme(), generator))
    extract = generator.random() < 0.5
    measure = generator.random() < 0.3
    return "labelme: " + _convert(
        lambda: convert.convert_labelme(
            labels, folder / "images", None, ignore_difficult=True, measure_images=measure, extract_images=extract
        ),
        folder,
    )


def _try_voc(generator: random.Random, folder: Path) -> str:
    labels, masks, listed = folder / "labels", folder / "masks", folder / "list.txt"
    labels.mkdir()
    masks.mkdir()

    def change_values(text: str) -> str:
        return change_text(text, r"(?<=>)[^<>]+(?=<)", (*map(str, _NUMBERS), *_NAMES), generator)

    (labels / generator.choice(("1.xml", "9.xml"))).write_bytes(
        _damage(_VOC, _XML_TOKEN, _XML, generator, change_values)
    )
    picture = cv2.imencode(".png", np.random.RandomState(1).randint(0, 6, (HEIGHT, WIDTH), np.uint8))[1].tobytes()
    (masks / "1.png").write_bytes(change_bytes(picture, generator) if generator.random() < 0.5 else picture)
    lines = "1\n./images/1.png ./labels/1.xml\n1 -1\n"
    listed.write_bytes(
        _damage(lines, r"\S+", _ROWS, generator, lambda text: change_text(text, r"\S+", _NAMES, generator))
    )
    list_file = listed if generator.random() < 0.3 else None
    mask_dir = masks if generator.random() < 0.2 else None
    return "voc: " + _convert(
        lambda: convert.convert_voc(labels, folder / "images", None, list_file, mask_dir, ignore_difficult=True), folder
    )


def _try_yolo(generator: random.Random, folder: Path) -> str:
    labels, description = folder / "labels", folder / "data.yaml"
    labels.mkdir()

    def change(text: str) -> str:
        return change_text(text, r"[^\s]+|\n", _ROWS, generator)

    (labels / "1.txt").write_bytes(_damage(_YOLO, r"\S+", _ROWS, generator, change))
    (folder / "list.txt").write_bytes(_damage("images/1.png\n./images/2.png\n", r"\S+", _ROWS, generator, change))
    if generator.random() < 0.4:
        lines = _damage(_DATA_YAML, r"[^\n]+", _DESCRIPTIONS, generator, lambda text: text)
        description.write_bytes(lines)
    else:
        description.write_text(_DATA_YAML.replace("train: images", "train: list.txt"))

    def run() -> convert.DatasetBuilder:
        table = convert.read_class_table(description)
        return convert.convert_yolo(convert.YoloImages.of(convert.read_split(description, "train")), labels, table)

    return "yolo: " + _convert(run, folder)


def _convert(run: Callable[[], convert.DatasetBuilder], folder: Path) -> str:
    """Convert, and check what comes out."""
    builder: convert.DatasetBuilder | None = None

    def use() -> None:
        nonlocal builder
        builder = run()
        builder.write(folder / "out.json")

    if not _works(use) or builder is None:
        return "refused"
    lines = [*builder.skipped.lines(), *builder.notes.lines()]
    _check_text("\n".join(lines))
    content = json.loads((folder / "out.json").read_bytes())
    assert not [one for one in parse_coco(content).findings if one.problem.severity == ERROR]
    images = ImageFolder(folder / "images")
    assert all(images.holds(one["file_name"]) or not one["file_name"].startswith("..") for one in content["images"])
    return "converted" if not builder.skipped.total else "converted in part"


if __name__ == "__main__":
    run_main("benchmarks.fuzz.annotations", __doc__ or "")
