"""Contender: the endpoint that people write around torchvision's Mask R-CNN, with FastAPI and uvicorn.

    python -m benchmarks.serving.torchvision_server --weights WEIGHTS.safetensors --threads 2

Runs under a Python that has torch, torchvision, timm, fastapi, uvicorn and OpenCV; this project need not be installed there.
"""

from __future__ import annotations

import argparse
import socket
import sys

import cv2
import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Request

from benchmarks.inference.torchvision_detector import create_model


def create_app(weights: str, compiled: bool) -> FastAPI:
    """Return the application: an image as body, boxes, labels and scores as JSON, one request at a time.

    Args:
        weights: ``.safetensors`` file with the tensors of the benchmark's detector under our names.
        compiled: Whether trunk and pyramid are compiled.
    """
    model = create_model(weights, compiled)
    app = FastAPI()

    # Not a function for the thread pool: with several photos at once, the threads of torch would hinder each other.
    @app.post("/predict")
    async def predict(request: Request) -> dict:
        image = cv2.imdecode(np.frombuffer(await request.body(), np.uint8), cv2.IMREAD_COLOR)
        assert image is not None, "the benchmark sends photos"
        pixels = torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).permute(2, 0, 1).float().div(255)
        with torch.inference_mode():
            (found,) = model([pixels])
        return {name: found[name].tolist() for name in ("boxes", "labels", "scores")}

    return app


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compiled", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    app = create_app(args.weights, args.compiled)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(f"Serving torchvision at http://127.0.0.1:{listening.getsockname()[1]}", file=sys.stderr, flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])


if __name__ == "__main__":
    main()
