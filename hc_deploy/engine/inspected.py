"""What a built engine computes in: the engine inspector's JSON -> counts for `sidecar.Layers`. Needs a GPU to be had.

The inspector lists the layers after fusion, each with the formats of its tensors as text ("Row major linear FP16
format", "Half"). Written from TensorRT's documentation; no engine has been inspected yet.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

TYPES = (
    ("bf16", re.compile(r"bf16|bfloat16", re.IGNORECASE)),
    ("fp16", re.compile(r"fp16|half", re.IGNORECASE)),
    ("fp32", re.compile(r"fp32|float", re.IGNORECASE)),
)
COMPUTES = re.compile(r"conv|gemm|matrix|plugin|myelin|kgen", re.IGNORECASE)


def engine_layers(text: str) -> dict[str, Any]:
    """Counts of the engine that the inspector's JSON `text` describes, as `sidecar.Layers` takes them.

    Raises:
        ValueError: the text is not what an inspector gives (its engine was built without layer information, say).
    """
    listed = json.loads(text).get("Layers")
    if not isinstance(listed, list) or not all(isinstance(layer, dict) for layer in listed):
        raise ValueError("the engine was built without layer information")
    types: Counter[str] = Counter()
    computing: Counter[str] = Counter()
    for layer in listed:
        kind = str(layer.get("LayerType", ""))
        name = _type(layer)
        if name is None:
            continue
        types[name] += 1
        if COMPUTES.search(kind):
            computing[name] += 1
    return {"source": "engine", "count": len(listed), "types": types, "computing": computing}


def _type(layer: dict[str, Any]) -> str | None:
    """The type of a layer's first input, or output where it has none."""
    tensors = [*layer.get("Inputs", ()), *layer.get("Outputs", ())]
    if not tensors or not isinstance(tensors[0], dict):
        return None
    text = str(tensors[0].get("Format/Datatype", tensors[0].get("Datatype", "")))
    return next((name for name, pattern in TYPES if pattern.search(text)), None)
