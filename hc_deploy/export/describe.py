"""What a checkpoint holds -> lines of (title, text)."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

from hc_deploy.export.checkpoint import read_checkpoint
from hc_deploy.export.families import recognise
from hc_deploy.spec import network_text

Lines = list[tuple[str, str]]


def describe_checkpoint(path: Path) -> Lines:
    """Parameters of a checkpoint and, where it says, its network, classes and training."""
    checkpoint = read_checkpoint(path)
    info = checkpoint.info
    values = sum(math.prod(tensor.shape) for tensor in checkpoint.state.values())
    parts = Counter(name.split(".")[0] for name in checkpoint.state)
    lines = [
        ("kind", "checkpoint"),
        ("tensors", f"{len(checkpoint.state)}, {values / 1e6:.2f} million values"),
        ("parts", ", ".join(f"{name} ({count})" for name, count in parts.items())),
    ]
    if info.arch is None:
        found = recognise(checkpoint.state)
        if found is not None:
            return [*lines, ("family", found.describe())]
        if set(parts) == {"backbone"}:
            return [*lines, ("network", "a backbone alone: python -m models.train NAME --init FILE starts from it")]
        return [*lines, ("network", "not said: name it with --arch")]
    training = ", ".join(f"{name} {value}" for name, value in info.training.items() if not isinstance(value, dict))
    return [
        *lines,
        ("network", network_text(info.arch, info.options)),
        ("classes", f"{len(info.classes)}: {', '.join(info.classes)}"),
        ("training", training or "not recorded"),
    ]
