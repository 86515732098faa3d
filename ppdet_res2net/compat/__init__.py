"""Known defects of paddledet and Paddle, one module each. ``registry.DEFECTS`` lists them, ``doctor`` prints the list.

Each module says in its ``DEFECT`` what goes wrong, in which versions and where upstream, when the workaround takes
effect, and how to test whether the installed packages have the defect.

``prepare_ppdet`` applies those that importing and running paddledet needs. This package calls it before each import of
``ppdet``; calling it again does nothing.
"""

from __future__ import annotations

import functools

from ppdet_res2net.compat.crowd_labels import ignore_crowd_regions
from ppdet_res2net.compat.one_element import accept_one_element_tensors_as_numbers
from ppdet_res2net.compat.ppdet_import import import_ppdet_quietly
from ppdet_res2net.compat.zero_dim import accept_zero_dim_in_concat
from ppdet_res2net.compat.zlib_order import load_zlib_before_paddle

__all__ = ["prepare_ppdet"]


@functools.cache
def prepare_ppdet() -> None:
    """Import paddledet and work around what is known to be broken in it. Idempotent.

    Raises:
        SetupError: paddle or paddledet is missing, or one of paddledet's own dependencies is.
    """
    load_zlib_before_paddle()
    import_ppdet_quietly()
    accept_zero_dim_in_concat()
    ignore_crowd_regions()
    accept_one_element_tensors_as_numbers()
