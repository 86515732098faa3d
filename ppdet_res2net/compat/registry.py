"""All known defects, and which of them the installed packages have. Listing them imports neither Paddle nor paddledet."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import metadata

from ppdet_res2net.compat import (
    cascade_ignored,
    ccache_warning,
    crowd_labels,
    empty_arrays,
    gloo_timeout,
    host_memory,
    import_noise,
    multiclass_nms,
    omp_threads,
    one_element,
    onednn_division,
    onednn_interpolate,
    out_warning,
    outdated_pins,
    recompute_log,
    rois_num_type,
    statistics_warning,
    tracing_warnings,
    truncated_images,
    unused_imports,
    zero_dim,
    zlib_order,
)
from ppdet_res2net.compat.defect import Defect
from ppdet_res2net.compat.probing import run_in_new_process

__all__ = ["DEFECTS", "ProbedDefect", "installed_versions", "probe_defects"]

DEFECTS: tuple[Defect, ...] = (
    # Installing and importing
    outdated_pins.DEFECT,
    zlib_order.DEFECT,
    ccache_warning.DEFECT,
    import_noise.DEFECT,
    truncated_images.DEFECT,
    unused_imports.DEFECT,
    # Training and evaluation
    zero_dim.DEFECT,
    one_element.DEFECT,
    crowd_labels.DEFECT,
    cascade_ignored.DEFECT,
    omp_threads.DEFECT,
    recompute_log.DEFECT,
    statistics_warning.DEFECT,
    host_memory.DEFECT,
    gloo_timeout.DEFECT,
    # Export
    multiclass_nms.DEFECT,
    rois_num_type.DEFECT,
    onednn_interpolate.DEFECT,
    onednn_division.DEFECT,
    empty_arrays.DEFECT,
    tracing_warnings.DEFECT,
    out_warning.DEFECT,
)

_DISTRIBUTIONS = {"paddle": ("paddlepaddle", "paddlepaddle-gpu"), "paddledet": ("paddledet",), "numpy": ("numpy",)}


@dataclass(frozen=True)
class ProbedDefect:
    """A defect, and the result of probing it.

    Attributes:
        defect: The defect.
        expected: Whether the registry says that the installed versions have it.
        present: Whether they do have it; None if the probe failed.
        error: Why the probe failed, None if it did not.
    """

    defect: Defect
    expected: bool
    present: bool | None = None
    error: str | None = None

    @property
    def status(self) -> str:
        """``worked around``, ``not needed``, or ``not known`` with the reason."""
        if self.present is None:
            return f"not known: {self.error}"
        return "worked around" if self.present else "not needed"


def installed_versions() -> dict[str, str]:
    """Return the versions of the packages that ``Defect.versions`` may name; those that are not installed are left out."""
    versions: dict[str, str] = {}
    for package, names in _DISTRIBUTIONS.items():
        for name in names:
            try:
                versions.setdefault(package, metadata.version(name))
            except metadata.PackageNotFoundError:
                continue
    return versions


def probe_defects() -> list[ProbedDefect]:
    """Probe every defect in a new process, in which nothing has been worked around. This takes some seconds."""
    done = run_in_new_process("ppdet_res2net.compat")
    answers = {}
    for line in done.stdout.splitlines():
        answer = json.loads(line)
        answers[answer.pop("name")] = answer
    # A probe that ends the process leaves no answer, and neither do those after it.
    lost = {"error": f"the process of the probes ended with exit code {done.returncode}"}
    installed = installed_versions()
    return [ProbedDefect(defect, defect.is_expected(installed), **answers.get(defect.name, lost)) for defect in DEFECTS]
