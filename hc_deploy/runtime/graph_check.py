"""A model's metadata against its graph, before anything of the size that the metadata claims is allocated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hc_deploy.errors import DeployError, UsageError
from hc_deploy.spec import EXPORT, ModelSpec
from hc_deploy.system.limits import require_image_memory, why_too_large

INTEGERS = ("uint8", "uint16", "int32", "int64")
TYPES = {"labels": INTEGERS, "superpixels": ("int32",), "depth": ("float32",), "logits": ("float32",)}
RANKS = {"labels": 3, "superpixels": 3, "depth": 3, "logits": 4}


@dataclass(frozen=True)
class Tensor:
    """An input or output as the graph has it: numpy's name of the type; sides, None where any fits.

    sides is None where the graph does not say how many there are.
    """

    name: str
    dtype: str
    sides: tuple[int | None, ...] | None

    def __str__(self) -> str:
        shape = "" if self.sides is None else " [" + ", ".join("any" if s is None else str(s) for s in self.sides) + "]"
        return f"{self.name} {self.dtype}{shape}"


def check_graph(spec: ModelSpec, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, source: str) -> None:
    """Nothing where `spec` tells the truth about a graph of these inputs and outputs.

    Raises:
        DeployError: another name, type, size or number of classes; a fixed size that is beyond the limits or this
            machine's memory.
    """
    wanted = spec.input_shape(batch=spec.batch or -1, height=spec.height or -1, width=spec.width or -1)
    image = Tensor(
        "image", "uint8" if spec.input == "uint8" else "float32", tuple(s if s > 0 else None for s in wanted)
    )
    if len(inputs) != 1 or not _takes(inputs[0], image):
        raise _lie(source, "input", inputs, str(image))
    by_name = {tensor.name: tensor for tensor in outputs}
    if not set(spec.outputs) <= set(by_name):
        raise _lie(source, "outputs", outputs, ", ".join(spec.outputs))
    for name in spec.outputs:  # a graph may give more: values that are looked at in a diagnosis
        _check_output(spec, by_name[name], source)
    _check_size(spec, source)


def _takes(found: Tensor, claimed: Tensor) -> bool:
    """Whether the graph takes what the metadata claims, and no side that the metadata leaves open is fixed."""
    if (found.name, found.dtype) != (claimed.name, claimed.dtype):
        return False
    assert claimed.sides is not None
    if found.sides is None or len(found.sides) != len(claimed.sides):
        return False
    return all(got in (None, want) for got, want in zip(found.sides, claimed.sides, strict=True))


def _check_output(spec: ModelSpec, tensor: Tensor, source: str) -> None:
    types = TYPES[tensor.name]
    if tensor.dtype not in types:
        raise _lie(source, "output", [tensor], f"{tensor.name} of type {' or '.join(types)}")
    if tensor.name == "labels" and tensor.dtype == "uint8" != spec.label_type:
        raise _lie(source, "output", [tensor], f"ids of the {len(spec.classes)} classes, beyond uint8")
    if tensor.sides is None:
        return
    rank = RANKS[tensor.name]
    sides = (spec.batch, None, None, None) if rank == 4 else (spec.batch, spec.height, spec.width)
    if len(tensor.sides) != rank or any(
        None not in (got, want) and got != want for got, want in zip(tensor.sides, sides, strict=True)
    ):
        shape = ", ".join("any" if side is None else str(side) for side in sides)
        raise _lie(source, "output", [tensor], f"{tensor.name} of shape [{shape}]")
    if tensor.name == "logits" and not _right_channels(tensor.sides[1], len(spec.classes)):
        raise _lie(source, "output", [tensor], f"{len(spec.classes)} channels, one a class")


def _right_channels(channels: int | None, classes: int) -> bool:
    """A channel a class; a network of two classes may give one, which is compared with a threshold."""
    return channels in (None, classes) or (channels, classes) == (1, 2)


def _check_size(spec: ModelSpec, source: str) -> None:
    height, width, batch = spec.height or 1, spec.width or 1, spec.batch or 1
    reason = why_too_large(height, width, batch)
    if reason:
        raise DeployError(f"{source}: its metadata says {reason}", expected="a size within the limits", mend=EXPORT)
    try:
        require_image_memory(batch, height, width, mend="a machine with more memory, or a smaller --size or --batch")
    except UsageError as error:  # no option was typed: the file says it
        raise DeployError(f"{source}: {error.received}", expected=error.expected, mend=error.mend) from None


def _lie(source: str, what: str, found: Sequence[Tensor], expected: str) -> DeployError:
    listed = ", ".join(str(tensor)[:120] for tensor in found[:4]) or "none"
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    return DeployError(
        f"{source}: its metadata does not fit its graph, which has the {what} {listed}{more}",
        expected=expected,
        mend=EXPORT,
    )
