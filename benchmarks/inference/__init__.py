"""Speed of Mask R-CNN Res2Net50-vd-FPN on a CPU, ours and others': ``python -m benchmarks.inference``."""
