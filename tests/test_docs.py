"""The files that the pages name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ppdet_res2net.cli.main import COMMANDS

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
