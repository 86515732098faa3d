"""The networks: blocks, trunk and classifier. These modules use paddle, not ppdet."""

from ppdet_res2net.compat.zlib_order import load_zlib_before_paddle

load_zlib_before_paddle()

from ppdet_res2net.modeling.classifier import Res2NetClassifier  # noqa: E402
from ppdet_res2net.modeling.res2net import Res2Net, Res2NetStage  # noqa: E402

__all__ = ["Res2Net", "Res2NetClassifier", "Res2NetStage"]
