"""Configuration files: PaddleDetection's YAML, loaded as plain data and checked before anything is built."""

from __future__ import annotations

from ppdet_res2net.config.keys import CLASSIFIER, PLAIN_KEYS, is_classifier
from ppdet_res2net.config.load import Config, create_config, load_config
from ppdet_res2net.config.recipe_files import resolve_config_path
from ppdet_res2net.config.yaml_io import dump_config, save_config

__all__ = [
    "CLASSIFIER",
    "Config",
    "PLAIN_KEYS",
    "create_config",
    "dump_config",
    "is_classifier",
    "load_config",
    "resolve_config_path",
    "save_config",
]
