"""``ppdet-res2net fetch``: the weights that recipes and zoo names need, listed or downloaded, also for another machine."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from ppdet_res2net.cli._common import CommandParser, json_option, say, text_output, write_json
from ppdet_res2net.config import load_config
from ppdet_res2net.errors import WeightsError
from ppdet_res2net.files import file_sha256, replacing
from ppdet_res2net.zoo import needs
from ppdet_res2net.zoo.addresses import cache_folder
from ppdet_res2net.zoo.catalog import is_model_name
from ppdet_res2net.zoo.mirror import MIRROR_VARIABLE
from res2net_runtime.hub import is_hub_address
from res2net_runtime.system_errors import explain
from res2net_runtime.texts import is_url, printable, storable

_KEYS = ("pretrain_weights", "weights")


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """Weights, and the recipe and the key that name them; both are ``""`` for those of the command line."""

    source: str
    recipe: str = ""
    key: str = ""

    @property
    def title(self) -> str:
        return f"{self.key} of {self.recipe}: " if self.recipe else ""


def _parser() -> CommandParser:
    parser = CommandParser(
        "fetch",
        "Download the weights that a recipe starts from, or list what it needs. On a machine without internet, files are "
        f"found in a folder that --to has filled elsewhere: set {MIRROR_VARIABLE} to it.",
        examples=(
            "mask_rcnn_res2net50_vd_26w_4s_fpn_2x_coco --list",
            "-c mask_rcnn_res2net50_vd_26w_4s_fpn_2x_coco --to weights",
            "timm/res2net50d paddleclas/Res2Net50_vd_26w_4s_ssld --to weights",
        ),
    )
    parser.add_argument(
        "what", nargs="*", metavar="WHAT", help="recipes, zoo names, urls and addresses such as hf://OWNER/REPO"
    )
    parser.add_recipe_arguments(required=False)
    parser.add_argument("--list", action="store_true", help="download nothing, and list addresses, sizes and checksums")
    parser.add_argument(
        "--to", type=Path, metavar="DIR", help="also copy the files to a folder, as a mirror for other machines"
    )
    parser.add_argument("--json", **json_option("the list"))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0."""
    parser = _parser()
    args = parser.parse_args(argv)
    if not args.what and not args.config:
        parser.error("pass a recipe, a zoo name or a url")
    if args.list and args.to:
        parser.error("--list downloads nothing, so there is nothing for --to; leave one of them out")
    wanted_files = _wanted(args)
    on_hub = [wanted.source for wanted in wanted_files if is_hub_address(wanted.source)]
    if args.to and on_hub:
        parser.error(
            f"--to is for files that have urls, but {printable(on_hub[0])} comes from a hub. Fetch it without --to, bring the "
            "cache of huggingface_hub (HF_HOME) to the other machine, and set HF_HUB_OFFLINE=1 there"
        )
    found = []
    for wanted in wanted_files:
        need = needs.find_need(wanted.source)
        if not args.list and not _is_written_by_training(wanted, need):
            needs.bring(wanted.source)
            need = needs.find_need(wanted.source)
        found.append((wanted, need))
    if args.json:
        write_json(args.json, [_record(wanted, need) for wanted, need in found])
    output = text_output(args.json)
    for wanted, need in found:
        say(_describe(wanted, need), output)
        if args.to and need.urls:
            say(f"  copy: {printable(_copy(need.path, args.to))}", output)
    if not found:
        say("No weights are needed.", output)
    if args.to and any(need.urls for _, need in found):
        say(f"Bring '{printable(args.to)}' to the other machine, and set {MIRROR_VARIABLE} to it there.", output)
    return 0


def _wanted(args: argparse.Namespace) -> list[_Wanted]:
    wanted = []
    for what in [*args.what, *([args.config] if args.config else [])]:
        is_recipe = what == args.config and is_hub_address(what)
        if not is_recipe and (is_url(what) or is_model_name(what)):
            wanted.append(_Wanted(what))
            continue
        config = load_config(what, args.opt, trust_recipe=args.trust_recipe)
        wanted += [_Wanted(config[key], config.name, key) for key in _KEYS if config.get(key)]
    return wanted


def _is_written_by_training(wanted: _Wanted, need: needs.NeededFile) -> bool:
    return wanted.key == "weights" and need.state == "missing"


def _record(wanted: _Wanted, need: needs.NeededFile) -> dict[str, object]:
    return {
        "recipe": wanted.recipe,
        "key": wanted.key,
        **dataclasses.asdict(need),
        "path": storable(os.fspath(need.path)),
    }


def _describe(wanted: _Wanted, need: needs.NeededFile) -> str:
    title = f"{wanted.title}{need.source}"
    lines = [f"  address: {url}" for url in need.urls if url != need.source]
    if need.state == "missing":
        written = " yet: training writes it" if _is_written_by_training(wanted, need) else ""
        lines.append(f"  a local file, which is not there{written}")
    else:
        lines += [f"  size: {_size(need)}", f"  SHA-256: {_checksum(need)}", f"  state: {need.state}"]
        lines.append(f"  {'file' if need.state == 'here' else 'belongs at'}: {need.path}")
    return "\n".join(map(printable, [title, *lines]))


def _size(need: needs.NeededFile) -> str:
    if need.size_bytes is not None:
        return f"{need.size_bytes / 2**20:.1f} MiB"
    about = f"about {need.about_bytes / 2**20:.0f} MiB by its parameters" if need.about_bytes else "unknown"
    return f"{about} ({need.size_problem})"


def _checksum(need: needs.NeededFile) -> str:
    if not need.sha256:
        return "none is published; it is computed when the file is here"
    return need.sha256 if len(need.sha256) == 64 else f"{need.sha256}... (from its name)"


def _copy(file: Path, folder: Path) -> Path:
    """Copy a file of the cache to a folder, under the same path as in the cache."""
    target = folder / file.relative_to(cache_folder())
    try:
        if not target.is_file() or file_sha256(target) != file_sha256(file):
            with replacing(target) as unfinished:
                shutil.copyfile(file, unfinished)
    except OSError as error:
        raise WeightsError(
            f"'{printable(target)}' cannot be written: {explain(error, 'choose another folder with --to')}"
        ) from error
    return target
