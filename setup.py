"""The packages of the wheel, which pyproject.toml cannot compute. Everything else is there."""

from __future__ import annotations

import sys

from setuptools import find_packages, setup

if sys.platform == "win32":
    sys.exit(
        "ppdet_res2net does not support Windows: it has never been run there. Install it on Linux, for instance in "
        "the Windows Subsystem for Linux. To run exported models only, see deploy/python/README.md."
    )

setup(
    packages=[
        *find_packages(include=["ppdet_res2net", "ppdet_res2net.*"]),
        *find_packages("deploy/python", include=["res2net_runtime", "res2net_runtime.*"]),
        "ppdet_res2net.configs",
    ],
    package_dir={
        "ppdet_res2net": "ppdet_res2net",
        "ppdet_res2net.configs": "configs",  # beside the package in a checkout, inside it in a wheel
        # The runtime comes with this package; docs/architecture.md says why.
        "res2net_runtime": "deploy/python/res2net_runtime",
    },
    package_data={
        "ppdet_res2net": ["py.typed"],
        "ppdet_res2net.analysis.page": ["*.css", "*.js"],
        "ppdet_res2net.configs": ["**/*.yml"],
        "res2net_runtime": ["py.typed"],
        "res2net_runtime.serve.page": ["*.html", "*.css", "*.js", "*.svg"],
    },
    include_package_data=False,
)
