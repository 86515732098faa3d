"""The client: images of each kind, several at once, retries, and what is told if something fails."""

from __future__ import annotations

import asyncio

import httpx
import numpy as np
import pytest

from res2net_runtime import ImageError, client
from res2net_runtime.client import AsyncClient, Client, ServerError
from tests.helpers.runtime_toys import picture
from tests.helpers.serving import encoded, start_server

URL = "http://server"
FOUND = {"detections": []}


@pytest.fixture(scope="module")
def server(toy_dir):
    with start_server("--model_dir", f"toy={toy_dir}", "--backend", "onnxruntime") as server:
        yield server


def test_images_of_each_kind(server, tmp_path):
    image = picture(20, 30)
    path = tmp_path / "a.png"
    path.write_bytes(encoded(image, ".png"))
    with Client(server.url) as client:
        found = client.predict(path, threshold=0.5, masks="rle")
        assert (found["width"], found["height"]) == (30, 20) and len(found["detections"]) == 1
        assert client.predict(path.read_bytes(), masks="rle") == client.predict(image, masks="rle") == found
        several = client.predict([str(path), image, b"no image"])
        assert [one["name"] for one in several] == ["a.png", "array.png", "image"]
        assert several[0]["detections"] == several[1]["detections"] and "error" in several[2]
        assert [one["name"] for one in client.models()] == ["toy"]


def test_asyncio(server):
    async def main() -> list:
        async with AsyncClient(server.url, "toy") as client:
            assert [one["name"] for one in await client.models()] == ["toy"]
            with pytest.raises(ServerError, match="Reloading needs a key"):
                await client.reload()
            return await asyncio.gather(*(client.predict(picture(20, 20 + width)) for width in range(4)))

    assert [one["width"] for one in asyncio.run(main())] == [20, 21, 22, 23]


def test_refusals_are_told(server):
    with (
        Client(server.url, "toy") as client,
        pytest.raises(ServerError, match="Cannot decode image '<3 bytes>'") as refused,
    ):
        client.predict(b"abc")
    assert refused.value.status == 400
    with Client(server.url, "toi") as client, pytest.raises(ServerError, match="Did you mean 'toy'?"):
        client.predict(picture(5, 5))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 2, 3)), r"An array must be uint8 \(H, W, 3\) in RGB order, got float64 \(2, 2, 3\)"),
        ("/no/such.jpg", "Cannot read image '/no/such.jpg': No such file or directory. Check the path."),
        (7, "An image must be a path, bytes or a NumPy array, got int."),
    ],
)
def test_what_is_no_image_is_not_sent(image, message):
    with Client(URL, "toy", transport=httpx.MockTransport(lambda request: pytest.fail("it was sent"))) as client:
        with pytest.raises(ImageError, match=message):
            client.predict(image)


@pytest.fixture
def pauses(monkeypatch):
    seen: list[float] = []
    monkeypatch.setattr(client.time, "sleep", seen.append)
    return seen


def answering(*answers: httpx.Response | Exception):
    """Return a transport that gives one answer after the other."""
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        one = left.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    return httpx.MockTransport(answer)


def full(**headers: str) -> httpx.Response:
    return httpx.Response(503, json={"error": "The queue is full."}, headers=headers)


def test_a_full_server_is_asked_again(pauses):
    good = httpx.Response(200, json={"predictions": [FOUND]})
    answers = answering(
        full(**{"Retry-After": "7"}), httpx.ConnectError("refused"), httpx.ReadError("reset"), full(), good
    )
    with Client(URL, "toy", transport=answers) as client:
        assert client.predict(b"x") == FOUND
    first, as_told, *growing = pauses
    assert first == 0 and 3.5 <= as_told <= 7
    assert 0.1 <= growing[0] <= 0.2 <= growing[1] <= 0.4 <= growing[2] <= 0.8


def test_retries_end(pauses):
    with Client(URL, "toy", retries=2, transport=answering(full(), full(), full())) as client:
        with pytest.raises(ServerError, match="The queue is full.") as refused:
            client.predict(b"x")
    assert refused.value.status == 503 and len(pauses) == 3
    with Client(URL, "toy", retries=0, transport=answering(httpx.ConnectError("refused"))) as client:
        with pytest.raises(ServerError, match="The server at http://server cannot be reached: refused. Is it running?"):
            client.predict(b"x")


def test_what_may_be_under_way_is_not_sent_again(pauses):
    with Client(URL, "toy", transport=answering(httpx.ReadTimeout("slow"))) as client:
        with pytest.raises(ServerError, match="cannot be reached: slow"):
            client.predict(b"x")
    with Client(URL, "toy", transport=answering(httpx.Response(500, text="<html>"))) as client:
        with pytest.raises(ServerError, match="The server answered with status 500: <html>"):
            client.predict(b"x")
    assert pauses == [0, 0]


def test_a_server_with_several_models_needs_a_name():
    models = httpx.Response(200, json={"models": [{"name": "a"}, {"name": "b"}]})
    with Client(URL, transport=answering(models)) as client:
        with pytest.raises(ServerError, match="The server has the models a, b. Choose one:"):
            client.predict(b"x")


def test_the_key_is_sent():
    def answer(request: httpx.Request) -> httpx.Response:
        assert (
            request.headers["Authorization"] == "Bearer secret" and request.url.raw_path == b"/v1/models/a%20b:predict"
        )
        return httpx.Response(200, json={"predictions": [FOUND]})

    with Client(URL, "a b", key="secret", transport=httpx.MockTransport(answer)) as client:
        assert client.predict(b"x") == FOUND
