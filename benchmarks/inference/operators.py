"""Where OpenVINO's time goes, by kind of operator."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from res2net_runtime.backends.openvino_runtime import read_network
from res2net_runtime.model_folder import load_model_folder
from res2net_runtime.preprocess import Preprocessor, collate

__all__ = ["print_operators"]

_RUNS = 3


def print_operators(image: Path, folder: Path, threads: int) -> None:
    """Run the OpenVINO export with its counters on, which costs little time, and print a table of the operators."""
    import openvino

    model_folder = load_model_folder(folder)
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": True}
    model_path = model_folder.formats["openvino"].model_path
    core = openvino.Core()
    network = read_network(core, str(model_path), model_folder.least_side_px)
    request = core.compile_model(network, "CPU", settings).create_infer_request()
    batch = collate([Preprocessor.from_config(model_folder.preprocess)(np.load(image))])
    for _ in range(_RUNS):
        request.infer(batch)
    times: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for node in request.get_profiling_info():
        name = f"{node.node_type} ({node.exec_type})"
        times[name] += node.real_time.total_seconds() * 1e3
        counts[name] += 1
    total = sum(times.values())
    print(f"\nOpenVINO, operators of one run: {total:.0f} ms")
    print("| operator (kernel) | nodes | ms | share |\n|---|---|---|---|")
    for name, milliseconds in times.most_common(15):
        print(f"| {name} | {counts[name]} | {milliseconds:.1f} | {milliseconds / total:.1%} |")
