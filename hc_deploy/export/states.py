"""What a checkpoint file holds -> the state dict in it; its names -> the network's names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch

from hc_deploy.errors import DeployError, UsageError
from hc_deploy.export.families import WRAPPERS, without_wrappers
from hc_deploy.export.pickled import Placeholder, as_tensor
from hc_deploy.shown import listed

State = dict[str, torch.Tensor]
PREFERRED = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params",
    "generator", "segmentor", "student",
)  # fmt: skip
"""Which of several state dicts is taken where nobody says; the first found. Averages (`ema`) are asked for."""
DEEPEST = 2
MOST_SHOWN = 12


@dataclass(frozen=True)
class Found:
    """A state dict. `key`: where it lay ("" at the top). `others`: where others lie. `aside`: what is no tensor."""

    state: State
    key: str
    others: tuple[str, ...]
    aside: tuple[str, ...]


def find_state(content: object, *, key: str | None = None, source: str) -> Found:
    """The state dict in `content`: at the top, or up to two dicts down.

    Args:
        content: what `pickles.read_pickle` gave. key: which one, by its path ("model", "checkpoint.ema"); None: the
            first of `PREFERRED`, else the only one. source: the file's name, for errors.

    Raises:
        DeployError: there is none; its keys are listed. UsageError: `key` is none, or several and none preferred.
    """
    found = dict(_candidates(content))
    if key is not None:
        if key not in found:
            raise UsageError(f"--state-key {key}: not in {source}", expected=f"one of {_listed(found) or 'none'}")
        return _found(key, found)
    if not found:
        keys = [str(name) for name in content][:MOST_SHOWN] if isinstance(content, dict) else []
        held = f"; its keys: {_listed(keys)}" if keys else f": a {_kind(content)}"
        raise DeployError(f"{source} holds no state dict{held}", expected="a dict of parameter names and tensors")
    if "" in found:
        return _found("", found)
    for name in PREFERRED:
        paths = [path for path in found if path.rpartition(".")[2] == name]
        if paths:
            return _found(paths[0], found)
    if len(found) > 1:
        raise UsageError(
            f"{source} holds several state dicts: {_listed(found)}", expected="--state-key KEY, one of them"
        )
    return _found(next(iter(found)), found)


def _candidates(content: object, path: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    entries = _entries(content)
    tensors = sum(as_tensor(value) is not None for name, value in entries.items() if isinstance(name, str))
    # A training record has a tensor or two among its counters; a state dict has little else.
    if tensors and 2 * tensors >= len(entries):
        yield path, entries
        return
    if depth < DEEPEST:
        for name, value in entries.items():
            if isinstance(value, dict | list | Placeholder) and not str(name).startswith("optimizer"):
                yield from _candidates(value, f"{path}.{name}" if path else str(name), depth + 1)


def _entries(content: object) -> Mapping[Any, Any]:
    if isinstance(content, Placeholder) and isinstance(content.state, dict) and "_modules" in content.state:
        return dict(_of_module(content))
    if isinstance(content, dict):
        return content
    if isinstance(content, list) and len(content) <= MOST_SHOWN:
        return {str(index): value for index, value in enumerate(content)}
    return {}


def _of_module(module: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """A whole pickled network, by what torch.nn.Module keeps in its attributes: no class of it is needed."""
    fields = module.state if isinstance(module, Placeholder) and isinstance(module.state, dict) else {}
    passing = fields.get("_non_persistent_buffers_set", ())
    for kind in ("_parameters", "_buffers"):
        for name, value in (fields.get(kind) or {}).items():
            if value is not None and name not in passing:
                yield f"{prefix}{name}", value
    if depth < 64:
        for name, child in (fields.get("_modules") or {}).items():
            yield from _of_module(child, f"{prefix}{name}.", depth + 1)


def _found(key: str, found: Mapping[str, Mapping[Any, Any]]) -> Found:
    state: State = {}
    aside = []
    for name, value in found[key].items():
        tensor = as_tensor(value)
        if isinstance(name, str) and tensor is not None:
            state[name] = tensor.detach()
        else:
            aside.append(str(name))
    return Found(state, key, tuple(path for path in found if path != key), tuple(aside))


@dataclass(frozen=True)
class Names:
    """Names of a file as those of a network. `renamed`: file's name -> network's; `note`: what was done, or ""."""

    renamed: dict[str, str]
    note: str


def match_names(given: Collection[str], wanted: Collection[str]) -> Names:
    """The file's names without what stands around the network's: a prefix of any depth, and wrappers' parts inside.

    The prefix is the one under which most of the network's names are; none, where they are at the top.
    """
    targets = set(wanted)
    plain = {name: name if name in targets else without_wrappers(name) or name for name in given}
    counts = Counter({"": sum(name in targets for name in plain.values())})
    for name in plain.values():
        parts = name.split(".")
        for cut in range(1, len(parts)):
            if ".".join(parts[cut:]) in targets:
                counts[".".join(parts[:cut]) + "."] += 1
    # Of prefixes that fit alike the shorter one: `model.` before `model_ema.module.`.
    prefix = max(counts, key=lambda one: (counts[one], -len(one)))
    renamed = {name: plain[name].removeprefix(prefix) if plain[name].startswith(prefix) else name for name in given}
    if len(set(renamed.values())) != len(renamed):
        renamed = {name: name for name in given}
    stripped = sum(1 for name in given if renamed[name] != name)
    wrappers = [part for part in WRAPPERS if any(part in name.split(".") for name in given) and part not in targets]
    said = [f"'{prefix}'" if prefix else "", *(f"'{part}.'" for part in wrappers if f"{part}." not in prefix)]
    what = " and ".join(part for part in said if part)
    return Names(renamed, f"{what} stripped from {stripped} of {len(renamed)} names" if stripped else "")


def ignored(unexpected: Collection[str], patterns: Collection[str]) -> list[str]:
    """The unexpected names that a pattern (`*`, `?`) takes.

    Raises:
        UsageError: a pattern that takes none.
    """
    taken: set[str] = set()
    for pattern in patterns:
        found = [name for name in unexpected if fnmatchcase(name, pattern)]
        if not found:
            raise UsageError(
                f"--ignore-keys {pattern} fits no unexpected name", expected=f"one that fits {_listed(unexpected)}"
            )
        taken.update(found)
    return sorted(taken)


def not_finite(state: Mapping[str, torch.Tensor]) -> list[str]:
    """Tensors with a NaN or an infinity: "name: 3 of 64 values are NaN"."""
    lines = []
    for name, tensor in state.items():
        if tensor.is_meta or not tensor.is_floating_point() or torch.isfinite(tensor).all():
            continue
        nans = int(torch.isnan(tensor).sum())
        what, count = ("NaN", nans) if nans else ("infinite", int(torch.isinf(tensor).sum()))
        lines.append(f"{name}: {count} of {tensor.numel()} values are {what}")
    return lines


def require_finite(state: Mapping[str, torch.Tensor], *, source: str) -> None:
    """DeployError with the tensors' names where a weight is NaN or infinite: answers of such a network mean nothing."""
    lines = not_finite(state)
    if lines:
        raise DeployError(
            f"{source} has weights that are no numbers\n  " + "\n  ".join(lines[:MOST_SHOWN]),
            expected="finite weights",
            mend="an earlier checkpoint of that training",
        )


def _listed(names: Collection[str]) -> str:
    return listed([name if name else "(the top)" for name in sorted(names)], MOST_SHOWN)


def _kind(content: object) -> str:
    return content.name if isinstance(content, Placeholder) else type(content).__name__
