"""What weights need before they can be used: which file, how large it is, and where it has to be."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ppdet_res2net.errors import WeightsError
from ppdet_res2net.files import file_sha256
from ppdet_res2net.zoo.addresses import cached_path, find_checksum
from ppdet_res2net.zoo.catalog import find_published, get_model_spec, is_model_name
from ppdet_res2net.zoo.formats import resolve_weights_path
from ppdet_res2net.zoo.hub import download_model, download_weights
from ppdet_res2net.zoo.hub_weights import bring_hub_weights, find_hub_weights
from ppdet_res2net.zoo.mirror import mirrored_places
from ppdet_res2net.zoo.model_spec import ModelSpec
from ppdet_res2net.zoo.transfers import ask_size
from res2net_runtime.downloads import is_offline
from res2net_runtime.hub import is_hub_address
from res2net_runtime.texts import hide_password, printable

__all__ = ["NeededFile", "bring", "find_need"]

_BYTES_PER_PARAMETER = 4  # float32


@dataclasses.dataclass(frozen=True)
class NeededFile:
    """The file that weights are in.

    Attributes:
        source: What names it: a zoo name, a url, an address on a hub or a path.
        urls: Where it is published; empty for a path.
        path: Where it is found without network.
        state: ``here``, ``in the mirror``, ``to be downloaded`` or ``missing``; the last is for paths only.
        size_bytes: Its size; None if nobody says.
        about_bytes: Its size as estimated from the parameters of the published model; None if that is not known.
        size_problem: Why ``size_bytes`` is None.
        sha256: Its SHA-256 if it is here; else the first digits, if its name has them; or ``""``.
    """

    source: str
    urls: tuple[str, ...]
    path: Path
    state: str
    size_bytes: int | None = None
    about_bytes: int | None = None
    size_problem: str = ""
    sha256: str = ""


def find_need(source: str) -> NeededFile:
    """Find out what a zoo name, a url or a path needs. Servers are asked for sizes; nothing is downloaded.

    Raises:
        ConfigError: The zoo has no model of that name.
        HubError: A hub has no such file.
        WeightsError: It is not the address of a file, no weights were published, or ``RES2NET_MIRROR`` is wrong.
    """
    if is_hub_address(source):
        return _on_hub(source)
    spec, urls = _published(source)
    if not urls:
        return _local(source)
    cached = next((url for url in urls if cached_path(url).is_file()), None)
    if cached is not None:
        path = cached_path(cached)
        return _with_content(NeededFile(hide_password(source), _shown(urls), path, "here"), path)
    for url in urls:
        files = [place for place in mirrored_places(url) if isinstance(place, Path)]
        if files:
            found = NeededFile(hide_password(source), _shown(urls), cached_path(url), "in the mirror")
            return _with_content(found, files[0])
    size_bytes, problem = _ask(urls[0])
    return NeededFile(
        hide_password(source),
        _shown(urls),
        cached_path(urls[0]),
        "to be downloaded",
        size_bytes,
        spec.parameters * _BYTES_PER_PARAMETER if spec is not None else None,
        problem,
        find_checksum(urls[0]),
    )


def bring(source: str) -> Path:
    """Return the local file of a zoo name, a url or a path; it is taken from the mirror or downloaded unless it is here.

    Raises:
        ConfigError: The zoo has no model of that name.
        HubError: A hub does not deliver the file.
        WeightsError: The file cannot be found or downloaded.
    """
    if is_hub_address(source):
        return bring_hub_weights(source)
    if "://" in source:
        return download_weights(source)
    if _is_name(source):
        return download_model(get_model_spec(source))
    return resolve_weights_path(source)


def _on_hub(source: str) -> NeededFile:
    found = find_hub_weights(source)
    path = found.repository.find_cached(found.name)
    address = str(found.address)
    if path is not None:
        return _with_content(NeededFile(source, (address,), path, "here"), path)
    folder = found.repository.cache_folder
    size_bytes = found.repository.find_sizes([found.name])[found.name]
    return NeededFile(source, (address,), folder / found.name, "to be downloaded", size_bytes)


def _is_name(source: str) -> bool:
    return is_model_name(source) and not Path(source).exists()


def _published(source: str) -> tuple[ModelSpec | None, tuple[str, ...]]:
    if "://" in source:
        cached_path(source)  # checks it
        return find_published(source), (source,)
    if not _is_name(source):
        return None, ()
    spec = get_model_spec(source)
    if not spec.urls:
        raise WeightsError(f"weights: there are no published weights of {spec.name}. {spec.note}")
    return spec, spec.urls


def _local(source: str) -> NeededFile:
    try:
        path = resolve_weights_path(source)
    except WeightsError:
        return NeededFile(source, (), Path(source).expanduser(), "missing", size_problem="there is no such file")
    return _with_content(NeededFile(source, (), path, "here"), path)


def _with_content(need: NeededFile, file: Path) -> NeededFile:
    try:
        return dataclasses.replace(need, size_bytes=file.stat().st_size, sha256=file_sha256(file))
    except OSError as error:
        raise WeightsError(f"weights: cannot read {printable(file)}: {error.strerror}. Make it readable.") from error


def _ask(url: str) -> tuple[int | None, str]:
    if is_offline():
        return None, "RES2NET_OFFLINE forbids to ask"
    try:
        return ask_size(url), ""
    except WeightsError as error:
        return None, str(error)


def _shown(urls: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(hide_password, urls))
