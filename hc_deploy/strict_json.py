"""JSON text <-> frozen dataclasses: what is read must fit their annotations. Standard library only."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints


class Mismatch(ValueError):
    """The text is not what the dataclass says: `received`, where it stands in the text, and what was `expected`."""

    def __init__(self, received: str, expected: str) -> None:
        super().__init__(f"{received}; expected {expected}")
        self.received, self.expected = received, expected


def parse(text: str) -> Any:
    """`json.loads` without its leniency: NaN, Infinity and repeated names are refused.

    Raises:
        Mismatch: the text is not JSON, is cut off, or is nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        what = "ends in the middle" if cut else f"is not JSON ({error.msg})"
        raise Mismatch(f"{what}, at line {error.lineno}", "the whole file as it was written") from None
    except RecursionError:
        raise Mismatch("is nested too deeply", "a flat report") from None
    except ValueError as error:  # a whole number of thousands of digits
        if isinstance(error, Mismatch):
            raise
        raise Mismatch(f"holds an unreadable number ({error})", "numbers of common size") from None


def render(fields: Any, *, indent: int) -> str:
    """Indented JSON, with each list of numbers on a line of its own.

    Raises:
        ValueError: a number that JSON does not have.
    """
    text = json.dumps(fields, indent=indent, allow_nan=False)
    return re.sub(r"\[\n[\d\s,.e+-]*\]", lambda match: re.sub(r"\s+", " ", match[0]), text) + "\n"


def decode(kind: Any, value: Any, where: str) -> Any:
    """`value` (from `parse`) as `kind`.

    Args:
        kind: a dataclass, StrEnum, Literal of texts, bool, int, float, str, Any, `X | None`, tuple[X, ...],
            tuple[X, Y] or dict[str, X].
        where: dotted name of the value for errors.

    Raises:
        Mismatch: it does not fit.
    """
    origin = get_origin(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where)
    if origin is Literal:
        return _chosen(get_args(kind), value, where)
    if origin is types.UnionType:
        (inner,) = (part for part in get_args(kind) if part is not types.NoneType)
        return None if value is None else decode(inner, value, where)
    if origin is tuple:
        return _tuple(get_args(kind), value, where)
    if origin is dict:
        entries = _checked(value, dict, where, "an object").items()
        return {name: decode(get_args(kind)[1], entry, f"{where}.{name}") for name, entry in entries}
    return _scalar(kind, value, where)


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    _checked(value, dict, where, "an object")
    hints = get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]
    missing, unknown = [n for n in names if n not in value], [n for n in value if n not in names]
    if missing:
        raise Mismatch(f"{where} lacks {', '.join(missing)}", f"the fields {', '.join(names)}")
    if unknown:
        raise Mismatch(f"{where} has the unknown field {', '.join(unknown)}", f"the fields {', '.join(names)}")
    return kind(**{name: decode(hints[name], value[name], f"{where}.{name}") for name in names})


def _tuple(parts: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    _checked(value, list, where, "a list")
    if len(parts) == 2 and parts[1] is Ellipsis:
        parts = parts[:1] * len(value)
    if len(parts) != len(value):
        raise Mismatch(f"{where} has {len(value)} entries", f"{len(parts)}")
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
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _refuse_constant(text: str) -> NoReturn:
    raise Mismatch(f"holds {text}", "finite numbers")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        twice = sorted({name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1})
        raise Mismatch(f"names {', '.join(twice)} twice in one object", "each field once")
    return fields
