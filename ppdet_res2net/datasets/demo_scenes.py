"""Draws the pictures of the built-in dataset: shapes on a cluttered background, and the pixels of each."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

__all__ = ["CATEGORIES", "Instance", "draw_scene"]

#: Category id -> name. The ids have gaps, so that taking ids for labels gives visibly wrong results.
CATEGORIES = {1: "ellipse", 3: "star", 7: "triangle"}

# Extent of an object as a fraction of the long side. At the default size that spans COCO's small, medium and large.
SMALLEST_EXTENT, LARGEST_EXTENT = 0.2, 0.7
CROWD_MEMBER_EXTENT = 0.07
MAX_OBJECTS = 4
PLACEMENT_ATTEMPTS = 20
MIN_VISIBLE_FRACTION = 0.7
MIN_COLOUR_DISTANCE = 140.0
# How much stripes and squares brighten and darken the surface of the classes that have them.
SURFACE_CONTRAST = 0.2
# Fractional bits of the coordinates given to OpenCV's drawing functions.
SUBPIXEL_BITS = 4


@dataclass
class Instance:
    """One annotated object, or a crowd of them.

    Attributes:
        category_id: A key of ``CATEGORIES``.
        mask: (H, W) bool, the pixels that are visible in the finished picture.
        is_crowd: Whether the mask covers several objects of the class that are not told apart.
        drawn_area_px: Pixels inside the picture before anything was drawn over the object.
    """

    category_id: int
    mask: np.ndarray
    is_crowd: bool = False
    drawn_area_px: int = field(init=False)

    def __post_init__(self) -> None:
        self.drawn_area_px = int(self.mask.sum())


def draw_scene(
    rng: np.random.Generator, image_size_px: int, with_objects: bool, with_crowd: bool
) -> tuple[np.ndarray, list[Instance]]:
    """Draw one picture.

    Args:
        rng: The only source of randomness.
        image_size_px: Long side of the picture; the short side is 3/4 to 1 of it.
        with_objects: Whether shapes are drawn at all; if not, the picture is background and clutter.
        with_crowd: Whether a group of small shapes is drawn and annotated as one crowd.

    Returns:
        The picture, (H, W, 3) uint8 BGR, and its instances in drawing order: a later one hides an earlier
        one.
    """
    short_side_px = int(image_size_px * rng.uniform(0.75, 1.0))
    height, width = (short_side_px, image_size_px) if rng.random() < 0.7 else (image_size_px, short_side_px)
    image, background_bgr = _draw_background(rng, height, width)
    instances: list[Instance] = []
    if with_crowd:
        instances.append(_draw_crowd(rng, image, background_bgr))
    if with_objects:
        for _ in range(int(rng.integers(1, MAX_OBJECTS + 1))):
            _place_object(rng, image, background_bgr, instances)
    noisy = cv2.GaussianBlur(image, (3, 3), 0.6) + rng.normal(0.0, rng.uniform(1.0, 3.0), image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), instances


def _draw_background(rng, height, width):
    """Paint a smooth texture with thin lines and dots as clutter; return it with its mean colour."""
    base_bgr = rng.uniform(40, 215, 3)
    texture = np.zeros((height, width, 3), np.float32)
    for cells in (2, 5, 12):
        coarse = rng.normal(0.0, 1.0, (cells, cells, 3)).astype(np.float32)
        texture += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * rng.uniform(3, 9)
    image = np.clip(base_bgr + texture, 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(2, 9))):
        colour = np.clip(base_bgr + rng.uniform(-60, 60, 3), 0, 255).tolist()
        start, end = rng.integers(0, (width, height), (2, 2)).tolist()
        if rng.random() < 0.6:
            cv2.line(image, start, end, colour, int(rng.integers(1, 3)), cv2.LINE_AA)
        else:
            cv2.circle(image, start, int(rng.integers(1, 5)), colour, -1, cv2.LINE_AA)
    return image, base_bgr


def _place_object(rng, image, background_bgr, instances):
    """Draw one object where enough of every earlier one stays visible. Draw none if the picture is full."""
    height, width = image.shape[:2]
    for _ in range(PLACEMENT_ATTEMPTS):
        extent_px = max(height, width) * np.exp(rng.uniform(*np.log((SMALLEST_EXTENT, LARGEST_EXTENT))))
        # The border may cut a little off the object; a centre in the picture keeps most of it.
        margin_px = min(0.4 * extent_px, 0.45 * min(height, width))
        centre = rng.uniform((margin_px, margin_px), (width - margin_px, height - margin_px))
        category_id = int(rng.choice(list(CATEGORIES)))
        mask = _draw_mask(_outline(rng, CATEGORIES[category_id], centre, extent_px), height, width)
        remaining = [instance.mask & ~mask for instance in instances]
        if all(
            rest.sum() >= MIN_VISIBLE_FRACTION * instance.drawn_area_px for rest, instance in zip(remaining, instances)
        ):
            for rest, instance in zip(remaining, instances):
                instance.mask = rest
            _paint(rng, image, mask, category_id, background_bgr)
            instances.append(Instance(category_id, mask))
            return


def _draw_crowd(rng, image, background_bgr):
    """Draw a patch of about ten small shapes of one class; their union is the crowd."""
    height, width = image.shape[:2]
    category_id = int(rng.choice(list(CATEGORIES)))
    corner = rng.uniform((0.0, 0.0), (0.6 * width, 0.6 * height))
    union = np.zeros((height, width), bool)
    for _ in range(int(rng.integers(9, 15))):
        centre = corner + rng.uniform(0.05, 0.35, 2) * (width, height)
        extent_px = CROWD_MEMBER_EXTENT * max(height, width)
        mask = _draw_mask(_outline(rng, CATEGORIES[category_id], centre, extent_px), height, width)
        _paint(rng, image, mask, category_id, background_bgr)
        union |= mask
    return Instance(category_id, union, is_crowd=True)


def _outline(rng, name, centre, extent_px):
    """Return the (N, 2) corners, in pixels, of a shape that is squeezed and turned at random."""
    if name == "star":
        angles = np.arange(10) * np.pi / 5
        radii = np.where(np.arange(10) % 2 == 0, 1.0, rng.uniform(0.38, 0.5))
        squeeze = rng.uniform(0.8, 1.0)
    elif name == "triangle":
        angles = np.arange(3) * 2 * np.pi / 3
        radii = np.ones(3)
        squeeze = rng.uniform(0.8, 1.0)
    else:
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        radii = np.ones(48)
        squeeze = rng.uniform(0.5, 1.0)
    corners = np.stack([np.cos(angles) * radii, np.sin(angles) * radii * squeeze], axis=1) * extent_px / 2
    turn = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return corners @ rotation + centre


def _draw_mask(corners, height, width):
    canvas = np.zeros((height, width), np.uint8)
    cv2.fillPoly(canvas, [np.round(corners * 2**SUBPIXEL_BITS).astype(np.int32)], 1, shift=SUBPIXEL_BITS)
    return canvas.astype(bool)


def _contrasting_colour(rng, background_bgr):
    """Return a random colour that stands out from the background."""
    while True:
        colour = rng.uniform(0, 255, 3)
        if np.linalg.norm(colour - background_bgr) >= MIN_COLOUR_DISTANCE:
            return colour


def _paint(rng, image, mask, category_id, background_bgr):
    """Fill ``mask`` with a colour, a gradient of light and a darker rim. The surface depends on the class."""
    colour_bgr = _contrasting_colour(rng, background_bgr)
    rows, columns = np.nonzero(mask)
    direction = rng.uniform(0, 2 * np.pi)
    along = columns * np.cos(direction) + rows * np.sin(direction)
    across = rows * np.cos(direction) - columns * np.sin(direction)
    light = rng.uniform(-0.25, 0.25) * (along - along.mean()) / max(np.ptp(along) / 2, 1.0)
    waves_per_px = 2 * np.pi / rng.uniform(6, 10)
    surface = CATEGORIES[category_id]
    if surface == "star":  # stripes
        light += SURFACE_CONTRAST * np.sign(np.sin(along * waves_per_px))
    elif surface == "triangle":  # a chequerboard; ellipses are smooth
        light += SURFACE_CONTRAST * np.sign(np.sin(along * waves_per_px) * np.sin(across * waves_per_px))
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    light = np.where(inner[mask], 1 + light, 0.55 * (1 + light))
    image[mask] = np.clip(colour_bgr * light[:, None], 0, 255).astype(np.uint8)
