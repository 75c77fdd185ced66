"""What a pickle may make: tensors, plain containers, and placeholders for all else. Nothing that it names runs."""

from __future__ import annotations

import codecs
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch


class Refused(ValueError):
    """Why the file cannot be read, in a few words."""


class Placeholder(dict[Any, Any]):
    """Stands for an object of a class that is not known here: a dict, so that the entries of one derived from it stay.

    Attributes:
        name: of the class. args, state: what it was made of.
    """

    name = "?"

    def __new__(cls, *args: Any, **kwargs: Any) -> Placeholder:
        made = super().__new__(cls)
        made.args, made.state = args, None
        return made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    args: tuple[Any, ...]
    state: Any

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def append(self, value: Any) -> None:
        """An entry of a class derived from list or set."""

    extend = add = append


class Storage:
    """A typed storage: `bytes_` as they lie in memory, `dtype` None where the tensor says it."""

    def __init__(self, bytes_: bytearray, dtype: torch.dtype | None) -> None:
        self.bytes_, self.dtype = bytes_, dtype


class StorageType:
    """A storage class of the file, as the type of its elements (None: untyped)."""

    def __init__(self, dtype: torch.dtype | None) -> None:
        self.dtype = dtype


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *rest: Any) -> torch.Tensor:
    """torch._utils._rebuild_tensor and _v2; _v3 gives the type after requires_grad and hooks."""
    dtype = rest[2] if len(rest) > 2 and isinstance(rest[2], torch.dtype) else None
    if not isinstance(storage, Storage):
        raise Refused("a tensor without a storage")
    dtype = dtype or storage.dtype
    if dtype is None:
        raise Refused("a tensor without a type")
    size, stride = tuple(map(int, size)), tuple(map(int, stride))
    if not storage.bytes_ or 0 in size:
        if math.prod(size):
            raise Refused("a tensor that is larger than its storage")
        return torch.empty(size, dtype=dtype)
    flat = torch.frombuffer(storage.bytes_, dtype=dtype)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if min((*size, *stride, offset)) < 0 or last >= flat.numel():
        raise Refused("a tensor that is larger than its storage")
    return flat.as_strided(size, stride, offset)


def _first(data: Any, *_rest: Any) -> Any:
    """A parameter, or a tensor of another device: the tensor itself."""
    return data


def _of_type(function: Any, _kind: Any, args: Any, _state: Any) -> Any:
    """torch._tensor._rebuild_from_type_v2: a tensor with attributes, or of a subclass."""
    return function(*args) if function in (_tensor, _first) else Placeholder()


def _encoded(text: Any, encoding: Any = "latin1") -> Any:
    """Bytes, as protocol 2 writes them."""
    return codecs.encode(text, "latin1") if isinstance(text, str) and encoding == "latin1" else Placeholder()


def _set(values: Any = ()) -> set[Any]:
    return set(values) if isinstance(values, list | tuple) else set()


def _unsupported(kind: str) -> Callable[..., Any]:
    def refuse(*_args: Any) -> Any:
        raise Refused(f"it holds {kind} tensors")

    return refuse


def _array(*_args: Any) -> Any:
    """numpy's _reconstruct: shape, type and bytes come with the state."""
    return _Array()


class _Array(Placeholder):
    name = "numpy.ndarray"


def as_tensor(value: Any) -> torch.Tensor | None:
    """A tensor, or a numpy array as one; None for anything else."""
    if isinstance(value, torch.Tensor):
        return value
    if not isinstance(value, _Array) or not isinstance(value.state, tuple) or len(value.state) != 5:
        return None
    _, shape, kind, fortran, data = value.state
    letters = kind.args[0] if isinstance(kind, Placeholder) and kind.args else None
    if not isinstance(data, bytes) or letters not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1"):
        return None
    array = np.frombuffer(data, dtype=letters)
    if math.prod(shape) != array.size:
        return None
    return torch.from_numpy(array.reshape(shape, order="F" if fortran else "C").copy())


_TYPES = (
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64",
    "complex128", "float8_e4m3fn", "float8_e5m2", "uint16", "uint32", "uint64",
)  # fmt: skip
_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}  # fmt: skip
KNOWN: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "_codecs.encode": _encoded,
    "builtins.set": _set,
    "__builtin__.set": _set,
    "torch.Size": tuple,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch._utils._rebuild_qtensor": _unsupported("quantised"),
    "torch._utils._rebuild_sparse_tensor": _unsupported("sparse"),
    "torch._utils._rebuild_meta_tensor_no_storage": _unsupported("empty (meta)"),
    "numpy.core.multiarray._reconstruct": _array,
    "numpy._core.multiarray._reconstruct": _array,
    "torch.storage.UntypedStorage": StorageType(None),
    **{f"torch.{name}": getattr(torch, name) for name in _TYPES if hasattr(torch, name)},
    **{f"torch.{name}": StorageType(getattr(torch, kind)) for name, kind in _STORAGES.items()},
    **{f"torch.cuda.{name}": StorageType(getattr(torch, kind)) for name, kind in _STORAGES.items()},
}
"""All that a file may call or make, by its full name."""
