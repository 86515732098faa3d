"""Annotations and detections made up from a seed, with every kind of mistake; needs NumPy and pycocotools only."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as mask_utils

SIZE = 160


def make_annotations(seed: int, images: int = 14, classes: int = 5, objects: int = 6) -> dict:
    """Return annotations in COCO's format: ellipses, some crowds, an image without objects. Ids are not sorted."""
    random = np.random.default_rng(seed)
    annotations = []
    image_ids = random.permutation(images * 3)[:images].tolist()
    for image in image_ids[1:]:  # the first one has no objects
        for _ in range(random.integers(0, objects + 1)):
            w, h = random.uniform(8, 90, 2)
            x, y = random.uniform(0, SIZE - w), random.uniform(0, SIZE - h)
            polygon = ellipse(x, y, w, h)
            entry = {
                "id": 1000 - len(annotations),
                "image_id": image,
                "category_id": int(random.integers(classes)) * 2 + 1,
                "bbox": [x, y, w, h],
                "area": float(w * h * np.pi / 4),
                "iscrowd": int(random.uniform() < 0.08),
                "segmentation": [polygon],
            }
            annotations.append(entry)
    names = ["ant", "bee", "cat", "dog", "eel", "fox"]
    categories = [{"id": 2 * place + 1, "name": names[place % 6] + "s" * (place // 6)} for place in range(classes)]
    return {
        "images": [{"id": id_, "file_name": f"{id_:04d}.png", "width": SIZE, "height": SIZE} for id_ in image_ids],
        "categories": categories[::-1],
        "annotations": annotations,
    }


def make_results(annotations: dict, seed: int, noise: float = 0.15, background: int = 3) -> list[dict]:
    """Return detections with boxes and masks: right ones, moved ones, wrong classes, doubles and background; equal scores."""
    random = np.random.default_rng(seed)
    class_ids = [one["id"] for one in annotations["categories"]]
    results: list[dict] = []

    def add(image: int, category: int, box: np.ndarray) -> None:
        x, y, w, h = (float(value) for value in box)
        mask = mask_utils.frPyObjects([ellipse(x, y, w, h)], SIZE, SIZE)[0]
        results.append(
            {
                "image_id": image,
                "category_id": category,
                "bbox": [x, y, w, h],
                "score": round(float(random.beta(1.2, 1)), 2),
                "segmentation": {"size": mask["size"], "counts": mask["counts"].decode()},
            }
        )

    for one in annotations["annotations"]:
        for _ in range(random.choice([0, 1, 1, 1, 2, 3])):
            x, y, w, h = one["bbox"]
            scale = random.choice([0.3, 1.0, 3.0]) * noise
            box = np.array(
                [
                    x + random.normal(0, scale) * w,
                    y + random.normal(0, scale) * h,
                    *(np.exp(random.normal(0, scale, 2)) * (w, h)),
                ]
            )
            add(one["image_id"], one["category_id"] if random.uniform() < 0.7 else int(random.choice(class_ids)), box)
    for image in annotations["images"]:
        for _ in range(random.integers(0, background + 1)):
            add(
                image["id"],
                int(random.choice(class_ids)),
                np.append(random.uniform(0, SIZE / 2, 2), random.uniform(5, 60, 2)),
            )
    return [results[place] for place in random.permutation(len(results))]


def ellipse(x: float, y: float, w: float, h: float) -> list[float]:
    """Return the outline of the ellipse in a box, as COCO's polygon."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return np.stack([x + w / 2 * (1 + np.cos(angle)), y + h / 2 * (1 + np.sin(angle))], axis=1).ravel().tolist()
