"""Parts of a configuration that name one of ppdet's classes, as plain data.

PaddleDetection's YAML writes such a part in two ways, which mean the same::

    TrainDataset: !COCODataSet {dataset_dir: dataset/coco}
    TrainDataset: {name: COCODataSet, dataset_dir: dataset/coco}

ppdet's own loader builds the object while it parses the first form. Here it stays data until somebody asks
for the object, so that a configuration can be printed, overridden, checked and saved.
"""

from __future__ import annotations

import dataclasses
import inspect

__all__ = ["Tagged", "serializable_classes"]


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


def serializable_classes() -> dict[str, type]:
    """Return the classes that YAML may name: those which ppdet and we registered with ``@serializable``.

    ``Callable``, with which ppdet lets YAML call any Python function, is left out.
    """
    from ppdet_res2net.detection.registry import register_modules

    register_modules()
    import yaml

    classes = {}
    for tag, constructor in yaml.Loader.yaml_constructors.items():
        if tag is None or not tag.startswith("!") or tag == "!Callable":
            continue
        # ppdet keeps the class nowhere but in the closure of the constructor that it hands to PyYAML.
        found = inspect.getclosurevars(constructor).nonlocals.get("cls")
        if inspect.isclass(found):
            classes[tag[1:]] = found
    return classes
