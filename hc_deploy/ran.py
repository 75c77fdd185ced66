"""What ran a model: library, version and precision, as sessions give it and reports keep it. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Runtime:
    """What runs a model.

    Attributes:
        name: the library: `onnxruntime`, `tensorrt`, `tensorrt_rtx`, `tensorrt_lean` or `torch`. version: its own.
        precision: what an engine was asked to be (`fp16`), None for a model that runs in the types of its file.
        found: convolutions and plugins of an engine by the type that they give; empty where nobody counted them.
        kernels: what computed our ops where that is a choice: `native (avx512)`, `bodies (as asked)`; else None.
        found_in: where they were counted: `engine` (as built) or `network` (before it was built), None where not.
    """

    name: str
    version: str
    precision: str | None = None
    found: dict[str, int] = field(default_factory=dict)
    found_in: str | None = None
    kernels: str | None = None

    def precision_in_words(self) -> str:
        """'fp16; engine: fp16 92%, fp32 8%'."""
        if self.precision is None:
            return "as in the file"
        return f"{self.precision}; {self.found_in}: {type_shares(self.found)}" if self.found else self.precision


def type_shares(counts: Mapping[str, int]) -> str:
    """'fp16 92%, fp32 8%' of layers counted by type; 'none' of no layers."""
    total = sum(counts.values()) or 1
    ordered = sorted(counts.items(), key=lambda entry: -entry[1])
    return ", ".join(f"{name} {100 * count / total:.0f}%" for name, count in ordered) or "none"
