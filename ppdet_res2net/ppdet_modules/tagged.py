"""Parts of a configuration that name one of ppdet's classes, as plain data.

PaddleDetection's YAML writes such a part in two ways, which mean the same::

    TrainDataset: !COCODataSet {dataset_dir: dataset/coco}
    TrainDataset: {name: COCODataSet, dataset_dir: dataset/coco}

ppdet's own loader builds the object while it parses the first form. Here it stays data until somebody asks
for the object, so that a configuration can be printed, overridden, checked and saved.
"""

from __future__ import annotations

import dataclasses

__all__ = ["Tagged"]


@dataclasses.dataclass
class Tagged:
    """The name of a class and its keyword arguments: ``!Name {argument: value}``."""

    name: str
    kwargs: dict = dataclasses.field(default_factory=dict)

    @classmethod
    def from_value(cls, value: object) -> Tagged | None:
        """Read either spelling; None where ``value`` is neither (for instance a mapping without ``name``)."""
        if isinstance(value, Tagged):
            return value
        if isinstance(value, dict) and isinstance(value.get("name"), str):
            return cls(value["name"], {key: part for key, part in value.items() if key != "name"})
        return None
