"""The Open Inference Protocol over REST (KServe's "v2", Triton): routes under ``/v2``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

import res2net_runtime
from res2net_runtime.errors import ImageError
from res2net_runtime.serve.bodies import read_body
from res2net_runtime.serve.errors import RequestError, hide_paths
from res2net_runtime.serve.models import LoadedModel
from res2net_runtime.serve.schemas import error_answers
from res2net_runtime.serve.service import Service, service_of
from res2net_runtime.serve.tensors import (
    JSON_LENGTH_HEADER,
    InferRequest,
    list_outputs,
    make_tensors,
    read_request,
    write_answer,
)
from res2net_runtime.texts import clip

__all__ = ["router"]

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
_EXTENSIONS = ["binary_tensor_data"]
_ERRORS = error_answers(400, 401, 404, 408, 413, 415, 500, 503, 504)


@router.get("/health/live")
async def live() -> dict[str, bool]:
    """Whether the server answers."""
    return {"live": True}


@router.get("/health/ready", responses=error_answers(503))
async def ready(request: Request) -> dict[str, bool]:
    """Whether every model is loaded."""
    if not service_of(request).store.is_ready:
        raise RequestError(503, "The models are not loaded yet.", "not_ready", {"Retry-After": "1"})
    return {"ready": True}


@router.get("")
async def describe_server() -> dict[str, Any]:
    """Return the name and the version of the server."""
    return {"name": "res2net-serve", "version": res2net_runtime.__version__, "extensions": _EXTENSIONS}


@router.get("/models/{name}", responses=error_answers(401, 404))
@router.get("/models/{name}/versions/{version}", responses=error_answers(401, 404))
async def describe_model(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """Return the inputs and outputs of a model."""
    service_of(request).check_key(request)
    model = _find(service_of(request), name, version)
    return {
        "name": name,
        "versions": [model.version],
        "platform": f"res2net_{model.session.engine}",
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1]}],
        "outputs": list_outputs(model),
    }


@router.get("/models/{name}/ready", responses=error_answers(401, 404))
@router.get("/models/{name}/versions/{version}/ready", responses=error_answers(401, 404))
async def model_ready(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """Whether a model is loaded."""
    service_of(request).check_key(request)
    return {"name": _find(service_of(request), name, version).name, "ready": True}


_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string", "enum": ["image"]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1, "maxItems": 4},
        "datatype": {"type": "string", "enum": ["BYTES", "UINT8"]},
        "data": {"type": "array", "items": {}, "description": "BYTES: encoded images in base64; UINT8: pixels, RGB"},
        "parameters": {"type": "object"},
    },
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": "string"},
                        "inputs": {"type": "array", "items": _TENSOR, "minItems": 1, "maxItems": 1},
                        "outputs": {
                            "type": "array",
                            "items": {"type": "object", "properties": {"name": {"type": "string"}}},
                        },
                        "parameters": {
                            "type": "object",
                            "properties": {
                                "threshold": {"type": "number", "minimum": 0, "maximum": 1},
                                "timeout_ms": {"type": "integer", "minimum": 1},
                            },
                        },
                    },
                },
                "example": {
                    "inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["/9j/4AAQSkZJRg..."]}],
                    "parameters": {"threshold": 0.5},
                },
            },
        },
    }
}


@router.post("/models/{name}/infer", responses=_ERRORS, openapi_extra=_BODY)
@router.post("/models/{name}/versions/{version}/infer", responses=_ERRORS, openapi_extra=_BODY)
async def infer(request: Request, name: str, version: str | None = None) -> Response:
    """Run a model on images: encoded ones as BYTES, or RGB pixels as UINT8 of shape [height, width, 3] or [n, ..., 3]."""
    service = service_of(request)
    started_s = time.perf_counter()
    with service.accepting(request, name) as account:
        _find(service, name, version)
        body = await read_body(request, service.settings, account)
        asked = await service.work(
            lambda: read_request(body, request.headers.get(JSON_LENGTH_HEADER), service.settings)
        )
        model = _find(service, name, version)
        _check_outputs(model, asked)
        limit_ms = asked.timeout_ms or service.settings.timeout_ms
        left_ms = max(1.0, limit_ms - 1000 * (time.perf_counter() - started_s))
        outcomes = await service.run(request, model, asked.images, left_ms, keeps_images=False)
        results: list[Any] = []
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, ImageError):
                which = f"Image {index + 1} of {len(outcomes)}: " if len(outcomes) > 1 else ""
                raise RequestError(400, which + hide_paths(outcome), "bad_image")
            results.append(outcome.result)
        content, json_length = await service.finish(model, lambda: _answer(model, asked, results))
    if json_length is None:
        return Response(content, media_type="application/json")
    return Response(content, media_type="application/octet-stream", headers={JSON_LENGTH_HEADER: str(json_length)})


def _answer(model: LoadedModel, asked: InferRequest, results: Sequence[Any]) -> tuple[bytes, int | None]:
    return write_answer(model, asked, make_tensors(model, asked, results))


def _find(service: Service, name: str, version: str | None) -> LoadedModel:
    model = service.store.get(name)
    if version not in (None, model.version):
        raise RequestError(
            404, f"The model '{name}' has no version '{clip(version)}', only {model.version}.", "no_model"
        )
    return model


def _check_outputs(model: LoadedModel, asked: InferRequest) -> None:
    known = [one["name"] for one in list_outputs(model)]
    unknown = [name for name in asked.outputs if name not in known]
    if unknown:
        raise RequestError(
            400, f"There is no output '{clip(unknown[0])}'. The outputs are: {', '.join(known)}.", "parameter"
        )
