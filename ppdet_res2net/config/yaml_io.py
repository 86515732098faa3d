"""Reads and writes YAML without running code.

``yaml.SafeLoader`` with two additions: ``!Name`` becomes a :class:`Tagged` if a recipe may name that class, and ``1e-3`` is a
number, as in YAML 1.2 (for PyYAML it is a string; it expects ``1.0e-3``). The size of what is read is limited: a few lines of
YAML whose aliases refer to each other stand for more values than any memory holds.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import yaml

from ppdet_res2net.config.mistakes import clip, hint
from ppdet_res2net.config.trust import is_allowed_class, refuse_class
from ppdet_res2net.data.text_files import read_text
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.files import replacing
from ppdet_res2net.ppdet_modules.registry import serializable_classes
from ppdet_res2net.ppdet_modules.tagged import Tagged
from res2net_runtime.plain_yaml import YamlSizeError, check_size
from res2net_runtime.texts import printable, printable_lines

__all__ = ["MAX_DEPTH", "dump_config", "parse_yaml", "read_yaml", "save_config"]

_EXPONENT_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$")
_FLOAT_TAG = "tag:yaml.org,2002:float"
_LINE_WIDTH = 110
MAX_CHARACTERS = 500_000
MAX_VALUES = 20_000
MAX_DEPTH = 40


class _Loader(yaml.SafeLoader):
    """SafeLoader with the tags that a recipe may have. Repeated keys and circular aliases are errors."""

    def __init__(self, text: str, source: str, trust_recipe: bool) -> None:
        super().__init__(text)
        self.name = source
        self.trust_recipe = trust_recipe
        # PyYAML notices an alias inside its own anchor only if it constructs depth first.
        self.deep_construct = True

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                continue
            if key.value in seen:
                raise ConfigError(f"{_where(key)}: the key '{clip(key.value)}' is given twice. Keep one of the two.")
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """Writes what ``_Loader`` reads."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def serialize(self, node: yaml.Node) -> None:
        if isinstance(node, yaml.CollectionNode):
            node.flow_style = False  # one key per line at the top, even in a short configuration
        super().serialize(node)


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(_FLOAT_TAG, _EXPONENT_FLOAT, list("-+.0123456789"))


def _where(node: yaml.Node) -> str:
    return f"{node.start_mark.name}, line {node.start_mark.line + 1}"


def _construct_tagged(loader: _Loader, name: str, node: yaml.Node) -> Tagged:
    if name == "Callable":
        raise ConfigError(
            f"{_where(node)}: the tag !Callable is refused, because it lets a configuration call any Python "
            "function. Name a class that ppdet declares serializable instead, or do it in Python."
        )
    classes = serializable_classes()
    allowed = [known for known in classes if loader.trust_recipe or is_allowed_class(known)]
    if name not in classes:
        raise ConfigError(
            f"{_where(node)}: the tag !{clip(name)} does not name a class that ppdet declares serializable."
            f"{hint(name, allowed)} Only such classes are accepted, because any other tag could run code."
        )
    if name not in allowed:
        raise ConfigError(f"{_where(node)}: {refuse_class(f'the tag is !{name}', allowed)}")
    if isinstance(node, yaml.MappingNode):
        return Tagged(name, loader.construct_mapping(node, deep=True))
    if isinstance(node, yaml.ScalarNode) and not node.value:
        return Tagged(name)
    raise ConfigError(
        f"{_where(node)}: !{name} takes its arguments by name, for example '!PiecewiseDecay {{gamma: 0.1}}'."
    )


def _refuse_python_tag(loader: _Loader, suffix: str, node: yaml.Node) -> None:
    raise ConfigError(
        f"{_where(node)}: the tag !!python/{clip(suffix)} is refused, because it lets a configuration run Python "
        "code. Write plain YAML (mappings, lists, numbers, text)."
    )


_Loader.add_multi_constructor("!", _construct_tagged)
_Loader.add_multi_constructor("tag:yaml.org,2002:python/", _refuse_python_tag)


def _represent_tagged(dumper: _Dumper, tagged: Tagged) -> yaml.Node:
    return dumper.represent_mapping(f"!{tagged.name}", tagged.kwargs)


def _represent_text(dumper: _Dumper, text: str) -> yaml.Node:
    # Between double quotes, what a terminal would not show can be escaped, and the text stays the same.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if printable(text) == text else '"')


_Dumper.add_representer(Tagged, _represent_tagged)
_Dumper.add_representer(str, _represent_text)


def parse_yaml(text: str, source: str, trust_recipe: bool = False) -> object:
    """Parse one YAML document into dicts, lists, scalars and :class:`Tagged`.

    Args:
        text: The document.
        source: Name of the document in messages: a file, or an override.
        trust_recipe: Whether tags may name any class that ppdet declares serializable.

    Raises:
        ConfigError: The text is not YAML, is too large, or has a tag that is not allowed. The message names ``source`` and
            the line.
    """
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(
            f"{source} has {len(text)} characters; a recipe may have {MAX_CHARACTERS}. Check that it is the right file."
        )
    try:
        check_size(yaml.parse(text, Loader=yaml.SafeLoader), MAX_DEPTH, MAX_VALUES)
        return _Loader(text, source, trust_recipe).get_single_data()
    except ConfigError:
        raise
    except YamlSizeError as error:
        raise ConfigError(f"{source}, line {error.line}: {error}. Simplify the file.") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        problem = clip(error.problem or error.context, 200)
        raise ConfigError(f"{source}{line}: this is not valid YAML: {problem}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: this is not valid YAML: {clip(error, 200)}") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        # PyYAML's constructors of explicit tags, such as '!!timestamp abc', trust that the text matches the tag.
        raise ConfigError(
            f"{source}: this is not valid YAML: a value does not match its tag ({clip(error, 200)})."
        ) from error


def read_yaml(path: Path, trust_recipe: bool = False) -> dict:
    """Read a YAML file whose top level is a mapping, in UTF-8, UTF-16 or UTF-32.

    Raises:
        ConfigError: The file cannot be read, or its top level is not a mapping.
    """
    text = read_text(path, "configuration", ConfigError, may_be_empty=True)
    data = parse_yaml(text, str(path), trust_recipe)
    if not isinstance(data, dict):
        found = "nothing" if data is None else f"a {type(data).__name__}"
        raise ConfigError(f"{path} holds {found}; expected a mapping of keys such as 'architecture: MaskRCNN'.")
    return data


def dump_config(config: dict) -> str:
    """Return the configuration as YAML, tags included; ``load_config`` reads an equal one from it."""
    text = yaml.dump(
        dict(config),
        Dumper=_Dumper,
        sort_keys=False,
        default_flow_style=None,
        width=_LINE_WIDTH,
        allow_unicode=True,
    )
    return printable_lines(text)  # its escapes are YAML's


def save_config(config: dict, path: str | os.PathLike[str]) -> None:
    """Write ``dump_config(config)`` to ``path``: whole or not at all, folders made as needed.

    Raises:
        ConfigError: the file cannot be written.
    """
    path = Path(path)
    text = dump_config(config)
    try:
        with replacing(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"Cannot write the configuration to {path}: {error.strerror or error}. Choose a folder that can be written."
        ) from error
