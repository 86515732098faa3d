"""The JSON of requests and answers, for the OpenAPI description."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

__all__ = ["ERRORS", "ModelDescription", "ModelList", "PredictAnswer", "ReloadAnswer", "error_answers", "predict_body"]


class ErrorAnswer(BaseModel):
    """Every request that fails is answered with this."""

    error: str = Field(
        description="What went wrong, and what to do", examples=["There is no model 'x'. The models are: y."]
    )


class RleMask(BaseModel):
    """COCO's compressed run lengths."""

    size: list[int] = Field(description="Height and width of the image", examples=[[480, 640]])
    counts: str


class PolygonMask(BaseModel):
    """Outlines, each x1, y1, x2, y2, ... in pixels of the image, at most half a pixel off."""

    polygons: list[list[float]]
    holes: list[list[float]]


class PngMask(BaseModel):
    """A grey PNG with the part of the mask that has pixels, 255 inside."""

    png: str | None = Field(description="In base64; null for a mask without a pixel")
    box_xywh: list[int] = Field(description="Where the PNG is in the image: left, top, width, height")


class Detection(BaseModel):
    """An object that a detector has found."""

    label: int = Field(description="Index into the model's labels")
    name: str
    category_id: int = Field(description="COCO's category id")
    score: float
    box_xyxy: list[float] = Field(description="x1, y1, x2, y2 in pixels of the upright image")
    mask: RleMask | PolygonMask | PngMask | None = None


class ClassScore(BaseModel):
    """A class and its probability."""

    label: int
    name: str
    score: float


class Picture(BaseModel):
    """A picture."""

    content_type: Literal["image/jpeg"]
    data: str = Field(description="In base64")


class ImagePrediction(BaseModel):
    """What was found in one image. One that cannot be read, among several, has ``error`` instead of results."""

    name: str | None = Field(None, description="File name of the part of the form")
    width: int | None = Field(None, description="Of the upright image; detectors only")
    height: int | None = None
    detections: list[Detection] | None = Field(None, description="Detectors only; best score first")
    classes: list[ClassScore] | None = Field(None, description="Classifiers only; most probable first")
    picture: Picture | None = None
    error: str | None = None


class PartTimes(BaseModel):
    """Where the time went, in milliseconds; of several images, the largest of each."""

    queue: float
    decode: float
    network: float
    postprocessing: float


class PredictAnswer(BaseModel):
    """The answer to ``:predict``."""

    model: str
    version: str
    predictions: list[ImagePrediction] = Field(description="One for each image, in the order of the request")
    times_ms: PartTimes


class ModelDescription(BaseModel):
    """A model that answers."""

    name: str
    version: str = Field(description="Changes when the files of the model do")
    task: Literal["detection", "classification"]
    labels: list[str]
    engine: str
    arch: str | None = None
    has_masks: bool | None = None
    category_ids: list[int] | None = None
    draw_threshold: float | None = Field(None, description="Smallest score of a detection that is drawn, unless asked")
    class_thresholds: list[float] | None = Field(
        None, description="What is used instead of draw_threshold, one per label; absent if all classes have the same"
    )


class ModelList(BaseModel):
    """All models."""

    models: list[ModelDescription]
    needs_key: bool


class ReloadAnswer(BaseModel):
    """The answer to ``:reload``."""

    model: str
    version: str = Field(description="The version that answers from now on")
    previous_version: str


EXAMPLE = {
    "model": "my_model",
    "version": "0f3a9c5d21be",
    "predictions": [
        {
            "name": "street.jpg",
            "width": 640,
            "height": 480,
            "detections": [
                {"label": 1, "name": "dog", "category_id": 18, "score": 0.98, "box_xyxy": [12.5, 40.0, 210.25, 400.5]}
            ],
        }
    ],
    "times_ms": {"queue": 0.2, "decode": 6.1, "network": 41.7, "postprocessing": 0.4},
}

ERRORS = {
    400: "The body is no image that can be read",
    401: "The key is missing or wrong",
    403: "The server has no keys, and this needs one",
    404: "There is no such model",
    408: "The body did not arrive in time",
    409: "The folder of the model cannot be loaded; the old model stays",
    413: "The body is too large, or has too many images",
    415: "The body is of another kind",
    422: "A parameter is wrong",
    500: "The network failed",
    503: "The queue is full; the header Retry-After has the seconds to wait",
    504: "timeout_ms has passed before the network could start",
}


def error_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's description of the errors of a route."""
    return {status: {"model": ErrorAnswer, "description": ERRORS[status]} for status in statuses}


def predict_body() -> dict[str, Any]:
    """Return OpenAPI's description of the body of ``:predict``."""
    image = {"schema": {"type": "string", "format": "binary"}}
    form = {
        "type": "object",
        "properties": {"image": {"type": "array", "items": image["schema"]}},
        "required": ["image"],
    }
    kinds = ("image/jpeg", "image/png", "image/webp", "image/tiff", "image/bmp", "application/octet-stream")
    return {
        "requestBody": {
            "required": True,
            "description": "An encoded image, or several, each a part with a file name",
            "content": {**{kind: image for kind in kinds}, "multipart/form-data": {"schema": form}},
        }
    }
