"""The kernels' CUDA source: which kernel in, a source text that defines it alone out.

An engine carries the kernel of each node as PTX. All 18 kernels are 2.4 MB of it and take NVRTC 5 s; one is 0.05 to
0.2 MB and takes 0.1 to 0.4 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hc_deploy.errors import DeployError

FIXED_K = 64
"""The paper's embedding, for which assign and upsample have a kernel whose loops are laid out at compile time."""

_PACKAGE = Path(__file__).resolve().parents[1]
_FOLDERS = (_PACKAGE / "kernels", _PACKAGE.parent / "plugins" / "kernels")
"""In an installed package (setup.py puts them there), and in a checkout."""
_ENTRIES = "entries.cuh"

KernelOp = Literal["assign", "decode", "upsample", "argmax"]
Element = Literal["f32", "f16", "bf16"]
_CUDA_TYPES: dict[Element, str] = {"f32": "float", "f16": "__half", "bf16": "__nv_bfloat16"}
_WITH_EMBEDDING = ("assign", "upsample")


@dataclass(frozen=True)
class Kernel:
    """One kernel of `entries.cuh`.

    Attributes:
        op: what it computes. element: type of its tensors (of the logits, for argmax).
        fixed_k: the variant for an embedding of `FIXED_K` channels; assign and upsample only.
    """

    op: KernelOp
    element: Element
    fixed_k: bool = False

    def __post_init__(self) -> None:
        if self.fixed_k and self.op not in _WITH_EMBEDDING:
            raise ValueError(f"fixed_k with op={self.op!r}: expected one of {', '.join(_WITH_EMBEDDING)}")

    @property
    def name(self) -> str:
        """Its symbol."""
        return f"hc_{self.op}_{self.element}{'_k64' if self.fixed_k else ''}"

    @property
    def source(self) -> str:
        """A source that defines this kernel and no other; `kernel_folder()` must be on the include path."""
        arguments = [_CUDA_TYPES[self.element], self.element]
        if self.op in _WITH_EMBEDDING:
            arguments += ["_k64", "HC_FIXED_K", "1"] if self.fixed_k else ["", "0", "1"]
        elif self.op == "decode":
            arguments += ["", "1"]
        entry = f"HC_{self.op.upper()}_ENTRY({', '.join(arguments)})"
        return f'#define HC_ONLY_ENTRY {entry}\n#include "{_ENTRIES}"\n'

    @property
    def architecture(self) -> str:
        """The oldest architecture that has its type: PTX of it runs on all newer ones."""
        # TensorRT takes bfloat16 from Ampere on, whose PTX converts it in one instruction.
        return "compute_80" if self.element == "bf16" else "compute_75"


def kernel_folder(folders: Sequence[Path] = _FOLDERS) -> Path:
    """The folder of the kernels' headers.

    Raises:
        DeployError: the installation lacks them.
    """
    for folder in folders:
        if (folder / _ENTRIES).is_file():
            return folder
    raise DeployError(
        f"{folders[0]} has no {_ENTRIES}: this installation of hc-deploy lacks the kernels' source",
        expected="the whole package",
        mend="pip install --force-reinstall hc-deploy",
    )
