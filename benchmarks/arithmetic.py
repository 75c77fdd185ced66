"""Parameters, arithmetic and memory of every network: `python -m benchmarks.arithmetic -o docs/models.md`.

Counted on torch's meta device, so nothing is computed and any machine gives the same table.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.gpu.cases import TWINS
from hc_deploy.console import print_text, run_app

SIZE = (1024, 2048)
BACKBONES = ("resnet18", "resnet50", "resnet101")
PAPER_MS = {
    "fcn32": 71.7, "atrousfcn": 296.7, "hcfcn32": 85.9, "fpn": 82.0, "hcfpn": 92.9, "pspnet": 298.7, "hcpspnet": 87.0,
    "deeplabv3": 380.8, "hcdeeplabv3": 93.2,
}  # fmt: skip
"""Table 3: ResNet-101, Quadro RTX 8000, 1024x2048."""
OTHERS = {
    "ssn": ((321, 481), None),
    "hcssn": ((321, 481), None),
    "dorn": ((257, 353), 39.1),
    "hcdorn": ((257, 353), 20.3),
}
"""Superpixels and depth: the size of their data sets (BSDS500, NYU Depth v2), and Table 5's milliseconds."""
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Count:
    """One network at one size: parameters; floating-point operations (a multiply-add is two); float32 bytes written."""

    parameters: int
    operations: int
    written: int


def count(name: str, size: tuple[int, int], **options: Any) -> Count:
    """Count one forward pass of `models.build(name, **options)` at `size` (H, W), batch 1.

    Written bytes are those of every operator's output: a lower bound of memory traffic without fusion.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import FlopCounterMode

    import models
    from hc_deploy.export.networks import METHODS, deployment_of

    class Written(TorchDispatchMode):
        bytes = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and not func.is_view:
                self.bytes += result.numel() * result.element_size()
            return result

    with torch.device("meta"):
        net = models.build(name, **options).eval()
        image = torch.empty(1, 3, *size)
    _register_formulas()
    written, operations = Written(), FlopCounterMode(display=False)
    with torch.no_grad(), operations, written:
        getattr(net, METHODS[deployment_of(net, name).task])(image)
    return Count(sum(p.numel() for p in net.parameters()), operations.get_total_flops(), written.bytes)


def _register_formulas() -> None:
    """Operations of HCUpsample: 9K multiply-adds a pixel for the similarities, 9C for the decode."""
    import torch
    from torch.utils.flop_counter import flop_registry, register_flop_formula

    op = torch.ops.hc_deploy.hc_upsample
    if op in flop_registry:
        return

    @register_flop_formula(op)
    def upsample(coarse: Any, features: Any, seeds: Any, *_: Any, **__: Any) -> int:
        return 2 * 9 * features[0] * features[2] * features[3] * (features[1] + coarse[1])


def rows(backbone: str) -> list[str]:
    """Markdown rows of one backbone, each network at 1024x2048."""
    counts = {name: count(f"{name}_{backbone}", SIZE) for name in PAPER_MS}
    lines = []
    for name, own in counts.items():
        bound = f"{counts[TWINS[name]].operations / own.operations:.2f}x" if name in TWINS else ""
        paper = f"{PAPER_MS[name]:.1f}" if backbone == "resnet101" else ""
        lines.append(
            f"| `{name}_{backbone}` | {own.parameters / 1e6:.1f} | {own.operations / 1e9:.0f} "
            f"| {4 * own.parameters / 1e6:.0f} | {own.written / 1e9:.1f} | {bound} | {paper} |"
        )
    return lines


def others() -> list[str]:
    """Markdown rows of the superpixel and depth networks, at 1024x2048 and at their data set's size."""
    lines = []
    for name, (size, paper) in OTHERS.items():
        for height, width in (SIZE, size):
            own = count(name, (height, width))
            ms = f"{paper:.1f}" if paper and (height, width) == size else ""
            lines.append(
                f"| `{name}` | {height}x{width} | {own.parameters / 1e6:.2f} | {own.operations / 1e9:.1f} "
                f"| {own.written / 1e9:.2f} | {ms} |"
            )
    return lines


def levels() -> list[str]:
    """Markdown rows of HCFCN-32 at each hierarchical level."""
    lines = []
    for backbone in ("resnet18", "resnet50"):
        plain = count(f"fcn32_{backbone}", SIZE).operations
        for level in range(5):
            own = count(f"hcfcn32_{backbone}", SIZE, level=level)
            share = own.operations / plain - 1
            lines.append(
                f"| `hcfcn32_{backbone}` | {level} | {own.operations / 1e9:.1f} | {share:+.1%} "
                f"| {own.written / 1e9:.2f} |"
            )
    return lines


def document() -> str:
    """The whole of docs/models.md."""
    parts = [
        "# Networks",
        "",
        "Made by `python -m benchmarks.arithmetic -o docs/models.md`; do not edit.",
        "",
        f"One image of {SIZE[0]}x{SIZE[1]}, 19 classes, level 2 for the HC twins.",
        "",
        "- GFLOP: a multiply-add is two operations.",
        "- Written: float32 bytes of every operator's output, a lower bound of memory traffic without fusion.",
        "- Bound: how many times fewer operations than the plain twin.",
        "- Paper: Table 3, milliseconds on a Quadro RTX 8000; not measured here.",
        "",
        "| network | parameters, million | GFLOP | weights, MB | written, GB | bound | paper, ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for backbone in reversed(BACKBONES):
        parts += rows(backbone)
    parts += [
        "",
        "## Superpixels and depth",
        "",
        "From the image to ids (169 superpixels, 10 iterations) or metres; DORN on ResNet-101. Paper: Table 5.",
        "",
        "| network | size | parameters, million | GFLOP | written, GB | paper, ms |",
        "|---|---|---|---|---|---|",
        *others(),
        "",
        "## Hierarchical level",
        "",
        "HCFCN-32 at each level; the share is of operations added to FCN-32.",
        "",
        "| network | level | GFLOP | added | written, GB |",
        "|---|---|---|---|---|",
        *levels(),
        "",
    ]
    return "\n".join(parts)


@app.command()
def main(
    output: Annotated[Path, typer.Option("-o", "--output", help="Markdown file to write.")] = Path("docs/models.md"),
) -> None:
    """Write the table of parameters, arithmetic and memory."""
    from hc_deploy.system.files import write_bytes

    text = document()
    write_bytes(output, text.encode())
    print_text(text)


if __name__ == "__main__":
    run_app(app)
