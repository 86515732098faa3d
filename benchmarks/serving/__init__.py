"""How fast the server is and what it survives: ``python -m benchmarks.serving`` and ``python -m benchmarks.serving.faults``."""
