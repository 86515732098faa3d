"""The files that the pages name exist, and their commands are valid."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppdet_res2net.cli.main import COMMANDS
from tests.helpers.command_lines import parse_only

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/**/*.md")]
# Folders that a path in the text may be relative to.
FOLDERS = [
    ROOT / folder
    for folder in ("", "ppdet_res2net", "deploy/python", "deploy/python/res2net_runtime", "configs/res2net")
]
PLACEHOLDERS = ("NAME", "SOURCE", "CFG")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_names_every_command(command):
    table = (ROOT / "README.md").read_text("utf-8").partition("## The commands")[2].partition("\n## ")[0]
    assert re.search(rf"(ppdet-res2net |tools/){command.replace('-', '[-_]')}\b", table.replace("_model", ""))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_files_that_a_page_names_exist(page):
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)#\s]+)", text)
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    for path in re.findall(r"`([\w.-]+/[\w./-]+\.(?:py|md|yml|toml|json))`", text):
        is_example = any(word in path for word in PLACEHOLDERS)
        if not is_example and not any((folder / path).exists() for folder in FOLDERS):
            missing.append(path)
    assert missing == []


# The ways in which pages call a command of this project; the groups are the command, its file in tools/, or a module.
CALL = re.compile(
    r"ppdet-res2net ([a-z][a-z-]*)(?= |$)"
    r"|(?:python (?:\S+ )*)?tools/([a-z_]+)\.py"
    r"|python -m res2net_runtime\.(quantize|batch|serve)"
    r"|python -m res2net_runtime(?= )|(?:python )?deploy/python/infer\.py"
)


def commands_of(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the command and the arguments of every command line of this project in the code of a page."""
    code = re.findall(
        r"^```.*?\n(.*?)^```|^((?: {4}.*\n)+)|`([^`\n]+)`", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    for line in "\n".join(part for parts in code for part in parts).replace("\\\n", " ").splitlines():
        shown = re.sub(r"\s#.*", "", line).strip()
        call = CALL.match(shown)
        if call is None or call[1] == "help":
            continue
        tool = (call[2] or "").replace("_model", "").replace("_", "-")
        # Optional parts are valid too. Of alternatives, the first one counts; what follows > is the shell's.
        words = re.sub(r"[][]|\\\| \S+( [A-Z]+)?|>.*", "", shown[call.end() :])
        yield call[1] or tool or call[3] or "runtime", ["1" if word == "N" else word for word in shlex.split(words)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_commands_of_a_page_are_valid(page, capsys):
    for command, words in commands_of(page):
        try:
            if words:
                parse_only(command, words)
        except SystemExit:
            pytest.fail(f"{command} {shlex.join(words)}: {capsys.readouterr().err}")


def test_commands_are_found_in_pages():
    found = [command for page in PAGES for command, _ in commands_of(page)]
    assert {"train", "eval", "infer", "export", "check-dataset", "runtime", "quantize"} <= set(found)
    assert set(found) <= {*COMMANDS, "runtime", "quantize"}
