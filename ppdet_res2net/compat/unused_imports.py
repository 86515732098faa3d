"""The large packages that importing paddledet imports, although R-CNNs never use them."""

from __future__ import annotations

import builtins
import contextlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any

from ppdet_res2net.compat.defect import Defect
from ppdet_res2net.compat.probing import read_source

__all__ = ["DEFECT", "defer_unused_imports"]

_UNUSED = {"matplotlib", "mpl_toolkits", "pandas", "scipy", "sklearn"}
_is_active = False


class _Deferred:
    """A package that paddledet has asked for, or something in it. It is imported when it is used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        # Statements such as "from scipy.optimize import linear_sum_assignment" ask for attributes, too.
        is_statement = _is_active and not attribute.startswith("__")
        name = f"{self._name}.{attribute}"
        return _Deferred(name) if is_statement else pkgutil.resolve_name(name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return pkgutil.resolve_name(self._name)(*args, **kwargs)


@contextlib.contextmanager
def defer_unused_imports() -> Iterator[None]:
    """While active, the packages are not imported by paddledet's import statements, but when paddledet uses them.

    They are for object tracking, key points and detectors with Hungarian matching, and take nearly half of the time that
    importing Paddle and paddledet takes. The imports of other packages are not affected, and neither is ``sys.modules``.
    """
    global _is_active
    import_now = builtins.__import__

    def import_later(
        name: str, globals: Mapping[str, Any] | None = None, locals: Any = None, fromlist: Any = (), level: int = 0
    ) -> Any:
        top = name.partition(".")[0]
        importer = str((globals or {}).get("__name__", ""))
        if top in _UNUSED and level == 0 and importer.startswith("ppdet."):
            return _Deferred(name if fromlist else top)
        return import_now(name, globals, locals, fromlist, level)

    builtins.__import__, _is_active = import_later, True
    try:
        yield
    finally:
        builtins.__import__, _is_active = import_now, False


def _is_present() -> bool:
    return "import sklearn" in read_source("ppdet", "modeling/mot/tracker/center_tracker.py")


DEFECT = Defect(
    name="unused_imports",
    what="importing paddledet imports scikit-learn, pandas, scipy and matplotlib, which R-CNNs never use; this takes 2 seconds",
    versions={"paddledet": "<=2.6.0"},
    reference="ppdet/modeling/mot/ and others of paddledet 2.6.0",
    applied="while paddledet is imported",
    is_present=_is_present,
)
