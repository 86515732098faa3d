"""Splits annotation files in COCO's format, and joins them."""
