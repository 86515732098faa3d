"""Checks a configuration against the modules that ppdet has registered, before anything is built from it.

ppdet ignores unknown keys, and fails deep inside a constructor on most other mistakes. Here every key, module, argument,
transform and tag is checked, and all mistakes are reported at once, each with its file.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from ppdet_res2net.config.keys import CLASSIFIER, EXPORT_KEYS, PLAIN_KEYS, READER_KEYS, PlainKey, is_classifier
from ppdet_res2net.config.unsupported import find_unsupported
from ppdet_res2net.errors import ConfigError, did_you_mean
from ppdet_res2net.ppdet_modules.registry import serializable_classes
from ppdet_res2net.ppdet_modules.tagged import Tagged

__all__ = ["Layer", "check_config"]

# Arguments that name a module although ppdet does not list them in ``__inject__``; it builds them in ``from_config``.
_MODULE_ARGUMENTS = frozenset({"backbone", "neck", "head", "rpn_head", "bbox_head", "mask_head"})

# Arguments with a mapping from which a part is built; the default lists all arguments of that part.
_PART_ARGUMENTS = frozenset(
    {"anchor_generator", "rpn_target_assign", "train_proposal", "test_proposal", "roi_extractor"}
)

_READER_TRANSFORMS = ("sample_transforms", "batch_transforms")

# A position in the configuration: keys, and list indices as text.
_Place = tuple[str, ...]


class Layer(NamedTuple):
    """One source of settings: a file or an override.

    Attributes:
        label: Name of the source in messages.
        data: Settings of the source. List indices of an override appear as keys.
    """

    label: str
    data: dict


class _Mistake(NamedTuple):
    place: _Place
    text: str


def check_config(config: dict, layers: list[Layer]) -> None:
    """Check a resolved configuration.

    Args:
        config: The resolved configuration.
        layers: Sources of its settings; later ones win. Messages name the one to correct.

    Raises:
        ConfigError: There are mistakes; the message has one line for each.
    """
    problems = list(_Checker(_schemas()).problems(config))
    if not problems:
        return
    lines = [f"{_origin(problem.place, layers)}: {problem.text}" for problem in problems]
    if len(lines) == 1:
        raise ConfigError(lines[0])
    raise ConfigError(f"The configuration has {len(lines)} mistakes:\n" + "\n".join(f"  {line}" for line in lines))


def _origin(place: _Place, layers: list[Layer]) -> str:
    """Return the label of the layer to correct: the last one that sets ``place``, or the deepest part of it."""
    return max(enumerate(layers), key=lambda item: (_depth(item[1].data, place), item[0]))[1].label


def _depth(node: object, place: _Place) -> int:
    for depth, key in enumerate(place):
        if isinstance(node, Tagged):
            node = node.kwargs
        if isinstance(node, list) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
        elif isinstance(node, dict) and key in map(str, node):
            node = next(value for name, value in node.items() if str(name) == key)
        else:
            return depth
    return len(place)


@functools.cache
def _pristine_schemas() -> dict:
    from ppdet_res2net.ppdet_modules.registry import register_modules

    register_modules()
    from ppdet.core.workspace import get_registered_modules

    return get_registered_modules()


def _schemas() -> dict:
    """Return the schema of every registered module.

    Building a model replaces some schemas in ppdet's ``global_config`` by objects, so the schemas seen first are kept.
    """
    pristine = _pristine_schemas()
    from ppdet.core.workspace import get_registered_modules

    return {**pristine, **get_registered_modules()}


class _Checker:
    """Finds the mistakes of a configuration, given the schemas of the registered modules."""

    def __init__(self, schemas: dict) -> None:
        self.schemas = schemas
        self.shared = {key for schema in schemas.values() for key in schema.shared}
        self.classes = serializable_classes()

    def problems(self, config: dict) -> Iterator[_Mistake]:
        self.is_classifier = is_classifier(config)
        for key, value in config.items():
            place: _Place = (str(key),)
            if key in PLAIN_KEYS:
                yield from self._plain(place, PLAIN_KEYS[key], value)
            elif key in self.schemas:
                yield from self._module(place, self.schemas[key], value)
            elif key not in self.shared:
                yield _Mistake(place, self._unknown_key(key))
            yield from self._tags(place, value)
        yield from self._architecture(config)
        for place, text in find_unsupported(config):
            yield _Mistake(place, text)

    def _unknown_key(self, key: object) -> str:
        if str(key)[:1].isupper():
            problem = f"no module named '{key}' is registered.{did_you_mean(key, self.schemas)}"
        else:
            known = [*PLAIN_KEYS, *self.shared, *self.schemas]
            problem = f"unknown key '{key}'.{did_you_mean(key, known)}"
        return f"{problem} Correct its name, or remove it."

    def _plain(self, place: _Place, key: PlainKey, value: Any) -> Iterator[_Mistake]:
        # In Python, bool is a subclass of int, but 'epoch: true' is a mistake.
        is_expected = isinstance(value, key.types) and (bool in key.types or not isinstance(value, bool))
        if not is_expected:
            text = f"'{'.'.join(place)}' is {value!r}; expected {key.expected} ({key.meaning})."
            yield _Mistake(place, text)
        elif key.minimum is not None and value is not None and value < key.minimum:
            text = f"'{'.'.join(place)}' is {value!r}; it must be {key.minimum} or more ({key.meaning})."
            yield _Mistake(place, text)
        elif place == ("export",):
            for name, part in value.items():
                if name in EXPORT_KEYS:
                    yield from self._plain((*place, name), EXPORT_KEYS[name], part)
                else:
                    yield _unknown_argument(place, name, EXPORT_KEYS)

    def _architecture(self, config: dict) -> Iterator[_Mistake]:
        name = config.get("architecture")
        known = [key for key, schema in self.schemas.items() if schema.category == "architecture"]
        if isinstance(name, str) and name not in known:
            what = "a module but not a whole detector" if name in self.schemas else "not registered"
            hint = did_you_mean(name, known) or f" Expected for instance FasterRCNN, MaskRCNN or {CLASSIFIER}."
            yield _Mistake(("architecture",), f"'architecture' is '{name}', which is {what}.{hint}")

    def _module(self, place: _Place, schema: Any, value: object) -> Iterator[_Mistake]:
        """Check the settings of a registered module: its arguments, or an object in its place."""
        if not isinstance(value, (dict, Tagged)):
            text = f"'{'.'.join(place)}' is {value!r}; expected a mapping of its arguments ({{}} for none)."
            yield _Mistake(place, text)
        elif place[-1].endswith("Dataset") and schema.schema == {}:
            yield from self._named(place, value, "dataset", self._datasets())
        elif isinstance(value, Tagged):
            return  # an object in the place of the module; _tags checks its arguments
        elif place[-1].endswith("Reader"):
            yield from self._reader(place, value)
        elif place == ("OptimizerBuilder",):
            yield from self._arguments(place, schema, value)
            yield from _optimizer(place, value)
        else:
            yield from self._arguments(place, schema, value)

    def _arguments(self, place: _Place, schema: Any, arguments: dict) -> Iterator[_Mistake]:
        for name, value in arguments.items():
            here = (*place, str(name))
            if name not in schema.schema:
                if schema.strict:
                    yield _unknown_argument(place, name, schema.schema)
            elif name in schema.inject or name in _MODULE_ARGUMENTS:
                yield from self._reference(here, value)
            elif name in _PART_ARGUMENTS and isinstance(value, dict) and schema.has_default(name):
                default = schema.schema[name].default
                for argument in value:
                    if isinstance(default, dict) and argument not in (*default, "name"):
                        yield _unknown_argument(here, argument, default)
            elif name == "schedulers" and isinstance(value, list):
                for index, scheduler in enumerate(value):
                    spot = (*here, str(index))
                    yield from self._named(spot, scheduler, "learning rate schedule", self._schedules())

    def _reference(self, place: _Place, value: object) -> Iterator[_Mistake]:
        """Check a value that refers to another module: its name, or ``{name: Module, argument: value}``."""
        if isinstance(value, str) and value not in self.schemas:
            yield _Mistake(
                place,
                f"'{'.'.join(place)}' is '{value}', but no module of that name is registered."
                f"{did_you_mean(value, self.schemas)}",
            )
        named = Tagged.from_value(value) if isinstance(value, dict) else None
        if named is not None:
            yield from self._reference(place, named.name)
            if named.name in self.schemas:
                yield from self._arguments(place, self.schemas[named.name], named.kwargs)

    def _named(self, place: _Place, value: object, kind: str, known: dict[str, type]) -> Iterator[_Mistake]:
        """Check ``!Class {...}`` or ``{name: Class, ...}``, where ``Class`` must be one of ``known``."""
        named = Tagged.from_value(value)
        if named is None:
            choices = ", ".join(known)
            text = f"'{'.'.join(place)}' does not say which {kind} it is. Add 'name: ...', one of {choices}."
            yield _Mistake(place, text)
        elif named.name not in known:
            yield _Mistake(
                (*place, "name"),
                f"'{'.'.join(place)}': there is no {kind} '{named.name}'.{did_you_mean(named.name, known)}",
            )
        elif not isinstance(value, Tagged):
            yield from _call(place, named.name, known[named.name], named.kwargs)

    def _schedules(self) -> dict[str, type]:
        from ppdet.optimizer import optimizer

        return {name: found for name, found in self.classes.items() if hasattr(optimizer, name)}

    def _datasets(self) -> dict[str, type]:
        return {name: found for name, found in self.classes.items() if hasattr(found, "parse_dataset")}

    def _transforms(self) -> dict[str, type]:
        if self.is_classifier:
            from ppdet_res2net.data.classification.transforms import BATCH_TRANSFORMS, SAMPLE_TRANSFORMS

            return {**SAMPLE_TRANSFORMS, **BATCH_TRANSFORMS}
        from ppdet.data import transform

        return {name: found for name, found in self.classes.items() if hasattr(transform, name)}

    def _reader(self, place: _Place, reader: dict) -> Iterator[_Mistake]:
        for name, value in reader.items():
            here = (*place, str(name))
            if name not in READER_KEYS:
                yield _unknown_argument(place, name, READER_KEYS)
                continue
            yield from self._plain(here, READER_KEYS[name], value)
            if name in _READER_TRANSFORMS and isinstance(value, list):
                for index, transform in enumerate(value):
                    yield from self._transform((*here, str(index)), transform)

    def _transform(self, place: _Place, transform: object) -> Iterator[_Mistake]:
        """Check one entry of a list of transforms: ``{Name: {argument: value}}``."""
        dotted = ".".join(place)
        if not isinstance(transform, dict) or len(transform) != 1:
            yield _Mistake(
                place,
                f"'{dotted}' is {transform!r}; expected one transform and its arguments: 'Decode: {{}}'.",
            )
            return
        ((name, arguments),) = transform.items()
        known = self._transforms()
        if name not in known:
            yield _Mistake(
                (*place, str(name)), f"'{dotted}': there is no transform '{name}'.{did_you_mean(name, known)}"
            )
        elif not isinstance(arguments or {}, dict):
            text = f"'{dotted}.{name}' is {arguments!r}; expected its arguments ('{name}: {{}}' for none)."
            yield _Mistake((*place, name), text)
        else:
            yield from _call((*place, name), name, known[name], arguments or {})

    def _tags(self, place: _Place, value: object) -> Iterator[_Mistake]:
        """Check the arguments of every tagged part below ``value`` against the constructor of its class."""
        if isinstance(value, Tagged):
            yield from _call(place, value.name, self.classes[value.name], value.kwargs)
            value = value.kwargs
        if isinstance(value, dict):
            for key, part in value.items():
                yield from self._tags((*place, str(key)), part)
        elif isinstance(value, list):
            for index, part in enumerate(value):
                yield from self._tags((*place, str(index)), part)


def _optimizer(place: _Place, builder: dict) -> Iterator[_Mistake]:
    """Check the ``type`` of ``optimizer`` and ``regularizer``. ppdet looks it up in Paddle by name."""
    import paddle

    regularizers = [name[: -len("Decay")] for name in dir(paddle.regularizer) if name.endswith("Decay")]
    optimizers = [name for name, cls in vars(paddle.optimizer).items() if _is_optimizer(cls)]
    for part, known in (("optimizer", [*optimizers, "AdamWDL"]), ("regularizer", regularizers)):
        settings = builder.get(part)
        if isinstance(settings, dict) and settings.get("type") not in known:
            name = settings.get("type")
            hint = did_you_mean(name, known) or f" Expected one of {', '.join(known)}."
            yield _Mistake(
                (*place, part, "type"),
                f"'{'.'.join(place)}.{part}.type' is {name!r}, which Paddle does not have.{hint}",
            )


def _is_optimizer(value: object) -> bool:
    import paddle

    base = paddle.optimizer.Optimizer
    return inspect.isclass(value) and issubclass(value, base) and value is not base


def _call(place: _Place, name: str, function: Callable, arguments: dict) -> Iterator[_Mistake]:
    """Check keyword arguments against the signature of the function that gets them."""
    parameters = inspect.signature(function).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        known = [parameter.name for parameter in parameters]
        for argument in arguments:
            if argument not in known:
                yield _unknown_argument(place, argument, known)
    needed = (p for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD)
    missing = [repr(parameter.name) for parameter in needed if parameter.name not in arguments]
    if missing:
        text = f"'{'.'.join(place)}': {name} needs the argument{'s'[: len(missing) > 1]} {', '.join(missing)}."
        yield _Mistake(place, text)


def _unknown_argument(place: _Place, argument: object, known: Iterable[str]) -> _Mistake:
    known = list(known)
    hint = did_you_mean(argument, known) or f" It has: {', '.join(known) or 'no arguments'}."
    return _Mistake((*place, str(argument)), f"'{'.'.join(place)}' has no argument '{argument}'.{hint}")
