"""Weights and images that are pure functions of names and shapes, so that nothing needs to be stored.

This module needs only NumPy, because the generator of the goldens runs in environments without this project.
"""

from __future__ import annotations

import contextlib
import zlib

import numpy as np

__all__ = [
    "DLA_IMAGE_SHAPE",
    "IMAGE_SHAPE",
    "PHOTO_SCALE",
    "PHOTO_SHAPES",
    "make_detector_tensor",
    "make_image",
    "make_photo",
    "make_tensor",
    "run_detector",
    "sample",
    "without_random_weights",
]

# Odd sizes at every stage, so that differences in padding and ceil mode, and so in the dialects, show.
IMAGE_SHAPE = (1, 3, 75, 98)
# DLA takes multiples of 32.
DLA_IMAGE_SHAPE = (1, 3, 96, 160)
# paddledet's FPN only takes multiples of 32.
DETECTOR_IMAGE_SHAPE = (1, 3, 96, 128)
SAMPLES = 96


def make_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the float32 tensor with the source's name ``name``; activations keep a scale of about one."""
    tensor = _uniform(f"{name}{list(shape)}", shape)  # in [-1, 1), standard deviation 0.58
    leaf = name.rpartition(".")[2]
    if len(shape) == 4:
        return tensor * np.float32(2.2 / np.sqrt(np.prod(shape[1:])))
    if len(shape) == 2:
        return tensor * np.float32(1.7 / np.sqrt(max(shape)))
    if "var" in leaf:
        return 1 + np.float32(0.4) * tensor
    if leaf in ("weight", "gamma"):
        return np.float32(0.7) + np.float32(0.2) * tensor
    return np.float32(0.2) * tensor


def make_image(shape: tuple[int, ...] = IMAGE_SHAPE) -> np.ndarray:
    """Return a normalised image."""
    return 2 * _uniform("image", shape)


# Photos for whole detectors, whose resized sizes have to be rounded; and mmdetection's limits of their long and short side.
PHOTO_SHAPES = ((107, 149), (301, 227))
PHOTO_SCALE = (256, 128)
# Factors for layers of mmdetection, so that scores spread without many ties, and boxes move away from their anchors.
_FACTORS = {"lateral_convs": 0.15, "fc_cls": 10.0, "fc_reg": 1.5, "rpn_cls": 3.0, "rpn_reg": 0.8, "conv_logits": 8.0}
# Biases: most regions are background; a third of the proposals are as narrow, boxes of one class as flat as possible.
_BIASES = {
    "bbox_head.fc_cls.bias": {80: 13.0},
    "0.fc_cls.bias": {80: 9.0},
    "1.fc_cls.bias": {80: 9.0},
    "2.fc_cls.bias": {80: 9.0},
    "rpn_cls.bias": {2: -3.0},
    "rpn_reg.bias": {10: -8.0},
    "bbox_head.fc_reg.bias": {4 * 37 + 3: -30.0},
}


def make_detector_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the tensor of a detector of mmdetection, with which it finds objects of many classes and scores."""
    tensor = make_tensor(name, shape)
    if name.startswith("backbone."):
        return tensor
    if len(shape) > 1 and not name.endswith("upsample.weight"):
        tensor = tensor - tensor.mean(axis=tuple(range(1, len(shape))), keepdims=True)
    tensor = tensor * np.float32(next((factor for layer, factor in _FACTORS.items() if f".{layer}." in name), 1.0))
    for end, biases in _BIASES.items():
        if name.endswith(end):
            for index, bias in biases.items():
                tensor[index] += np.float32(bias)
    return tensor


def make_photo(number: int, shape: tuple[int, int]) -> np.ndarray:
    """Return a photo of coloured rectangles with some noise, (H, W, 3) uint8."""
    random = _random(f"photo{number}")
    photo = np.full((*shape, 3), random.randint(0, 256, 3), np.int64)
    for extent in np.geomspace(0.8, 0.04, 40):
        height, width = (max(2, round(extent * side * random.uniform(0.5, 1))) for side in shape)
        top, left = (random.randint(0, side - size + 1) for side, size in zip(shape, (height, width)))
        photo[top : top + height, left : left + width] = random.randint(0, 256, 3)
    return np.clip(photo + random.randint(-12, 13, photo.shape), 0, 255).astype(np.uint8)


# Regions of the image, one of them whole: xyxy in pixels.
REGIONS = ((3.0, 4.0, 60.0, 50.0), (10.0, 20.0, 90.0, 70.0), (0.0, 0.0, 97.0, 74.0))


def run_detector(model) -> dict[str, np.ndarray]:
    """Run the dense parts of a ppdet Faster or Mask R-CNN on an image, the heads on fixed regions."""
    import paddle

    features = model.neck(model.backbone({"image": paddle.to_tensor(make_image(DETECTOR_IMAGE_SHAPE))}))
    outputs = {f"p{level}": feature for level, feature in enumerate(features, start=2)}
    rpn = model.rpn_head.rpn_feat(features)[0]
    outputs["rpn_score"], outputs["rpn_delta"] = (
        model.rpn_head.rpn_rois_score(rpn),
        model.rpn_head.rpn_rois_delta(rpn),
    )
    regions = [paddle.to_tensor(REGIONS)], paddle.to_tensor([len(REGIONS)], dtype="int32")
    box = model.bbox_head.head(model.bbox_head.roi_extractor(features, *regions))
    outputs["box_score"], outputs["box_delta"] = (
        model.bbox_head.bbox_score(box),
        model.bbox_head.bbox_delta(box),
    )
    if getattr(model, "mask_head", None) is not None:
        mask = model.mask_head.head(model.mask_head.roi_extractor(features, *regions))
        outputs["mask_logits"] = model.mask_head.mask_fcn_logits(mask)
    return {name: output.numpy() for name, output in outputs.items()}


@contextlib.contextmanager
def without_random_weights(value: float = 0.0):
    """Let Paddle create models full of one number: drawing random tensors would take most of the time."""
    import paddle

    constant = paddle.nn.initializer.Constant(value)
    paddle.nn.initializer.set_global_initializer(constant, constant)
    try:
        yield
    finally:
        paddle.nn.initializer.set_global_initializer(None, None)


def sample(name: str, array: np.ndarray) -> dict[str, object]:
    """Return shape, mean, standard deviation and some values at random places of an output."""
    values = np.ascontiguousarray(array, np.float32).ravel()
    places = _random(name).choice(values.size, min(SAMPLES, values.size), replace=False)
    return {
        "shape": list(array.shape),
        "mean": float(values.mean(dtype=np.float64)),
        "std": float(values.std(dtype=np.float64)),
        "values": [float(f"{value:.8g}") for value in values[places]],
    }


def _uniform(text: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return float32 numbers in [-1, 1); from raw bytes, because models have millions of them."""
    count = int(np.prod(shape))
    return np.frombuffer(_random(text).bytes(2 * count), "<i2").reshape(shape) / np.float32(2**15)


def _random(text: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(text.encode()))
