"""Which images a command runs on, under which names and ids: a file, a folder, a list; a share of them; those not done yet."""

from __future__ import annotations

import argparse
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from res2net_runtime.arguments import path_text
from res2net_runtime.errors import ImageError
from res2net_runtime.files import find_images
from res2net_runtime.texts import hide_password, is_url, printable, storable

__all__ = [
    "SAVING_OPTIONS",
    "SELECTION_OPTIONS",
    "ImageFile",
    "Shard",
    "check_listed",
    "find_misplaced",
    "iterate_image_list",
    "leave_out_done",
    "make_image_ids",
    "name_images",
    "parse_shard",
    "read_image_list",
    "select_images",
]


_MISSING_LOOKED_AT = 3  # the first line of a list may be a heading


@dataclass(frozen=True)
class ImageFile:
    """An image that a command runs on.

    Attributes:
        path: The file.
        name: Its name in the results, and below the folder for pictures: the path from the folder or list it comes from,
            with slashes.
        image_id: Its id in the results.
    """

    path: Path
    name: str
    image_id: int


@dataclass(frozen=True)
class Shard:
    """A share of the images: every ``count``-th one, beginning with the one of number ``index``, from 1.

    Attributes:
        index: Which share, from 1.
        count: How many shares there are.
    """

    index: int
    count: int

    @property
    def suffix(self) -> str:
        """What the names of the share's result files have before their ending."""
        return f".{self.index}-of-{self.count}"


def parse_shard(text: str) -> Shard:
    """Argument type: ``i/n`` with 1 <= i <= n."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"got '{text}', expected i/n with i from 1 to n, for instance 1/4")
    return Shard(int(match[1]), int(match[2]))


# The options for many images, for ``add_argument``: all commands that run on images have them.
SELECTION_OPTIONS: dict[str, dict[str, Any]] = {
    "--recursive": {"action": "store_true", "help": "also read the images in subfolders"},
    "--list_root": {
        "type": path_text,
        "metavar": "DIR",
        "help": "folder that the paths in a list begin from (default: the folder of the list)",
    },
    "--shard": {
        "type": parse_shard,
        "metavar": "I/N",
        "help": "run on the I-th of N equal shares of the images, so that N processes or machines can do one share each; the "
        "names of result files then end with .I-of-N",
    },
}
# And those for results.
SAVING_OPTIONS: dict[str, dict[str, Any]] = {
    "--save_jsonl": {"action": "store_true", "help": "write results.jsonl as images are done: one image per line"},
    "--skip_done": {
        "action": "store_true",
        "help": "go on where an earlier run with this option and the same model has stopped: leave out the images that "
        "results.jsonl holds, and append the others; implies --save_jsonl",
    },
    "--no_pictures": {"action": "store_true", "help": "write no pictures and no video"},
}


def find_misplaced(
    args: argparse.Namespace, directory: tuple[str, str | None], list_file: tuple[str, str | None]
) -> str | None:
    """Return what is wrong if an option for many images is given without the images that it is for; else None.

    Args:
        args: The command line.
        directory: The command's flag for a folder, and its value.
        list_file: The same for a list.
    """
    (folder_flag, folder), (list_flag, listed) = directory, list_file
    for flag, is_given, needed, is_there in (
        ("--recursive", args.recursive, folder_flag, folder),
        ("--list_root", args.list_root, list_flag, listed),
        ("--shard", args.shard, f"{folder_flag} and {list_flag}", folder or listed),
        ("--skip_done", args.skip_done, f"{folder_flag} and {list_flag}", folder or listed),
    ):
        if is_given and not is_there:
            return f"{flag} goes with {needed}"
    return None


def select_images(
    image: str | None = None,
    directory: str | None = None,
    list_file: str | None = None,
    *,
    recursive: bool = False,
    list_root: str | None = None,
    shard: Shard | None = None,
    output_dir: str | os.PathLike[str] | None = None,
) -> list[ImageFile]:
    """Return the images to run on; one of the first three arguments is given.

    Ids are given before the share is taken, so that those of all shares are different.

    Args:
        image: One image.
        directory: A folder of images.
        list_file: A text file with one path per line.
        recursive: Also look into subfolders.
        list_root: Folder that relative paths of the list begin from.
        shard: Take a share of the images.
        output_dir: Folder of the results; if it lies below ``directory``, its pictures are left out.

    Raises:
        ImageError: There is no image, the folder or list cannot be read, or two images have one name.
    """
    if directory is not None:
        root = Path(directory)
        paths = find_images(directory, recursive)
        own = None if output_dir is None else Path(os.path.realpath(output_dir))
        if recursive and own is not None and own != Path(os.path.realpath(root)):
            paths = [path for path in paths if own not in Path(os.path.realpath(path)).parents]
        images = name_images(paths, root)
    elif list_file is not None:
        root = Path(list_root) if list_root is not None else Path(list_file).parent
        paths = [root / path for path in read_image_list(list_file)]
        check_listed(paths, list_file, root)
        images = name_images(paths, root)
    else:
        if image is not None and is_url(image):
            raise ImageError(
                f"'{hide_password(image)}' is a url. Download the image first, for instance with curl -O, and pass the file."
            )
        images = name_images([Path(image or "")])
    return images if shard is None else images[shard.index - 1 :: shard.count]


def read_image_list(file: str | os.PathLike[str]) -> list[str]:
    """Return the paths in a text file: one per line, in UTF-8 or UTF-16; empty lines are left out.

    Lines are paths as they are, without quotes or comments. Bytes that are not UTF-8 stay part of the path, as they do in
    names of files.

    Raises:
        ImageError: The file cannot be read, is empty or no text, or names a url.
    """
    paths = list(iterate_image_list(file))
    if not paths:
        raise ImageError(f"The list '{printable(file)}' is empty. It needs one path per line.")
    return paths


def iterate_image_list(file: str | os.PathLike[str]) -> Iterator[str]:
    """Yield what :func:`read_image_list` returns, from a list of any length; nothing if the file is empty.

    Raises:
        ImageError: The file cannot be read, is no text, or names a url.
    """
    try:
        with open(file, "rb") as start:
            is_utf16 = start.read(2) in (b"\xff\xfe", b"\xfe\xff")
        encoding, errors = ("utf-16", "replace") if is_utf16 else ("utf-8-sig", "surrogateescape")
        with open(file, encoding=encoding, errors=errors, newline="\n") as lines:
            for number, line in enumerate(lines, 1):
                path = line.removesuffix("\n").rstrip("\r")
                if "\0" in path:
                    raise ImageError(
                        f"The list '{printable(file)}' is not a text file in UTF-8, or in UTF-16 with a byte order mark. Check "
                        "the path, or save the list again."
                    )
                if is_url(path):
                    raise ImageError(
                        f"Line {number} of '{printable(file)}' is a url, '{hide_password(path)}'. Download the images first."
                    )
                if path.strip():
                    yield path
    except OSError as error:
        raise ImageError(f"Cannot read the list '{printable(file)}': {error.strerror}. Check the path.") from error


def check_listed(paths: Sequence[Path], file: str, root: Path) -> None:
    """Refuse a list whose missing images are there if its lines are read otherwise, as other tools write lists."""
    missing = (path for path in paths if not os.path.lexists(path))
    for path in itertools.islice(missing, _MISSING_LOOKED_AT):
        _check_missing(path, file, root)


def _check_missing(path: Path, file: str, root: Path) -> None:
    line = str(path.relative_to(root) if path.is_relative_to(root) else path)
    for text, advice in _other_readings(line):
        if os.path.isfile(root / text):
            raise ImageError(
                f"The list '{printable(file)}' names '{printable(line)}', which does not exist, but '{printable(text)}' does. "
                f"{advice}"
            )
    if os.path.isfile(line):
        raise ImageError(
            f"The list '{printable(file)}' names '{printable(line)}', which is not in '{printable(root)}' but in the current "
            "folder. If all paths begin there, add --list_root ."
        )


def _other_readings(line: str) -> Iterator[tuple[str, str]]:
    """Yield what a line could mean that is no path of an image, and what to do about it."""
    yield line.strip(), "Remove the spaces around the paths."
    yield line.strip().strip("\"'"), "Remove the quotes."
    yield line.replace("\\", "/"), "Write the paths with slashes."
    for separator in ("\t", ",", ";", " "):
        for text in (line.partition(separator)[0], line.rpartition(separator)[0]):
            yield text.strip().strip("\"'"), "Leave only the paths, one per line, without labels and other columns."


def name_images(paths: Sequence[Path], root: Path | None = None) -> list[ImageFile]:
    """Give images names and ids.

    Args:
        paths: The images.
        root: Names are paths below this folder. The name of an image elsewhere is that of its file.

    Raises:
        ImageError: Two images have one name.
    """
    names = [_name_below(path, root) for path in paths]
    repeated = next((name for name, count in Counter(names).items() if count > 1), None)
    if repeated is not None:
        raise ImageError(
            f"Several images are called '{printable(repeated)}', so their pictures would overwrite each other. Pass every "
            "image once. Images of several folders keep their subfolders if --list_root is a folder that holds them all."
        )
    ids = make_image_ids(paths)
    return [ImageFile(path, name, ids[path]) for path, name in zip(paths, names)]


def make_image_ids(paths: Sequence[Path]) -> dict[Path, int]:
    """Return the image id of each path: the number in its name if all names are numbers, as in COCO, else its position."""
    if all(path.stem.isascii() and path.stem.isdigit() and len(path.stem) <= 18 for path in paths):
        ids = {path: int(path.stem) for path in paths}
        if len(set(ids.values())) == len(paths):
            return ids
    return {path: index for index, path in enumerate(paths)}


def leave_out_done(images: Iterable[ImageFile], done: Mapping[str, int]) -> list[ImageFile]:
    """Return the images that are not done yet, with ids that no image that is done has.

    Images may have been added to a folder since, which changes the ids that are positions.

    Args:
        images: All images.
        done: Name -> id of those that are done.
    """
    taken = set(done.values())
    left = [image for image in images if storable(image.name) not in done]
    following = max([*taken, *(image.image_id for image in left)], default=-1) + 1
    result = []
    for image in left:
        if image.image_id in taken:
            image, following = replace(image, image_id=following), following + 1
        taken.add(image.image_id)
        result.append(image)
    return result


def _name_below(path: Path, root: Path | None) -> str:
    if root is not None:
        relative = os.path.relpath(path, root)
        if not relative.startswith(os.pardir) and not os.path.isabs(relative):
            return Path(relative).as_posix()
    return path.name
