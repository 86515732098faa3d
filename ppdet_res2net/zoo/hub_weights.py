"""Weights in repositories on Hugging Face's hub: which file of a repository they are, and what else belongs to them."""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath

from ppdet_res2net.zoo.formats.files import WEIGHT_SUFFIXES
from res2net_runtime.hub import HubAddress, HubRepository, check_file, choose_file, open_repository, parse_address
from res2net_runtime.model_folder import CONFIG_NAME

__all__ = ["HubWeights", "bring_hub_weights", "find_hub_weights"]

# What most programs call the weights, and publish writes.
_USUAL_NAME = "model.safetensors"
_HUB_URL = "https://huggingface.co"


@dataclasses.dataclass(frozen=True)
class HubWeights:
    """Weights on the hub.

    Attributes:
        repository: Their repository.
        name: Their file in it.
        description: The ``.json`` beside them, which describes the classes and figures of a run; ``""`` if there is none.
    """

    repository: HubRepository
    name: str
    description: str = ""

    @property
    def address(self) -> HubAddress:
        """The address of the file."""
        return self.repository.address.at(self.name)

    @property
    def url(self) -> str:
        """Where a browser finds the file; published models are known by it."""
        return f"{_HUB_URL}/{self.repository.address.repo}/resolve/{self.repository.address.revision or 'main'}/{self.name}"

    def bring(self) -> Path:
        """Return the local file, after it and its description have been downloaded if they are not in the cache.

        Raises:
            HubError: The hub does not deliver them, or they are too large.
        """
        return self.repository.bring([self.name, *filter(None, [self.description])]) / self.name


def find_hub_weights(address: str) -> HubWeights:
    """Find out which file an address means. Nothing is downloaded.

    Args:
        address: ``hf://OWNER/REPO[@REVISION][/FILE]``. Without a file, ``model.safetensors`` is meant, or the only file of
            weights. Those in exported folders do not count.

    Raises:
        HubError: There is no such repository or file, or there are several files of weights.
    """
    place = parse_address(address)
    repository = open_repository(place)
    if place.path:
        name = check_file(repository, place.path)
    else:
        exports = {PurePosixPath(name).parent for name in repository.names if PurePosixPath(name).name == CONFIG_NAME}
        candidates = [
            name
            for name in repository.names
            if name.lower().endswith(WEIGHT_SUFFIXES) and PurePosixPath(name).parent not in exports
        ]
        name = choose_file(repository, candidates, "file of weights", _USUAL_NAME)
    description = str(PurePosixPath(name).with_suffix(".json"))
    is_ours = name.endswith((".safetensors", ".pdparams")) and description in repository.names
    return HubWeights(repository, name, description if is_ours else "")


def bring_hub_weights(address: str) -> Path:
    """Return the local file of weights on the hub; see :func:`find_hub_weights` and :meth:`HubWeights.bring`."""
    return find_hub_weights(address).bring()
