"""What torch.save or pickle wrote -> tensors and plain containers. Nothing that the file names is imported or run.

Every class and function of the file but those in `KNOWN` becomes a `Placeholder`: training loops leave their arguments,
counters, paths and whole modules beside the weights, and none of these matters here. What is allocated is bounded by
what the file holds. Read are torch's zip files, its older streams, and plain pickles.
"""

from __future__ import annotations

import codecs
import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import torch

MAGIC = 0x1950A86A20F9469CFC6C
"""First number of a stream that torch wrote before 1.6."""
UNFOLDED = 1 << 20
"""Bytes by which the entries of a zip file may be larger than the file: torch never compresses them."""
LEAST_ENTRY = 2
MOST_NESTED = 8


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


def read_pickle(path: Path) -> Any:
    """The content of a file that torch.save or pickle.dump wrote.

    Raises:
        Refused: it is none, is cut off, or wants more memory than it holds. OSError: it cannot be read.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return _read_zip(archive, path.stat().st_size)
        with path.open("rb") as file:
            return _read_stream(file, path.stat().st_size)
    except (Refused, OSError):
        raise
    except Exception as error:  # on bytes that are no pickle, an unpickler fails in any way there is
        known = isinstance(error, KeyError | IndexError | AttributeError | TypeError)
        reason = "its bytes are no pickle" if known else (str(error).strip() or type(error).__name__).splitlines()[0]
        raise Refused(f"it is not a whole checkpoint ({reason})") from None


def _read_zip(archive: zipfile.ZipFile, size: int) -> Any:
    entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > size + UNFOLDED:
        raise Refused("its entries unfold to more than the file's size, which torch never writes")
    names = [entry.filename for entry in entries]
    found = [name for name in names if name.endswith("/data.pkl") or name == "data.pkl"]
    if any("/code/" in name or name.endswith("/constants.pkl") for name in names):
        raise Refused("it is TorchScript, a program, not a checkpoint")
    if len(found) != 1:
        raise Refused("it is a zip file, but not one of torch.save")
    root = found[0].removesuffix("data.pkl")
    order = f"{root}byteorder"
    if order in names and archive.read(order) != b"little":
        raise Refused("its numbers are stored big-endian")
    stored: dict[str, bytearray] = {}

    def storage(key: str, dtype: torch.dtype | None, _count: int) -> Storage:
        if key not in stored:
            stored[key] = bytearray(archive.read(f"{root}data/{key}"))
        return Storage(stored[key], dtype)

    return _Unpickler(io.BytesIO(archive.read(found[0])), storage, size).load()


def _read_stream(file: IO[bytes], size: int, nested: int = 0) -> Any:
    """A plain pickle, or torch's older format: number, version, machine, content, then the storages' bytes."""
    if nested > MOST_NESTED:
        raise Refused("it is nested too deeply")
    first = file.read(262)
    file.seek(0)
    if first[257:262] == b"ustar":
        raise Refused("it is a tar file, which torch wrote before 2017")
    storages: dict[str, tuple[bytearray, int]] = {}
    total = 0

    def storage(key: str, dtype: torch.dtype | None, count: int) -> Storage:
        nonlocal total
        width = 1 if dtype is None else dtype.itemsize
        if key not in storages:
            total += count * width
            if count < 0 or total > size:
                raise Refused("its storages are larger than the file")
            storages[key] = (bytearray(count * width), width)
        return Storage(storages[key][0], dtype)

    content = _Unpickler(file, storage, size, nested).load()
    if content != MAGIC:
        return content
    _Unpickler(file, storage, size, nested).load()  # version
    _Unpickler(file, storage, size, nested).load()  # machine
    content = _Unpickler(file, storage, size, nested).load()
    for key in _Unpickler(file, storage, size, nested).load():
        memory, width = storages[str(key)]
        (count,) = struct.unpack("<q", file.read(8))
        if count * width != len(memory) or file.readinto(memory) != len(memory):  # type: ignore[attr-defined]
            raise Refused("it is not a whole checkpoint (a storage is cut off)")
    return content


class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined, misc]
    """Python's own, in Python: its memo grows with what is stored, not with the largest number in the file.

    Args:
        storage: gives the storage of a key, a type and a count of elements. size: of the file.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)  # type: ignore[attr-defined]

    def __init__(
        self, file: IO[bytes], storage: Callable[[str, torch.dtype | None, int], Storage], size: int, nested: int = 0
    ) -> None:
        super().__init__(file, encoding="latin1")
        self._storage, self._size, self._nested = storage, size, nested

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full == "torch.storage._load_from_bytes":
            return self._from_bytes
        known = KNOWN.get(full)
        return known if known is not None else type("Placeholder", (Placeholder,), {"name": full})

    def persistent_load(self, pid: Any) -> Storage:
        kind, dtype, key, _place, count = pid[:5]
        if kind not in ("storage", b"storage") or not isinstance(dtype, _StorageType) or not isinstance(count, int):
            raise Refused("it refers to something that is no storage")
        if len(pid) > 5 and pid[5] is not None:
            raise Refused("it holds views of storages, which torch wrote before 2017")
        return self._storage(str(key), dtype.dtype, count)

    def get_extension(self, code: int) -> None:
        raise Refused("it uses pickle's extension registry")

    def load_bytearray8(self) -> None:
        (length,) = struct.unpack("<Q", self.read(8))  # type: ignore[attr-defined]
        if length > self._size:
            raise Refused("it says to hold more bytes than it does")
        self.append(bytearray(self.read(length)))  # type: ignore[attr-defined]

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    def _from_bytes(self, data: Any) -> Any:
        """A storage inside a pickle that torch.save did not write."""
        return _read_stream(io.BytesIO(data if isinstance(data, bytes) else b""), self._size, self._nested + 1)


class _StorageType:
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
    "torch.storage.UntypedStorage": _StorageType(None),
    **{f"torch.{name}": getattr(torch, name) for name in _TYPES if hasattr(torch, name)},
    **{f"torch.{name}": _StorageType(getattr(torch, kind)) for name, kind in _STORAGES.items()},
    **{f"torch.cuda.{name}": _StorageType(getattr(torch, kind)) for name, kind in _STORAGES.items()},
}
"""All that a file may call or make, by its full name."""
