"""How well a recipe fits a dataset: objects against anchors and strides, and sizes in training against those in evaluation."""

from __future__ import annotations

from ppdet_res2net.datasets.recipe_fit.fit import FitSettings, RecipeFit, examine_fit, warn_of_scales
from ppdet_res2net.datasets.recipe_fit.matching import Anchors
from ppdet_res2net.datasets.recipe_fit.resizing import list_factors

__all__ = ["Anchors", "FitSettings", "RecipeFit", "examine_fit", "list_factors", "warn_of_scales"]
