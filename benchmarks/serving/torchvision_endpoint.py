"""Contender: a plain FastAPI endpoint around torchvision's Mask R-CNN, as people write it. Needs only what it imports."""

from __future__ import annotations

import io
import socket
import sys

import numpy as np
import torch
import torchvision
import uvicorn
from fastapi import FastAPI, Request
from PIL import Image

app = FastAPI()
torch.set_num_threads(int(sys.argv[1]))
model = torchvision.models.detection.maskrcnn_resnet50_fpn(
    weights=None, weights_backbone=None, box_score_thresh=0.0
).eval()


@app.post("/predict")
async def predict(request: Request) -> dict:
    """Return boxes, scores, labels and the number of masks' pixels; masks themselves would be megabytes of JSON."""
    image = Image.open(io.BytesIO(await request.body())).convert("RGB")
    with torch.inference_mode():
        (found,) = model([torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float().div(255)])
    masks = (found["masks"][:, 0] > 0.5).sum(dim=(1, 2))
    return {key: found[key].tolist() for key in ("boxes", "scores", "labels")} | {"masks": masks.tolist()}


if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"Serving torchvision at http://127.0.0.1:{listening.getsockname()[1]}", file=sys.stderr, flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
