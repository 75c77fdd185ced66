"""Text on its way to people: what a terminal would obey or hide is spelled out, paths in commands are quoted.

File names, class names, metadata and error texts of libraries come from anywhere. Printed as they are, they could set
a terminal's title, paint over a line, or turn the reading direction round. `hc_deploy.console` calls `visible` in front
of everything that it prints; whoever suggests a command calls `quoted`. Standard library only.
"""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from collections.abc import Sequence
from pathlib import Path

UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
"""Letters, marks and symbols that draw nothing: Python calls them printable."""
ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
BYTE_128 = 0xDC80
"""How Python spells byte 128 of a file name that is not text in its encoding, up to 0xDCFF for byte 255."""


def visible(text: str) -> str:
    """`text` in one line of characters that each show and do nothing else.

    Control characters (C0, C1, DEL), direction marks, zero-width and other invisible ones and lone surrogates become
    `\\x1b`, `\\u202e`; a byte of a file name that is no text becomes `\\xff`. Letters, accents, spaces and emoji stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if _shows(character) else _escape(character) for character in text)


def quoted(path: str | Path) -> str:
    """`path` as a word of a shell command, to be pasted as it stands; one that starts with a dash gets `./`.

    A name that is not all visible becomes bash's and zsh's `$'...'` with octal bytes, which names the same file.
    """
    text = os.fspath(path)
    if text.startswith("-"):
        text = f"./{text}"
    if visible(text) == text:
        return shlex.quote(text)
    return "$'" + "".join(_in_dollar_quotes(character) for character in text) + "'"


def listed(names: Sequence[str], most: int = 12) -> str:
    """'a, b, c', or 'a, b, and 7 more'."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, and {len(names) - most} more"


def _shows(character: str) -> bool:
    if not character.isprintable():
        return unicodedata.category(character) == "Zs"  # spaces of other widths are in people's file names
    return UNSEEN.match(character) is None


def _escape(character: str) -> str:
    code = ord(character)
    if BYTE_128 <= code <= BYTE_128 + 127:
        code -= BYTE_128 - 128
    if character in ESCAPES:
        return ESCAPES[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _in_dollar_quotes(character: str) -> str:
    if character in "'\\":
        return f"\\{character}"
    if _shows(character):
        return character
    try:
        data = os.fsencode(character)
    except UnicodeEncodeError:  # half of a surrogate pair: no file system here has such a name
        data = character.encode("utf-8", "surrogatepass")
    return "".join(f"\\{byte:03o}" for byte in data)
