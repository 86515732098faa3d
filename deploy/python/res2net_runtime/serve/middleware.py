"""What happens to every request: a number, headers that protect browsers, figures, and a line in the log."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import time
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from res2net_runtime.serve.metrics import Metrics
from res2net_runtime.texts import storable

__all__ = ["ACCESS_LOGGER", "Accounting", "ErrorResponse"]

ACCESS_LOGGER = "res2net_runtime.serve.access"
logger = logging.getLogger(ACCESS_LOGGER)

_NOTES = "res2net_runtime.notes"
_BODY_IS_READ = "res2net_runtime.body_is_read"
_REQUEST_ID = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_NOT_ANSWERED = 499
_DRAINED_BYTES, _DRAINED_BEFORE_S, _DRAINED_AFTER_S = 64_000_000, 0.05, 5.0


class Accounting:
    """The outermost layer of the application.

    Args:
        app: The next layer.
        metrics: The figures of the server.
        logs: Whether each request has a line in the access log.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, logs: bool) -> None:
        self._app, self._metrics, self._logs = app, metrics, logs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        asked_id = Headers(scope=scope).get("x-request-id", "")
        facts: dict[str, Any] = {"id": asked_id if _REQUEST_ID.fullmatch(asked_id) else secrets.token_hex(8)}
        scope[_NOTES] = facts
        scope[_BODY_IS_READ] = False
        counts = {"bytes_in": 0, "bytes_out": 0, "status": _NOT_ANSWERED}

        async def count_in() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                counts["bytes_in"] += len(message.get("body", b""))
                scope[_BODY_IS_READ] = not message.get("more_body", False)
            return message

        async def count_out(message: Message) -> None:
            if message["type"] == "http.response.start":
                counts["status"] = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = facts["id"]
                headers["X-Content-Type-Options"] = "nosniff"
                headers.setdefault("Cache-Control", "no-store")
            elif message["type"] == "http.response.body":
                counts["bytes_out"] += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, count_in, count_out)
        except Exception:
            logging.getLogger(__name__).exception("a request failed")
            facts["reason"] = "failure"
            if counts["status"] != _NOT_ANSWERED:
                raise
            await ErrorResponse(500, "The server failed on this request; its log says why.")(scope, count_in, count_out)
        finally:
            self._account(scope, facts, counts, time.perf_counter() - started_s)

    def _account(self, scope: Scope, facts: Mapping[str, Any], counts: Mapping[str, int], seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requests.labels(method, route, str(counts["status"])).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        if "reason" in facts:
            self._metrics.rejections.labels(facts["reason"]).inc()
        if self._logs:
            line = {
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "client": (scope.get("client") or ("",))[0],
                "method": method,
                "path": storable(scope["path"][:500]),
                **counts,
                "ms": round(seconds * 1000, 2),
                **facts,
            }
            logger.info("%s", json.dumps(line))


class ErrorResponse(Response):
    """An error as JSON.

    If the body of the request has not been read, what has been sent of it is taken from the connection, for a moment:
    otherwise the system would reset the connection, and many clients would report that instead of the answer.
    """

    media_type = "application/json"

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        content = json.dumps({"error": storable(message)}).encode()
        super().__init__(content, status, headers=dict(headers or {}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        expects = "expect" in Headers(scope=scope)  # a client that has not begun with the body, and need not
        if scope.get(_BODY_IS_READ, True) or (not expects and await _drain(receive, _DRAINED_BEFORE_S)):
            await super().__call__(scope, receive, send)
            return
        self.headers["Connection"] = "close"
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        if not expects:
            await _drain(receive, _DRAINED_AFTER_S)
        await send({"type": "http.response.body", "body": b""})


async def _drain(receive: Receive, limit_s: float) -> bool:
    """Take the rest of a body from the connection; returns whether it has ended."""

    async def take() -> bool:
        count = 0
        while count < _DRAINED_BYTES:
            message = await receive()
            count += len(message.get("body", b""))
            if not message.get("more_body", False):
                return True
        return False

    try:
        return await asyncio.wait_for(take(), limit_s)
    except (asyncio.TimeoutError, TimeoutError):
        return False
