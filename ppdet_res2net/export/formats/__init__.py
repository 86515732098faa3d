"""How a network is written in each format: one module per format, named as in ``res2net_runtime.engines.FORMATS``.

Each has ``PACKAGES``, what has to be installed to write it, and ``write``, which writes the network into a folder and
returns what ``infer_cfg.yml`` says of its files.
"""
