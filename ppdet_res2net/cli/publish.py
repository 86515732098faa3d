"""``ppdet-res2net publish``: a folder with all that a hub of models gets of a run."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ppdet_res2net.cli._common import CommaList, CommandParser, say
from ppdet_res2net.config import is_classifier
from ppdet_res2net.errors import ExportError, did_you_mean
from ppdet_res2net.files import new_folder
from ppdet_res2net.training.publication.licences import LICENCES
from res2net_runtime.arguments import path_text
from res2net_runtime.engines import EXPORTED_FORMATS
from res2net_runtime.texts import printable

if TYPE_CHECKING:
    from ppdet_res2net.training.publication.run import PublishedRun

_PLACEHOLDER = "OWNER/NAME"


def _parser() -> CommandParser:
    parser = CommandParser(
        "publish",
        "Write a folder with all that a hub of models gets of a run: its best weights, recipe, classes, figures and export, "
        "and a model card. Nothing is uploaded; the command that does so is printed.",
        examples=(
            "output/demo_mask_rcnn --license apache-2.0",
            "output/my --license cc-by-4.0 --repo ann/nuts --output published/nuts --format paddle,onnx --verify",
        ),
    )
    parser.add_argument("run", type=path_text, metavar="RUN", help="folder of a run, or one of its checkpoints")
    parser.add_argument(
        "--license",
        type=_licence,
        required=True,
        metavar="ID",
        help="licence of the weights, as the hub names it: apache-2.0, mit, cc-by-4.0, agpl-3.0, ... or other. Weights that "
        "training started from, and the data, may prescribe it",
    )
    parser.add_argument(
        "--output", type=path_text, metavar="DIR", help="folder to write (default: published/NAME OF THE RUN)"
    )
    parser.add_argument(
        "--repo",
        type=_repository,
        default=_PLACEHOLDER,
        metavar="OWNER/NAME",
        help="the repository that it is for, which the model card's commands name (default: %(default)s)",
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="what the data of the evaluation are called (default: as their folder in the recipe)",
    )
    parser.add_argument(
        "--format",
        action=CommaList,
        default=["paddle"],
        metavar="NAMES",
        help=f"formats of the export: {', '.join(EXPORTED_FORMATS)}; several with commas (default: paddle)",
    )
    parser.add_argument("--verify", action="store_true", help="compare the export with the eager model on images")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0."""
    args = _parser().parse_args(argv)
    from ppdet_res2net.export.folder import check_formats
    from ppdet_res2net.training.publication.card import list_figures
    from ppdet_res2net.training.publication.folder import EXPORT_NAME, write_publication
    from ppdet_res2net.training.publication.run import find_run

    check_formats(args.format)
    run = find_run(args.run)
    folder = Path(args.output or Path("published", run.name))
    with new_folder(folder, "--output", ExportError) as unfinished:
        write_publication(run, unfinished, args.license, args.repo, args.dataset, args.format)
        _export(run, unfinished / EXPORT_NAME, args)
    say(f"wrote {printable(folder)}, of {printable(run.weights)}")
    if not list_figures(run.info.get("metrics")):
        say("The model card has no figures, because the run has not evaluated these weights; train with --eval.")
    say(f"Read its README.md. To upload it: hf upload {args.repo} {shlex.quote(str(folder))} .")
    return 0


def _export(run: PublishedRun, folder: Path, args: argparse.Namespace) -> None:
    if is_classifier(run.config):
        from ppdet_res2net.classification.export import export_classifier
        from ppdet_res2net.classification.model import load_classifier

        classifier = load_classifier(config=run.config)
        export_classifier(classifier, folder, formats=args.format, verify=args.verify)
        return
    from ppdet_res2net.detection.export import export_model

    written = export_model(run.config, str(folder.parent), formats=args.format, verify=args.verify)
    written.rename(folder)


def _licence(text: str) -> str:
    """Argument type: a licence, as the hub names it."""
    name = text.strip().lower()
    if name not in LICENCES:
        raise argparse.ArgumentTypeError(
            f"got '{text}', expected the hub's name of a licence, such as apache-2.0 or mit; 'other' if it has none for "
            f"yours.{did_you_mean(name, LICENCES)}"
        )
    return name


def _repository(text: str) -> str:
    """Argument type: a repository on a hub."""
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"got '{text}', expected OWNER/NAME, as in ann/nuts")
    return text
