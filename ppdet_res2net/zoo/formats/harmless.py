"""Classes whose objects lie beside the weights in training checkpoints.

None of them is imported. An object of a class listed here is read as plain data (dictionaries), or dropped. Any other class
or function ends the reading: nobody can tell what a file wants with it.
"""

from __future__ import annotations

import re

__all__ = ["is_dictionary", "is_harmless"]

# Dictionaries with more methods; these can hold weights.
_DICTIONARIES = frozenset(
    {
        "addict.addict.Dict",
        "box.box.Box",
        "builtins.dict",
        "collections.Counter",
        "collections.OrderedDict",
        "collections.UserDict",
        "collections.defaultdict",
        "detectron2.config.config.CfgNode",
        "easydict.EasyDict",
        "flax.core.frozen_dict.FrozenDict",
        "fvcore.common.config.CfgNode",
        "lightning.fabric.utilities.data.AttributeDict",
        "lightning.pytorch.utilities.parsing.AttributeDict",
        "lightning_fabric.utilities.data.AttributeDict",
        "ml_collections.config_dict.config_dict.ConfigDict",
        "mmcv.utils.config.ConfigDict",
        "mmengine.config.config.ConfigDict",
        "munch.Munch",
        "ppcls.utils.config.AttrDict",
        "ppdet.core.workspace.AttrDict",
        "ppdet.core.workspace.SchemaDict",
        "pytorch_lightning.utilities.parsing.AttributeDict",
        "yacs.config.CfgNode",
    }
)
_OBJECTS = frozenset(
    {
        "argparse.Namespace",
        "collections.deque",
        "datetime.date",
        "datetime.datetime",
        "datetime.time",
        "datetime.timedelta",
        "datetime.timezone",
        "decimal.Decimal",
        "fractions.Fraction",
        "functools.partial",  # of what is harmless, because the function is named before it
        "mmcv.utils.config.Config",
        "mmengine.config.config.Config",
        "mmengine.config.lazy.LazyAttr",
        "mmengine.config.lazy.LazyObject",
        "mmengine.hub.utils.ModelArgs",
        "mmengine.logging.history_buffer.HistoryBuffer",
        "mmengine.logging.message_hub.MessageHub",
        "numpy.random._mt19937.MT19937",
        "numpy.random._pcg64.PCG64",
        "numpy.random._pcg64.PCG64DXSM",
        "numpy.random._philox.Philox",
        "numpy.random._pickle.__bit_generator_ctor",
        "numpy.random._pickle.__generator_ctor",
        "numpy.random._pickle.__randomstate_ctor",
        "numpy.random._sfc64.SFC64",
        "numpy.random.bit_generator.SeedSequence",
        "numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
        "numpy.random.bit_generator.SeedlessSeedSequence",
        "numpy.ma.core.MaskedArray",
        "random.Random",
        "torch.Generator",
        "torch._C.Generator",
        "torch._utils._rebuild_meta_tensor_no_storage",
        "torch._utils._rebuild_nested_tensor",
        "torch._utils._rebuild_qtensor",
        "torch._utils._rebuild_sparse_csr_tensor",
        "torch._utils._rebuild_sparse_tensor",
        "torch.cuda.amp.grad_scaler.GradScaler",
        "torch.device",
        "torch.finfo",
        "torch.iinfo",
        "torch.serialization._get_layout",
        "torch.torch_version.TorchVersion",
        "torchvision.transforms.functional.InterpolationMode",
        "types.SimpleNamespace",
        "uuid.SafeUUID",
        "uuid.UUID",
        "zoneinfo.ZoneInfo",
    }
)
# Modules whose classes, and only those, are settings or states.
_MODULES = re.compile(
    r"""
    pathlib(\._local)? | typing | omegaconf(\.\w+)+ | enum |
    torch\.optim(\.\w+)* | torch\.amp\.grad_scaler | torch\.nn(\.\w+)+ |
    timm\.(optim|scheduler|data|loss)(\.\w+)* |
    torchmetrics(\.\w+)* | (lightning\.pytorch|pytorch_lightning)\.(callbacks|trainer|loggers|utilities|loops)(\.\w+)* |
    (lightning\.fabric|lightning_fabric)(\.\w+)* |
    paddle\.optimizer(\.\w+)* | paddle\.regularizer | transformers\.(trainer_utils|training_args) | accelerate(\.\w+)*
    """,
    re.VERBOSE,
)
_CLASS_NAME = re.compile(r"_?[A-Z]\w*")


def is_dictionary(name: str) -> bool:
    """Whether ``module.name`` is a class of dictionaries, which can hold weights."""
    return name in _DICTIONARIES


def is_harmless(module: str, name: str) -> bool:
    """Whether ``module.name`` is a class of settings or states."""
    if f"{module}.{name}" in _OBJECTS:
        return True
    return _CLASS_NAME.fullmatch(name) is not None and _MODULES.fullmatch(module) is not None
