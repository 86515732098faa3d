"""The exceptions of the package: one small tree, rooted in the runtime's ``Res2NetError``.

Every message says what went wrong, what was found and what was expected, and what to do next. Commands print these errors
without a traceback and exit with status 1. Any other exception that escapes is a defect of this project.
"""

from __future__ import annotations

from res2net_runtime.errors import BackendError, HubError, ImageError, ModelFolderError, Res2NetError, did_you_mean

__all__ = [
    "Res2NetError",
    "ImageError",
    "ModelFolderError",
    "BackendError",
    "HubError",
    "ConfigError",
    "DatasetError",
    "WeightsError",
    "SetupError",
    "TrainingError",
    "ExportError",
    "did_you_mean",
]


class ConfigError(Res2NetError, ValueError):
    """A configuration file, an override or a constructor argument is wrong."""


class DatasetError(Res2NetError, ValueError):
    """A dataset is missing, unreadable or inconsistent."""


class WeightsError(Res2NetError, ValueError):
    """A weight file is missing, damaged, unsafe, or made for another model."""


class SetupError(Res2NetError, ImportError):
    """A dependency is missing, or the installed versions are known not to work together."""


class TrainingError(Res2NetError, RuntimeError):
    """Training cannot continue, for instance because the loss is not finite."""


class ExportError(Res2NetError, RuntimeError):
    """A model cannot be exported, or the export does not give the eager model's results."""
