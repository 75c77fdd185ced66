"""JSON text <-> frozen dataclasses: what is read must fit their annotations. Standard library only.

The text may come from anywhere, so it is measured before it is parsed: a few kB can nest thousands of lists, spell a
number of thousands of digits or name one field twice.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

MOST_BYTES = 16 << 20
MOST_ENTRIES = 1_000_000
"""Values of all objects and lists together."""
DEEPEST = 32
MOST_DIGITS = 40
LONGEST_KEY = 1000
LONGEST_TEXT = 10_000
STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
STEP = {"[": 1, "{": 1, "]": -1, "}": -1}
NO_BRACKET = re.compile(r"[^\[\]{}]+")
HALF_CHARACTER = re.compile(
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>\\u[dD][89a-fA-F])"
)
"""Escapes in pairs that make one character; what is left in `half` makes none and cannot be printed."""


class Mismatch(ValueError):
    """The text is not what the dataclass says: `received`, where it stands in the text, and what was `expected`."""

    def __init__(self, received: str, expected: str) -> None:
        super().__init__(f"{received}; expected {expected}")
        self.received, self.expected = received, expected


def parse(text: str, *, most_bytes: int = MOST_BYTES, most_entries: int = MOST_ENTRIES) -> Any:
    """`json.loads` without its leniency and within limits.

    NaN, Infinity, numbers beyond float64, repeated names and halves of a character are refused; so are texts of more
    than `most_bytes` or `most_entries`, nested deeper than 32, with numbers of more than 40 digits or names of fields
    of more than 1000 letters.

    Raises:
        Mismatch: the text is not such JSON, or is cut off.
    """
    _measure(text, most_bytes, most_entries)
    try:
        return json.loads(
            text, parse_constant=_refuse_constant, object_pairs_hook=_unique, parse_int=_whole, parse_float=_broken
        )
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        what = "ends in the middle" if cut else f"is not JSON ({error.msg})"
        raise Mismatch(f"{what}, at line {error.lineno}", "the whole file as it was written") from None


def read_json(path: Path, *, most_bytes: int = MOST_BYTES, most_entries: int = MOST_ENTRIES) -> Any:
    """`parse` of a file, which is not read where it is too large.

    Raises:
        Mismatch: as `parse`, or it is not UTF-8. OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise _too_long(most_bytes)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Mismatch("is not text", "JSON in UTF-8") from None
    return parse(text, most_bytes=most_bytes, most_entries=most_entries)


def _measure(text: str, most_bytes: int, most_entries: int) -> None:
    """Refuse what would take too much memory, time or recursion to parse; linear in the text."""
    if not isinstance(text, str):  # protobuf gives bytes for what is not UTF-8
        raise Mismatch("is not text", "JSON in UTF-8")
    if len(text) > most_bytes:
        raise _too_long(most_bytes)
    entries = text.count(",") + text.count("[") + text.count("{")
    if entries > most_entries:
        raise Mismatch(f"holds about {entries} entries", f"at most {most_entries}")
    brackets = NO_BRACKET.sub("", STRING.sub("", text))
    if max(accumulate(STEP[bracket] for bracket in brackets), default=0) > DEEPEST:
        raise Mismatch("is nested too deeply", f"at most {DEEPEST} lists and objects in each other")
    if "\\" in text and any(match["half"] for match in HALF_CHARACTER.finditer(text)):
        raise Mismatch("holds half a character (a lone surrogate)", "text that can be printed")


def _too_long(most_bytes: int) -> Mismatch:
    return Mismatch(f"is longer than {most_bytes / 2**20:.0f} MiB", "a file of common size")


def render(fields: Any, *, indent: int) -> str:
    """Indented JSON, with each list of numbers on a line of its own.

    Raises:
        ValueError: a number that JSON does not have.
    """
    text = json.dumps(fields, indent=indent, allow_nan=False)
    return re.sub(r"\[\n[\d\s,.e+-]*\]", lambda match: re.sub(r"\s+", " ", match[0]), text) + "\n"


def decode(kind: Any, value: Any, where: str, *, defaults: bool = False) -> Any:
    """`value` (from `parse`) as `kind`.

    Args:
        kind: a dataclass, StrEnum, Literal of texts, bool, int, float, str, Any, `X | None`, tuple[X, ...],
            tuple[X, Y] or dict[str, X].
        where: dotted name of the value for errors.
        defaults: whether fields of this very dataclass that have a default may be missing.

    Raises:
        Mismatch: it does not fit.
    """
    origin = get_origin(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where, defaults=defaults)
    if origin is Literal:
        return _chosen(get_args(kind), value, where)
    if origin in (types.UnionType, Union):  # the latter is what `Literal[...] | None` becomes
        (inner,) = (part for part in get_args(kind) if part is not types.NoneType)
        return None if value is None else decode(inner, value, where)
    if origin is tuple:
        return _tuple(get_args(kind), value, where)
    if origin is dict:
        entries = _checked(value, dict, where, "an object").items()
        return {name: decode(get_args(kind)[1], entry, f"{where}.{name}") for name, entry in entries}
    return _scalar(kind, value, where)


def _dataclass(kind: Any, value: Any, where: str, *, defaults: bool) -> Any:
    _checked(value, dict, where, "an object")
    hints = get_type_hints(kind)
    fields = dataclasses.fields(kind)
    names = [f.name for f in fields]
    needed = [f.name for f in fields if not (defaults and _has_default(f))]
    missing, unknown = [n for n in needed if n not in value], [n for n in value if n not in hints]
    if missing:
        raise Mismatch(f"{where} lacks {', '.join(missing)}", f"the fields {', '.join(names)}")
    if unknown:
        raise Mismatch(f"{where} has the unknown field {_few(unknown)}", f"the fields {', '.join(names)}")
    return kind(**{name: decode(hints[name], value[name], f"{where}.{name}") for name in names if name in value})


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _tuple(parts: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    _checked(value, list, where, "a list")
    if len(parts) == 2 and parts[1] is Ellipsis:
        parts = parts[:1] * len(value)
    if len(parts) != len(value):
        raise Mismatch(f"{where} has {len(value)} entries", f"{len(parts)}")
    if all(part is int for part in parts) and all(type(entry) is int for entry in value):
        return tuple(value)  # a report has millions
    return tuple(
        decode(part, entry, f"{where}[{index}]") for index, (part, entry) in enumerate(zip(parts, value, strict=True))
    )


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is bool:
        if not isinstance(value, bool):
            raise Mismatch(f"{where} is {_shown(value)}", "true or false")
        return value
    if issubclass(kind, StrEnum):
        return kind(_chosen([str(member) for member in kind], value, where))
    if kind is float:
        number = _checked(value, int | float, where, "a number")
        try:
            finite = math.isfinite(number)
        except OverflowError:  # a whole number beyond the largest float
            finite = False
        if not finite:
            raise Mismatch(f"{where} is {number}"[:200], "a finite number")
        return float(number)
    if kind is str and isinstance(value, str) and len(value) > LONGEST_TEXT:
        raise Mismatch(f"{where} has {len(value)} letters", f"at most {LONGEST_TEXT}")
    return _checked(value, kind, where, {int: "a whole number", str: "a text"}[kind])


def _chosen(legal: Sequence[str], value: Any, where: str) -> Any:
    if value not in legal:
        raise Mismatch(f"{where} is {_shown(value)}", f"one of {', '.join(legal)}")
    return value


def _checked(value: Any, kind: Any, where: str, expected: str) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Mismatch(f"{where} is {_shown(value)}", expected)
    return value


def _shown(value: Any) -> str:
    """The value in at most 40 letters; of a list or object only its first entries are looked at."""
    if isinstance(value, str):
        value = value[:60]
    elif isinstance(value, list) and len(value) > 3:
        return f"a list of {len(value)}"
    elif isinstance(value, dict) and len(value) > 3:
        return f"an object of {len(value)} fields"
    text = json.dumps(value) if not isinstance(value, list | dict) or _flat(value) else "a nested value"
    return text if len(text) <= 40 else f"{text[:37]}..."


def _flat(value: list[Any] | dict[str, Any]) -> bool:
    entries = value.values() if isinstance(value, dict) else value
    return not any(isinstance(entry, list | dict) for entry in entries)


def _few(names: Sequence[str]) -> str:
    """At most three names, each of at most 40 letters."""
    shown = [name if len(name) <= 40 else f"{name[:37]}..." for name in names[:3]]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _whole(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise Mismatch(f"holds a number of {len(text)} digits", f"at most {MOST_DIGITS}")
    return int(text)


def _broken(text: str) -> float:
    """A number with a point or an exponent."""
    if len(text) > MOST_DIGITS:
        raise Mismatch(f"holds a number of {len(text)} digits", f"at most {MOST_DIGITS}")
    number = float(text)
    if not math.isfinite(number):
        raise Mismatch(f"holds {text}", "finite numbers")
    return number


def _refuse_constant(text: str) -> NoReturn:
    raise Mismatch(f"holds {text}", "finite numbers")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        twice = sorted(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise Mismatch(f"names {_few(twice)} twice in one object", "each field once")
    longest = max(map(len, fields), default=0)
    if longest > LONGEST_KEY:
        raise Mismatch(f"names a field with {longest} letters", f"at most {LONGEST_KEY}")
    return fields
