"""Values for JSON and command lines, drawn by Hypothesis: numbers, texts and trees at the edges of what is legal."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**63), 10**400, 1e308, -0.0, 5e-324, float("nan"), float("inf"), 1e400)
TEXTS = (
    "", " ", "\x00", "\x1b]0;title\x07\x1b[31m", "\r\n", "\u202e", "\ud800", "../../x", "/dev/zero", "os:system",
    "subprocess:Popen", "%s%n", "[bold]", "[/]", "x" * 20_000, "1" * 5000, "0x10", "\u0661", "²", "1e3", "NaN",
)  # fmt: skip
SIDES = st.one_of(st.integers(-1, 70_000).map(str), st.sampled_from(TEXTS), st.text(max_size=6))
COUNT = 200


def _trees() -> st.SearchStrategy[Any]:
    leaves = st.one_of(
        st.none(),
        st.booleans(),
        st.sampled_from(NUMBERS),
        st.integers(),
        st.floats(),
        st.sampled_from(TEXTS),
        st.text(),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
        max_leaves=12,
    )


def _command_line() -> st.SearchStrategy[list[str]]:
    texts = st.one_of(
        st.lists(SIDES, min_size=1, max_size=4).map("x".join),
        st.lists(SIDES, min_size=1, max_size=4).map("X".join),
        st.tuples(st.sampled_from(("width", "classes", "", "a b", "ä")), st.sampled_from(("=", "", "==")), SIDES).map(
            "".join
        ),
        st.sampled_from(
            ("[" * 3000, "width=" + "(" * 3000, "width=" + "-" * 9000 + "1", "a/" * 3000, "x" * 300 + ".mp4")
        ),
        st.tuples(st.text(max_size=8), st.sampled_from((".mp4", ".webm", "/", ".exe", ""))).map("".join),
        st.text(),
    )
    kinds = st.sampled_from(("size", "shape", "option", "output", "arch", "models"))
    return st.tuples(kinds, texts).map(list)


@cache
def trees(number: int) -> tuple[Any, ...]:
    """JSON values; `number` is the seed."""
    return _drawn(_trees(), number)


@cache
def command_lines(number: int) -> tuple[list[str], ...]:
    """[kind, text] as `readers.options` takes them; `number` is the seed."""
    return _drawn(_command_line(), number)


def _drawn(strategy: st.SearchStrategy[Any], number: int) -> tuple[Any, ...]:
    drawn: list[Any] = []

    @seed(number)
    @settings(
        max_examples=COUNT,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value: Any) -> None:
        drawn.append(value)

    collect()
    return tuple(drawn)
