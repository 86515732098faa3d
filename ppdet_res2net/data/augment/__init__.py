"""Augmentations for boxes and masks, under the names that readers use. They come before NormalizeImage."""

from ppdet_res2net.data.augment.colours import RandomDistort
from ppdet_res2net.data.augment.crops import RandomCrop, RandomScaledCrop
from ppdet_res2net.data.augment.mixing import CopyPaste, MixingTransform, Mosaic

__all__ = ["AUGMENTATIONS", "MixingTransform"]

AUGMENTATIONS: dict[str, type] = {
    found.__name__: found for found in (RandomScaledCrop, RandomCrop, RandomDistort, CopyPaste, Mosaic)
}
