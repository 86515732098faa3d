"""Writes the toy of ``tests/helpers/runtime_toys.py`` as Paddle 2 exports it (``paddle2_toy.pdmodel`` and ``.pdiparams``).

    python -m tests.goldens.make_paddle2_toy        pip install paddlepaddle==2.6.2 "numpy<2"

Paddle 3 reads such graphs but no longer writes them. What the operators say about the source code is removed.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.helpers.runtime_toys import save_toy

FOLDER = Path(__file__).parent


def main() -> None:
    """Write both files."""
    from paddle.base.proto import framework_pb2

    with tempfile.TemporaryDirectory() as folder:
        save_toy(Path(folder), ("paddle",))
        program = framework_pb2.ProgramDesc()
        program.ParseFromString(Path(folder, "model.pdmodel").read_bytes())
        for block in program.blocks:
            for operator in block.ops:
                kept = [attribute for attribute in operator.attrs if attribute.name != "op_callstack"]
                del operator.attrs[:]
                operator.attrs.extend(kept)
        (FOLDER / "paddle2_toy.pdmodel").write_bytes(program.SerializeToString())
        shutil.copy(Path(folder, "model.pdiparams"), FOLDER / "paddle2_toy.pdiparams")


if __name__ == "__main__":
    main()
