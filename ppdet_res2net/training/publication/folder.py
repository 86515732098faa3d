"""Writes what a hub gets of a run, except the export."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ppdet_res2net.config import save_config
from ppdet_res2net.config.hub_recipes import RECIPE_NAME
from ppdet_res2net.training.publication.card import write_card
from ppdet_res2net.training.publication.recipe import portable_recipe
from ppdet_res2net.training.publication.run import PublishedRun
from ppdet_res2net.zoo.formats import read_weights_file, save_weights_file

__all__ = ["EXPORT_NAME", "write_publication"]

EXPORT_NAME = "export"


def write_publication(
    run: PublishedRun, folder: Path, licence: str, repo: str, dataset: str | None, formats: Sequence[str]
) -> None:
    """Write ``model.safetensors``, ``model.json``, ``config.yml`` and ``README.md``.

    Args:
        run: What is published.
        folder: An empty folder.
        licence, repo, dataset, formats: As for :func:`~ppdet_res2net.training.publication.card.write_card`.

    Raises:
        ConfigError, WeightsError: A file cannot be read or written.
    """
    weights = read_weights_file(run.weights)
    save_weights_file(folder / "model.safetensors", weights.tensors, weights.metadata)
    (folder / "model.json").write_text(json.dumps(run.info, indent=1), encoding="utf-8")
    save_config(portable_recipe(run.config), folder / RECIPE_NAME)
    (folder / "README.md").write_text(write_card(run, licence, repo, dataset, formats), encoding="utf-8")
