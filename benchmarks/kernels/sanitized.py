"""What runs under the sanitizer: `python -m benchmarks.kernels.sanitized LIBRARY` says how many cases came out right.

Inputs are drawn and outputs judged on the CPU, so that the only kernels on the GPU are ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hc_deploy.console import print_line, run_app

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    library: Annotated[Path, typer.Argument(help="The kernels' library.")],
    device: Annotated[str, typer.Option(help="cuda, or cpu for the emulated library.")] = "cuda",
) -> None:
    """Run few cases of every kernel and compare them on the CPU."""
    import torch

    from benchmarks.kernels.cases import few_cases
    from benchmarks.kernels.check import check, run_kernel
    from hc_deploy.errors import GateError, UsageError
    from hc_deploy.ops.kernels import KernelLibrary

    if device not in ("cuda", "cpu"):
        raise UsageError(f"--device {device}", expected="cuda or cpu")
    kernels = KernelLibrary(library, device_type="cuda" if device == "cuda" else "cpu")
    cases = few_cases()
    for case in cases:
        inputs = case.inputs(torch.device(device))
        out = run_kernel(kernels, case, inputs)
        outcome = check(case, out.cpu(), tuple(tensor.cpu() for tensor in inputs))
        if not outcome.passed:
            raise GateError(f"{case.name}: error {outcome.error:g}", expected=f"at most {outcome.allowed:g}")
    print_line(f"sanitized {len(cases)} cases")


if __name__ == "__main__":
    run_app(app)
