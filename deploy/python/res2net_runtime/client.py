"""A client of the server, ``python -m res2net_runtime.serve``. It needs httpx, the extra ``client``.

Example:
    >>> from res2net_runtime.client import Client
    >>> with Client("http://127.0.0.1:8080", model="my_model") as client:
    ...     for detection in client.predict("street.jpg", threshold=0.5)["detections"]:
    ...         print(detection["name"], detection["score"], detection["box_xyxy"])
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union, cast
from urllib.parse import quote

import numpy as np

from res2net_runtime.errors import ImageError, Res2NetError
from res2net_runtime.files import read_image_bytes
from res2net_runtime.texts import clip, printable

try:
    import httpx
except ImportError as _error:
    raise ImportError(
        "res2net_runtime.client needs httpx, which the extra 'client' installs: pip install httpx"
    ) from _error

__all__ = ["AsyncClient", "Client", "ServerError", "SentImage"]

# An image: a path, the bytes of an encoded image, or a uint8 array (H, W, 3) in RGB order.
SentImage = Union[str, "os.PathLike[str]", bytes, np.ndarray]

_RETRIED = frozenset({502, 503})
_RETRIED_FAILURES = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout)  # not what may be under way
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 30.0
_Outcome = httpx.Response | httpx.TransportError
_SelfT = TypeVar("_SelfT", bound="Client")  # typing.Self needs Python 3.11
_AsyncSelfT = TypeVar("_AsyncSelfT", bound="AsyncClient")


class ServerError(Res2NetError):
    """The server has refused a request, or cannot be reached.

    Attributes:
        status: HTTP's code; None if there is no answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class _Requests:
    """What both clients share: addresses, bodies, and which failures are worth another try."""

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        key: str | None = None,
        retries: int = 8,
        timeout_s: float = 60.0,
        **options: Any,
    ) -> None:
        self._url, self._model, self._retries = url.rstrip("/"), model, retries
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._options: dict[str, Any] = {"base_url": self._url, "headers": headers, "timeout": timeout_s, **options}

    def _exchange(self) -> Generator[float, _Outcome, Any]:
        """Yield how long to wait before each try, take what came of it, and return the answer's JSON."""
        pause_s = 0.0
        for attempt in range(self._retries + 1):
            outcome = yield pause_s
            is_last = attempt == self._retries
            if isinstance(outcome, httpx.Response):
                if is_last or outcome.status_code not in _RETRIED:
                    return _read(outcome)
            elif is_last or not isinstance(outcome, _RETRIED_FAILURES):
                raise ServerError(
                    f"The server at {self._url} cannot be reached: {outcome or type(outcome).__name__}. Is it running?"
                ) from outcome
            pause_s = _pause_s(attempt, outcome)

    def _only_model(self, answer: Mapping[str, Any]) -> str:
        names = [one["name"] for one in answer["models"]]
        if len(names) != 1:
            raise ServerError(f"The server has the models {', '.join(names)}. Choose one: Client(url, model=...).")
        self._model = str(names[0])
        return self._model


def _pause_s(attempt: int, outcome: _Outcome) -> float:
    """Return how long to wait: as the server says, else longer each time; never the same for all clients."""
    asked = outcome.headers.get("retry-after", "") if isinstance(outcome, httpx.Response) else ""
    base_s = float(asked) if asked.isdecimal() else _FIRST_PAUSE_S * 2**attempt
    return min(_LONGEST_PAUSE_S, base_s) * random.uniform(0.5, 1.0)


def _address(model: str, verb: str) -> str:
    return f"/v1/models/{quote(model, safe='')}:{verb}"


def _read(response: httpx.Response) -> Any:
    """Return the JSON of an answer.

    Raises:
        ServerError: The server has refused the request.
    """
    try:
        content = response.json()
    except ValueError:
        content = None
    if response.is_success and content is not None:
        return content
    told = content.get("error") if isinstance(content, dict) else None
    message = (
        str(told) if told else f"The server answered with status {response.status_code}: {clip(response.text, 200)}"
    )
    raise ServerError(message, response.status_code)


def _encode(image: SentImage) -> tuple[str, bytes]:
    """Return the name and the bytes of an image; arrays are encoded without loss.

    Raises:
        ImageError: The file cannot be read, or the array is no image.
    """
    if isinstance(image, (bytes, bytearray)):
        return "image", bytes(image)
    if isinstance(image, np.ndarray):
        import cv2

        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ImageError(
                f"An array must be uint8 (H, W, 3) in RGB order, got {image.dtype} {image.shape}. Convert it first."
            )
        return "array.png", cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))[1].tobytes()
    if isinstance(image, (str, os.PathLike)):
        return printable(Path(image).name), read_image_bytes(image)
    raise ImageError(f"An image must be a path, bytes or a NumPy array, got {type(image).__name__}.")


def _request_of(images: SentImage | Sequence[SentImage], parameters: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(images, (list, tuple)):
        body: dict[str, Any] = {
            "content": _encode(cast(SentImage, images))[1],
            "headers": {"Content-Type": "application/octet-stream"},
        }
    else:
        body = {"files": [("image", _encode(one)) for one in images]}
    return {**body, "params": {key: value for key, value in parameters.items() if value is not None}}


def _results_of(images: object, answer: Mapping[str, Any]) -> Any:
    predictions = answer["predictions"]
    return predictions if isinstance(images, (list, tuple)) else predictions[0]


class Client(_Requests):
    """A client that waits for each answer; threads may share it. Use it as a context manager, or call :meth:`close`.

    Args:
        url: Address of the server, such as ``"http://127.0.0.1:8080"``.
        model: Name of the model; may be left out if the server has one only.
        key: A key of the server, if it has any.
        retries: How often a request is sent again if the server is full (status 503) or the connection fails.
        timeout_s: Longest time without an answer.
        **options: Further options of ``httpx.Client``, such as ``verify``.
    """

    def __init__(self, url: str, model: str | None = None, **options: Any) -> None:
        super().__init__(url, model, **options)
        self._http = httpx.Client(**self._options)

    def predict(self, images: SentImage | Sequence[SentImage], **parameters: Any) -> Any:
        """Detect objects in one image, or in each image of a list, or classify them.

        Args:
            images: A path, the bytes of an encoded image, or a uint8 array (H, W, 3) in RGB order; or a list of them, which
                is sent as one request.
            **parameters: Those of the server: ``threshold``, ``max_detections``, ``masks``, ``include``, ``top_k``,
                ``timeout_ms``.

        Returns:
            What the server has found in the image, or a list of it: a dict with ``detections`` or ``classes``. An image of a
            list that cannot be read has ``error`` instead.

        Raises:
            ImageError: An image cannot be read here.
            ServerError: The server refuses the request, for instance since it cannot read the image, or cannot be reached.
        """
        request = _request_of(images, parameters)
        return _results_of(images, self._send("POST", _address(self._name(), "predict"), **request))

    def models(self) -> Any:
        """Return the models of the server, with their labels.

        Raises:
            ServerError: The server refuses the request, or cannot be reached.
        """
        return self._send("GET", "/v1/models")["models"]

    def reload(self) -> Any:
        """Let the server load the folder of the model again; it needs a key.

        Raises:
            ServerError: The folder cannot be loaded, the key is missing, or the server cannot be reached.
        """
        return self._send("POST", _address(self._name(), "reload"))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self: _SelfT) -> _SelfT:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _name(self) -> str:
        return self._model or self._only_model(self._send("GET", "/v1/models"))

    def _send(self, method: str, address: str, **request: Any) -> Any:
        exchange = self._exchange()
        pause_s = next(exchange)
        while True:
            time.sleep(pause_s)
            outcome: _Outcome
            try:
                outcome = self._http.request(method, address, **request)
            except httpx.TransportError as error:
                outcome = error
            try:
                pause_s = exchange.send(outcome)
            except StopIteration as done:
                return done.value


class AsyncClient(_Requests):
    """The same for asyncio: ``async with AsyncClient(url) as client: await client.predict(...)``.

    Args:
        url, model, **options: As for :class:`Client`.
    """

    def __init__(self, url: str, model: str | None = None, **options: Any) -> None:
        super().__init__(url, model, **options)
        self._http = httpx.AsyncClient(**self._options)

    async def predict(self, images: SentImage | Sequence[SentImage], **parameters: Any) -> Any:
        """As :meth:`Client.predict`. Images are read and encoded in another thread."""
        request = await asyncio.to_thread(_request_of, images, parameters)
        return _results_of(images, await self._send("POST", _address(await self._name(), "predict"), **request))

    async def models(self) -> Any:
        """As :meth:`Client.models`."""
        return (await self._send("GET", "/v1/models"))["models"]

    async def reload(self) -> Any:
        """As :meth:`Client.reload`."""
        return await self._send("POST", _address(await self._name(), "reload"))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self: _AsyncSelfT) -> _AsyncSelfT:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def _name(self) -> str:
        return self._model or self._only_model(await self._send("GET", "/v1/models"))

    async def _send(self, method: str, address: str, **request: Any) -> Any:
        exchange = self._exchange()
        pause_s = next(exchange)
        while True:
            await asyncio.sleep(pause_s)
            outcome: _Outcome
            try:
                outcome = await self._http.request(method, address, **request)
            except httpx.TransportError as error:
                outcome = error
            try:
                pause_s = exchange.send(outcome)
            except StopIteration as done:
                return done.value
