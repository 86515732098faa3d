"""Image classifiers: preprocessing, and prediction with an exported one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from res2net_runtime._lazy import lazy_names

if TYPE_CHECKING:
    from res2net_runtime.classification.classifier import Classification as Classification
    from res2net_runtime.classification.classifier import Classifier as Classifier
    from res2net_runtime.classification.classifier import ClassifierPrediction as ClassifierPrediction
    from res2net_runtime.classification.classifier import probabilities as probabilities
    from res2net_runtime.classification.folder import load_classifier_folder as load_classifier_folder
    from res2net_runtime.classification.preprocess import ClassifierPreprocessor as ClassifierPreprocessor
    from res2net_runtime.classification.preprocess import open_rgb as open_rgb
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "classifier": ["Classification", "Classifier", "ClassifierPrediction", "probabilities"],
            "folder": ["load_classifier_folder"],
            "preprocess": ["ClassifierPreprocessor", "open_rgb"],
        },
    )
