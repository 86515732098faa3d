"""A server for exported models over HTTP; ``python -m res2net_runtime.serve``. It needs the extra ``serve``.

The parts, from the request to the network and back: ``app`` has the routes of ``/v1``, ``inference_protocol`` those of
``/v2``, ``bodies`` reads what clients send, ``models`` holds what is loaded, ``batching`` runs it, and ``answers`` makes JSON
of the results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from res2net_runtime._lazy import lazy_names

if TYPE_CHECKING:
    from res2net_runtime.serve.app import create_app as create_app
    from res2net_runtime.serve.settings import ServeSettings as ServeSettings
else:
    __getattr__, __dir__, __all__ = lazy_names(__name__, {"app": ["create_app"], "settings": ["ServeSettings"]})
