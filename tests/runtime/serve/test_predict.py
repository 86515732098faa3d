"""``:predict``: results equal the predictor's digit by digit, in every form; wrong requests are told what is wrong."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from res2net_runtime import Predictor
from res2net_runtime.folder_changes import save_thresholds
from tests.helpers.runtime_toys import DARK, picture
from tests.helpers.serving import encoded, serving_app

URL = "/v1/models/toy:predict"
BRIGHT_JPEG = encoded(picture(50, 70))


@pytest.fixture(scope="module")
def predictor(toy_dir):
    with Predictor(toy_dir, cpu_threads=1, backend="onnxruntime") as predictor:
        yield predictor


def noisy(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(90, 255, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded(noisy(51, 67)), id="jpeg"),
        pytest.param(encoded(noisy(40, 30), ".png"), id="png"),
        pytest.param(encoded(noisy(40, 33), ".webp"), id="webp"),
        pytest.param(encoded((noisy(20, 30)[..., 0].astype(np.uint16) << 8), ".png"), id="grey with 16 bits"),
        pytest.param(encoded(picture(8, 9, DARK), ".bmp"), id="nothing is found"),
    ],
)
def test_the_answer_is_what_the_predictor_finds(client, predictor, data):
    answer = client.post(URL, content=data).json()
    expected = predictor(data)
    (found,) = answer["predictions"]
    assert (found["height"], found["width"]) == expected.image_hw
    assert [one["score"] for one in found["detections"]] == expected.scores.tolist()
    assert [one["box_xyxy"] for one in found["detections"]] == expected.boxes_xyxy.tolist()
    assert [one["name"] for one in found["detections"]] == expected.class_names
    assert set(answer["times_ms"]) == {"queue", "decode", "network", "postprocessing"}


def test_exif_is_obeyed(client, turned_jpeg):
    found = client.post(URL, content=Path(turned_jpeg).read_bytes()).json()["predictions"][0]
    assert (found["height"], found["width"]) == (40, 20)


def test_masks_in_each_form_are_the_same_pixels(client, predictor):
    expected = predictor(BRIGHT_JPEG).bitmaps()[0]

    def mask(form: str) -> dict:
        return client.post(URL, content=BRIGHT_JPEG, params={"masks": form}).json()["predictions"][0]["detections"][0][
            "mask"
        ]

    rle = mask("rle")
    np.testing.assert_array_equal(coco_mask.decode({**rle, "counts": rle["counts"].encode()}), expected)

    png = mask("png")
    x, y, width, height = png["box_xywh"]
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(png["png"]), np.uint8), cv2.IMREAD_GRAYSCALE)
    pasted = np.zeros_like(expected)
    pasted[y : y + height, x : x + width] = pixels == 255
    np.testing.assert_array_equal(pasted, expected)

    outlines = mask("polygons")
    filled = np.zeros(expected.shape, np.uint8)
    points = [np.round(np.reshape(one, (-1, 2)) - 0.5).astype(int) for one in outlines["polygons"]]
    cv2.fillPoly(filled, points, 1)
    assert outlines["holes"] == [] and np.mean(filled != expected) < 0.05


def test_detections_are_chosen(client):
    def count(**params) -> int:
        return len(client.post(URL, content=BRIGHT_JPEG, params=params).json()["predictions"][0]["detections"])

    assert (count(), count(threshold=0.7), count(threshold=0.8), count(max_detections=0)) == (1, 1, 0, 0)


def test_a_picture_is_drawn(client):
    found = client.post(URL, content=BRIGHT_JPEG, params={"include": "picture"}).json()["predictions"][0]["picture"]
    assert found["content_type"] == "image/jpeg"
    drawn = cv2.imdecode(np.frombuffer(base64.b64decode(found["data"]), np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape == (50, 70, 3) and np.ptp(drawn) > 50  # the photo has one grey


def test_a_form_holds_several_images_and_bad_ones_do_not_spoil_the_others(client, predictor):
    files = [("image", ("a.jpg", BRIGHT_JPEG)), ("image", ("dir/b.txt", b"no image")), ("x", ("c.jpg", BRIGHT_JPEG))]
    answer = client.post(URL, files=files)
    first, second, third = answer.json()["predictions"]
    assert answer.status_code == 200
    assert [first["name"], second["name"], third["name"]] == ["a.jpg", "b.txt", "c.jpg"]
    assert first["detections"] == third["detections"] and len(first["detections"]) == 1
    assert second["error"].startswith(
        "Cannot decode image '<8 bytes>' (8 bytes): it is damaged, cut short, or of a format"
    )


@pytest.mark.parametrize(
    ("query", "options", "status", "message"),
    [
        ("", {"content": b"no image"}, 400, "Cannot decode image '<8 bytes>' (8 bytes): it is damaged"),
        ("", {"content": b""}, 400, "The body is empty, expected an encoded image. With curl: --data-binary @photo.jpg"),
        ("", {"json": {"url": "http://x/a.jpg"}}, 415, "The body is JSON, expected an encoded image"),
        ("", {"data": {"image": "text"}, "files": {}}, 400, "Cannot decode image"),
        ("", {"content": b"x", "headers": {"Content-Encoding": "gzip"}}, 415, "The body has the Content-Encoding 'gzip'."),
        ("", {"content": encoded(picture(1001, 1000), ".png")}, 400, "is 1000x1001 = 1001000 pixels, more than the limit"),
        ("", {"content": b"x" * 20_000_001}, 413, "The body has more than the 20000000 bytes that this server takes."),
        ("", {"content": (b"x" * 1_000_000 for _ in range(21))}, 413, "The body has more than the 20000000 bytes"),
        ("", {"files": [("image", ("a", b"x"))] * 17}, 413, "The request has more than the 16 images that this server takes"),
        ("?threshold=2", {"content": BRIGHT_JPEG}, 422, "threshold is wrong, got 2: Input should be less than or equal to 1."),
        ("?treshold=0.5", {"content": BRIGHT_JPEG}, 422, "There is no parameter 'treshold'. The parameters are: threshold,"),
        ("?masks=all", {"content": BRIGHT_JPEG}, 422, "masks is wrong, got all: Input should be 'none', 'rle', 'polygons' or"),
    ],
)  # fmt: skip
def test_wrong_requests_are_told_why(client, query, options, status, message):
    answer = client.post(URL + query, **options)
    assert answer.status_code == status
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (b'name="image"\r\n\r\nx', "the field 'image' is no file"),
        (b'name="image"; filename="a"; filename*=utf-9\'\'%ff\r\n\r\nx', "Cannot decode image"),
        (b"\r\n\r\nx", "The form cannot be read"),
    ],
)
def test_forms_that_hold_no_image(client, part, message):
    body = b"--b\r\nContent-Disposition: form-data; " + part + b"\r\n--b--\r\n"
    answer = client.post(URL, content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 400 and message in answer.json()["error"]


def test_unknown_models_and_addresses(client):
    assert client.post("/v1/models/toi:predict", content=BRIGHT_JPEG).json() == {
        "error": "There is no model 'toi'. The models are: toy. Did you mean 'toy'?"
    }
    assert client.get("/nowhere").json() == {"error": "There is no such address; GET /openapi.json lists them."}
    answer = client.get(URL)
    assert answer.status_code == 405 and answer.headers["Allow"] == "POST"
    assert answer.json() == {"error": "This address takes another method."}


def test_models_are_described(client):
    (described,) = client.get("/v1/models").json()["models"]
    assert described == client.get("/v1/models/toy").json()
    assert described["labels"] == ["cat", "dog"] and described["task"] == "detection" and described["has_masks"]
    assert "class_thresholds" not in described


def test_the_thresholds_of_classes_are_described(copied_dir):
    save_thresholds(copied_dir, 0.5, (0.25, 0.75))
    with serving_app({"toy": copied_dir}) as client:
        described = client.get("/v1/models/toy").json()
    assert (described["draw_threshold"], described["class_thresholds"]) == (0.5, [0.25, 0.75])


def test_the_description_names_every_address_and_error(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert {
        "/v1/models/{name}",
        "/v1/models/{name}:predict",
        "/v1/models/{name}:reload",
        "/v2/models/{name}/infer",
    } <= set(paths)
    predict = paths["/v1/models/{name}:predict"]["post"]
    assert {"400", "401", "404", "408", "413", "415", "422", "500", "503", "504"} < set(predict["responses"])
    assert {"image/jpeg", "multipart/form-data"} < set(predict["requestBody"]["content"])
    assert "example" in predict["responses"]["200"]["content"]["application/json"]
