"""The native ops beside their bodies in ONNX Runtime, on a CPU: `python -m benchmarks.cpu_kernels -o DIR`.

Each op alone (K=64, C=19) at each instruction set that is here, and whole networks at 512x1024 with and without; all
interleaved in one process on the same threads, raw samples kept.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from hc_deploy.console import print_text, run_app

EMBEDDING, CLASSES = 64, 19
IMAGE = (512, 1024)
FINE_MAPS = ((64, 128), (256, 512))
NETWORKS = {
    "FCN-32 ResNet-18": ("fcn32_resnet18", {}),
    "HCFCN-32 ResNet-18, level 2": ("hcfcn32_resnet18", {}),
    "HCFCN-32 ResNet-18, level 4": ("hcfcn32_resnet18", {"level": 4}),
    "PSPNet ResNet-18": ("pspnet_resnet18", {}),
    "HCPSPNet ResNet-18": ("hcpspnet_resnet18", {}),
}
RATIOS = (
    ("HCFCN-32 ResNet-18, level 2", "FCN-32 ResNet-18"),
    ("HCFCN-32 ResNet-18, level 4", "FCN-32 ResNet-18"),
    ("PSPNet ResNet-18", "HCPSPNet ResNet-18"),
)
BODIES = "bodies"
Samples = dict[str, dict[str, list[int]]]
"""Case -> `bodies` or an instruction set -> nanoseconds, entry i of each from round i."""
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Case:
    """Something to run: a session on the bodies and one on the native ops, and what goes in."""

    bodies: Any
    native: Any
    feeds: dict[str, Any]


def made_case(model: bytes, shapes: dict[str, tuple[int, ...]], threads: int) -> Case:
    """Both sessions of a model; its image is bytes, other inputs are normal numbers."""
    import onnxruntime

    from hc_deploy.runtime import native_ops

    def session(kernels: native_ops.Kernels) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        native_ops.register(options, kernels, "cpu")
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    rng = np.random.default_rng(0)
    feeds: dict[str, Any] = {}
    for name, shape in shapes.items():
        image = name == "image"
        feeds[name] = rng.integers(0, 256, shape, np.uint8) if image else rng.standard_normal(shape, np.float32)
    return Case(session("bodies"), session("native"), feeds)


def op_cases(fine: tuple[int, int], threads: int) -> dict[str, Case]:
    """The four ops at one fine map; HCArgmax from it to the image."""
    from onnx import TensorProto

    from hc_deploy.graph.functions import single_op_model

    height, width = fine
    half = (-(-height // 2), -(-width // 2))
    shapes: dict[str, tuple[int, ...]] = {
        "features": (1, EMBEDDING, *fine), "seeds": (1, EMBEDDING, *half), "coarse": (1, CLASSES, *half),
        "assignment": (1, 9, *fine), "logits": (1, CLASSES, *fine), "like": (1, 3, *IMAGE),
    }  # fmt: skip
    wide, out = TensorProto.FLOAT, (1, CLASSES, *fine)
    attributes = {"tau": 0.07, "similarity": "cosine", "border": "zero", "assignment": "soft"}
    cases = {}
    for op, names, output, given in (
        ("HCAssign", ("features", "seeds"), (wide, shapes["assignment"]), attributes),
        ("HCDecode", ("coarse", "assignment"), (wide, out), {}),
        ("HCUpsample", ("coarse", "features", "seeds"), (wide, out), attributes),
        ("HCArgmax", ("logits", "like"), (TensorProto.INT32, (1, *IMAGE)), {}),
    ):
        model = single_op_model(op, [(name, wide, shapes[name]) for name in names], output, given)
        inputs = {name: shapes[name] for name in names}
        cases[f"{op} {height}x{width}"] = made_case(model.SerializeToString(), inputs, threads)
    return cases


def network_cases(threads: int) -> dict[str, Case]:
    """The whole networks, uint8 image to labels."""
    from hc_deploy.arrows.export import export_model
    from hc_deploy.system.temporary import temporary_folder
    from models.load import new_network

    cases = {}
    for title, (arch, options) in NETWORKS.items():
        net, spec = new_network(arch, options)
        spec = replace(spec, batch=1, height=IMAGE[0], width=IMAGE[1])
        with temporary_folder() as folder:
            export_model(net, spec, folder / "model.onnx", any_size=True)
            cases[title] = made_case((folder / "model.onnx").read_bytes(), {"image": (1, *IMAGE, 3)}, threads)
    return cases


def instruction_sets() -> list[str]:
    """Those of this CPU but the serial one, best first."""
    from hc_deploy.runtime import native_ops

    library = ctypes.CDLL(str(native_ops.LIBRARY))
    library.hc_cpu_instruction_set_name.restype = ctypes.c_char_p
    names, number = [], 0
    while name := library.hc_cpu_instruction_set_name(number):
        names, number = [*names, name.decode()], number + 1
    return [name for name in names if name != "serial" and use(name)]


def use(name: str) -> bool:
    """Let every native op that follows run on this instruction set; False where the CPU lacks it."""
    from hc_deploy.runtime import native_ops

    return bool(ctypes.CDLL(str(native_ops.LIBRARY)).hc_cpu_use(name.encode()) == 0)


def interleaved(cases: dict[str, Case], sets: dict[str, list[str]], rounds: int, warmup: int) -> Samples:
    """Nanoseconds of each case on its bodies and on each of its sets; the order is shuffled from round to round.

    Each timed run follows an untimed one of the same session: the threads of the session before it still spin.
    """
    order = [(case, kind) for case in cases for kind in (BODIES, *sets[case])]
    rng = np.random.default_rng(0)
    samples: Samples = {case: {kind: [] for kind in (BODIES, *sets[case])} for case in cases}
    for number in range(warmup + rounds):
        for case, kind in (order[i] for i in rng.permutation(len(order))):
            run = _runner(cases[case], kind)
            run()
            start = time.perf_counter_ns()
            run()
            if number >= warmup:
                samples[case][kind].append(time.perf_counter_ns() - start)
    return samples


def _runner(case: Case, kind: str) -> Callable[[], object]:
    if kind == BODIES:
        return lambda: case.bodies.run(None, case.feeds)
    use(kind)
    return lambda: case.native.run(None, case.feeds)


def table(samples: Samples) -> str:
    """Markdown: medians in ms and what each native one gains; then the networks' ratios of `RATIOS`.

    A gain is the median of the rounds' own ratios.
    """
    lines = ["| what | kernels | median ms | least ms | bodies / this |", "|---|---|---|---|---|"]
    for case, kinds in samples.items():
        for kind, values in kinds.items():
            gain = float(np.median(np.divide(kinds[BODIES], values)))
            median, least = np.median(values) / 1e6, min(values) / 1e6
            lines.append(f"| {case} | {kind} | {median:.2f} | {least:.2f} | {gain:.2f} |")
    lines += ["", "| ratio | kernels | of medians | of least |", "|---|---|---|---|"]
    for above, below in RATIOS:
        for kind in samples.get(above, {}):
            a, b = samples[above][kind], samples[below][kind]
            lines.append(f"| {above} / {below} | {kind} | {np.median(a) / np.median(b):.3f} | {min(a) / min(b):.3f} |")
    return "\n".join(lines)


@app.command()
def main(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for cpu_kernels.json and .md.")],
    rounds: Annotated[int, typer.Option(min=3)] = 20,
    warmup: Annotated[int, typer.Option(min=1)] = 2,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    networks: Annotated[bool, typer.Option("--networks/--no-networks", help="Whole networks too.")] = True,
) -> None:
    """Time the native ops beside their bodies, alone and in networks."""
    from hc_deploy.bench.environment import read_environment
    from hc_deploy.system.files import write_bytes

    found = instruction_sets()
    cases: dict[str, Case] = {}
    for fine in FINE_MAPS:
        cases |= op_cases(fine, threads)
    sets = dict.fromkeys(cases, found)
    if networks:
        whole = network_cases(threads)
        cases, sets = cases | whole, sets | dict.fromkeys(whole, found[:1])
    samples = interleaved(cases, sets, rounds, warmup)
    environment = read_environment()
    report = {"schema": 1, "environment": dataclasses.asdict(environment), "threads": threads, "image": IMAGE,
              "embedding": EMBEDDING, "classes": CLASSES, "nanoseconds": samples}  # fmt: skip
    write_bytes(output / "cpu_kernels.json", (json.dumps(report) + "\n").encode())
    heading = (
        f"ONNX Runtime {environment.packages['onnxruntime']}, {environment.cpu}, {threads} threads, {rounds} "
        f"interleaved rounds, image {IMAGE[0]}x{IMAGE[1]}, K={EMBEDDING}, C={CLASSES}; "
        "`python -m benchmarks.cpu_kernels -o docs/benchmarks`\n\n"
    )
    write_bytes(output / "cpu_kernels.md", f"{heading}{table(samples)}\n".encode())
    print_text(table(samples))


if __name__ == "__main__":
    run_app(app)
