"""Runs the cases of `benchmarks.onnxruntime_cases` in a version's own environment: needs onnxruntime and numpy alone.

`python benchmarks/onnxruntime_worker.py FOLDER`: cases in, one line of JSON out.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

CLOSE, CLOSE_FP16 = 1e-3, 2e-2
"""Largest difference of a float output, as a share of the largest value; in float16 of 90% of them, since an ordinal
regression (DORN) decides between intervals."""
AGREE, AGREE_FP16 = 0.999, 0.9
"""Least share of equal integers; float16 moves near ties of small networks with random weights."""


def run_cases(folder: Path) -> None:
    """Run every case; print how many each column has, and which were wrong and how."""
    import onnxruntime as ort  # type: ignore[import-untyped]

    failures: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    for case in json.loads((folder / "cases.json").read_text()):
        counts[case["group"]] = counts.get(case["group"], 0) + 1
        try:
            options = ort.SessionOptions()
            options.log_severity_level = 4
            path = str(folder / f"{case['stem']}.onnx")
            session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            truth = dict(np.load(folder / f"{case['stem']}_out.npz"))
            given = session.run(list(truth), dict(np.load(folder / f"{case['stem']}_in.npz")))
            problems = [_difference(truth[name], array, case["fp16"]) for name, array in zip(truth, given, strict=True)]
        except Exception as error:  # whatever this version says is the finding
            problems = [" ".join(str(error).split())[:160]]
        found = [f"{case['name']}: {problem}" for problem in problems if problem]
        failures.setdefault(case["group"], []).extend(found[:1])
    versions = {"onnxruntime": ort.__version__, "numpy": np.__version__, "python": platform.python_version()}
    print(json.dumps({**versions, "counts": counts, "failures": failures}))


def _difference(truth: Any, given: Any, fp16: bool) -> str | None:
    if truth.shape != given.shape:
        return f"{given.shape}, expected {truth.shape}"
    if np.issubdtype(given.dtype, np.integer):
        share = float((truth == given).mean())
        return None if share >= (AGREE_FP16 if fp16 else AGREE) else f"{share:.3%} agree"
    wide = truth.astype(np.float64)
    off = np.quantile(np.abs(wide - given), 0.9 if fp16 else 1.0)
    error = float(off / max(np.abs(wide).max(), 1e-12))
    return None if error <= (CLOSE_FP16 if fp16 else CLOSE) else f"error {error:.1e}"


if __name__ == "__main__":
    run_cases(Path(sys.argv[1]))
