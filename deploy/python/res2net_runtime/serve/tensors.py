"""Requests and answers of the Open Inference Protocol: tensors as JSON, or as bytes behind it ("binary tensor data")."""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from res2net_runtime.classification.classifier import Classification
from res2net_runtime.preprocess import ImageSource
from res2net_runtime.results import Detections
from res2net_runtime.serve.answers import as_json
from res2net_runtime.serve.errors import RequestError
from res2net_runtime.serve.models import LoadedModel
from res2net_runtime.serve.settings import ServeSettings
from res2net_runtime.texts import clip, storable

__all__ = ["JSON_LENGTH_HEADER", "InferRequest", "list_outputs", "make_tensors", "read_request", "write_answer"]

JSON_LENGTH_HEADER = "Inference-Header-Content-Length"
_INPUT = "image"
_MOST_ID_CHARACTERS = 200
_OPTIONAL_OUTPUTS = ("masks", "rles")  # large, so only for those who name them
_DATATYPES = {"float32": "FP32", "float64": "FP64", "int32": "INT32"}


@dataclass(frozen=True)
class InferRequest:
    """What a client asks for.

    Attributes:
        id: Its own name of the request, which the answer repeats; or None.
        images: Encoded images, or uint8 arrays (H, W, 3) in RGB order.
        outputs: The outputs that it wants, and whether each as bytes; none for the usual ones.
        all_binary: Whether outputs that do not say so themselves are wanted as bytes.
        threshold: Smallest score of a detection.
        timeout_ms: How long it waits; None for the server's default.
    """

    id: str | None
    images: list[ImageSource]
    outputs: dict[str, bool]
    all_binary: bool
    threshold: float
    timeout_ms: int | None


def list_outputs(model: LoadedModel) -> list[dict[str, Any]]:
    """Return name, type and shape of each output of a model; -1 is any number."""
    if not model.is_detector:
        return [{"name": "scores", "datatype": "FP64", "shape": [-1, len(model.session.label_list)]}]
    outputs: list[dict[str, Any]] = [
        {"name": "boxes", "datatype": "FP32", "shape": [-1, 4]},
        {"name": "scores", "datatype": "FP32", "shape": [-1]},
        {"name": "labels", "datatype": "INT32", "shape": [-1]},
        {"name": "num", "datatype": "INT32", "shape": [-1]},
    ]
    if model.has_masks:
        outputs.append({"name": "masks", "datatype": "FP32", "shape": [-1, 28, 28]})
        outputs.append({"name": "rles", "datatype": "BYTES", "shape": [-1]})
    return outputs


def read_request(body: bytes, json_length: str | None, settings: ServeSettings) -> InferRequest:
    """Read the body of a request.

    Args:
        body: JSON, and the bytes of tensors behind it.
        json_length: The header that says where the JSON ends; None if it is all of the body.
        settings: Limits.

    Raises:
        RequestError: The body is not of the protocol, or has too many images.
    """
    end = len(body)
    if json_length is not None:
        if not (json_length.isascii() and json_length.isdecimal() and int(json_length[:20]) <= len(body)):
            raise _wrong(
                f"the header {JSON_LENGTH_HEADER} is '{clip(json_length)}', and the body has {len(body)} bytes"
            )
        end = int(json_length)
    try:
        content = json.loads(body[:end])
    except (ValueError, RecursionError) as error:
        raise _wrong(f"the body is not JSON ({clip(str(error), 100)})") from error
    content = _mapping(content, "the body")
    inputs = content.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1:
        raise _wrong(f"'inputs' is {clip(inputs)}, expected a list of one tensor, '{_INPUT}'")
    parameters = _mapping(content.get("parameters", {}), "'parameters'")
    wanted = content.get("outputs") or []
    if not isinstance(wanted, list):
        raise _wrong(f"'outputs' is {clip(wanted)}, expected a list")
    all_binary = _flag(parameters, "binary_data_output", False)
    outputs = {}
    for one in wanted:
        one = _mapping(one, "an entry of 'outputs'")
        if not isinstance(one.get("name"), str):
            raise _wrong(f"an entry of 'outputs' has the name {clip(one.get('name'))}, expected text")
        outputs[one["name"]] = _flag(_mapping(one.get("parameters", {}), "'parameters'"), "binary_data", all_binary)
    request_id = content.get("id")
    if request_id is not None and not (isinstance(request_id, str) and len(request_id) <= _MOST_ID_CHARACTERS):
        raise _wrong(f"'id' is {clip(request_id)}, expected text of at most {_MOST_ID_CHARACTERS} characters")
    return InferRequest(
        request_id,
        _read_images(_mapping(inputs[0], "the input"), body[end:], settings),
        outputs,
        all_binary,
        _number(parameters, "threshold", 0.0, 0, 1),
        None if "timeout_ms" not in parameters else int(_number(parameters, "timeout_ms", 1, 1, 3_600_000)),
    )


def make_tensors(model: LoadedModel, asked: InferRequest, results: Sequence[Any]) -> dict[str, np.ndarray]:
    """Return the outputs of all images together, by name; BYTES are arrays of objects.

    Args:
        model: The model.
        asked: The request.
        results: What the network found in each image.
    """
    names = list(asked.outputs) or [one["name"] for one in list_outputs(model) if one["name"] not in _OPTIONAL_OUTPUTS]
    if isinstance(results[0], Classification):
        return {name: np.stack([one.scores for one in results]) for name in names}
    chosen: list[Detections] = [one.filter(asked.threshold) for one in results]
    makers: dict[str, Callable[[], np.ndarray]] = {
        "boxes": lambda: np.concatenate([one.boxes_xyxy for one in chosen]).astype(np.float32),
        "scores": lambda: np.concatenate([one.scores for one in chosen]).astype(np.float32),
        "labels": lambda: np.concatenate([one.labels for one in chosen]).astype(np.int32),
        "num": lambda: np.array([len(one) for one in chosen], np.int32),
        "masks": lambda: np.concatenate([one.masks for one in chosen if one.masks is not None]).astype(np.float32),
        "rles": lambda: np.array([rle["counts"] for one in chosen for rle in one.rles()], object),
    }
    return {name: makers[name]() for name in names}


def write_answer(
    model: LoadedModel, asked: InferRequest, tensors: Mapping[str, np.ndarray]
) -> tuple[bytes, int | None]:
    """Return the body of an answer, and the length of its JSON if bytes of tensors follow."""
    outputs: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for name, tensor in tensors.items():
        is_text = tensor.dtype == object
        one: dict[str, Any] = {
            "name": name,
            "datatype": "BYTES" if is_text else _DATATYPES[tensor.dtype.name],
            "shape": list(tensor.shape),
        }
        if asked.outputs.get(name, asked.all_binary):
            blob = b"".join(struct.pack("<I", len(text)) + text for text in tensor) if is_text else tensor.tobytes()
            one["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            one["data"] = [text.decode("ascii") for text in tensor] if is_text else tensor.reshape(-1).tolist()
        outputs.append(one)
    request_id = {} if asked.id is None else {"id": storable(asked.id)}
    content = {"model_name": model.name, "model_version": model.version, **request_id, "outputs": outputs}
    text = as_json(content)
    return b"".join([text, *blobs]), len(text) if blobs else None


def _read_images(tensor: Mapping[str, Any], blob: bytes, settings: ServeSettings) -> list[ImageSource]:
    if tensor.get("name") != _INPUT:
        raise _wrong(f"the input is called {clip(tensor.get('name'))}, expected '{_INPUT}'")
    shape = tensor.get("shape")
    if (
        not isinstance(shape, list)
        or not 1 <= len(shape) <= 4
        or not all(type(one) is int and one > 0 for one in shape)
    ):
        raise _wrong(f"the shape of the input is {clip(shape)}, expected a list of 1 to 4 whole numbers above 0")
    if math.prod(shape) > 10**12:
        raise _wrong(f"the shape of the input is {clip(shape)}, which no image has")
    size = _mapping(tensor.get("parameters", {}), "'parameters'").get("binary_data_size")
    if size is not None and (type(size) is not int or size != len(blob)):
        raise _wrong(f"binary_data_size is {clip(size)}, and {len(blob)} bytes follow the JSON")
    if size is None and not isinstance(tensor.get("data"), list):
        raise _wrong(
            f"'data' is {clip(tensor.get('data'))}, expected a list, or binary_data_size and bytes after the JSON"
        )
    if tensor.get("datatype") == "BYTES":
        count = math.prod(shape)
        _check_count(count, settings)
        images = _split_elements(blob) if size is not None else [_from_base64(one) for one in _flat(tensor["data"])]
        if len(images) != count:
            raise _wrong(f"the shape of the input is {clip(shape)}, and it has {len(images)} elements")
        return list(images)
    if tensor.get("datatype") == "UINT8":
        return _read_pixels(tensor, shape, blob if size is not None else None, settings)
    raise _wrong(f"the datatype of the input is {clip(tensor.get('datatype'))}, expected BYTES or UINT8")


def _read_pixels(
    tensor: Mapping[str, Any], shape: list[int], blob: bytes | None, settings: ServeSettings
) -> list[ImageSource]:
    if len(shape) not in (3, 4) or shape[-1] != 3:
        raise _wrong(
            f"the shape of the input is {clip(shape)}, expected [height, width, 3] or [n, height, width, 3] for UINT8"
        )
    shape = [1, *shape] if len(shape) == 3 else shape
    _check_count(shape[0], settings)
    try:
        pixels = np.frombuffer(blob, np.uint8) if blob is not None else _whole_numbers(tensor["data"])
        return list(pixels.reshape(shape))
    except (ValueError, OverflowError, TypeError) as error:
        raise _wrong(f"the data of the input are not {math.prod(shape)} whole numbers from 0 to 255") from error


def _whole_numbers(data: list[Any]) -> np.ndarray:
    values = np.array(data)
    if values.dtype.kind not in "iu" or values.size and not 0 <= values.min() <= values.max() <= 255:
        raise ValueError("not pixels")
    return values.astype(np.uint8)


def _split_elements(blob: bytes) -> list[bytes]:
    """Return the elements of a BYTES tensor: the length of each is in the 4 bytes before it."""
    elements: list[bytes] = []
    place = 0
    while place < len(blob):
        if place + 4 > len(blob):
            raise _wrong("the bytes after the JSON end within an element")
        end = place + 4 + int(struct.unpack_from("<I", blob, place)[0])
        if end > len(blob):
            raise _wrong("the bytes after the JSON end within an element")
        elements.append(blob[place + 4 : end])
        place = end
    return elements


def _flat(data: list[Any]) -> list[Any]:
    return [inner for one in data for inner in (one if isinstance(one, list) else [one])]


def _from_base64(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise _wrong(f"an element of the input is {clip(text)}, expected an encoded image in base64") from error


def _check_count(count: int, settings: ServeSettings) -> None:
    if count > settings.max_images:
        raise RequestError(
            413,
            f"The request has {count} images, more than the {settings.max_images} that this server takes at once. Send several "
            "requests.",
            "too_many_images",
        )


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(f"{what} is {clip(value)}, expected an object")
    return value


def _flag(values: Mapping[str, Any], key: str, default: bool) -> bool:
    value = values.get(key, default)
    if not isinstance(value, bool):
        raise _wrong(f"{key} is {clip(value)}, expected true or false")
    return value


def _number(values: Mapping[str, Any], key: str, default: float, least: float, most: float) -> float:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise _wrong(f"{key} is {clip(value)}, expected a number from {least:g} to {most:g}")
    return value


def _wrong(what: str) -> RequestError:
    return RequestError(
        400,
        f"The request is not one of the Open Inference Protocol: {what}. docs/serving.md has an example.",
        "protocol",
    )
