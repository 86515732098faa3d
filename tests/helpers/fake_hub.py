"""A server on this machine that answers as Hugging Face's hub does, as far as ``huggingface_hub`` asks."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import json
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.servers import serving

__all__ = ["FakeHub", "FakeRepo", "using_hub"]


@dataclasses.dataclass
class FakeRepo:
    """A repository of one commit.

    Attributes:
        files: Contents by path.
        token: What a reader must send; None for a public repository.
        is_gated: Whether its files, but not its list of files, are refused.
        revisions: Branches and tags that lead to the commit.
        etag: Sent instead of the files' own ones.
    """

    files: dict[str, bytes]
    token: str | None = None
    is_gated: bool = False
    revisions: tuple[str, ...] = ("main",)
    etag: str | None = None

    @property
    def commit(self) -> str:
        return hashlib.sha1(repr(sorted(self.files.items())).encode()).hexdigest()


class FakeHub(http.server.ThreadingHTTPServer):
    """The server. ``repos`` maps ``OWNER/REPO`` to repositories; ``seen`` has method and path of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, FakeRepo] = {}
        self.seen: list[tuple[str, str]] = []
        self.status: int | None = None  # of every answer, if set
        self.url = f"http://127.0.0.1:{self.server_port}"

    def add_folder(self, name: str, folder: Path) -> None:
        """Upload a folder."""
        files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        self.repos[name] = FakeRepo(files)

    def downloads(self) -> list[str]:
        """Return the names of the files that were downloaded."""
        return [path.rpartition("/")[2] for method, path in self.seen if method == "GET" and "/resolve/" in path]


@contextlib.contextmanager
def using_hub(cache: Path, monkeypatch) -> Iterator[FakeHub]:
    """Run a hub, and make ``huggingface_hub`` use it and an empty cache."""
    from huggingface_hub import constants

    hub = FakeHub()
    settings = {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DOWNLOAD_TIMEOUT": 300,  # its ten seconds are too few on a machine with much to do
        "HF_TOKEN_PATH": str(cache / "token"),
    }
    for name, value in settings.items():  # the library reads the environment only when it is imported
        monkeypatch.setattr(constants, name, value)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("RES2NET_OFFLINE", raising=False)
    with serving(hub):
        yield hub


class _Handler(http.server.BaseHTTPRequestHandler):
    server: FakeHub

    def do_GET(self) -> None:
        self.server.seen.append((self.command, self.path))
        path = urllib.parse.unquote(self.path.partition("?")[0])
        if self.server.status is not None:
            return self._answer(self.server.status, b"")
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^?]+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/(refs/pr/\d+|[^/]+)/(.+)", path)
        match = api or file
        repo = self.server.repos.get(match[1]) if match else None
        if repo is None or repo.token is not None and self.headers.get("Authorization") != f"Bearer {repo.token}":
            return self._answer(401, b"", {"X-Error-Code": "RepoNotFound"})
        revision = match[3] if api else match[2]
        if revision not in (None, repo.commit, *repo.revisions):
            return self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        if api:
            return self._answer(200, json.dumps(self._describe(match[1], repo, match[2])).encode())
        if repo.is_gated:
            return self._answer(403, b"", {"X-Error-Code": "GatedRepo"})
        content = repo.files.get(match[3])
        if content is None:
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repo.commit})
        etag = repo.etag or hashlib.sha256(content).hexdigest()
        self._answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": repo.commit})

    do_HEAD = do_GET

    def _describe(self, name: str, repo: FakeRepo, kind: str | None) -> object:
        if kind == "tree":
            return [
                {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for path, content in repo.files.items()
            ]
        siblings = [{"rfilename": path} for path in repo.files]
        return {"id": name, "modelId": name, "sha": repo.commit, "siblings": siblings, "tags": [], "private": False}

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass
