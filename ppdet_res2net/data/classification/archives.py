"""Archives of datasets that are known by name: CIFAR-10 and CIFAR-100. They are downloaded only when somebody asks for it.

An archive is kept as it is, and :mod:`cifar` reads it without unpacking it: nothing in it is ever written to the disk.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urldefrag

from ppdet_res2net.data.classification.cifar import CIFARDataSet
from ppdet_res2net.errors import DatasetError, WeightsError
from ppdet_res2net.files import file_sha256
from ppdet_res2net.zoo.hub import cached_path, download_file
from res2net_runtime.downloads import is_offline
from res2net_runtime.texts import clip, hide_password, is_url, printable

__all__ = ["ARCHIVES", "Archive", "locate_data"]

_SHA256 = re.compile("sha256=([0-9a-fA-F]{64})")


@dataclasses.dataclass(frozen=True)
class Archive:
    """A published archive.

    Attributes:
        title: Its name in messages.
        url: Its address.
        size_bytes: Its size.
        sha256: Its checksum.
    """

    title: str
    url: str
    size_bytes: int
    sha256: str


# The publisher's page has the MD5 c58f3010... and eb9058c3... of these files. Keras and TorchVision's prototype datasets pin
# their SHA-256.
ARCHIVES = {
    "cifar10": Archive(
        "CIFAR-10",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        170_498_071,
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),
    "cifar100": Archive(
        "CIFAR-100",
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        169_001_437,
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    ),
}


def locate_data(data: str, download: bool = False) -> Path:
    """Return the path of a dataset that a command line names.

    Args:
        data: A path; ``cifar10`` or ``cifar100``, if there is no such path; or the url of an archive in CIFAR's format, which
            may end with ``#sha256=`` and its checksum.
        download: Download the archive of a name or url, unless it is in the cache.

    Raises:
        DatasetError: The archive is not in the cache and may not or cannot be downloaded, or it is wrong; or a path is to be
            downloaded.
    """
    archive = ARCHIVES.get(re.sub("[-_ ]", "", data).lower())
    if is_url(data):
        return _locate_url(data, download)
    if archive is None or Path(data).exists():
        if download and not Path(data).exists():
            raise DatasetError(
                f"--download fetches {' and '.join(ARCHIVES)}, and urls of archives in CIFAR's format; --data is "
                f"'{printable(clip(data))}'. Download other datasets yourself, and pass their folder."
            )
        return Path(data)
    target = cached_path(archive.url)
    if not download and not target.is_file():
        raise DatasetError(
            f"{archive.title} is not here. Add --download to fetch it once ({archive.size_bytes / 2**20:.0f} MiB from "
            f"{archive.url}), or put that archive at {target}, or pass its path: --data "
            f"DIR/{target.name}."
        )
    return _fetch(archive.url, _sum_check(archive.sha256), resume=True)


def _locate_url(data: str, download: bool) -> Path:
    url, fragment = urldefrag(data)
    match = _SHA256.fullmatch(fragment)
    if fragment and match is None:
        raise DatasetError(
            f"--data ends with '#{clip(fragment)}'; expected #sha256= and 64 hexadecimal digits, or nothing."
        )
    try:
        is_here = cached_path(url).is_file()
    except WeightsError as error:
        raise _of_data(error) from None
    if not download and not is_here:
        raise DatasetError(f"{hide_password(url)} is not in the cache. Add --download to fetch it once.")
    return _fetch(url, _sum_check(match[1].lower()) if match else _check_content, resume=match is not None)


def _fetch(url: str, check: Callable[[str, Path, str], None], resume: bool) -> Path:
    try:
        return download_file(url, check, resume=resume)
    except WeightsError as error:
        by_hand = "" if cached_path(url).is_file() else f" To bring it by hand, put it at {cached_path(url)}."
        offline = " Or copy it to a folder, and set RES2NET_MIRROR to that." if is_offline() else ""
        raise DatasetError(f"{_of_data(error)}{by_hand}{offline}") from None


def _of_data(error: WeightsError) -> DatasetError:
    # What downloads says 'weights', which most of its files are.
    return DatasetError(str(error).removeprefix("weights: "))


def _sum_check(sha256: str) -> Callable[[str, Path, str], None]:
    def check(name: str, path: Path, remedy: str) -> None:
        got = file_sha256(path)
        if got != sha256:
            raise DatasetError(
                f"{name} has the wrong checksum: SHA-256 {got}, expected {sha256}. {remedy} An archive of your own in the same "
                "format has another checksum: pass its path or url as --data."
            )

    return check


def _check_content(name: str, path: Path, remedy: str) -> None:
    try:
        CIFARDataSet(str(path)).parse_dataset()
    except DatasetError as error:
        raise DatasetError(f"{name} is no archive in CIFAR's format: {error} {remedy}") from error
