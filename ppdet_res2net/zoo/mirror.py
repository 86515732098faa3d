"""The mirror: a folder or a server, named by ``RES2NET_MIRROR``, that has files of others, for machines without internet."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from ppdet_res2net.errors import WeightsError
from ppdet_res2net.zoo.addresses import relative_path
from ppdet_res2net.zoo.records import RECORDS
from res2net_runtime.texts import hide_password, is_url, printable

__all__ = ["MIRROR_VARIABLE", "mirrored_places"]

MIRROR_VARIABLE = "RES2NET_MIRROR"


def mirrored_places(url: str) -> list[Path | str]:
    """Return where the mirror may have the file of ``url``, the surest place first: files in a folder, or urls on a server.

    A mirror may keep host and path, as the cache and ``fetch --to`` do; the path, as a copy of one server does; or the name
    alone, unless several published models have a file of that name. Of a folder, only places with a file are returned.

    Raises:
        WeightsError: ``RES2NET_MIRROR`` is neither a folder nor an http(s) address.
    """
    mirror = os.environ.get(MIRROR_VARIABLE, "").strip()
    if not mirror:
        return []
    path = relative_path(url)
    paths = [path, path.relative_to(path.parts[0])]
    if not _has_namesakes(url, path.name):
        paths.append(path.relative_to(path.parent))
    paths = list(dict.fromkeys(paths))
    if not is_url(mirror):
        folder = Path(mirror).expanduser()
        if not folder.is_dir():
            raise WeightsError(
                f"weights: RES2NET_MIRROR is '{printable(mirror)}', and there is no such folder. Correct or unset it."
            )
        return [file for file in map(folder.joinpath, paths) if file.is_file()]
    try:
        parts = urlsplit(mirror)
        _ = parts.port  # is checked when it is asked for
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise WeightsError(
            f"weights: RES2NET_MIRROR is '{hide_password(mirror)}'; expected a folder, or an address with http or https."
        )
    base = parts.path.rstrip("/")
    return [urlunsplit(parts._replace(path=f"{base}/{quote(str(one))}")) for one in paths]


def _has_namesakes(url: str, name: str) -> bool:
    """Whether a published model has another file of this name: every one on Hugging Face is called model.safetensors."""
    published = (other for spec in RECORDS for other in spec.urls)
    return any(other != url and other.rpartition("/")[2] == name for other in published)
