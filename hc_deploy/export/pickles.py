"""What torch.save or pickle wrote -> tensors and plain containers. Nothing that the file names is imported or run.

Every class and function of the file but those in `KNOWN` becomes a `Placeholder`: training loops leave their arguments,
counters, paths and whole modules beside the weights, and none of these matters here. What is allocated is bounded by
what the file holds. Read are torch's zip files, its older streams, and plain pickles.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, ClassVar

import torch

from hc_deploy.errors import first_line
from hc_deploy.export.pickled import KNOWN, Placeholder, Refused, Storage, StorageType

MAGIC = 0x1950A86A20F9469CFC6C
"""First number of a stream that torch wrote before 1.6."""
UNFOLDED = 1 << 20
"""Bytes by which the entries of a zip file may be larger than the file: torch never compresses them."""
MOST_NESTED = 8


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
        reason = "its bytes are no pickle" if known else first_line(error)
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
        if kind not in ("storage", b"storage") or not isinstance(dtype, StorageType) or not isinstance(count, int):
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
