"""One training step of Mask R-CNN Res2Net50-vd-FPN: this package, paddledet's own modules, torchvision with timm.

    python -m benchmarks.train [--torch_python /path/to/python] [--steps 3] [--threads 2] [--parts] [--recompute]

Each contender runs in its own process, on the same image and objects: batch 1, 800x1088. Forward pass, backward pass and
optimizer are timed separately. Processor time is printed beside wall time, because other work on the machine disturbs it
less.

``--torch_python`` is a Python with torch, torchvision and timm. ``--recompute`` adds this package with the backbone
recomputed. ``--parts`` adds where the forward pass spends its time, and how often it makes the host wait for the device.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.harness import ContenderError, call, machine_line, peak_memory_gb, run_main

RECIPE = "mask_rcnn_res2net50_vd_26w_4s_fpn_2x_coco"
HEIGHT, WIDTH = 800, 1088
OBJECTS, CLASSES = 8, 80
# Weight of the last normalization of each block. With random weights and frozen statistics, residuals would explode.
RESIDUAL_SCALE = 0.2
LEARNING_RATE = 1e-5
CONTENDERS = {
    "ours": "this package",
    "recompute": "this package, recompute_backbone",
    "paddledet": "paddledet's modules",
    "torchvision": "torchvision, timm",
}


def make_sample() -> dict:
    """Return an image of noise at several scales, with octagons as objects."""
    draw = np.random.RandomState(0)
    noise = [np.kron(draw.randn(3, HEIGHT // size, WIDTH // size), np.ones((1, size, size))) for size in (1, 4, 16)]
    centres = draw.uniform([150, 150], [WIDTH - 150, HEIGHT - 150], (OBJECTS, 2))
    radii = draw.uniform(20, 140, (OBJECTS, 1))
    angles = np.arange(8) * np.pi / 4
    octagons = centres[:, None] + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)[None]
    return {
        "image": np.sum(noise, axis=0)[None].astype("float32"),
        "boxes": np.concatenate([octagons.min(1), octagons.max(1)], 1).astype("float32"),
        "labels": draw.randint(0, CLASSES, OBJECTS),
        "polygons": octagons.reshape(OBJECTS, -1),
    }


class PaddleStep:
    """A training step of our modules or of paddledet's."""

    def __init__(self, contender: str) -> None:
        import paddle

        from ppdet_res2net.config import load_config
        from ppdet_res2net.ppdet_modules.registry import create_from_config, register_modules
        from ppdet_res2net.training.device import select_device

        register_modules()
        config = load_config(RECIPE)
        if contender == "paddledet":
            paddle.set_device("cpu")
            _use_paddledets_modules()
            del config["Res2Net"]["dialect"]
        else:
            select_device({"use_gpu": False})  # as training does
        paddle.seed(0)
        self.model = create_from_config(config, "MaskRCNN")
        if contender == "recompute":
            from ppdet_res2net.training.recompute import recompute_blocks

            recompute_blocks(self.model)
        for name, parameter in self.model.backbone.named_parameters():
            if name.endswith("branch2c.norm.weight"):
                parameter.set_value(paddle.full_like(parameter, RESIDUAL_SCALE))
        self.model.train()
        builder = create_from_config(config, "OptimizerBuilder")
        self.optimizer = builder(LEARNING_RATE, self.model)
        sample = make_sample()
        self.inputs = {
            "image": paddle.to_tensor(sample["image"]),
            "im_shape": paddle.to_tensor([[HEIGHT, WIDTH]], dtype="float32"),
            "scale_factor": paddle.ones([1, 2]),
            "im_id": paddle.zeros([1, 1], dtype="int64"),
            "gt_bbox": [paddle.to_tensor(sample["boxes"])],
            "gt_class": [paddle.to_tensor(sample["labels"].reshape(-1, 1).astype("int32"))],
            "is_crowd": [paddle.zeros([OBJECTS, 1], dtype="int32")],
            "gt_poly": [[[polygon] for polygon in sample["polygons"]]],
        }

    def forward(self):
        """Return the loss."""
        self.loss = self.model(dict(self.inputs))["loss"]
        return float(self.loss)

    def backward(self) -> None:
        """Compute the gradients."""
        self.loss.backward()

    def update(self) -> None:
        """Update the weights."""
        self.optimizer.step()
        self.optimizer.clear_grad()


def _use_paddledets_modules() -> None:
    """Put paddledet's own Res2Net and MaskAssigner back into its registry; without our workarounds they would not run."""
    from ppdet.core.workspace import global_config, register, serializable
    from ppdet.modeling.backbones import res2net
    from ppdet.modeling.proposal_generator import target_layer

    for cls in (res2net.Res2Net, target_layer.MaskAssigner):
        global_config.pop(cls.__name__, None)
        register(serializable(cls))


class TorchStep:
    """The same step with torchvision's MaskRCNN on timm's res2net50d."""

    def __init__(self) -> None:
        import timm
        import torch
        import torchvision
        from torchvision.models.detection import MaskRCNN
        from torchvision.ops import FeaturePyramidNetwork
        from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

        torch.manual_seed(0)
        trunk = timm.create_model("res2net50d", features_only=True, out_indices=(1, 2, 3, 4))
        trunk = timm.layers.freeze_batch_norm_2d(trunk)
        for name, parameter in trunk.named_parameters():
            if name.startswith(("conv1", "layer1")):  # freeze_at: 0
                parameter.requires_grad = False
        for name, buffer in trunk.named_buffers():
            if name.endswith("bn3.weight"):
                buffer.fill_(RESIDUAL_SCALE)

        class Pyramid(torch.nn.Module):
            out_channels = 256

            def __init__(self) -> None:
                super().__init__()
                self.trunk = trunk
                self.fpn = FeaturePyramidNetwork([256, 512, 1024, 2048], 256, LastLevelMaxPool())

            def forward(self, x):
                return self.fpn({str(i): feature for i, feature in enumerate(self.trunk(x))})

        anchors = torchvision.models.detection.anchor_utils.AnchorGenerator(
            ((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5
        )
        self.model = MaskRCNN(
            Pyramid(),
            CLASSES + 1,
            min_size=HEIGHT,
            max_size=1333,
            rpn_anchor_generator=anchors,
            rpn_pre_nms_top_n_train=2000,
            rpn_post_nms_top_n_train=1000,
        ).train()
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(parameters, LEARNING_RATE, momentum=0.9, weight_decay=1e-4)
        sample = make_sample()
        masks = np.zeros((OBJECTS, HEIGHT, WIDTH), np.uint8)
        import cv2

        for mask, polygon in zip(masks, sample["polygons"]):
            cv2.fillPoly(mask, [polygon.reshape(-1, 2).round().astype(np.int32)], 1)
        self.images = [torch.from_numpy(sample["image"][0])]
        self.targets = [
            {
                "boxes": torch.from_numpy(sample["boxes"]),
                "labels": torch.from_numpy(sample["labels"] + 1),
                "masks": torch.from_numpy(masks),
            }
        ]

    def forward(self):
        """Return the loss."""
        self.loss = sum(self.model(self.images, self.targets).values())
        return float(self.loss)

    def backward(self) -> None:
        """Compute the gradients."""
        self.loss.backward()

    def update(self) -> None:
        """Update the weights."""
        self.optimizer.step()
        self.optimizer.zero_grad()


def measure(contender: str, steps: int, threads: int) -> dict:
    """Run steps of one contender in this process.

    Returns:
        ``forward``, ``backward``, ``update``: medians of wall time and processor time, in seconds; ``peak_gb``.
    """
    if contender == "torchvision":
        import torch

        torch.set_num_threads(threads)
        step: PaddleStep | TorchStep = TorchStep()
    else:
        step = PaddleStep(contender)
    times: dict[str, list] = defaultdict(list)
    for index in range(steps + 1):
        for part in ("forward", "backward", "update"):
            wall, cpu = time.perf_counter(), time.process_time()
            loss = getattr(step, part)()
            if index:  # the first step warms up
                times[part].append((time.perf_counter() - wall, time.process_time() - cpu))
            if part == "forward" and not np.isfinite(loss):
                raise SystemExit(f"{contender}: the loss is {loss}")
    return {
        "peak_gb": peak_memory_gb(),
        **{part: [statistics.median(column) for column in zip(*values)] for part, values in times.items()},
    }


@contextlib.contextmanager
def timed_calls(functions: dict[str, tuple[object, str]], seconds: dict[str, float]) -> Iterator[None]:
    """Add to ``seconds`` the time that is spent in functions; each is given as label -> (owner, attribute)."""
    originals = {}
    for label, (owner, attribute) in functions.items():
        originals[label] = original = getattr(owner, attribute)

        def timed(*args, _original=original, _label=label, **kwargs):
            started = time.perf_counter()
            try:
                return _original(*args, **kwargs)
            finally:
                seconds[_label] += time.perf_counter() - started

        setattr(owner, attribute, timed)
    try:
        yield
    finally:
        for label, (owner, attribute) in functions.items():
            setattr(owner, attribute, originals[label])


@contextlib.contextmanager
def counted_syncs(counts: dict[str, int]) -> Iterator[None]:
    """Count the waits of the host for a GPU: values read on the host, and operators whose output size depends on data."""
    import paddle

    tensor = type(paddle.zeros([1]))
    waiting: list[tuple[object, str]] = []
    waiting += [(tensor, name) for name in ("numpy", "item", "tolist", "__bool__", "__int__", "__float__", "__index__")]
    waiting += [(paddle, name) for name in ("nonzero", "masked_select", "unique")]
    originals = [(owner, name, getattr(owner, name)) for owner, name in waiting if hasattr(owner, name)]
    depth = [0]
    for owner, name, original in originals:

        def counted(*args, _original=original, _name=name, **kwargs):
            if not depth[0]:  # __bool__ calls numpy; that is one wait
                frame = sys._getframe(1)
                counts[f"{_name} in {Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}"] += 1
            depth[0] += 1
            try:
                return _original(*args, **kwargs)
            finally:
                depth[0] -= 1

        setattr(owner, name, counted)
    try:
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def measure_parts(contender: str, steps: int) -> dict:
    """Measure where a forward pass spends its time, and count how often the host waits."""
    step = PaddleStep(contender)
    model = step.model
    functions = {
        "backbone": (model.backbone, "forward"),
        "FPN": (model.neck, "forward"),
        "RPN convolutions": (model.rpn_head.rpn_feat, "forward"),
        "RPN proposals": (model.rpn_head, "_gen_proposal"),
        "RPN targets": (model.rpn_head, "rpn_target_assign"),
        "box targets": (model.bbox_head, "bbox_assigner"),
        "box head": (model.bbox_head.head, "forward"),
        "mask targets": (model.mask_head, "mask_assigner"),
        "mask head": (model.mask_head.head, "forward"),
    }
    step.forward()
    seconds: dict[str, float] = defaultdict(float)
    with timed_calls(functions, seconds):
        started = time.perf_counter()
        for _ in range(steps):
            step.forward()
        total = (time.perf_counter() - started) / steps
    counts: dict[str, int] = defaultdict(int)
    with counted_syncs(counts):
        step.forward()
        step.backward()
        step.update()
    return {"total": total, "seconds": {k: v / steps for k, v in seconds.items()}, "syncs": dict(counts)}


def print_parts(contender: str, parts: dict) -> None:
    """Print the result of ``measure_parts``."""
    print(f"\n{CONTENDERS[contender]}: forward {parts['total']:.2f} s, of which")
    for label, seconds in parts["seconds"].items():
        print(f"  {label:20s}{seconds:8.3f} s")
    print(f"waits of the host for the device per step: {sum(parts['syncs'].values())}")
    for label, count in sorted(parts["syncs"].items(), key=lambda item: -item[1]):
        print(f"  {count:4d}  {label}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run every contender and print the tables; returns 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3, help="timed steps of each contender (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: one per core")
    parser.add_argument("--torch_python", metavar="PYTHON", help="Python with torch, torchvision and timm")
    parser.add_argument("--parts", action="store_true", help="also print where the forward pass spends its time")
    parser.add_argument("--recompute", action="store_true", help="also run with the backbone recomputed")
    args = parser.parse_args(argv)
    names = ["ours", *(["recompute"] if args.recompute else []), "paddledet"]
    if args.torch_python:
        names.append("torchvision")
    print(machine_line(args.threads))
    print(f"batch 1, {HEIGHT}x{WIDTH}, median of {args.steps} steps; seconds (processor seconds)")
    print(f"{'':34s}{'forward':>16s}{'backward':>16s}{'optimizer':>16s}{'sum':>16s}{'peak GB':>10s}")
    failed = False
    for name in names:
        arguments = {"contender": name, "steps": args.steps, "threads": args.threads}
        python = args.torch_python if name == "torchvision" else sys.executable
        try:
            result = call("benchmarks.train:measure", arguments, threads=args.threads, python=python)
        except ContenderError as error:
            print(f"{CONTENDERS[name]:34s}{error}", flush=True)
            failed = True
            continue
        parts = [result["forward"], result["backward"], result["update"]]
        parts.append([sum(column) for column in zip(*parts)])
        cells = "".join(f"{f'{wall:.2f} ({cpu:.2f})':>16s}" for wall, cpu in parts)
        print(f"{CONTENDERS[name]:34s}{cells}{result['peak_gb']:10.2f}", flush=True)
    for name in ("ours", "paddledet") if args.parts else ():
        arguments = {"contender": name, "steps": args.steps}
        print_parts(name, call("benchmarks.train:measure_parts", arguments, threads=args.threads))
    return 1 if failed else 0


if __name__ == "__main__":
    run_main(main)
