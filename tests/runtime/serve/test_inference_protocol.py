"""The Open Inference Protocol: images as text, as bytes and as pixels; outputs as JSON and as bytes; wrong requests."""

from __future__ import annotations

import base64
import json
import struct

import numpy as np
import pytest

from res2net_runtime import Predictor
from res2net_runtime.classification import Classifier
from tests.helpers.runtime_toys import DARK, picture
from tests.helpers.serving import encoded, save_toy_classifier, serving_app

URL = "/v2/models/toy/infer"
BRIGHT, NOTHING = encoded(picture(50, 70)), encoded(picture(40, 40, DARK))
HEADER = "Inference-Header-Content-Length"


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def image_input(*images: bytes) -> dict:
    return {"name": "image", "shape": [len(images)], "datatype": "BYTES", "data": [text(one) for one in images]}


def outputs_of(answer: dict) -> dict[str, np.ndarray]:
    return {one["name"]: np.reshape(one["data"], one["shape"]) for one in answer["outputs"]}


@pytest.fixture(scope="module")
def expected(toy_dir):
    with Predictor(toy_dir, cpu_threads=1, backend="onnxruntime") as predictor:
        return predictor([BRIGHT, NOTHING, BRIGHT])


def test_images_in_base64(client, expected):
    answer = client.post(URL, json={"id": "42", "inputs": [image_input(BRIGHT, NOTHING, BRIGHT)]}).json()
    assert answer["id"] == "42" and answer["model_name"] == "toy"
    found = outputs_of(answer)
    assert list(found) == ["boxes", "scores", "labels", "num"]
    assert found["num"].tolist() == [1, 0, 1]
    assert found["boxes"].tolist() == np.concatenate([one.boxes_xyxy for one in expected]).tolist()
    assert found["scores"].tolist() == np.concatenate([one.scores for one in expected]).tolist()
    assert found["labels"].tolist() == [1, 1]


def test_images_and_outputs_as_bytes(client, expected):
    """As Triton's client sends and reads them."""
    blob = b"".join(struct.pack("<I", len(one)) + one for one in (BRIGHT, NOTHING))
    head = json.dumps(
        {
            "inputs": [
                {"name": "image", "shape": [2, 1], "datatype": "BYTES", "parameters": {"binary_data_size": len(blob)}}
            ],
            "outputs": [{"name": "rles"}, {"name": "scores", "parameters": {"binary_data": False}}, {"name": "masks"}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    answer = client.post(URL, content=head + blob, headers={HEADER: str(len(head))})
    end = int(answer.headers[HEADER])
    rles, scores, masks = json.loads(answer.content[:end])["outputs"]
    sizes = [one["parameters"]["binary_data_size"] for one in (rles, masks)]
    assert len(answer.content) == end + sum(sizes)
    assert scores["data"] == expected[0].scores.tolist()
    (rle,) = expected[0].rles()
    assert answer.content[end : end + sizes[0]] == struct.pack("<I", len(rle["counts"])) + rle["counts"]
    received = np.frombuffer(answer.content[end + sizes[0] :], np.float32).reshape(masks["shape"])
    np.testing.assert_array_equal(received, expected[0].masks)


def test_pixels(client):
    image = picture(50, 70)
    tensor = {"name": "image", "shape": [50, 70, 3], "datatype": "UINT8"}
    as_list = client.post(URL, json={"inputs": [{**tensor, "data": image.reshape(-1).tolist()}]})
    blob = np.stack([image, picture(50, 70, DARK)]).tobytes()
    head = {"inputs": [{**tensor, "shape": [2, 50, 70, 3], "parameters": {"binary_data_size": len(blob)}}]}
    data = json.dumps(head).encode()
    as_bytes = client.post(URL, content=data + blob, headers={HEADER: str(len(data))})
    assert outputs_of(as_list.json())["boxes"].tolist() == [[0, 0, 70, 50]]
    assert outputs_of(as_bytes.json())["num"].tolist() == [1, 0]


def test_parameters(client):
    body = {"inputs": [image_input(BRIGHT)], "parameters": {"threshold": 0.8}}
    assert outputs_of(client.post(URL, json=body).json())["num"].tolist() == [0]


def test_metadata(client):
    described = client.get("/v2/models/toy").json()
    (version,) = described["versions"]
    assert described["platform"] == "res2net_onnxruntime"
    assert described["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert [one["name"] for one in described["outputs"]] == ["boxes", "scores", "labels", "num", "masks", "rles"]
    assert client.get(f"/v2/models/toy/versions/{version}").json() == described
    assert client.get(f"/v2/models/toy/versions/{version}/ready").json() == {"name": "toy", "ready": True}
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    body = {"inputs": [image_input(BRIGHT)]}
    assert client.post(f"/v2/models/toy/versions/{version}/infer", json=body).status_code == 200
    missing = client.post("/v2/models/toy/versions/1/infer", json=body)
    assert missing.status_code == 404
    assert missing.json()["error"] == f"The model 'toy' has no version '1', only {version}."


IMAGE = image_input(BRIGHT)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "the body is [], expected an object"),
        ({}, "'inputs' is None, expected a list of one tensor, 'image'"),
        ({"inputs": [1]}, "the input is 1, expected an object"),
        ({"inputs": [{**IMAGE, "name": "x"}]}, "the input is called x, expected 'image'"),
        ({"inputs": [{**IMAGE, "shape": [-1]}]}, "the shape of the input is [-1], expected a list of 1 to 4 whole numbers"),
        ({"inputs": [{**IMAGE, "shape": [2]}]}, "the shape of the input is [2], and it has 1 elements"),
        ({"inputs": [{**IMAGE, "data": ["?"]}]}, "an element of the input is ?, expected an encoded image in base64"),
        ({"inputs": [{**IMAGE, "data": [7]}]}, "an element of the input is 7, expected an encoded image in base64"),
        ({"inputs": [{**IMAGE, "data": "x"}]}, "'data' is x, expected a list"),
        ({"inputs": [{**IMAGE, "datatype": "FP32"}]}, "the datatype of the input is FP32, expected BYTES or UINT8"),
        ({"inputs": [{**IMAGE, "parameters": {"binary_data_size": 3}}]}, "binary_data_size is 3, and 0 bytes follow the JSON"),
        ({"inputs": [{**IMAGE, "datatype": "UINT8"}]}, "expected [height, width, 3] or [n, height, width, 3] for UINT8"),
        ({"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 1, 3], "data": [1, 2, 300]}]}, "are not 3 whole"),
        ({"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 1, 3], "data": [1, [2], 3]}]}, "are not 3 whole"),
        ({"inputs": [IMAGE], "parameters": {"threshold": "high"}}, "threshold is high, expected a number from 0 to 1"),
        ({"inputs": [IMAGE], "outputs": [{"name": "boxen"}]}, "There is no output 'boxen'. The outputs are: boxes, scores,"),
        ({"inputs": [IMAGE], "id": 3}, "'id' is 3, expected text of at most 200 characters"),
        ({"inputs": [image_input(BRIGHT, b"no image")]}, "Image 2 of 2: Cannot decode image '<8 bytes>'"),
    ],
)  # fmt: skip
def test_wrong_requests_are_told_why(client, body, message):
    answer = client.post(URL, json=body)
    assert answer.status_code == 400 and message in answer.json()["error"]


@pytest.mark.parametrize(
    ("content", "length", "message"),
    [
        (b"{", None, "the body is not JSON"),
        (b"[" * 100_000, None, "the body is not JSON"),
        (b"{}", "9", "the header Inference-Header-Content-Length is '9', and the body has 2 bytes"),
        (b"{}", "-1", "the header Inference-Header-Content-Length is '-1'"),
    ],
)
def test_bodies_that_are_not_json(client, content, length, message):
    answer = client.post(URL, content=content, headers={} if length is None else {HEADER: length})
    assert answer.status_code == 400 and message in answer.json()["error"]


@pytest.mark.parametrize("blob", [b"\x05\x00\x00\x00abc", b"\x01\x00"])
def test_bytes_that_end_early(client, blob):
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(blob)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    answer = client.post(URL, content=head + blob, headers={HEADER: str(len(head))})
    assert answer.status_code == 400 and "the bytes after the JSON end within an element" in answer.json()["error"]


def test_too_many_images_are_refused_before_they_are_decoded(client):
    body = {"inputs": [{"name": "image", "shape": [17], "datatype": "BYTES", "data": ["?"] * 17}]}
    assert client.post(URL, json=body).status_code == 413


def test_a_classifier_beside_a_detector(toy_dir, tmp_path):
    save_toy_classifier(tmp_path)
    image = np.zeros((40, 50, 3), np.uint8)
    image[..., 1] = 200
    data = encoded(image, ".png")
    with Classifier(tmp_path, cpu_threads=1, backend="onnxruntime") as classifier:
        expected = classifier(data)
    with serving_app({"toy": toy_dir, "colours": tmp_path}) as client:
        answer = client.post("/v1/models/colours:predict?top_k=2", content=data).json()
        classes = answer["predictions"][0]["classes"]
        assert [(one["label"], one["name"], one["score"]) for one in classes] == expected.top(2)
        found = client.post("/v2/models/colours/infer", json={"inputs": [image_input(data)]}).json()
        assert outputs_of(found)["scores"].tolist() == [expected.scores.tolist()]
        assert client.get("/v2/models/colours").json()["outputs"] == [
            {"name": "scores", "datatype": "FP64", "shape": [-1, 3]}
        ]
        refused = client.post("/v1/models/colours:predict?include=picture", content=data)
        assert refused.status_code == 422
        assert refused.json()["error"] == "include=picture is for detectors, and 'colours' is a classifier."
        assert [one["task"] for one in client.get("/v1/models").json()["models"]] == ["detection", "classification"]
