"""A module with some of its names replaced, for one user of that module only."""

from __future__ import annotations

import types

__all__ = ["ModuleView"]


class ModuleView(types.ModuleType):
    """Everything that a module has, with some names replaced. The module itself stays as it is.

    Args:
        module: The module to look at. Its names are looked up at each use.
        **replacements: Name -> what the view has in its place.
    """

    def __init__(self, module: types.ModuleType, **replacements: object) -> None:
        super().__init__(module.__name__, module.__doc__)
        vars(self).update(replacements, _module=module)

    def __getattr__(self, name: str) -> object:
        return getattr(vars(self)["_module"], name)
