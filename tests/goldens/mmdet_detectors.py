"""Run mmdetection's four detectors on Res2Net-101, and keep samples of what they compute and all that they find.

    python -m tests.goldens.mmdet_detectors MMCV_SOURCE

The environment is that of ``mmdet`` in ``make_goldens.py``; MMCV_SOURCE is the unpacked source of mmcv 2.1.0 (``pip download
--no-binary :all: --no-deps mmcv==2.1.0``). Its ``nms`` and ``roi_align`` are compiled first, four files; a compiler and ninja
are needed. Configurations, pipeline, pre- and post-processing are mmdetection's own. Only the size that images are resized to
is smaller than published (``--scale 1333 800``), and the weights are synthetic.

    python -m tests.goldens.mmdet_detectors MMCV_SOURCE --save FOLDER --scale 1333 800 --images PHOTO ...

keeps everything, uncut, in ``FOLDER/NAME.npz`` instead. ``--weights FOLDER`` writes the weights as mmdetection's own files.
Nothing of this project is imported, but for ``synthetic.py``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
import tempfile
import types
import zlib
from pathlib import Path

import cv2
import numpy as np

from tests.goldens.make_goldens import _do_without
from tests.goldens.synthetic import PHOTO_SCALE, PHOTO_SHAPES, make_detector_tensor, make_photo, sample

FOLDER = Path(__file__).parent
NAMES = (
    "faster-rcnn_res2net-101_fpn_2x_coco",
    "mask-rcnn_res2net-101_fpn_2x_coco",
    "cascade-rcnn_res2net-101_fpn_20e_coco",
    "cascade-mask-rcnn_res2net-101_fpn_20e_coco",
)
_OPERATOR_FILES = ("nms.cpp", "roi_align.cpp", "cpu/nms.cpp", "cpu/roi_align.cpp")
_BINDINGS = """\
#include <torch/extension.h>
#include "pytorch_cpp_helper.hpp"
Tensor nms(Tensor boxes, Tensor scores, float iou_threshold, int offset);
void roi_align_forward(Tensor, Tensor, Tensor, Tensor, Tensor, int, int, float, int, int, bool);
PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("nms", &nms, py::arg("boxes"), py::arg("scores"), py::arg("iou_threshold"), py::arg("offset"));
  m.def("roi_align_forward", &roi_align_forward, py::arg("input"), py::arg("rois"), py::arg("output"),
        py::arg("argmax_y"), py::arg("argmax_x"), py::arg("aligned_height"), py::arg("aligned_width"),
        py::arg("spatial_scale"), py::arg("sampling_ratio"), py::arg("pool_mode"), py::arg("aligned"));
}
"""
PACKAGES = ("mmdet", "mmengine", "torch", "numpy", "pycocotools")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mmcv_source", type=Path, help="the unpacked source of mmcv 2.1.0")
    parser.add_argument("--names", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--images", nargs="+", type=Path, help="photos instead of the generated ones; with --save")
    parser.add_argument("--scale", nargs=2, type=int, default=PHOTO_SCALE, help="limits of the long and the short side")
    parser.add_argument("--save", type=Path, help="write all arrays to this folder instead of the golden file")
    parser.add_argument("--weights", type=Path, help="write the weights to this folder, as mmdetection's files")
    arguments = parser.parse_args()
    use_mmcv_operators(arguments.mmcv_source)

    golden = {"versions": {"mmcv": "2.1.0", **{name: importlib.metadata.version(name) for name in PACKAGES}}}
    golden |= {"scale": list(arguments.scale), "models": {}}
    with tempfile.TemporaryDirectory() as folder:
        images = arguments.images or write_photos(Path(folder))
        for name in arguments.names:
            model, pipeline, shapes = create(name, tuple(arguments.scale))
            if arguments.weights:
                save_weights(model, arguments.weights / f"{name}.pth")
            runs = [run(model, pipeline, image) for image in images]
            if arguments.save:
                save(arguments.save / f"{name}.npz", images, runs)
                continue
            golden["models"][f"mmdet/{name}"] = {
                "parameters": sum(p.numel() for p in model.parameters()),
                "tensors": len(shapes),
                "names_crc32": zlib.crc32(repr(sorted(shapes.items())).encode()),
                "photos": [
                    {
                        "outputs": {key: sample(f"{name}/{i}/{key}", array) for key, array in outputs.items()},
                        "found": as_json(found),
                    }
                    for i, (outputs, found) in enumerate(runs)
                ],
            }
            for _, found in runs:
                print(name, len(found["scores"]), found["scores"][:5], np.unique(found["labels"]), flush=True)
    if not arguments.save:
        text = json.dumps(golden, separators=(",", ":")).replace('"outputs"', '\n"outputs"')
        (FOLDER / "mmdet_detectors.json").write_text(text.replace('"found"', '\n"found"') + "\n")


def use_mmcv_operators(source: Path) -> None:
    """Import mmcv from its source, with the two operators that these detectors need."""
    from torch.utils.cpp_extension import load

    code = source / "mmcv" / "ops" / "csrc"
    folder = source / "two_operators"
    folder.mkdir(exist_ok=True)
    files = {file.replace("/", "_"): f'#include "{(code / "pytorch" / file).resolve()}"\n' for file in _OPERATOR_FILES}
    for name, text in {**files, "bindings.cpp": _BINDINGS}.items():
        if not (folder / name).is_file():  # an old file need not be compiled again
            (folder / name).write_text(text)
    compiled = load(
        "res2net_mmcv_operators",
        [str(folder / name) for name in (*files, "bindings.cpp")],
        extra_include_paths=[str(code / "common")],
        build_directory=str(folder),
    )

    def find(name: str) -> str:
        """mmcv asks for all its operators when it is imported."""
        if name.startswith("__"):
            raise AttributeError(name)
        return f"mmcv's operator {name} was not compiled"  # calling it fails

    operators = types.ModuleType("mmcv._ext")
    operators.nms, operators.roi_align_forward = compiled.nms, compiled.roi_align_forward
    operators.__getattr__ = find
    sys.modules["mmcv._ext"] = operators
    sys.path.insert(0, str(source))
    _do_without("torchvision")


def write_photos(folder: Path) -> list[Path]:
    paths = []
    for number, shape in enumerate(PHOTO_SHAPES):
        paths.append(folder / f"photo{number}.png")
        cv2.imwrite(str(paths[-1]), make_photo(number, shape))
    return paths


def create(name: str, scale: tuple[int, int]):
    """Return a detector, its test pipeline without annotations, and the shapes of its tensors by name."""
    import mmdet
    import torch
    from mmcv.transforms import Compose
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.config import Config

    register_all_modules()
    config = Config.fromfile(Path(mmdet.__file__).parent / ".mim" / "configs" / "res2net" / f"{name}.py")
    config.model.backbone.init_cfg = None
    model = MODELS.build(config.model)
    model.eval()
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    model.load_state_dict(
        {
            key: torch.zeros((), dtype=torch.long)
            if key.endswith("num_batches_tracked")
            else torch.from_numpy(make_detector_tensor(key, shape))
            for key, shape in shapes.items()
        }
    )
    steps = [step for step in config.test_dataloader.dataset.pipeline if step["type"] != "LoadAnnotations"]
    next(step for step in steps if step["type"] == "Resize")["scale"] = scale
    return model, Compose(steps), shapes


def run(model, pipeline, image: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return what the parts compute, by name; and what is found, in pixels of the photo."""
    import torch

    outputs: dict[str, np.ndarray] = {}

    def keep(name: str, tensor) -> None:
        outputs[name] = tensor.detach().numpy().copy()

    def keep_all(names: list[str], tensors) -> None:
        for name, tensor in zip(names, tensors):
            keep(name, tensor)

    handles = []

    def watch(module, call) -> None:
        handles.append(module.register_forward_hook(lambda _, __, result: call(result)))

    watch(model.backbone, lambda result: keep_all([f"c{level}" for level in range(2, 6)], result))
    watch(model.neck, lambda result: keep_all([f"p{level}" for level in range(2, 7)], result))

    def keep_rpn(result) -> None:
        for kind, maps in zip(("rpn_score", "rpn_delta"), result):
            keep_all([f"{kind}{level}" for level in range(2, 7)], maps)

    watch(model.rpn_head, keep_rpn)
    heads = model.roi_head.bbox_head
    is_cascade = isinstance(heads, torch.nn.ModuleList)
    for stage, head in enumerate(heads if is_cascade else [heads], start=1):
        end = str(stage) if is_cascade else ""
        watch(head, lambda result, end=end: keep_all([f"box_score{end}", f"box_delta{end}"], result))
    if model.roi_head.with_mask:
        heads = model.roi_head.mask_head
        for stage, head in enumerate(heads if is_cascade else [heads], start=1):
            watch(head, lambda result, end=str(stage) if is_cascade else "": keep(f"mask_logits{end}", result))
    original = model.rpn_head.predict

    def predict(*arguments, **options):
        results = original(*arguments, **options)
        keep("proposals", results[0].bboxes)
        keep("proposal_scores", results[0].scores)
        return results

    model.rpn_head.predict = predict
    data = pipeline({"img_path": str(image), "img_id": 0})
    batch = {"inputs": [data["inputs"]], "data_samples": [data["data_samples"]]}
    prepared = model.data_preprocessor(batch, False)
    keep("image", prepared["inputs"])
    with torch.no_grad():
        sample_ = model.test_step({"inputs": [data["inputs"]], "data_samples": [data["data_samples"]]})[0]
    for handle in handles:
        handle.remove()
    model.rpn_head.predict = original
    outputs["resized_shape"] = np.array(sample_.img_shape, np.float32)
    instances = sample_.pred_instances
    found = {key: instances[key].numpy() for key in ("bboxes", "scores", "labels")}
    if "masks" in instances:
        found["masks"] = instances.masks.numpy()
    return outputs, found


def as_json(found: dict[str, np.ndarray]) -> dict[str, object]:
    from pycocotools import mask

    plain: dict[str, object] = {
        "boxes": [[float(f"{value:.8g}") for value in box] for box in found["bboxes"]],
        "scores": [float(f"{value:.8g}") for value in found["scores"]],
        "labels": found["labels"].tolist(),
    }
    if "masks" in found:
        runs = [mask.encode(np.asfortranarray(one.astype(np.uint8))) for one in found["masks"]]
        plain["masks"] = [one["counts"].decode("ascii") for one in runs]
        plain["size"] = list(found["masks"].shape[1:])
    return plain


def save(path: Path, images: list[Path], runs) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"images": np.array([image.name for image in images])}
    for number, (outputs, found) in enumerate(runs):
        arrays |= {f"{number}/{key}": array for key, array in {**outputs, **found}.items()}
    np.savez(path, **arrays)


def save_weights(model, path: Path) -> None:
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"meta": {"epoch": 24, "CLASSES": ("person",)}, "state_dict": model.state_dict()}, path)


if __name__ == "__main__":
    main()
