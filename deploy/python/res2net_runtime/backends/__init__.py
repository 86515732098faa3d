"""Inference engines behind one small interface: a batch of arrays in, the network's named outputs out."""

from res2net_runtime.backends.base import TRUST_GRAPH_OPTION, Backend, EngineOptions
from res2net_runtime.backends.selection import create_backend
from res2net_runtime.backends.stepping_down import SteppingDownBackend
from res2net_runtime.engines import BACKENDS, PRECISIONS

__all__ = [
    "BACKENDS",
    "PRECISIONS",
    "TRUST_GRAPH_OPTION",
    "Backend",
    "EngineOptions",
    "SteppingDownBackend",
    "create_backend",
]
