"""Weight files: recognised by their contents, read without running anything from them, written atomically.

Formats: Paddle ``.pdparams``, PyTorch ``.pth``/``.pt`` (zip and legacy), ``.safetensors``, MindSpore ``.ckpt``. Neither
torch nor mindspore is needed. Only the tar format of PyTorch before 0.2 is not supported.
"""

from __future__ import annotations

from ppdet_res2net.zoo.formats.files import (
    WeightsFile,
    describe_damage,
    load_weights_file,
    read_weights_file,
    resolve_weights_path,
    save_weights_file,
)

__all__ = [
    "WeightsFile",
    "describe_damage",
    "load_weights_file",
    "read_weights_file",
    "resolve_weights_path",
    "save_weights_file",
]
