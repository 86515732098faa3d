"""Packaging of ppdet_res2net. Tool settings are in pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent

# Read, not imported: at build time none of the dependencies is there.
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "ppdet_res2net/__init__.py").read_text("utf-8"), re.M)[1]

# paddledet cannot be named here: its metadata pins NumPy, OpenCV and scikit-learn to versions that no supported
# Paddle works with. It is installed on its own with 'pip install --no-deps paddledet==2.6.0' (the Makefile does), and
# what it imports is listed here. 'ppdet-res2net doctor' tells whether the whole works.
INSTALL_REQUIRES = [
    "filelock",
    "matplotlib",
    "numpy>=1.21",
    # The plain opencv-python needs libGL.so.1, which servers and containers usually lack; this one has no windows but
    # the same functions. An opencv-python that is already installed provides the same module and works as well.
    "opencv-python-headless>=4.5",
    "pandas",
    "Pillow>=10.1",
    "platformdirs",
    "pycocotools>=2.0.6",
    "PyYAML>=5.1",
    "requests",
    "safetensors>=0.4",
    "scikit-learn",
    "scipy",
    "setuptools<81",  # paddledet imports pkg_resources, which newer ones warn about and then no longer have
    "shapely",
    "six",
    "terminaltables",
    "tqdm",
]

EXTRAS_REQUIRE = {
    # Paddle is one module under two package names, so it cannot be a plain requirement.
    "cpu": ["paddlepaddle>=2.6.2"],
    "gpu": ["paddlepaddle-gpu>=2.6.2"],
    # What Paddle 2.6 is tested with: it is older than NumPy 2, and these are the last releases that accept NumPy 1.
    "paddle26": [
        "paddlepaddle>=2.6.2,<2.7",
        "numpy<2",
        "opencv-python-headless<4.12",
        "pandas<2.3",
        "scikit-learn<1.6",
    ],
    # Formats and engines of exports beside Paddle's own
    "onnx": ["onnx>=1.15", "onnxruntime>=1.17"],
    "openvino": ["onnx>=1.15", "openvino>=2024.0"],
    "test": ["pytest>=8,<10", "pytest-xdist>=3.5"],
}
EXTRAS_REQUIRE["test"] += EXTRAS_REQUIRE["onnx"] + EXTRAS_REQUIRE["openvino"]
# What 'make check' runs
EXTRAS_REQUIRE["dev"] = [
    *EXTRAS_REQUIRE["test"],
    "mypy>=1.15",
    "pre-commit>=4",
    "pre-commit-hooks>=5",
    "ruff>=0.17,<0.18",  # the next minor version may format differently
    "types-PyYAML",
    "types-requests",
    "types-tqdm",
]

setup(
    name="ppdet-res2net",
    version=VERSION,
    description="The Res2Net family for PaddlePaddle: weights, Faster and Mask R-CNN, training, export, deployment",
    long_description=(ROOT / "README.md").read_text("utf-8") if (ROOT / "README.md").is_file() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.9",
    packages=[
        *find_packages(include=["ppdet_res2net", "ppdet_res2net.*"]),
        *find_packages("deploy/python"),
        "ppdet_res2net.configs",
    ],
    package_dir={
        "ppdet_res2net": "ppdet_res2net",
        "ppdet_res2net.configs": "configs",  # beside the package in a checkout, inside it in a wheel
        "res2net_runtime": "deploy/python/res2net_runtime",
    },
    package_data={"ppdet_res2net.configs": ["**/*.yml"]},
    include_package_data=False,
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    entry_points={"console_scripts": ["ppdet-res2net = ppdet_res2net.cli.main:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
