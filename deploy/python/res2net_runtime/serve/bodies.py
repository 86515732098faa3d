"""Reads what clients send, within limits that hold while it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from res2net_runtime.serve.errors import QueueFullError, RequestError
from res2net_runtime.serve.settings import ServeSettings
from res2net_runtime.texts import clip

__all__ = ["BodyBudget", "UploadedImage", "client_gone", "read_body", "split_images"]

_BODIES_AT_ONCE = 16
_PART_BYTES = 1 << 16
_MOST_NAME_CHARACTERS = 255


@dataclass(frozen=True)
class UploadedImage:
    """An image that a client has sent.

    Attributes:
        name: Its file name without folders; None if the client gave none.
        data: The encoded image.
    """

    name: str | None
    data: bytes


class BodyBudget:
    """The memory that the bodies of all requests may take together.

    Args:
        limit_bytes: How much.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._left = self._limit = limit_bytes

    @contextmanager
    def account(self) -> Iterator[BodyAccount]:
        """Give back at the end what a request has taken."""
        account = BodyAccount(self)
        try:
            yield account
        finally:
            self._left += account.taken

    def take(self, count: int) -> None:
        """Take memory for some bytes.

        Raises:
            QueueFullError: There is not enough.
        """
        if count > self._left:
            raise QueueFullError(f"Requests that arrive now fill the {self._limit} bytes that there are for them.", 1)
        self._left -= count


@dataclass
class BodyAccount:
    """What one request has taken of a budget."""

    budget: BodyBudget
    taken: int = 0

    def take(self, count: int) -> None:
        """Take memory for some more bytes of the request.

        Raises:
            QueueFullError: There is not enough.
        """
        self.budget.take(count)
        self.taken += count


def client_gone() -> RequestError:
    """Return the error for a client that has closed its connection; nobody reads it."""
    return RequestError(499, "The client has closed the connection.", "client_gone")


async def read_body(request: Request, settings: ServeSettings, account: BodyAccount) -> bytes:
    """Read the body of a request.

    Raises:
        RequestError: It is too large, compressed, too slow, or cut short; or there is no memory for it.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise RequestError(
            415, f"The body has the Content-Encoding '{clip(encoding)}'. Send it as it is.", "content_encoding"
        )
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdecimal() and int(length[:20]) > settings.max_bytes:
        raise _too_large(settings)
    try:
        return await asyncio.wait_for(_collect(request, settings, account), settings.body_timeout_s)
    except (asyncio.TimeoutError, TimeoutError):
        raise RequestError(
            408,
            f"The body did not arrive within {settings.body_timeout_s:g} s. Send a smaller image, or use a faster connection.",
            "slow_body",
            {"Connection": "close"},
        ) from None
    except ClientDisconnect:
        raise client_gone() from None


async def _collect(request: Request, settings: ServeSettings, account: BodyAccount) -> bytes:
    chunks: list[bytes] = []
    count = 0
    async for chunk in request.stream():
        count += len(chunk)
        if count > settings.max_bytes:
            raise _too_large(settings)
        account.take(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(settings: ServeSettings) -> RequestError:
    return RequestError(
        413,
        f"The body has more than the {settings.max_bytes} bytes that this server takes. Send a smaller image, or fewer images "
        "in one request.",
        "body_too_large",
    )


async def split_images(request: Request, body: bytes, settings: ServeSettings) -> list[UploadedImage]:
    """Return the images of a body: one, or several as ``multipart/form-data``.

    Raises:
        RequestError: The body holds no image, too many, or is something else.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _split_form(request, body, settings)
    if kind == "application/json":
        raise RequestError(
            415,
            "The body is JSON, expected an encoded image, or several as multipart/form-data. JSON belongs to "
            "/v2/models/NAME/infer. With curl: --data-binary @photo.jpg",
            "content_type",
        )
    if not body:
        raise RequestError(
            400, "The body is empty, expected an encoded image. With curl: --data-binary @photo.jpg", "no_image"
        )
    return [UploadedImage(None, body)]


async def _split_form(request: Request, body: bytes, settings: ServeSettings) -> list[UploadedImage]:
    parser = _FormParser(
        request.headers, _parts(body), max_files=settings.max_images, max_fields=1, max_part_size=_PART_BYTES
    )
    # Whatever the boundary and the parts may be, the parser must not fail in other ways.
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise RequestError(
                413,
                f"The request has more than the {settings.max_images} images that this server takes at once. Send several "
                "requests.",
                "too_many_images",
            ) from error
        raise _bad_form(error.message) from error
    except (HTTPException, KeyError, ValueError, LookupError) as error:
        raise _bad_form(str(error)) from error
    try:
        images = []
        for field, part in form.multi_items():
            if isinstance(part, str):
                raise _bad_form(f"the field '{clip(field)}' is no file")
            name = (part.filename or "").replace("\\", "/").rpartition("/")[2][-_MOST_NAME_CHARACTERS:]
            images.append(UploadedImage(name or None, part.file.read()))
    finally:
        await form.close()
    if not images:
        raise _bad_form("it has no part")
    return images


def _bad_form(what: str) -> RequestError:
    return RequestError(
        400,
        f"The form cannot be read: {clip(what, 200).rstrip('.')}. Send each image as a part with a file name. With curl: "
        "-F image=@photo.jpg",
        "bad_form",
    )


class _FormParser(MultiPartParser):
    """Keeps files in the memory that the body has already taken: images must not be written to the disk."""

    spool_max_size = 1 << 40


async def _parts(body: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), _PART_BYTES):
        yield body[start : start + _PART_BYTES]
        await asyncio.sleep(0)  # other requests go on
