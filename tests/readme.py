#!/usr/bin/env python3
"""Runs the commands of README's "Your own dataset", word for word, on photos made here, and asks for an AP.

Not a pytest module, because it takes minutes (``make test-readme``). It stops at the first failure.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
LEAST_AP = 0.6
IMAGES, OBJECTS, WIDTH_PX, HEIGHT_PX = 20, 6, 160, 120
# Class -> colour (BGR) and the corners of its shape around 0, with a radius of 1.
_TURN = 2 * np.pi * np.arange(24) / 24
CLASSES = {
    "coin": ((60, 190, 230), np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1)),
    "leaf": ((70, 150, 60), np.stack([np.cos(_TURN), 0.4 * np.sin(_TURN)], axis=1)),
    "tile": ((170, 90, 60), np.array([[-0.8, -0.8], [0.8, -0.8], [0.8, 0.8], [-0.8, 0.8]])),
}


def main() -> None:
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        walk(Path(folder))
    print(f"README's own dataset: done in {time.perf_counter() - started:.0f} s")


def walk(folder: Path) -> None:
    """Make the photos, run the commands in ``folder``, and check what they leave."""
    draw_photos(folder / "DATA" / "photos")
    (folder / "deploy").symlink_to(ROOT / "deploy")  # README's commands are typed at the top of a checkout
    for words in commands():
        start = ["-m", "ppdet_res2net"] if words[0] == "ppdet-res2net" else []
        command = [sys.executable, *start, *words[1:]]
        print("$", shlex.join(words), flush=True)
        paths = [ROOT, ROOT / "deploy" / "python", *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
        if subprocess.run(command, cwd=folder, env=environment).returncode:
            sys.exit("README's own dataset: the command above failed")
    lines = (folder / "output/my/metrics.jsonl").read_text("utf-8").splitlines()
    best = max(record["bbox"]["AP"] for record in map(json.loads, lines) if "bbox" in record)
    print(f"best box AP {best:.3f}")
    if best < LEAST_AP:
        sys.exit(f"README's own dataset: the best box AP is {best:.3f}, expected at least {LEAST_AP}")
    if len(list((folder / "output").rglob("*.png"))) < IMAGES:
        sys.exit("README's own dataset: not every photo was predicted")


def commands() -> list[list[str]]:
    """Return the words of the first commands of README's section: from init to the prediction."""
    section = (ROOT / "README.md").read_text("utf-8").partition("## Your own dataset")[2].partition("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)[:2]
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def draw_photos(folder: Path) -> None:
    """Draw images of shapes on a speckled ground, each with the file that labelme writes for it."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(IMAGES):
        picture = generator.normal(128, 20, (HEIGHT_PX, WIDTH_PX, 3)).clip(0, 255).astype(np.uint8)
        shapes = [draw(picture, place, generator) for place in range(OBJECTS)]
        cv2.imwrite(str(folder / f"{number:02d}.png"), cv2.GaussianBlur(picture, (3, 3), 0))
        content = {
            "version": "5.4.1",
            "flags": {},
            "shapes": shapes,
            "imagePath": f"{number:02d}.png",
            "imageData": None,
            "imageHeight": HEIGHT_PX,
            "imageWidth": WIDTH_PX,
        }
        (folder / f"{number:02d}.json").write_text(json.dumps(content))


def draw(picture: np.ndarray, place: int, generator: np.random.Generator) -> dict:
    """Draw one object in its cell of a grid of three by two, and return its shape."""
    name = generator.choice(list(CLASSES))
    colour, corners = CLASSES[name]
    radius, angle = generator.uniform(12, 24), generator.uniform(0, 2 * np.pi)
    centre = [(place % 3 + 0.5) * WIDTH_PX / 3, (place // 3 + 0.5) * HEIGHT_PX / 2] + generator.uniform(-4, 4, 2)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = corners @ turn * radius + centre
    shade = [int(value) for value in np.add(colour, generator.integers(-20, 20, 3)).clip(0, 255)]
    cv2.fillPoly(picture, [np.rint(points).astype(np.int32)], shade)
    points = points.clip(0, [WIDTH_PX, HEIGHT_PX]).round(2).tolist()
    return {"label": str(name), "points": points, "group_id": None, "shape_type": "polygon", "flags": {}}


if __name__ == "__main__":
    main()
