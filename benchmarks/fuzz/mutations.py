"""Spoiling a valid file: its bytes, or the structure inside (JSON, zip, safetensors, PNG, protobuf).

Every function takes a `random.Random` and gives new bytes; the same random state gives the same bytes.
"""

from __future__ import annotations

import copy
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from benchmarks.fuzz.values import NUMBERS, TEXTS, trees

EDGES = (b"\0", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0" * 8)
MOST_BYTES, MOST_JSON = 4 << 20, 256 << 10
SEEDS = 4
"""So many times Hypothesis draws a set of values."""
PNG_START = b"\x89PNG\r\n\x1a\n"
Mutation = Callable[[bytes, Random], bytes]


def spoil_bytes(data: bytes, rng: Random) -> bytes:
    """One to eight changes: bits, edge values, ranges removed, repeated or made random; or the end cut off."""
    spoilt = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        _change(spoilt, rng)
    return bytes(spoilt[:MOST_BYTES])


def _change(data: bytearray, rng: Random) -> None:
    at = rng.randrange(len(data) + 1)
    length = min(len(data) - at, rng.choice((1, 2, 4, 16, 64, 1024)))
    kind = rng.randrange(7)
    if kind == 0 and at < len(data):
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        edge = rng.choice(EDGES)
        data[at : at + len(edge)] = edge
    elif kind == 2:
        del data[at : at + length]
    elif kind == 3:
        data[at:at] = data[at : at + length] * rng.choice((1, 2, 100))
    elif kind == 4:
        data[at : at + length] = rng.randbytes(length)
    elif kind == 5 and rng.random() < 0.3:
        del data[at:]
    else:
        other = rng.randrange(len(data) + 1)
        data[at : at + length] = data[other : other + length]


def spoil_tree(tree: Any, rng: Random) -> Any:
    """A copy of parsed JSON with one or two places replaced, removed, renamed, nested or doubled."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 2))):
        if not isinstance(tree, dict | list) or not tree:
            return _drawn(rng)
        _respoil(*_place(tree, rng), rng)
    return tree


def _drawn(rng: Random) -> Any:
    """A value of Hypothesis's; a copy, which may be spoilt in turn."""
    return copy.deepcopy(rng.choice(trees(rng.randrange(SEEDS))))


def _place(tree: Any, rng: Random) -> tuple[Any, Any]:
    """A random holder and key; each level is as likely, however many entries there are below."""
    while True:
        key = rng.choice(list(tree)) if isinstance(tree, dict) else rng.randrange(len(tree))
        inner = tree[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.3:
            return tree, key
        tree = inner


def _respoil(holder: Any, key: Any, rng: Random) -> None:
    kind = rng.randrange(9)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        holder[key] = [holder[key]] * rng.choice((0, 1, 2, 3000))
    elif kind == 2 and isinstance(holder, dict):
        holder[rng.choice(("", "x", "\ud800", "schema"))] = holder.pop(key)
    elif kind == 3:
        for _ in range(rng.choice((2, 400))):
            holder[key] = {"a": holder[key]}
    elif kind < 6:
        holder[key] = _drawn(rng)
    else:
        holder[key] = rng.choice(TEXTS if isinstance(holder[key], str) else NUMBERS)


def spoil_json(data: bytes, rng: Random) -> bytes:
    """JSON text: its tree, or its bytes; sometimes a field twice."""
    if rng.random() < 0.15:
        return spoil_bytes(data, rng)
    text = json.dumps(spoil_tree(json.loads(data), rng))
    if rng.random() < 0.05 and text.startswith('{"'):
        text = text[0] + text[1:].split(",", 1)[0] + "," + text[1:]
    return text.encode()[:MOST_JSON]


def spoil_metadata(text: str, rng: Random) -> str:
    """The JSON text that a checkpoint or a model holds in its metadata."""
    return spoil_json(text.encode(), rng).decode(errors="replace")


def spoil_safetensors(data: bytes, rng: Random) -> bytes:
    """The header's tree or our metadata in it, with the length before it put right; or the bytes."""
    if rng.random() < 0.3:
        return spoil_bytes(data, rng)
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    if rng.random() < 0.7 and "hc_deploy" in header.get("__metadata__", {}):
        header["__metadata__"]["hc_deploy"] = spoil_metadata(header["__metadata__"]["hc_deploy"], rng)
    else:
        header = spoil_tree(header, rng)
    packed = json.dumps(header).encode()
    return struct.pack("<Q", len(packed)) + packed + data[8 + length :]


def spoil_zip(data: bytes, rng: Random) -> bytes:
    """One entry of a zip (a `.pth`), with its checksum put right; or the bytes. What is no zip: the bytes."""
    if rng.random() < 0.2 or not zipfile.is_zipfile(io.BytesIO(data)):
        return spoil_bytes(data, rng)
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as whole, zipfile.ZipFile(packed, "w") as spoilt:
        names = whole.namelist()
        chosen = rng.choice([name for name in names if name.endswith(".pkl")] * len(names) + names)
        for name in names:
            entry = whole.read(name)
            spoilt.writestr(name, spoil_bytes(entry, rng) if name == chosen else entry)
    return packed.getvalue()


def spoil_image(data: bytes, rng: Random) -> bytes:
    """The bytes; of a PNG mostly with the checksum of each chunk put right."""
    spoilt = spoil_bytes(data, rng)
    return _checksums(spoilt) if data.startswith(PNG_START) and rng.random() < 0.8 else spoilt


def _checksums(data: bytes) -> bytes:
    fixed, at = bytearray(data), len(PNG_START)
    while at + 12 <= len(fixed):
        length = int.from_bytes(fixed[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = zlib.crc32(fixed[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(fixed)


def spoil_model(data: bytes, rng: Random) -> bytes:
    """An ONNX file: our metadata in it, a field somewhere in its messages, or the bytes."""
    import onnx

    kind = rng.random()
    if kind < 0.2:
        return spoil_bytes(data, rng)
    model = onnx.ModelProto.FromString(data)
    if kind < 0.5:
        for entry in model.metadata_props:
            entry.value = spoil_metadata(entry.value, rng).encode(errors="replace").decode()
    else:
        for _ in range(rng.choice((1, 1, 2))):
            _spoil_message(model, rng)
    return bytes(model.SerializeToString())


def _spoil_message(message: Any, rng: Random) -> None:
    """Walk down to a random field and change it."""
    held = [field for field, _ in message.ListFields()]
    field = rng.choice(held if held and rng.random() < 0.9 else message.DESCRIPTOR.fields)
    value = getattr(message, field.name)
    if field.is_repeated:
        _spoil_repeated(value, field, rng)
    elif field.message_type is not None:
        _spoil_message(value, rng)
    else:
        setattr(message, field.name, _scalar(field, rng))


def _spoil_repeated(values: Any, field: Any, rng: Random) -> None:
    kind = rng.randrange(5)
    if not values or kind == 0:
        values.append(_scalar(field, rng)) if field.message_type is None else values.add()
    elif kind == 1:
        del values[rng.randrange(len(values))]
    elif kind == 2:
        values.append(values[rng.randrange(len(values))])
    elif field.message_type is None:
        values[rng.randrange(len(values))] = _scalar(field, rng)
    else:
        _spoil_message(values[rng.randrange(len(values))], rng)


def _scalar(field: Any, rng: Random) -> Any:
    if field.enum_type is not None:
        return rng.choice(field.enum_type.values).number
    numbers: dict[int, Sequence[Any]] = {
        field.CPPTYPE_INT32: (0, 1, -1, 7, 99, 2**31 - 1, -(2**31)),
        field.CPPTYPE_INT64: (0, 1, -1, 3, 2**31, 2**40, 2**63 - 1, -(2**63)),
        field.CPPTYPE_UINT64: (0, 1, 2**64 - 1),
        field.CPPTYPE_FLOAT: (0.0, -1.0, float("nan"), float("inf")),
        field.CPPTYPE_DOUBLE: (0.0, -1.0, float("nan"), float("inf")),
        field.CPPTYPE_STRING: ("", "image", "labels", "Loop", "../x", "\x1b[31m", "x" * 1000),
    }
    drawn = rng.choice(numbers.get(field.cpp_type, ("",)))
    return drawn.encode() if field.type == field.TYPE_BYTES else drawn
