"""Repositories of models on Hugging Face's hub, by addresses such as ``hf://OWNER/REPO@REVISION/FILE``.

The package ``huggingface_hub`` does the work, so its settings hold: ``HF_TOKEN`` and ``hf auth login`` for private
repositories, ``HF_ENDPOINT`` for another server, ``HF_HUB_OFFLINE`` and its cache in ``HF_HOME``. Sizes are asked before
anything is downloaded, and limited as for all downloads (:mod:`res2net_runtime.downloads`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import unquote

from res2net_runtime.downloads import check_size, is_offline, most_bytes
from res2net_runtime.errors import HubError
from res2net_runtime.system_errors import find_remedy
from res2net_runtime.texts import clip, hide_password

__all__ = [
    "HubAddress",
    "HubRepository",
    "address_of_page",
    "bring_model_folder",
    "check_file",
    "choose_file",
    "is_hub_address",
    "open_repository",
    "parse_address",
]

logger = logging.getLogger(__name__)

_SCHEME = "hf://"
_FORM = "hf://OWNER/REPO[@REVISION][/FILE]"
_NAME = r"[A-Za-z0-9_][\w.-]*"
# A revision with a slash in its name is written as refs/pr/1, or with %2F.
_ADDRESS = re.compile(
    rf"(?:models/)?(?P<repo>{_NAME}/{_NAME})(?:@(?P<revision>refs/(?:pr|convert)/[^/@]+|[^/@]+))?(?:/(?P<path>.*))?",
    re.ASCII,
)
# What a browser shows. A path that was made of it has one slash less.
_PAGE = re.compile(
    rf"(?:https?:/+)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?P<repo>{_NAME}/{_NAME})"
    r"(?:/(?:tree|blob)/(?P<revision>[^/?#]+)(?:/(?P<path>[^?#]*))?)?/?(?:[?#].*)?",
    re.ASCII,
)
_OTHER_KINDS = ("datasets", "spaces", "kernels", "buckets")
_COMMIT = re.compile("[0-9a-f]{40}")
_HARMLESS_TAG = re.compile(r"[\w-][\w.-]*", re.ASCII)  # names a file in the cache
_TIMEOUT_S = 30
_EXPORT_NAME = "infer_cfg.yml"  # describes an exported folder
_LISTED = 20


@dataclasses.dataclass(frozen=True)
class HubAddress:
    """An address on the hub.

    Attributes:
        repo: ``OWNER/REPO``.
        revision: A branch, tag or commit; None for the main branch.
        path: A file or folder in the repository; ``""`` if the address names none.
    """

    repo: str
    revision: str | None = None
    path: str = ""

    def __str__(self) -> str:
        revision = self.revision or ""
        if not revision.startswith("refs/"):
            revision = revision.replace("/", "%2F")
        return _SCHEME + self.repo + (f"@{revision}" if revision else "") + (f"/{self.path}" if self.path else "")

    @property
    def name(self) -> str:
        """The repository's name without its owner."""
        return self.repo.partition("/")[2]

    def at(self, path: str) -> HubAddress:
        """Return the address of a file or folder in the same repository."""
        return dataclasses.replace(self, path=path)


def is_hub_address(text: object) -> bool:
    """Whether a text is meant as an address on the hub; whether it is a sound one is not checked."""
    return isinstance(text, str) and text[: len(_SCHEME)].lower() == _SCHEME


def parse_address(text: str) -> HubAddress:
    """Read an address.

    Raises:
        HubError: It is not the address of a repository of models.
    """
    rest = text[len(_SCHEME) :].rstrip("/")
    owner = rest.partition("/")[0]
    if owner in _OTHER_KINDS:
        raise HubError(f"hub: '{clip(text, 200)}' is not in a repository of models, but of {owner}. Expected {_FORM}.")
    match = _ADDRESS.fullmatch(rest)
    if match is None:
        raise HubError(f"hub: '{clip(text, 200)}' is not an address on Hugging Face's hub. Expected {_FORM}.")
    path = match["path"] or ""
    if path and not _is_harmless(path):
        raise HubError(f"hub: '{clip(text, 200)}' leads out of the repository. Expected {_FORM}.")
    return HubAddress(match["repo"], unquote(match["revision"]) if match["revision"] else None, path)


def address_of_page(url: object) -> HubAddress | None:
    """Return the address of what a page of the hub in a browser is about; None if a text is no such page of a model."""
    match = _PAGE.fullmatch(str(url))
    if match is None or match["repo"].partition("/")[0] in (*_OTHER_KINDS, "docs", "papers", "api"):
        return None
    revision = match["revision"] if match["revision"] != "main" else None
    return HubAddress(match["repo"], revision and unquote(revision), (match["path"] or "").rstrip("/"))


@dataclasses.dataclass(frozen=True)
class HubRepository:
    """A repository, at one commit.

    Attributes:
        address: Its address, without a file.
        names: The paths of its files, sorted; offline, of those in the cache.
        commit: The commit.
        snapshot: The folder of the cache that has the files; None if the hub was asked.
    """

    address: HubAddress
    names: tuple[str, ...]
    commit: str
    snapshot: Path | None = None

    def find_sizes(self, names: Sequence[str]) -> dict[str, int]:
        """Return the bytes of those files that are not in the cache, as the hub states them. Nothing is downloaded.

        Raises:
            HubError: The hub does not say, or refuses a file.
        """
        if self.snapshot is not None:
            return {}
        hub, sizes = _library(), {}
        for name in names:
            if self.find_cached(name) is not None:
                continue
            url = hub.hf_hub_url(self.address.repo, name, revision=self.commit)
            with _explaining(self.address.at(name)):
                metadata = hub.get_hf_file_metadata(url, timeout=_TIMEOUT_S)
            # The library makes paths of these two.
            if not _HARMLESS_TAG.fullmatch(metadata.etag or "") or metadata.commit_hash != self.commit:
                raise HubError(
                    f"hub: the server's answer on {self.address.at(name)} is not that of a hub: ETag "
                    f"'{clip(metadata.etag or '', 40)}', commit '{clip(metadata.commit_hash or '', 40)}'. Check HF_ENDPOINT."
                )
            if metadata.size is None:
                raise HubError(
                    f"hub: the server does not say how large {self.address.at(name)} is. Download it in another way, and pass "
                    "its path."
                )
            sizes[name] = metadata.size
        return sizes

    @property
    def cache_folder(self) -> Path:
        """Where the cache has the files of this commit, or will have them."""
        repository = f"models--{self.address.repo.replace('/', '--')}"
        return self.snapshot or _cache_folder() / repository / "snapshots" / self.commit

    def find_cached(self, name: str) -> Path | None:
        """Return a file in the cache; None if it is not there."""
        if self.snapshot is not None:
            return self.snapshot / name
        found = _library().try_to_load_from_cache(self.address.repo, name, revision=self.commit)
        return Path(found) if isinstance(found, str) else None

    def bring(self, names: Sequence[str]) -> Path:
        """Return the folder of the cache in which files of the repository are, after those that are missing have come.

        Raises:
            HubError: The hub does not deliver a file, or the files are too large.
        """
        if self.snapshot is not None:
            return self.snapshot
        sizes = self.find_sizes(names)
        if not sizes and _find_snapshot(self.address) == self.cache_folder:
            return self.cache_folder
        total = sum(sizes.values())
        check_size(f"{self.address} ({', '.join(sizes)})", total, most_bytes(HubError), HubError)
        hub = _library()
        if sizes:
            logger.info(
                "downloading %s of %s (%.1f MiB) to %s", ", ".join(sizes), self.address, total / 2**20, _cache_folder()
            )
        with _explaining(self.address):
            folder = hub.snapshot_download(
                self.address.repo,
                revision=self.address.revision,
                allow_patterns=[glob.escape(name) for name in names],
            )
        cache = _cache_folder().resolve()
        for name in names:
            file = Path(folder, name)
            if not file.is_file() or not file.resolve().is_relative_to(cache):
                raise HubError(f"hub: the hub has not delivered {self.address.at(name)}. Try again.")
        return Path(folder)


def open_repository(address: HubAddress) -> HubRepository:
    """Find out which files a repository has. If the hub cannot be reached, or must not be asked, the cache is looked at.

    Raises:
        HubError: ``huggingface_hub`` is missing, there is no such repository or revision, or it must not be read; or it is
            not in the cache although nothing else may be used.
    """
    hub = _library()
    address = address.at("")
    if is_offline() or hub.constants.HF_HUB_OFFLINE:
        variable = "RES2NET_OFFLINE" if is_offline() else "HF_HUB_OFFLINE"
        return _open_cached(
            address, f"{variable} forbids to ask the hub. Unset it, or bring huggingface_hub's cache along"
        )
    try:
        with _explaining(address):
            info = hub.HfApi().model_info(address.repo, revision=address.revision, timeout=_TIMEOUT_S)
    except _UnreachableError as error:
        repository = _open_cached(address, f"{error} Check the network")
        logger.warning("%s The files in the cache are used", error)
        return repository
    names = [one.rfilename for one in info.siblings or ()]
    wrong = next((name for name in names if not _is_harmless(name)), None)
    if wrong is not None or not _COMMIT.fullmatch(info.sha or ""):
        raise HubError(
            f"hub: the server's answer on {address} is not that of a hub: it names "
            f"{'the file' if wrong is not None else 'the commit'} '{clip(info.sha if wrong is None else wrong)}'. Check "
            "HF_ENDPOINT."
        )
    return HubRepository(address, tuple(sorted(names)), info.sha)


def bring_model_folder(text: str) -> Path:
    """Return the local copy of an exported folder on the hub; what is missing is downloaded.

    Args:
        text: ``hf://OWNER/REPO[@REVISION][/FOLDER]``. Without a folder, the only one with an ``infer_cfg.yml`` is meant.

    Raises:
        HubError: There is no such folder, or there are several; or it cannot be downloaded.
    """
    address = parse_address(text)
    repository = open_repository(address)
    exports = [str(path.parent) for path in map(PurePosixPath, repository.names) if path.name == _EXPORT_NAME]
    if not address.path:
        folder = choose_file(repository, exports, f"exported model (a folder with {_EXPORT_NAME})", "export")
    else:
        folder = address.path
        check_file(repository, f"{folder}/{_EXPORT_NAME}")
    start = "" if folder == "." else f"{folder}/"
    names = [name for name in repository.names if name.startswith(start) and "/" not in name[len(start) :]]
    return repository.bring(names) / folder


def choose_file(repository: HubRepository, candidates: Sequence[str], what: str, usual: str) -> str:
    """Return the file that an address without a file means.

    Args:
        repository: The repository.
        candidates: The files that it may be.
        what: What is looked for, for messages.
        usual: The name that is taken if there are several.

    Raises:
        HubError: There are none, or several.
    """
    if usual in candidates:
        return usual
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise HubError(f"hub: {repository.address} has no {what}. It has {_listed(repository.names) or 'no files'}.")
    raise HubError(
        f"hub: {repository.address} has several files that may be the {what}: {_listed(candidates)}. Name one of them, for "
        f"instance {repository.address.at(candidates[0])}."
    )


def check_file(repository: HubRepository, name: str) -> str:
    """Return the name of a file if the repository has it.

    Raises:
        HubError: It has no such file.
    """
    if name not in repository.names:
        where = "the cache has none, only" if repository.snapshot is not None else "there is none, only"
        raise HubError(
            f"hub: {repository.address.at(name)}: {where} {_listed(repository.names) or 'nothing'}. Correct the file's name."
        )
    return name


def _open_cached(address: HubAddress, reason: str) -> HubRepository:
    snapshot = _find_snapshot(address)
    if snapshot is None:
        raise HubError(f"hub: {address} is not in the cache ({_cache_folder()}), and {reason}.")
    files = (file for file in snapshot.rglob("*") if file.is_file())
    return HubRepository(
        address, tuple(sorted(file.relative_to(snapshot).as_posix() for file in files)), snapshot.name, snapshot
    )


def _find_snapshot(address: HubAddress) -> Path | None:
    """Return the folder of the cache in which a revision was when the hub was asked last; None if there is none."""
    try:
        # Without patterns, newer versions also check that every file of the repository is in the cache.
        folder = _library().snapshot_download(
            address.repo, revision=address.revision, allow_patterns=[], local_files_only=True
        )
    except (OSError, ValueError):
        return None
    return Path(folder)


def _is_harmless(name: str) -> bool:
    """Whether the name of a file stays below its folder, on every system, and can be printed."""
    windows = PureWindowsPath(name)
    parts = {*PurePosixPath(name).parts, *windows.parts}
    return bool(parts) and ".." not in parts and not windows.anchor and ":" not in name and name.isprintable()


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(clip(name, 200) for name in names[:_LISTED]) + more


def _cache_folder() -> Path:
    return Path(_library().constants.HF_HUB_CACHE)


def _library() -> Any:
    try:
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError as error:
        raise HubError(
            "hub: addresses that begin with hf:// need the package huggingface_hub, which cannot be imported "
            f"({clip(error, 200)}). Install it, as the extra 'hub' of ppdet-res2net does: pip install huggingface_hub"
        ) from error
    return huggingface_hub


class _UnreachableError(HubError):
    """The hub cannot be reached at present."""


@contextlib.contextmanager
def _explaining(address: HubAddress) -> Iterator[None]:
    """Say in our words what the library's exceptions mean."""
    from huggingface_hub import errors

    endpoint = hide_password(_library().constants.ENDPOINT)
    repo = address.repo
    log_in = "log in with 'hf auth login', or set HF_TOKEN"
    # Its own base is the one of the package that speaks HTTP, which differs from version to version.
    http_error: Any = errors.HfHubHTTPError.__bases__[0]
    try:
        yield
    except errors.GatedRepoError:
        raise HubError(
            f"hub: {repo} is gated: its owner decides who may read it. Ask for access at {endpoint}/{repo}, and {log_in}."
        ) from None
    except errors.RepositoryNotFoundError:
        raise HubError(
            f"hub: there is no repository {repo} of models at {endpoint}, or it is private. Check its name; for a private one, "
            f"{log_in}."
        ) from None
    except errors.RevisionNotFoundError:
        raise HubError(
            f"hub: {repo} has no revision '{clip(address.revision or 'main')}'. Pass one of its branches, tags or commits."
        ) from None
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise HubError(
                f"hub: the hub refuses to show {address} ({status}): the token in HF_TOKEN or of 'hf auth login' is wrong, or "
                "does not allow it."
            ) from None
        if isinstance(error, errors.EntryNotFoundError):
            raise HubError(f"hub: there is no file {address}. Correct its name.") from None
        if status is None or status >= 500 or status == 429:
            raise _UnreachableError(f"hub: {endpoint} answered {status} to {address}.") from None
        raise HubError(f"hub: {endpoint} answered {status} to {address}. Check the address.") from None
    except errors.HFValidationError as error:
        raise HubError(f"hub: '{address}' is no address of the hub: {clip(error, 200)}") from None
    except (OSError, http_error) as error:
        remedy = find_remedy(error, "set HF_HOME to a folder elsewhere")
        if remedy is not None:
            raise HubError(f"hub: cannot write to {_cache_folder()}: {clip(error, 200)}. {remedy}") from error
        cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ else error
        text = re.sub(r"\?\S+", "?...", str(cause).partition("\n")[0])  # a query may hold a token
        raise _UnreachableError(
            f"hub: {endpoint} does not deliver {address} ({type(cause).__name__}: {clip(text, 200)})."
        ) from None
    except ValueError as error:  # an answer that is not JSON, or a path that the library refuses
        raise HubError(
            f"hub: the server's answer on {address} is not that of a hub ({clip(error, 200)}). Check HF_ENDPOINT."
        ) from None
