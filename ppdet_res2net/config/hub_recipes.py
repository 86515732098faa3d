"""Recipes in repositories on Hugging Face's hub, and which of their settings are not for other machines."""

from __future__ import annotations

import logging
from pathlib import PurePosixPath
from typing import NamedTuple

from ppdet_res2net.config.mistakes import Layer
from ppdet_res2net.config.recipe_files import Merged, RecipeFiles
from res2net_runtime.hub import HubAddress, check_file, choose_file, open_repository, parse_address
from res2net_runtime.model_folder import CONFIG_NAME
from res2net_runtime.texts import clip

__all__ = ["LOCAL_KEYS", "RECIPE_NAME", "HubRecipe", "read_hub_recipe"]

logger = logging.getLogger(__name__)

# What publish calls the recipe.
RECIPE_NAME = "config.yml"
# Where results go, who else gets them, and on what a machine computes: its user decides that, not who wrote the recipe.
LOCAL_KEYS = (
    "save_dir",
    "output_eval",
    "use_vdl",
    "vdl_log_dir",
    "use_wandb",
    "loggers",
    "use_gpu",
    "cpu_threads",
)


class HubRecipe(NamedTuple):
    """A recipe from a hub.

    Attributes:
        name: The repository's name, which also names the folder of a run.
        merged: Its settings, with the repository's weights as ``weights`` and ``pretrain_weights`` unless it names others.
    """

    name: str
    merged: Merged


def read_hub_recipe(text: str, trust_recipe: bool) -> HubRecipe:
    """Download and read the recipe at an address on a hub.

    Args:
        text: ``hf://OWNER/REPO[@REVISION][/FILE]``. Without a file, ``config.yml`` is meant, or the only YAML file beside it.
        trust_recipe: Whether tags may name any class that ppdet declares serializable.

    Raises:
        ConfigError: The file is no recipe, or names a tag that is not allowed.
        HubError: There is no such repository or file.
    """
    address = parse_address(text)
    repository = open_repository(address)
    if address.path:
        name = check_file(repository, address.path)
    else:
        files = [name for name in repository.names if PurePosixPath(name).suffix in (".yml", ".yaml")]
        candidates = [name for name in files if "/" not in name and name != CONFIG_NAME]
        name = choose_file(repository, candidates, "recipe (a YAML file)", RECIPE_NAME)
    merged = RecipeFiles(trust_recipe).read(repository.bring([name]) / name)
    ignored = [key for key in LOCAL_KEYS if key in merged.data]
    if ignored:
        logger.info("%s of %s are not used: this machine's user decides them", ", ".join(ignored), clip(text, 200))
    own = _weights_of(repository.address)
    data = {**own, **{key: value for key, value in merged.data.items() if key not in ignored}}
    layers = (Layer(text, own), *merged.layers)
    return HubRecipe(repository.address.name, Merged(data, layers))


def _weights_of(address: HubAddress) -> dict[str, str]:
    return {"weights": str(address), "pretrain_weights": str(address)}
