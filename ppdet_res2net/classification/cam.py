"""Class activation maps: where in the image the evidence for a class lies.

Source: https://arxiv.org/abs/1512.04150. With global average pooling before a linear layer, as here, Grad-CAM of the last
feature map is the same up to a positive factor.
"""

from __future__ import annotations

import cv2
import numpy as np
import paddle

from ppdet_res2net.modeling import Res2NetClassifier

__all__ = ["class_activation_maps", "draw_activation"]

_MIN_PICTURE_PX = 224
_OPACITY = 0.5


def class_activation_maps(
    network: Res2NetClassifier, images: np.ndarray, outputs: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits of images, and how much each place contributes to one of them.

    Args:
        network: In evaluation mode.
        images: float32 (N, 3, H, W), prepared.
        outputs: int64 (N,): the output to explain for each image; default: the highest one.

    Returns:
        Logits, float32 (N, classes), and maps, float32 (N, H/32, W/32). The mean of a map plus the bias of the output is
        its logit.
    """
    with paddle.no_grad():
        features = network.backbone(paddle.to_tensor(images))[-1]  # (N, C, h, w)
        logits = network.fc(features.mean(axis=[2, 3])).numpy()
        outputs = logits.argmax(axis=1) if outputs is None else outputs
        weights = network.fc.weight.numpy().T[outputs]  # (N, C)
        maps = np.einsum("nc,nchw->nhw", weights, features.numpy())
    return logits, maps


def draw_activation(view: np.ndarray, activation: np.ndarray) -> np.ndarray:
    """Draw a map over an image: red where the evidence is strongest, blue where there is none.

    Args:
        view: The part of the image that the network sees, uint8 (S, S, 3) RGB.
        activation: float32 (h, w), as from :func:`class_activation_maps`.

    Returns:
        uint8 (T, T, 3) RGB; T is S, or 224 if S is smaller.
    """
    side = max(view.shape[0], _MIN_PICTURE_PX)
    view = cv2.resize(view, (side, side), interpolation=cv2.INTER_NEAREST)
    heat = np.maximum(cv2.resize(activation.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC), 0)
    shades = np.rint(255 * heat / max(float(heat.max()), np.finfo(np.float32).tiny)).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(shades, cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)
    return cv2.addWeighted(view, 1 - _OPACITY, colours, _OPACITY, 0)
