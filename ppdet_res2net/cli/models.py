"""``ppdet-res2net models``: list the published models."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ppdet_res2net.zoo import get_model_spec, list_models
from ppdet_res2net.zoo.specs import SOURCES
from ppdet_res2net.zoo.table import as_json, as_markdown, as_text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ppdet-res2net models", description="List every published Res2Net and what is known about it."
    )
    parser.add_argument("--source", choices=SOURCES, help="only the models of one publisher")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="all fields, for programs")
    form.add_argument("--markdown", action="store_true", help="the page docs/model_zoo.md")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0."""
    args = _parser().parse_args(argv)
    specs = [get_model_spec(name) for name in list_models(args.source)]
    form = as_json if args.json else as_markdown if args.markdown else as_text
    print(form(specs).rstrip("\n"))
    return 0
