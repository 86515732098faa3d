"""The names of ``--format`` that stand for folders of other programs."""

from __future__ import annotations

__all__ = ["OTHER_FORMS", "TRITON_FORMATS", "why_no_classifiers"]

# Triton Inference Server, by the format of the network in the model repository.
TRITON_FORMATS = {"triton": "onnx", "triton_openvino": "openvino"}
OTHER_FORMS = ("paddledetection", *TRITON_FORMATS)


def why_no_classifiers(form: str) -> str:
    """Return why a form is for detectors only, and what to do with a classifier."""
    reason = (
        "Triton serves a classifier's model.onnx without anything around it: the input is one prepared image."
        if form in TRITON_FORMATS
        else "PaddleDetection's deploy/python/infer.py runs no classifiers, and the form that PaddleClas' deployment reads "
        "(its inference_cls.yaml) is not written."
    )
    return (
        f"--format {form} is for detectors, and this is a classifier. {reason} Use --format paddle, onnx or openvino."
    )
