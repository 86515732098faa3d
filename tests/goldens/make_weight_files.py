"""Write the small weight files of tests/zoo/formats/test_files.py with PyTorch and MindSpore.

python -m tests.goldens.make_weight_files torch        pip install torch==2.13.0
python -m tests.goldens.make_weight_files mindspore    pip install mindspore==2.10.0
"""

from __future__ import annotations

import argparse
import collections
import sys
from pathlib import Path

from tests.goldens.synthetic import make_tensor

FOLDER = Path(__file__).parent
FILE_TENSORS = {"a.weight": (3, 4), "a.bias": (3,), "b.weight": (2, 3, 3, 3)}


def write_torch_files() -> None:
    import torch

    tensors = {name: torch.from_numpy(make_tensor(name, shape)) for name, shape in FILE_TENSORS.items()}
    odd = {
        "transposed": tensors["a.weight"].t(),
        "slice": tensors["a.weight"][1:, 1:3],
        "parameter": torch.nn.Parameter(tensors["a.bias"]),
        "bfloat16": tensors["a.weight"].bfloat16(),
        "half": tensors["a.weight"].half(),
        "counter": torch.tensor(7),
        "empty": torch.zeros(0, 4),
    }
    checkpoint = {
        "epoch": 3,
        "arch": "res2net50d",
        "args": argparse.Namespace(lr=0.1),
        "state_dict": {name: tensor + 1 for name, tensor in tensors.items()},
        "state_dict_ema": collections.OrderedDict(tensors),
        "optimizer": torch.optim.SGD([torch.nn.Parameter(tensors["a.bias"])], 0.1, momentum=0.9).state_dict(),
    }
    for kind, is_zip in (("zip", True), ("legacy", False)):
        for name, content in (("tensors", {**tensors, **odd}), ("checkpoint", checkpoint)):
            torch.save(content, FOLDER / f"torch_{kind}_{name}.pth", _use_new_zipfile_serialization=is_zip)


def write_mindspore_files() -> None:
    import mindspore

    parameters = [
        {"name": name, "data": mindspore.Tensor(make_tensor(name, shape))} for name, shape in FILE_TENSORS.items()
    ]
    for name, crc_check in (("plain", False), ("crc", True)):
        file = FOLDER / f"mindspore_{name}.ckpt"
        mindspore.save_checkpoint(parameters, str(file), append_dict={"epoch": 3, "remark": "x"}, crc_check=crc_check)
        file.chmod(0o644)


if __name__ == "__main__":
    {"torch": write_torch_files, "mindspore": write_mindspore_files}[sys.argv[1]]()
