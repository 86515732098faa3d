"""The page: its headers, and its use in Chromium, driven by Playwright where both are installed."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest

from res2net_runtime.folder_changes import save_thresholds
from tests.helpers.runtime_toys import picture
from tests.helpers.serving import KEY, encoded, start_server

FILES = ("", "page.css", "page.js", "drawing.js", "icon.svg")
FLAGS = (
    "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync "
    "--use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
)


@pytest.mark.parametrize("name", FILES)
def test_the_page_is_served_with_headers_that_keep_others_out(client, name):
    answer = client.get(f"/{name}")
    assert answer.status_code == 200 and len(answer.content) > 100
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert answer.headers["X-Frame-Options"] == "DENY" and answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", FILES)
def test_the_page_loads_nothing_from_elsewhere(client, name):
    text = client.get(f"/{name}").text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|\bsrc=\"//|@import|style=\"", text)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed; pip install playwright"
    )
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=["--no-sandbox", *FLAGS.split()])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(toy_dir, tmp_path_factory):
    """A server with a key and two models."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(KEY)
    keys.chmod(0o600)
    strict_dir = tmp_path_factory.mktemp("strict") / "model"
    shutil.copytree(toy_dir, strict_dir)
    save_thresholds(strict_dir, 0.5, [0.3, 0.8])
    models = {"toy": toy_dir, "other": toy_dir, "strict": strict_dir}
    words = [
        "--backend",
        "onnxruntime",
        *(word for item in models.items() for word in ("--model_dir", "=".join(map(str, item)))),
    ]
    with start_server(*words, "--api_key_file", keys) as server:
        yield server


@pytest.fixture
def page(browser, server):
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if "Content Security" in message.text else None)
    page.goto(server.url)
    page.get_by_label("Key").fill(KEY)
    page.get_by_role("button", name="Use").click()
    page.locator("#about:not(:empty)").wait_for()
    yield page
    page.close()
    assert problems == []


def drop(page, image: np.ndarray) -> None:
    """Drop a picture onto the page."""
    data = list(encoded(image, ".png"))
    transfer = page.evaluate_handle(
        "(data) => { const transfer = new DataTransfer();"
        "transfer.items.add(new File([new Uint8Array(data)], 'street.png', {type: 'image/png'})); return transfer; }",
        data,
    )
    page.dispatch_event("#stage", "drop", {"dataTransfer": transfer})


def painted(page) -> float:
    """Return which share of the canvas is not grey: that of boxes, masks and labels."""
    return page.evaluate(
        "() => { const canvas = document.getElementById('canvas');"
        "const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
        "let count = 0; for (let i = 0; i < data.length; i += 4) count += Math.abs(data[i] - data[i + 2]) > 8;"
        "return 4 * count / data.length; }"
    )


def set_slider(page, locator, value: float) -> None:
    locator.evaluate("(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", value)


def test_a_picture_is_dropped_filtered_and_saved(page):
    drop(page, picture(200, 300))
    page.get_by_text("1 of 1 object").wait_for()
    assert painted(page) > 0.9  # the toy's mask is the whole picture
    page.get_by_label("Show masks").uncheck()
    assert 0 < painted(page) < 0.5
    page.get_by_label("Show masks").check()

    set_slider(page, page.get_by_label("Least score", exact=True), 0.9)
    page.get_by_text("0 of 1 object").wait_for()
    assert painted(page) == 0
    set_slider(page, page.get_by_label("Least score", exact=True), 0.5)
    page.get_by_text("1 of 1 object").wait_for()
    set_slider(page, page.get_by_label("Least score of dog"), 0.95)
    page.get_by_text("0 of 1 object").wait_for()
    set_slider(page, page.get_by_label("Least score of dog"), 0)
    page.get_by_role("checkbox", name="dog").uncheck()
    page.get_by_text("0 of 1 object").wait_for()
    page.get_by_role("checkbox", name="dog").check()

    page.locator("#canvas").hover()
    assert page.locator("#tip").text_content() == "dog 0.757"
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save JSON").click()
    assert saved.value.suggested_filename == "street.json"
    with open(saved.value.path(), encoding="utf-8") as file:
        (found,) = json.load(file)["predictions"][0]["detections"]
    assert (
        found["name"] == "dog" and found["box_xyxy"] == [0, 0, 300, 200] and set(found["mask"]) == {"png", "box_xywh"}
    )
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save picture").click()
    assert saved.value.suggested_filename == "street.png"


def test_the_keyboard_and_other_models(page):
    drop(page, picture(100, 100))
    page.get_by_text("1 of 1 object").wait_for()
    page.locator("#canvas").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#message").text_content() == "dog, score 0.76"
    page.keyboard.press("Escape")
    assert page.locator("#list button.on").count() == 0
    with page.expect_response("**/v1/models/other:predict**") as answered:
        page.get_by_label("Model").select_option("other")
    assert answered.value.status == 200
    page.get_by_text("1 of 1 object").wait_for()


def test_sliders_start_at_the_thresholds_of_the_classes(page):
    page.get_by_label("Model").select_option("strict")
    drop(page, picture(100, 100))
    page.get_by_text("0 of 1 object").wait_for()  # a dog of 0.757
    assert page.get_by_label("Least score", exact=True).input_value() == "0.3"
    assert page.get_by_label("Least score of dog").input_value() == "0.8"
    set_slider(page, page.get_by_label("Least score of dog"), 0.75)
    page.get_by_text("1 of 1 object").wait_for()


def test_what_is_no_picture_is_told(page):
    page.locator("#file").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"})
    page.get_by_text("Cannot decode image '<10 bytes>'").wait_for()
    page.locator("#file").set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"text"})
    page.get_by_text("This is no picture.").wait_for()


def test_the_camera(page):
    page.get_by_role("button", name="Camera").click()
    page.get_by_role("button", name="Take the picture").click()
    page.get_by_text(re.compile(r"\d of \d objects?")).wait_for()


def test_a_phone_needs_no_scrolling_sideways(page):
    page.set_viewport_size({"width": 360, "height": 740})
    drop(page, picture(200, 900))
    page.get_by_text("1 of 1 object").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
