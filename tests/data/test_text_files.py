"""Text files as people's tools write them: what is read, and what every refusal says."""

from __future__ import annotations

import json
import os
import re

import pytest
from hypothesis import example, given
from hypothesis.strategies import lists, sampled_from

from ppdet_res2net.data.text_files import (
    MAX_BYTES_VARIABLE,
    decode_text,
    parse_json_with_keys,
    parse_plain_yaml,
    read_json_file,
    read_lines,
    read_text,
)
from ppdet_res2net.errors import ConfigError, DatasetError

TEXT = "0 0.5 café\n1 猫 😀\n"
BOMB = "\n".join(f"k{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]" for i in range(12))


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("with_mark", [False, True])
def test_unicode_is_read(tmp_path, encoding, line_end, with_mark):
    mark = "\ufeff" if with_mark and encoding not in ("utf-8-sig", "utf-16", "utf-32") else ""
    (tmp_path / "a.txt").write_bytes((mark + TEXT.replace("\n", line_end)).encode(encoding))
    assert read_text(tmp_path / "a.txt") == TEXT
    assert read_lines(tmp_path / "a.txt") == TEXT.splitlines()


def test_lines_are_those_of_an_editor(tmp_path):
    (tmp_path / "a.txt").write_text("a\x0cb\u2028c\n\nd", encoding="utf-8")
    assert read_lines(tmp_path / "a.txt") == ["a\x0cb\u2028c", "", "d"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "001\n002 é\n".encode("latin-1"),
            "line 2, column 5: the byte 0xe9 is not UTF-8. The line is in another encoding: as windows-1252 it reads "
            "'002 é'. Save the file as UTF-8",
        ),
        (
            "一\n一 猫狗".encode("gb18030"),
            "line 2, column 4: the byte 0xb9 is not UTF-8. .* as gb18030 it reads '一 猫狗'",
        ),
        ("a\r\rb猫".encode()[:-1], "line 3, column 2: the file ends in the middle of a character. It may be cut off"),
        ("\ufeffab".encode("utf-16-le")[:-1], "line 1, column 2: the file ends in the middle of a character"),
        (b"\xff\xfea\x00\x00\xd8b\x00", "line 1, column 2: the byte 0x00 is not UTF-16-LE. Save the file as UTF-8"),
        (b"ab\n\0\0\0", "line 2, column 1 has a NUL character, so this is not text, or it was damaged"),
        (b"\0" * 100, "line 1, column 1 has a NUL character"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "line 1, column 1: the byte 0x89 is not UTF-8"),
        (b"", "is empty; perhaps a copy was interrupted"),
        (b"\xef\xbb\xbf \r\n", "is empty; perhaps a copy was interrupted"),
    ],
)
def test_other_content_is_refused_with_its_place(tmp_path, content, message):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=f"^list '{re.escape(str(tmp_path))}/a.txt'.{{1,2}}{message}"):
        read_text(tmp_path / "a.txt", "list", ConfigError)


def test_an_empty_file_may_be_allowed(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"")
    assert read_text(tmp_path / "a.txt", may_be_empty=True) == ""
    assert read_lines(tmp_path / "a.txt", may_be_empty=True) == [""]


def test_a_declared_encoding_is_used_unless_there_is_a_mark():
    assert decode_text("猫".encode("gbk"), "a.xml", encoding="gbk") == "猫"
    assert decode_text("\ufeff猫".encode(), "a.xml", encoding="gbk") == "猫"
    with pytest.raises(
        DatasetError, match="a.xml: line 1, column 3: the byte 0xff is not GBK, which the file declares"
    ):
        decode_text(b"ab\xff\xff", "a.xml", encoding="gbk")


def test_what_is_no_readable_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "names.txt").write_text("cat")
    with pytest.raises(DatasetError, match="list not found: '.*/name.txt'. Did you mean 'names.txt'\\? Check the path"):
        read_text(tmp_path / "name.txt", "list")
    with pytest.raises(DatasetError, match="list not found: .* There is no folder '.*/nowhere'"):
        read_text(tmp_path / "nowhere" / "name.txt", "list")
    with pytest.raises(DatasetError, match="list expected, but '.*' is a folder"):
        read_text(tmp_path, "list")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DatasetError, match="list expected, but '.*pipe' is a pipe, a socket or a device"):
        read_text(tmp_path / "pipe", "list")
    with pytest.raises(DatasetError, match=r"list 'a\\x00b' cannot be read: .*null"):
        read_text("a\0b", "list")
    monkeypatch.setenv(MAX_BYTES_VARIABLE, "2")
    with pytest.raises(DatasetError, match="has 3 bytes; at most 2 are read. .* RES2NET_MAX_TEXT_BYTES"):
        read_text(tmp_path / "names.txt", "list")
    monkeypatch.setenv(MAX_BYTES_VARIABLE, "2 GB")
    with pytest.raises(DatasetError, match="RES2NET_MAX_TEXT_BYTES is '2 GB'; expected a number of bytes"):
        read_text(tmp_path / "names.txt", "list")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a":\n', "is not valid JSON: Expecting value at line 2, column 1"),
        ("[" * 200_000, "is nested too deeply"),
        ("1" * 10_000, "has a number that cannot be read"),
    ],
)
def test_json_that_cannot_be_parsed(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DatasetError, match=f"JSON file '.*a.json' {message}"):
        read_json_file(tmp_path / "a.json")


def test_yaml_stays_text():
    text = "names: [no, on, 1e3, 007, null, ~, 2024-05-01, 1.0, '']\n01: {a: yes}"
    names = ["no", "on", "1e3", "007", "null", "~", "2024-05-01", "1.0", ""]
    assert parse_plain_yaml(text, "a.yaml") == {"names": names, "01": {"a": "yes"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "a.yaml, line 1: this is not valid YAML"),
        ("0: a\n1: b\n0: c", "a.yaml, line 3: this is not valid YAML: '0' is there twice, first in line 1"),
        ("[a]: b", "a.yaml, line 1: this is not valid YAML: found unhashable key"),
        ("a\x01", "a.yaml: this is not valid YAML: unacceptable character"),
        ("[" * 100_000, "a.yaml, line 1: the values are nested more than 20 deep. Simplify the file."),
        (BOMB, "a.yaml, line 7: there are more than 1000000 values, if each alias counts as what it stands for"),
    ],
)
def test_yaml_that_cannot_be_parsed(text, message):
    with pytest.raises(DatasetError, match=message):
        parse_plain_yaml(text, "a.yaml")


JSON_PIECES = (
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    '"a"',
    '"b"',
    "1",
    "null",
    " ",
    "\n",
    '{"c": [1, {"a": 2}]}',
    "\ufeff",
    "x",
    "NaN",
)


@given(pieces=lists(sampled_from(JSON_PIECES), max_size=12))
@example(pieces=["{", '"a"', ":", "1", ",", '"a"', ":", "null", "}", "\n"])
@example(pieces=["{", '"a"', ":", "1", ",", "}"])
@example(pieces=["{", ",", '"a"', ":", "1", "}"])
@example(pieces=["{", '"a"', ":", "1", "}", "x"])
@example(pieces=["{", "}"])
def test_json_is_read_as_python_reads_it(pieces):
    text = "".join(pieces)
    try:
        expected = json.loads(text)
    except json.JSONDecodeError as error:
        with pytest.raises(DatasetError, match=re.escape(f"{error.msg} at line {error.lineno}, column {error.colno}")):
            parse_json_with_keys(text, "it")
        return
    found, keys = parse_json_with_keys(text, "it")
    assert repr(found) == repr(expected)
    if isinstance(expected, dict) and expected:
        assert set(keys) == set(expected)
