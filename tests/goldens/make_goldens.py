"""Run the original implementations and keep samples of their outputs.

    python -m tests.goldens.make_goldens SOURCE

Each source needs its own environment. The committed files contain the versions that made them.

    timm             pip install torch==2.13.0 timm==1.0.31
    mmpretrain       pip install torch==2.13.0 opencv-python rich addict termcolor yapf markdown einops;
                     pip install --no-deps mmpretrain==1.2.0 mmengine==0.10.7 mmcv-lite==2.2.0 model-index
    mmdet            pip install torch==2.13.0 opencv-python-headless rich addict termcolor yapf scipy shapely terminaltables
                     pycocotools tqdm; pip install --no-deps mmdet==3.3.0 mmengine==0.10.7 mmcv-lite==2.1.0
    mindcv           pip install mindspore==2.10.0 pyyaml tqdm; pip install --no-deps mindcv==0.3.0
    paddleclas       pip install paddlepaddle==3.3.1; pip install --no-deps paddleclas==2.6.0
    ppdet            as paddleclas, and paddledet==2.6.0 without its requirements
    ppdet_detectors  as ppdet

mmdetection's whole detectors have a module of their own, ``mmdet_detectors.py``.

Nothing of this project is imported: only the names that the sources themselves use, and ``synthetic.py``.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import sys
import types
import zlib
from pathlib import Path

import numpy as np

from tests.goldens.synthetic import DLA_IMAGE_SHAPE, IMAGE_SHAPE, make_image, make_tensor, run_detector, sample

FOLDER = Path(__file__).parent


def main(source: str) -> None:
    models, packages = {
        "timm": (run_timm, ("timm", "torch", "numpy")),
        "mmpretrain": (run_mmpretrain, ("mmpretrain", "mmengine", "mmcv-lite", "torch", "numpy")),
        "mmdet": (run_mmdet, ("mmdet", "mmengine", "mmcv-lite", "torch", "numpy")),
        "mindcv": (run_mindcv, ("mindcv", "mindspore", "numpy")),
        "paddleclas": (run_paddleclas, ("paddleclas", "paddlepaddle", "numpy")),
        "ppdet_detectors": (run_ppdet_detectors, ("paddledet", "paddlepaddle", "numpy")),
        "ppdet": (run_ppdet, ("paddledet", "paddleclas", "paddlepaddle", "numpy")),
    }[source]
    prefix = source.partition("_")[0]
    golden = {
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "image_shape": list(IMAGE_SHAPE),
        "models": {},
    }
    for name, facts, tensors, outputs in models():
        golden["models"][f"{prefix}/{name}"] = {
            **facts,
            "tensors": len(tensors),
            "names_crc32": zlib.crc32(repr(sorted(tensors.items())).encode()),
            "outputs": {key: sample(f"{prefix}/{name}/{key}", array) for key, array in outputs.items()},
        }
        print(name, facts, {key: float(array.std()) for key, array in outputs.items()}, flush=True)
    (FOLDER / f"{source}.json").write_text(
        json.dumps(golden, separators=(",", ":")).replace('"outputs"', '\n"outputs"') + "\n"
    )


# PyTorch


def _do_without(package: str) -> None:
    """Replace a package that is imported only for other models and for data by a dummy, if it is missing."""
    if importlib.util.find_spec(package) is not None:
        return

    class AnyAttribute(type):
        def __getattr__(cls, name: str):
            return f"{cls.__name__}.{name}"

    class Missing(types.ModuleType):
        __path__: list[str] = []

        def __getattr__(self, name: str):
            if name.startswith("__"):
                raise AttributeError(name)
            return AnyAttribute(name, (), {})

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == package or name.startswith(f"{package}."):
                return importlib.machinery.ModuleSpec(name, Finder, is_package=True)
            return None

        create_module = staticmethod(lambda spec: Missing(spec.name))
        exec_module = staticmethod(lambda module: None)

    sys.meta_path.append(Finder)


def run_timm():
    _do_without("torchvision")
    import timm.models.dla
    import timm.models.res2net as original
    from timm.models import create_model

    for name in (
        "res2net50_48w_2s",
        "res2net50_26w_4s",
        "res2net50_14w_8s",
        "res2net50_26w_6s",
        "res2net50_26w_8s",
        "res2net101_26w_4s",
        "res2next50",
        "res2net50d",
        "res2net101d",
    ):
        assert hasattr(original, name)
        yield (name, *_run_torch(create_model(name, pretrained=False), ""))
    for name in ("dla60_res2net", "dla60_res2next"):
        assert hasattr(timm.models.dla, name)
        yield (name, *_run_torch(create_model(name, pretrained=False), "", DLA_IMAGE_SHAPE, "level{}", range(2, 6)))


def run_mmpretrain():
    _do_without("torchvision")
    from mmpretrain import get_model

    for name in ("res2net50-w14-s8", "res2net50-w26-s8", "res2net101-w26-s4"):
        config = f"{name}_3rdparty_8xb32_in1k"
        yield (name, *_run_torch(get_model(config, pretrained=False), "backbone."))


def run_mmdet():
    """Run mmdetection's own trunk. It always has the deep stem and pooled shortcuts, whatever its arguments say."""
    _do_without("torchvision")
    _do_without("mmcv._ext")  # compiled operators, which the trunk does not use
    from mmdet.models.backbones import Res2Net

    for depth, width, scales in ((50, 26, 4), (101, 26, 4), (152, 26, 4), (50, 14, 8), (50, 48, 2)):
        model = Res2Net(depth=depth, base_width=width, scales=scales)
        yield (f"res2net{depth}_v1d_{width}w_{scales}s", *_run_torch(model, ""))


def _run_torch(model, trunk: str, image_shape=IMAGE_SHAPE, module: str = "layer{}", stages=range(1, 5)):
    import torch

    model.eval()
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    state = {
        key: torch.zeros((), dtype=torch.long)
        if key.endswith("num_batches_tracked")
        else torch.from_numpy(make_tensor(key, shape))
        for key, shape in shapes.items()
    }
    model.load_state_dict(state)
    outputs, macs = {}, []
    for number, stage in enumerate(stages, start=2):
        model.get_submodule(trunk + module.format(stage)).register_forward_hook(
            lambda _, __, out, key=f"c{number}": outputs.update({key: out.numpy()})
        )
    with torch.no_grad():
        result = model(torch.from_numpy(make_image(image_shape)))
        if isinstance(result, torch.Tensor):
            outputs["logits"] = result.numpy()
        kept = dict(outputs)
        for module in model.modules():
            if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
                module.register_forward_hook(lambda m, _, out: macs.append(_macs(out.shape, m.weight.shape)))
        model(torch.zeros(1, 3, 224, 224))
    parameters = sum(p.numel() for p in model.parameters())
    return {"parameters": parameters, "macs": sum(macs)}, shapes, kept


def _macs(output_shape, weight_shape) -> int:
    """One multiply-accumulate per output and weight of its filter; linear layers: per weight."""
    per_output = int(np.prod(weight_shape[1:])) if len(weight_shape) == 4 else max(weight_shape)
    return int(np.prod(output_shape)) * per_output


# MindSpore


def run_mindcv():
    import mindspore
    from mindcv.models import res2net

    for name in (
        "res2net50",
        "res2net101",
        "res2net152",
        "res2net50_v1b",
        "res2net101_v1b",
        "res2net152_v1b",
    ):
        model = getattr(res2net, name)(num_classes=1000)
        model.set_train(False)
        shapes = {parameter.name: tuple(parameter.shape) for parameter in model.get_parameters()}
        for parameter in model.get_parameters():
            parameter.set_data(mindspore.Tensor(make_tensor(parameter.name, tuple(parameter.shape))))
        outputs = {}
        x = model.max_pool(model.relu(model.bn1(model.conv1(mindspore.Tensor(make_image())))))
        for stage in range(1, 5):
            x = getattr(model, f"layer{stage}")(x)
            outputs[f"c{stage + 1}"] = x.asnumpy()
        outputs["logits"] = model(mindspore.Tensor(make_image())).asnumpy()
        parameters = sum(int(np.prod(p.shape)) for p in model.trainable_params())
        yield name, {"parameters": parameters}, shapes, outputs


# Paddle


def run_paddleclas():
    import paddle

    for name, create in _paddleclas_models().items():
        with paddle.utils.unique_name.guard():  # PaddleClas gives its parameters fixed names
            model = create()
        yield (name, *_run_paddle(model, [_last_block(model, stage) for stage in range(4)], lambda key: key))


def _paddleclas_models():
    """Load PaddleClas' two files without its package's ``__init__``, which needs many more packages than they do."""
    import paddle  # noqa: F401

    root = Path(importlib.util.find_spec("paddleclas").submodule_search_locations[0])
    for name in (
        "paddleclas",
        "paddleclas.ppcls",
        "paddleclas.ppcls.arch",
        "paddleclas.ppcls.utils",
        "paddleclas.ppcls.arch.backbone",
        "paddleclas.ppcls.arch.backbone.model_zoo",
    ):
        module = types.ModuleType(name)
        module.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = module
    loader = types.ModuleType("paddleclas.ppcls.utils.save_load")
    loader.load_dygraph_pretrain = None  # downloads; not used
    sys.modules[loader.__name__] = loader
    folder = "paddleclas.ppcls.arch.backbone.model_zoo"
    plain, deep = (importlib.import_module(f"{folder}.{file}") for file in ("res2net", "res2net_vd"))
    return {
        **{name: getattr(plain, name) for name in plain.__all__},
        **{name: getattr(deep, name) for name in deep.__all__},
    }


def _last_block(model, stage: int):
    blocks = [name for name, _ in model.named_children() if name.startswith(f"bb_{stage}_")]
    return getattr(model, max(blocks, key=lambda name: int(name.rpartition("_")[2])))


def _run_paddle(model, stages, rename, call=lambda model, image: model(image)):
    import paddle

    model.eval()
    shapes = {}
    for key, tensor in model.state_dict().items():
        shapes[rename(key)] = tuple(tensor.shape)
        tensor.set_value(make_tensor(rename(key), tuple(tensor.shape)))
    outputs, macs = {}, []
    for number, layer in enumerate(stages):
        layer.register_forward_post_hook(lambda _, __, out, key=f"c{number + 2}": outputs.update({key: out.numpy()}))
    with paddle.no_grad():
        logits = call(model, paddle.to_tensor(make_image()))
        if isinstance(logits, paddle.Tensor):
            outputs["logits"] = logits.numpy()
        kept = dict(outputs)
        for layer in model.sublayers():
            if isinstance(layer, (paddle.nn.Conv2D, paddle.nn.Linear)):
                layer.register_forward_post_hook(lambda m, _, out: macs.append(_macs(out.shape, m.weight.shape)))
        call(model, paddle.zeros([1, 3, 224, 224]))
    parameters = sum(int(np.prod(shape)) for key, shape in shapes.items() if not key.endswith(("_mean", "_variance")))
    return {"parameters": parameters, "macs": sum(macs)}, shapes, kept


def run_ppdet():
    paddleclas = _paddleclas_models()
    import paddle
    from ppdet.modeling.backbones.res2net import Res2Net

    def trunk(variant: str, prefix: str):
        model = Res2Net(depth=50, width=26, scales=4, variant=variant, freeze_norm=False, freeze_at=-1)
        return _run_paddle(
            model, model.res_layers, lambda key: prefix + key, lambda model, image: model({"image": image})
        )

    yield ("Res2Net50_26w_4s_pretrained", *trunk("b", ""))
    # PaddleDetection has no code for the dialect of these weights. PaddleClas computes the outputs, and the
    # tensors have PaddleDetection's names.
    with paddle.utils.unique_name.guard():
        model = paddleclas["Res2Net50_vd_26w_4s"]()
    model.out = paddle.nn.Identity()
    stages = [_last_block(model, stage) for stage in range(4)]
    yield (
        "Res2Net50_vd_26w_4s_pretrained",
        *_run_paddle(model, stages, _ppdet_name, lambda m, image: [m(image)]),
    )
    for name in (
        "faster_rcnn_res2net50_vb_26w_4s_fpn_1x_coco",
        "mask_rcnn_res2net50_vb_26w_4s_fpn_2x_coco",
        "mask_rcnn_res2net50_vd_26w_4s_fpn_2x_coco",
    ):
        yield (name, *trunk("d" if "_vd_" in name else "b", "backbone."))


def run_ppdet_detectors():
    """Run whole detectors made of PaddleDetection's own modules, with the arguments of its configs/res2net."""
    import paddle
    import ppdet.modeling as original
    from ppdet.modeling.heads.mask_head import MaskFeat, MaskHead
    from ppdet.modeling.proposal_generator import AnchorGenerator, RPNHead

    for name in (
        "faster_rcnn_res2net50_vb_26w_4s_fpn_1x_coco",
        "mask_rcnn_res2net50_vb_26w_4s_fpn_2x_coco",
        "mask_rcnn_res2net50_vd_26w_4s_fpn_2x_coco",
    ):
        scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
        parts = {
            "backbone": original.Res2Net(depth=50, width=26, scales=4, variant="d" if "_vd_" in name else "b"),
            "neck": original.FPN(in_channels=[256, 512, 1024, 2048], out_channel=256, spatial_scales=list(scales)),
            "rpn_head": RPNHead(
                AnchorGenerator([[32], [64], [128], [256], [512]], [0.5, 1.0, 2.0], [4.0, 8.0, 16.0, 32.0, 64.0]),
                in_channel=256,
            ),
            "bbox_head": original.BBoxHead(
                head=original.TwoFCHead(in_channel=256, out_channel=1024, resolution=7),
                in_channel=1024,
                roi_extractor=original.RoIAlign(resolution=7, spatial_scale=scales, sampling_ratio=0, aligned=True),
                num_classes=80,
            ),
        }
        if name.startswith("mask"):
            parts["mask_head"] = MaskHead(
                head=MaskFeat(in_channel=256, out_channel=256, num_convs=4),
                roi_extractor=original.RoIAlign(resolution=14, spatial_scale=scales, sampling_ratio=0, aligned=True),
                num_classes=80,
            )
        create = original.MaskRCNN if "mask_head" in parts else original.FasterRCNN
        posts = {"bbox_post_process": None, **({"mask_post_process": None} if "mask_head" in parts else {})}
        model = create(**parts, **posts)
        model.eval()
        shapes = {}
        for key, tensor in model.state_dict().items():
            shapes[key] = tuple(tensor.shape)
            tensor.set_value(make_tensor(key, shapes[key]))
        with paddle.no_grad():
            outputs = run_detector(model)
        parameters = sum(
            int(np.prod(shape)) for key, shape in shapes.items() if not key.endswith(("_mean", "_variance"))
        )
        yield name, {"parameters": parameters}, shapes, outputs


def _ppdet_name(key: str) -> str:
    """PaddleClas' name of a tensor of Res2Net50_vd -> PaddleDetection's; independent of the project's map."""
    *place, kind, leaf = key.split(".")
    kind = {"_conv": "conv", "_batch_norm": "norm"}[kind]
    if len(place) == 1:
        return f"res1.{place[0]}.{kind}.{leaf}"
    _, stage, block = place[0].split("_")
    part = {
        "conv0": "branch2a",
        "conv2": "branch2c",
        "short": "branch1" if stage == "0" else "branch1.conv",
    }.get(place[1])
    if part is None:
        part = f"branch2b.{int(place[1].rpartition('_')[2]) - 1}"
    return f"res{int(stage) + 2}.blocks.{block}.{part}.{kind}.{leaf}"


if __name__ == "__main__":
    main(sys.argv[1])
