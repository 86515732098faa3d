"""The application: routes under ``/v1``, figures, the page, and how errors are answered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

import res2net_runtime
from res2net_runtime.classification.classifier import Classification
from res2net_runtime.errors import ImageError, Res2NetError, did_you_mean
from res2net_runtime.results import Detections
from res2net_runtime.serve import inference_protocol, page
from res2net_runtime.serve.answers import as_json, choose, classes_of, detections_of, picture_of
from res2net_runtime.serve.batching import Outcome
from res2net_runtime.serve.bodies import UploadedImage, read_body, split_images
from res2net_runtime.serve.errors import RequestError, hide_paths
from res2net_runtime.serve.metrics import METRICS_CONTENT_TYPE
from res2net_runtime.serve.middleware import Accounting, ErrorResponse
from res2net_runtime.serve.schemas import (
    EXAMPLE,
    ModelDescription,
    ModelList,
    PredictAnswer,
    ReloadAnswer,
    error_answers,
    predict_body,
)
from res2net_runtime.serve.service import Service, note, service_of
from res2net_runtime.serve.settings import ServeSettings
from res2net_runtime.texts import clip, storable

__all__ = ["create_app"]

logger = logging.getLogger(__name__)


class _NameConvertor(StringConvertor):
    """A model's name in an address: ``NAME:predict`` is none, so that wrong methods of that address are told as such."""

    regex = "[^/:]+"


register_url_convertor("model_name", _NameConvertor())
router = APIRouter()

MasksQuery = Annotated[
    Literal["none", "rle", "polygons", "png"],
    Query(description="How masks are written; a detector without masks gives none"),
]
_PREDICT_PARAMETERS = ("threshold", "max_detections", "masks", "include", "top_k", "timeout_ms")


def create_app(settings: ServeSettings) -> FastAPI:
    """Return the server as an ASGI application. It loads the models when it starts.

    Args:
        settings: How it behaves.
    """
    service = Service.create(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        if not service.store.is_ready:
            await loop.run_in_executor(None, service.store.load_all)
        for model in service.store:
            logger.info("model '%s', version %s, %s", model.name, model.version, model.session.description)
        follower = asyncio.ensure_future(service.store.follow_others())
        yield
        follower.cancel()
        await service.store.wait_for_retired()
        await loop.run_in_executor(None, service.close)

    app = FastAPI(
        title="res2net-serve",
        description="Detectors and classifiers of the Res2Net family.",
        version=res2net_runtime.__version__,
        lifespan=lifespan,
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    app.include_router(router)
    app.include_router(inference_protocol.router)
    app.include_router(page.router)
    app.add_exception_handler(RequestError, _answer_request_error)
    app.add_exception_handler(ImageError, _answer_image_error)
    app.add_exception_handler(Res2NetError, _answer_failure)
    app.add_exception_handler(RequestValidationError, _answer_wrong_parameter)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_middleware(Accounting, metrics=service.metrics, logs=settings.access_log)
    app.state.refuse_connection = Accounting(_refuse_connection, service.metrics, settings.access_log)
    return app


@router.get("/v1/models", responses=error_answers(401), response_model_exclude_none=True, tags=["models"])
async def list_models(request: Request) -> ModelList:
    """Return all models."""
    service = service_of(request)
    service.check_key(request)
    models = [ModelDescription(**model.describe()) for model in service.store]
    return ModelList(models=models, needs_key=bool(service.settings.keys))


@router.get(
    "/v1/models/{name:model_name}", responses=error_answers(401, 404), response_model_exclude_none=True, tags=["models"]
)
async def describe_model(request: Request, name: str) -> ModelDescription:
    """Return what a model is, with its labels."""
    service = service_of(request)
    service.check_key(request)
    return ModelDescription(**service.store.get(name).describe())


@router.post(
    "/v1/models/{name}:predict",
    response_model=PredictAnswer,
    responses={
        200: {"content": {"application/json": {"example": EXAMPLE}}},
        **error_answers(400, 401, 404, 408, 413, 415, 422, 500, 503, 504),
    },
    openapi_extra=predict_body(),
    tags=["predict"],
)
async def predict(
    request: Request,
    name: str,
    threshold: Annotated[float, Query(ge=0, le=1, description="Smallest score of a detection")] = 0.0,
    max_detections: Annotated[
        int | None, Query(ge=0, le=100_000, description="Detections of an image, the best")
    ] = None,
    masks: MasksQuery = "none",
    include: Annotated[
        Literal["picture"] | None,
        Query(
            description="Also return each picture with its detections drawn; without a threshold, the model's is used"
        ),
    ] = None,
    top_k: Annotated[int, Query(ge=1, le=100_000, description="Classes of an image; classifiers only")] = 5,
    timeout_ms: Annotated[
        int | None, Query(ge=1, le=3_600_000, description="How long the request may wait for the network to start")
    ] = None,
) -> Response:
    """Detect objects in one image or several, or classify them."""
    service = service_of(request)
    started_s = time.perf_counter()
    with service.accepting(request, name) as account:
        _check_parameters(request, _PREDICT_PARAMETERS)
        body = await read_body(request, service.settings, account)
        images = await split_images(request, body, service.settings)
        model = service.store.get(name)
        if include and not model.is_detector:
            raise RequestError(422, f"include={include} is for detectors, and '{name}' is a classifier.", "parameter")
        limit_ms = timeout_ms or service.settings.timeout_ms
        left_ms = max(1.0, limit_ms - 1000 * (time.perf_counter() - started_s))
        outcomes = await service.run(request, model, [one.data for one in images], left_ms, include is not None)
        errors = [outcome for outcome in outcomes if isinstance(outcome, ImageError)]
        if len(errors) == len(outcomes):
            raise errors[0]
        draw_threshold = threshold if "threshold" in request.query_params else model.draw_threshold

        def predictions() -> list[dict[str, Any]]:
            return [
                _prediction(image, outcome, threshold, max_detections, masks, top_k, draw_threshold)
                for image, outcome in zip(images, outcomes)
            ]

        started_s = time.perf_counter()
        is_short = masks == "none" and include is None
        found = await service.finish(model, predictions, is_short)
        content = {"model": name, "version": model.version, "predictions": found}
    times = _times_ms(outcomes, time.perf_counter() - started_s)
    note(request, parts_ms=times)
    return Response(as_json({**content, "times_ms": times}), media_type="application/json")


@router.post(
    "/v1/models/{name}:reload", responses=error_answers(401, 403, 404, 409), tags=["models"], summary="Reload a model"
)
async def reload(request: Request, name: str) -> ReloadAnswer:
    """Load the folder of a model again, and exchange the model when it is ready; no request is lost. Needs a key."""
    service = service_of(request)
    if not service.settings.keys:
        raise RequestError(
            403, "Reloading needs a key, and this server has none. Start it with --api_key_file.", "no_keys"
        )
    service.check_key(request)
    before = service.store.get(name)
    after = await service.store.reload(name)
    service.store.tell_others(name)
    note(request, model=name, version=after.version)
    return ReloadAnswer(model=name, version=after.version, previous_version=before.version)


@router.get("/metrics", tags=["server"], response_class=Response)
async def metrics(request: Request) -> Response:
    """Return figures for Prometheus."""
    service = service_of(request)
    service.check_key(request)
    return Response(service.metrics.text(), headers={"Content-Type": METRICS_CONTENT_TYPE})


def _check_parameters(request: Request, known: Sequence[str]) -> None:
    """Refuse parameters that nothing reads: they are misspelt."""
    for name in request.query_params:
        if name not in known:
            raise RequestError(
                422,
                f"There is no parameter '{clip(name)}'. The parameters are: {', '.join(known)}."
                f"{did_you_mean(name[:60], known)}",
                "parameter",
            )


def _prediction(
    image: UploadedImage,
    outcome: Outcome | ImageError,
    threshold: float,
    max_detections: int | None,
    masks: str,
    top_k: int,
    draw_threshold: float | Sequence[float],
) -> dict[str, Any]:
    """Return what one image's part of the answer is."""
    found: dict[str, Any] = {} if image.name is None else {"name": storable(image.name)}
    if isinstance(outcome, ImageError):
        return {**found, "error": hide_paths(outcome)}
    if isinstance(outcome.result, Classification):
        return {**found, "classes": classes_of(outcome.result, top_k)}
    detections: Detections = outcome.result
    height, width = detections.image_hw
    chosen = choose(detections, threshold, max_detections)
    found |= {"width": width, "height": height, "detections": detections_of(chosen, masks)}
    if outcome.image is not None:
        found["picture"] = picture_of(outcome.image, chosen, draw_threshold)
    return found


def _times_ms(outcomes: Sequence[Outcome | ImageError], postprocessing_s: float) -> dict[str, float]:
    times = [outcome.times for outcome in outcomes if isinstance(outcome, Outcome)]
    parts = {part: max(getattr(one, part) for one in times) for part in ("queue", "decode", "network")}
    return {part: round(1000 * seconds, 2) for part, seconds in {**parts, "postprocessing": postprocessing_s}.items()}


async def _refuse_connection(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request over a connection that is one too many."""
    request = Request(scope)
    limit = "The server has as many open connections as it may have (--max_connections). Try again in 1 s."
    error = RequestError(503, limit, "connections", {"Retry-After": "1", "Connection": "close"})
    await (await _answer_request_error(request, error))(scope, receive, send)


async def _answer_request_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    note(request, reason=error.reason)
    return ErrorResponse(error.status, str(error), error.headers)


async def _answer_image_error(request: Request, error: Exception) -> Response:
    note(request, reason="bad_image")
    return ErrorResponse(400, hide_paths(error))


async def _answer_wrong_parameter(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    note(request, reason="parameter")
    return ErrorResponse(422, f"{clip(place)} is wrong, got {clip(first.get('input'))}: {clip(first['msg'], 300)}.")


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    hints = {404: "There is no such address; GET /openapi.json lists them.", 405: "This address takes another method."}
    return ErrorResponse(error.status_code, hints.get(error.status_code, str(error.detail)), error.headers)


async def _answer_failure(request: Request, error: Exception) -> Response:
    note(request, reason="failure")
    logger.error("%s", error)
    return ErrorResponse(500, hide_paths(error))
