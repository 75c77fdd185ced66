"""The ONNX function bodies on a CPU, beside the networks they serve: `python -m benchmarks.onnx_bodies -o DIR`.

Each op alone (K=64, C=19) and whole networks at 512x1024, all interleaved in one process, raw samples kept. The
question is what share of a network's time its clustering takes where no plugin is.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from hc_deploy.console import print_text, run_app

EMBEDDING, CLASSES = 64, 19
FINE_MAPS = ((32, 64), (64, 128), (128, 256), (257, 353))
IMAGE = (512, 1024)
NETWORKS = {
    "FCN-32 ResNet-18": ("fcn32_resnet18", {}),
    "HCFCN-32 ResNet-18, level 2": ("hcfcn32_resnet18", {}),
    "HCFCN-32 ResNet-18, level 4": ("hcfcn32_resnet18", {"level": 4}),
}
Run = Callable[[], object]
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def op_runs(fine: tuple[int, int], threads: int) -> dict[str, Run]:
    """HCAssign, HCDecode, HCUpsample at one fine map, and HCArgmax from it to eight times its size."""
    from onnx import TensorProto

    from hc_deploy.graph.functions import single_op_model

    height, width = fine
    h, w = -(-height // 2), -(-width // 2)
    shapes = {
        "features": (1, EMBEDDING, height, width),
        "seeds": (1, EMBEDDING, h, w),
        "coarse": (1, CLASSES, h, w),
        "assignment": (1, 9, height, width),
        "logits": (1, CLASSES, height, width),
        "like": (1, 3, 8 * height, 8 * width),
    }
    wide, out = TensorProto.FLOAT, (1, CLASSES, height, width)
    attributes = {"tau": 0.07, "similarity": "cosine", "border": "zero", "assignment": "soft"}
    runs = {}
    for op, names, output, given in (
        ("HCAssign", ("features", "seeds"), (wide, shapes["assignment"]), attributes),
        ("HCDecode", ("coarse", "assignment"), (wide, out), {}),
        ("HCUpsample", ("coarse", "features", "seeds"), (wide, out), attributes),
        ("HCArgmax", ("logits", "like"), (TensorProto.INT32, (1, 8 * height, 8 * width)), {}),
    ):
        model = single_op_model(op, [(name, wide, shapes[name]) for name in names], output, given)
        runs[f"{op} {height}x{width}"] = _runner(model.SerializeToString(), {n: shapes[n] for n in names}, threads)
    return runs


def network_runs(threads: int) -> dict[str, Run]:
    """The whole networks, uint8 image to labels."""
    from hc_deploy.arrows.export import export_model
    from hc_deploy.system.temporary import temporary_folder
    from models.load import new_network

    runs = {}
    for title, (arch, options) in NETWORKS.items():
        net, spec = new_network(arch, options)
        spec = replace(spec, batch=1, height=IMAGE[0], width=IMAGE[1])
        with temporary_folder() as folder:
            export_model(net, spec, folder / "model.onnx", any_size=True)
            runs[title] = _runner((folder / "model.onnx").read_bytes(), {"image": (1, *IMAGE, 3)}, threads)
    return runs


def _runner(model: bytes, shapes: dict[str, tuple[int, ...]], threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feeds: dict[str, Any] = {}
    for name, shape in shapes.items():
        image = name == "image"
        feeds[name] = rng.integers(0, 256, shape, np.uint8) if image else rng.standard_normal(shape, np.float32)
    return lambda: session.run(None, feeds)


def interleaved(runs: dict[str, Run], rounds: int, warmup: int) -> dict[str, list[int]]:
    """Nanoseconds of each run in each round; the order is shuffled from round to round.

    Each timed run follows an untimed one of the same model: the threads of the session before it still spin.
    """
    order, rng = list(runs), np.random.default_rng(0)
    samples: dict[str, list[int]] = {name: [] for name in runs}
    for number in range(warmup + rounds):
        rng.shuffle(order)
        for name in order:
            runs[name]()
            start = time.perf_counter_ns()
            runs[name]()
            if number >= warmup:
                samples[name].append(time.perf_counter_ns() - start)
    return samples


def table(samples: dict[str, list[int]]) -> str:
    """Markdown: median and 90th percentile in ms, and the share of HCFCN-32 at level 2."""
    whole = float(np.median(samples["HCFCN-32 ResNet-18, level 2"]))
    lines = ["| what | median ms | p90 ms | share of HCFCN-32 level 2 |", "|---|---|---|---|"]
    for name, values in samples.items():
        median, late = np.median(values) / 1e6, np.percentile(values, 90) / 1e6
        lines.append(f"| {name} | {median:.2f} | {late:.2f} | {1e8 * median / whole:.1f} % |")
    return "\n".join(lines)


@app.command()
def main(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for onnx_bodies.json and .md.")],
    rounds: Annotated[int, typer.Option(min=3)] = 40,
    warmup: Annotated[int, typer.Option(min=1)] = 5,
    threads: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Time the ONNX function bodies and whole networks side by side."""
    from hc_deploy.bench.environment import read_environment
    from hc_deploy.system.files import write_bytes

    runs = network_runs(threads)
    for fine in FINE_MAPS:
        runs |= op_runs(fine, threads)
    samples = interleaved(runs, rounds, warmup)
    environment = read_environment()
    report = {"schema": 1, "environment": dataclasses.asdict(environment), "threads": threads, "image": IMAGE,
              "embedding": EMBEDDING, "classes": CLASSES, "nanoseconds": samples}  # fmt: skip
    write_bytes(output / "onnx_bodies.json", (json.dumps(report) + "\n").encode())
    heading = (
        f"ONNX Runtime {environment.packages['onnxruntime']}, {environment.cpu}, {threads} threads, {rounds} "
        f"interleaved rounds, image {IMAGE[0]}x{IMAGE[1]}, K={EMBEDDING}, C={CLASSES}; "
        "`python -m benchmarks.onnx_bodies -o docs/benchmarks`\n\n"
    )
    write_bytes(output / "onnx_bodies.md", f"{heading}{table(samples)}\n".encode())
    print_text(table(samples))


if __name__ == "__main__":
    run_app(app)
