"""paddledet's requirements."""

from __future__ import annotations

from importlib import metadata

from ppdet_res2net.compat.defect import Defect

__all__ = ["DEFECT", "PADDLEDET_INSTALL"]

# Our own requirements list what paddledet imports, in versions that work together.
PADDLEDET_INSTALL = "pip install --no-deps paddledet==2.6.0"


def _is_present() -> bool:
    requirements = metadata.requires("paddledet") or []
    return any(requirement.replace(" ", "").startswith(("numpy<", "numpy(<")) for requirement in requirements)


DEFECT = Defect(
    name="outdated_pins",
    what="paddledet requires versions that cannot be installed together: numpy<1.24, opencv-python<=4.6.0, sklearn==0.0",
    versions={"paddledet": "<=2.6.0"},
    reference="METADATA of paddledet 2.6.0, Requires-Dist",
    applied=f"at installation: {PADDLEDET_INSTALL}",
    is_present=_is_present,
)
