"""``ppdet-res2net convert-weights``: convert a published weight file to ``.pdparams`` or ``.safetensors``."""

from __future__ import annotations

from collections.abc import Sequence

from ppdet_res2net.cli._common import CommandParser, say
from ppdet_res2net.modeling.dialect import DIALECTS


def _parser() -> CommandParser:
    parser = CommandParser(
        "convert-weights",
        "Convert a published model's weights to this package's names, and report what is left over.",
        examples=(
            "timm/res2net50_26w_4s res2net50_26w_4s.safetensors res2net50_26w_4s.pdparams --check",
            "timm/res2net50d lightning.ckpt trunk.pdparams --prefix student.backbone. --copy plain",
        ),
    )
    parser.add_argument("name", metavar="NAME", help="model, as 'ppdet-res2net models' lists it")
    parser.add_argument(
        "source",
        metavar="SRC",
        help=".pdparams, .pth, .safetensors, .npz or MindSpore .ckpt; path, url or hf://OWNER/REPO",
    )
    parser.add_argument("target", metavar="DST", help="file to write, .pdparams or .safetensors")
    parser.add_argument("--check", action="store_true", help="read DST again and compare every tensor bit by bit")
    parser.add_argument(
        "--prefix", metavar="PREFIX", help="of the trunk to take, if SRC has several, such as student.backbone."
    )
    parser.add_argument(
        "--copy", choices=("averaged", "plain"), help="which to take if SRC has both (default: averaged)"
    )
    parser.add_argument(
        "--dialect", choices=tuple(DIALECTS), help="of the code that trained SRC, if its names tell another"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0."""
    args = _parser().parse_args(argv)
    from ppdet_res2net.zoo.convert import check_round_trip, convert_weights

    conversion = convert_weights(
        args.name, args.source, args.target, prefix=args.prefix, copy=args.copy, dialect=args.dialect
    )
    say(conversion.report)
    if conversion.kept:
        say(f"  {len(conversion.kept)} tensors of the detector's other parts are kept as they are")
    say(f"wrote {len(conversion.tensors)} tensors to {args.target}")
    if args.check:
        check_round_trip(args.target, conversion.tensors)
        say(f"check: all {len(conversion.tensors)} tensors of {args.target} are equal after a round trip")
    return 0
