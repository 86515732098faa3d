"""Public names that are imported on first use (PEP 562), so that importing a package is cheap.

The package ``lazy_loader`` does the same, but the runtime depends on nothing that prediction does not need.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(
    package: str, names: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` for the ``__init__`` of a package.

    Type checkers do not run this. For them the package imports the same names under ``if TYPE_CHECKING``, each as itself,
    which makes it public. The call belongs in the ``else``, so that type checkers report names that do not exist.

    Args:
        package: Its ``__name__``.
        names: Module below the package -> public names that it defines.
    """
    module_of = {name: module for module, defined in names.items() for name in defined}
    public = sorted(module_of)

    def load(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{module_of[name]}"), name)

    def list_names() -> list[str]:
        return sorted({*vars(importlib.import_module(package)), *public})

    return load, list_names, public
