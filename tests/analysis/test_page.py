"""The page of a report: it needs no other file, runs no foreign text, is bounded, and shows what the report says."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections import defaultdict

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ppdet_res2net.analysis.error_schema import Confusion, Mistake, Suspect, WorstImage
from ppdet_res2net.analysis.page import PictureSource, write_report_page
from ppdet_res2net.analysis.page.pictures import ASIDE, make_pictures
from ppdet_res2net.analysis.report import make_report
from ppdet_res2net.analysis.subject import AnnotationRef, DetectionRef
from ppdet_res2net.data.annotations import read_annotations
from ppdet_res2net.data.ground_truth import select_scored_objects
from ppdet_res2net.data.masks import rasterize
from tests.helpers.reports import small_report

ATTACK = "</script><img src=x onerror=alert(1)>'\"&\u2028"
CLASSES = {1: "cat", 2: "dog"}
IMAGES, HEIGHT, WIDTH = 6, 48, 64


def read(page):
    """Return the text of a page, and its data."""
    text = page.read_text("utf-8")
    return text, json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text)[1])


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Images with boxes and masks, some of them crowds, and detections of all qualities."""
    folder = tmp_path_factory.mktemp("scene")
    generator = np.random.default_rng(3)
    images, annotations, detections = [], [], []
    for image_id in range(1, IMAGES + 1):
        pixels = generator.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        cv2.imwrite(str(folder / f"{image_id}.png"), pixels)
        images.append({"id": image_id, "file_name": f"{image_id}.png", "height": HEIGHT, "width": WIDTH})
        for _ in range(6):
            x, y = generator.uniform(0, 40), generator.uniform(0, 28)
            w, h = generator.uniform(8, 20, 2)
            corners = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotations.append(
                {
                    "id": 100 + len(annotations),
                    "image_id": image_id,
                    "category_id": int(generator.integers(1, 3)),
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": int(generator.random() < 0.2),
                    "segmentation": [corners],
                }
            )
            for _ in range(2):
                dx, dy = generator.normal(0, 2, 2)
                box = [max(0.0, x + dx), max(0.0, y + dy), w, h]
                mask = [np.array([box[0], box[1], box[0] + w, box[1], box[0] + w, box[1] + h, box[0], box[1] + h])]
                rle = rasterize(mask, HEIGHT, WIDTH)
                detections.append(
                    {
                        "image_id": image_id,
                        "category_id": int(generator.integers(1, 3)),
                        "bbox": box,
                        "score": float(generator.random()),
                        "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                    }
                )
    categories = [{"id": key, "name": name} for key, name in CLASSES.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "val.json").write_text(json.dumps(content))
    objects = select_scored_objects(read_annotations(folder / "val.json"), True, "val.json")
    paths = {image["id"]: str(folder / image["file_name"]) for image in images}
    return objects, detections, paths


def report_with_pictures():
    report = small_report(CLASSES, bbox=0.5, segm=0.4)
    for figures in report.kinds.values():
        figures.worst_images = [WorstImage(image_id, 1.0, 1, 2, 3) for image_id in (4, 2)]
        figures.confusion.cells = [Confusion(1, 2, 3, [5, 1])]
        figures.mistakes = [
            Mistake("Bkg", 3, 0.5, DetectionRef(30, 1, 0.5, [1, 2, 10, 12]), None),
            Mistake("Miss", 2, 0.5, None, AnnotationRef(107, 1, [50, 40, 30, 30])),
        ]
        figures.suspects = [
            Suspect("class", 6, DetectionRef(70, 1, 0.9, [5, 5, 9, 9]), AnnotationRef(133, 2, [4, 4, 9, 9]))
        ]
    return report


def sources(scene, **more):
    objects, detections, paths = scene
    results = {"bbox": detections, "segm": detections}
    matches = make_report(objects, results, source="val.json", title="A report").matches
    return PictureSource(objects, results, matches, paths, **more)


def test_foreign_texts_stay_texts_and_only_our_script_runs(tmp_path):
    report = small_report({1: ATTACK, 2: "dog"})
    report.title = report.dataset.source = ATTACK
    write_report_page(report, tmp_path / "index.html")
    text, data = read(tmp_path / "index.html")
    assert data["classes"][0]["name"] == ATTACK and data["report"]["title"] == ATTACK
    assert "<img" not in text and "\u2028" not in text and text.count("</script>") == 2
    script = re.search(r"<script>(.*)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'; img-src data:" in policy
    links = re.findall(r"""(?:src|href)\s*=\s*["'](?!#|data:)[^"']*|url\(|@import|fetch\(|XMLHttpRequest""", text)
    assert links == [] and set(re.findall(r"https?://[^\s\"'<]+", text)) == {"http://www.w3.org/2000/svg"}


def test_figures_are_those_of_the_report(tmp_path):
    report = small_report(CLASSES, 0.6123456789)
    write_report_page(report, tmp_path / "index.html")
    text, data = read(tmp_path / "index.html")
    figures = data["report"]["kinds"]["bbox"]
    assert figures["figures"]["AP"] == 0.5 and figures["confusion"]["cells"][1]["found"] is None
    assert figures["best"]["score"] == 0.6123456789  # rounded, it would leave out the detection
    assert figures["curves"]["overall"]["f1"][1] == 0.99
    assert "<td>0.500</td>" in text  # also without a script


def test_the_commands_set_what_the_page_says(tmp_path):
    report = small_report(CLASSES, 0.6, bbox=0.5, segm=0.4)
    report.kinds["segm"].best.score = None
    folder = tmp_path / "a report"
    write_report_page(report, folder / "index.html", model_dir="exported/my model")
    commands = read(folder / "index.html")[1]["commands"]
    best = f"ppdet-res2net set-threshold --model_dir 'exported/my model' --report '{folder}' --kind bbox"
    assert commands == {
        "value": "ppdet-res2net set-threshold --model_dir 'exported/my model' --threshold SCORE",
        "best_bbox": best,
        "classes_bbox": f"{best} --per_class",
    }


def test_a_page_of_many_classes_is_small(tmp_path):
    report = small_report({i: f"class {i}" for i in range(80)}, bbox=0.5, segm=0.4)
    for figures in report.kinds.values():
        line = np.random.default_rng(0).random(101).tolist()
        figures.pr.classes = [[line] * 10] * 80
        figures.curves.classes = [figures.curves.overall] * 80
    write_report_page(report, tmp_path / "index.html")
    assert (tmp_path / "index.html").stat().st_size < 5e6


def test_the_pictures_are_those_that_the_report_names(scene):
    pictures = make_pictures(report_with_pictures(), sources(scene))
    assert list(pictures["images"]) == ["4", "5", "3", "6", "2", "1"]
    assert all(one["src"].startswith("data:image/jpeg;base64,") for one in pictures["images"].values())
    for kind in ("bbox", "segm"):
        first, second = pictures["crops"][kind]["mistakes"]
        assert first["src"] and first["box"][:2] == [0, 0] and min(first["box"][2:]) >= 48
        x, y, width, height = second["box"]
        assert x + width == WIDTH and y + height == HEIGHT  # the object leaves the image
    marked = {one["i"] for one in pictures["images"]["3"]["found"]}
    assert 30 in marked and all(one["s"] >= 0.05 or one["i"] == 30 for one in pictures["images"]["3"]["found"])


def test_pictures_are_bounded(scene):
    report = report_with_pictures()
    pictures = make_pictures(report, sources(scene, max_pictures=1))
    assert [key for key, one in pictures["images"].items() if one["src"]] == ["4"]
    crops = [one for kind in pictures["crops"].values() for entries in kind.values() for one in entries]
    assert sum(one is not None for one in crops) == 3


def test_an_image_that_is_gone_leaves_its_field_empty(scene, tmp_path, caplog):
    source = sources(scene)
    source.image_paths = {**source.image_paths, 4: str(tmp_path / "gone.png")}
    pictures = make_pictures(report_with_pictures(), source)
    assert pictures["images"]["4"]["src"] is None and pictures["images"]["4"]["objects"]
    assert pictures["images"]["5"]["src"]
    assert "1 of 6 images of the report cannot be read; their fields are empty" in caplog.text


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_right_and_wrong_are_what_coco_says(scene, kind):
    objects, detections, _ = scene
    truth = COCO()
    truth.dataset = objects.to_coco(kind)
    truth.createIndex()
    unused = "bbox" if kind == "segm" else "segmentation"
    found = truth.loadRes([{key: one[key] for key in one if key != unused} for one in detections])
    scorer = COCOeval(truth, found, kind)
    scorer.params.iouThrs = np.array([0.5])
    scorer.evaluate()
    ids = [one.id for one in objects.objects.annotations]
    expected = defaultdict(dict)
    for one in filter(None, scorer.evalImgs[: len(CLASSES) * IMAGES * 4]):
        if one["aRng"] == [0, 1e10]:
            matches = zip(one["dtIds"], one["dtMatches"][0], one["dtIgnore"][0])
            for detection, match, is_ignored in matches:
                text = ASIDE if is_ignored else ids[int(match) - 1] if match else None
                expected[one["image_id"]][detection - 1] = text
    report = report_with_pictures()
    report.kinds[kind].confusion.cells = [Confusion(1, 1, 6, list(range(1, IMAGES + 1)))]
    pictures = make_pictures(report, sources(scene))["images"]
    shown = {int(i): {one["i"]: one["m"][kind] for one in image["found"]} for i, image in pictures.items()}
    assert len(shown) == IMAGES
    for image_id, matches in shown.items():
        assert matches == {index: expected[image_id][index] for index in matches}
    assert {ASIDE, None} < {match for matches in shown.values() for match in matches.values()}


BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium, with which the page is looked at")
def test_a_browser_draws_the_page(scene, tmp_path):
    page = tmp_path / "index.html"
    report = report_with_pictures()
    report.dataset.classes[0].name = ATTACK
    write_report_page(report, page, sources(scene))
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --virtual-time-budget=3000 --enable-logging=stderr"
    command = [BROWSER, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert "CONSOLE" not in done.stderr  # no error of the script, and nothing that the policy has stopped
    body = done.stdout.partition("<main>")[2].partition("</main>")[0]
    headings = re.findall(r"<h2>(.*?)</h2>", body)
    assert headings == [
        "Average precision",
        "Precision and recall",
        "Which score to deploy",
        "What is taken for what",
        "Where AP is lost",
        "What is missed, what is wrong",
        "Whether scores can be believed",
        "The images that cost most",
        "The mistakes that cost most",
        "Annotations to look at",
        "About this report",
    ]
    assert body.count("data:image/jpeg") == 2 * 2 + 2 + 1  # two images, each beside itself, and the three parts
    assert "best: 0.6" in body and "&lt;img src=x" in body and "<img" not in body
    assert 'id="static"' not in done.stdout
