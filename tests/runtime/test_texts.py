"""Foreign text in messages and results."""

from __future__ import annotations

import json
import os

import pytest

from res2net_runtime.texts import hide_password, is_url, printable, printable_path, storable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("photo 1.png", "photo 1.png"),
        ("caf\u00e9 \u4e2d\u6587 \U0001f468\u200d\U0001f469", "caf\u00e9 \u4e2d\u6587 \U0001f468\u200d\U0001f469"),
        ("a\nb\tc\x1b[31m\x7f", "a\\x0ab\\x09c\\x1b[31m\\x7f"),
        ("\u202egpj.exe\u2028", "\\u202egpj.exe\\u2028"),
        (os.fsdecode(b"\xd6\xd0.png"), "\\xd6\\xd0.png"),
        ("\ud83d", "\\ud83d"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_control_characters_are_escaped(text, shown):
    assert printable(text) == shown


def test_long_paths_keep_their_ends():
    path = "/data/" + "x/" * 2000 + "last.jpg"
    shown = printable_path(path)
    assert len(shown) < 320
    assert shown.startswith("/data/x/") and shown.endswith("/x/last.jpg") and "..." in shown
    assert printable_path("/a/\x1b[31m.jpg") == "/a/\\x1b[31m.jpg"


def test_stored_names_are_valid_unicode():
    assert storable("a\nb\u00e9") == "a\nb\u00e9"
    name = storable(os.fsdecode(b"\xd6\xd0.png") + "\ud83d")
    assert name == "\\xd6\\xd0.png\\ud83d"
    json.dumps(name, ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://user:secret@host:554/x", "rtsp://host:554/x"),
        ("https://host/x.jpg?token=secret#part", "https://host/x.jpg?...=..."),
        ("http://[broken:secret@host", "http://..."),
    ],
)
def test_urls_are_shown_without_secrets(url, shown):
    assert is_url(url) and hide_password(url) == shown


def test_a_path_is_not_a_url(tmp_path):
    assert not any(map(is_url, ("a/b.jpg", "C:\\x.jpg", "C://x.jpg", tmp_path, "a:b//c", "://x")))
