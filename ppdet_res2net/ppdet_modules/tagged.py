"""Parts of a configuration that name a class of ppdet, as plain data.

PaddleDetection's YAML has two ways to write such a part, which mean the same::

    TrainDataset: !COCODataSet {dataset_dir: dataset/coco}
    TrainDataset: {name: COCODataSet, dataset_dir: dataset/coco}

ppdet's own loader builds the object while it parses the first form. Here it stays data until the object is needed, so that
a configuration can be printed, overridden, checked and saved.
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
        """Read either spelling. Return None if ``value`` is neither, for instance a mapping without ``name``."""
        if isinstance(value, Tagged):
            return value
        if isinstance(value, dict) and isinstance(value.get("name"), str):
            return cls(value["name"], {key: part for key, part in value.items() if key != "name"})
        return None
