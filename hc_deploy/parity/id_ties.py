"""Which superpixel ids a rounding may change: image and ids in, yes or no for each pixel whose id differs out.

Ids are whole numbers that are only passed on, so two runtimes give the same one unless somewhere on the way, from fine
to coarse, a pixel or a cell is about equally similar to two of its candidates. What each could choose is followed here
through the features and seeds of the reference model; an id that is not reached is wrong.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
from numpy.typing import NDArray

from hc_deploy.cluster_options import NORM_FLOOR
from hc_deploy.graph.expose import expose_values
from hc_deploy.graph.functions import op_name
from hc_deploy.graph.model_file import write_model
from hc_deploy.graph.onnx_op import DOMAIN
from hc_deploy.parity.fidelity import NearTies
from hc_deploy.runtime.session import Array, Session
from hc_deploy.spec import OUTPUT_STRIDE, ModelSpec
from hc_deploy.system.temporary import temporary_folder

CHUNK = 4096
"""States that are compared at once: at K = 64 their candidates take 9 MB."""
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class _Choice:
    """One hard HCAssign: the names of what it compares, and how."""

    features: str
    seeds: str
    similarity: str


@contextlib.contextmanager
def near_ties(
    model: onnx.ModelProto, spec: ModelSpec, open_session: Callable[[Path], Session]
) -> Iterator[NearTies | None]:
    """What may decide otherwise in the output `superpixels` of `model`; None where hard assignments do not make it.

    Args:
        model: the reference, in float32. spec: its. open_session: opens a model file.
    """
    choices = _choices(model)
    if not choices:
        yield None
        return
    names = [name for choice in choices for name in (choice.features, choice.seeds)]
    with temporary_folder() as folder:
        path = folder / "clusters.onnx"
        write_model(expose_values(model, names), path)
        with open_session(path) as session:

            def reachable(image: Array, truth: Array, given: Array, tolerance: float) -> NDArray[np.bool_]:
                outputs = session.run(image)
                levels = [(outputs[choice.features], outputs[choice.seeds], choice.similarity) for choice in choices]
                return _reachable(levels, OUTPUT_STRIDE >> spec.level, np.nonzero(truth != given), given, tolerance)

            yield reachable


def _choices(model: onnx.ModelProto) -> list[_Choice]:
    """The hard assignments that the ids go through, from fine to coarse; empty where one of them is not hard."""
    producer = {name: node for node in model.graph.node for name in node.output}
    found, name = [], "superpixels"
    while name in producer:
        node = producer[name]
        name = node.input[0] if node.input else ""
        if node.domain != DOMAIN:
            continue
        assign = producer.get(node.input[1]) if op_name(node) == "HCDecode" else None
        if assign is None or op_name(assign) != "HCAssign":
            return []
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in assign.attribute}
        if attributes["assignment"] != b"hard" or attributes["border"] != b"exclude":
            return []
        found.append(_Choice(assign.input[0], assign.input[1], attributes["similarity"].decode()))
    return found


def _reachable(
    levels: list[tuple[Array, Array, str]], stride: int, where: tuple[Indices, ...], given: Array, tolerance: float
) -> NDArray[np.bool_]:
    """For each pixel of `where` (batch, row, column), whether its id in `given` is one that near ties lead to."""
    batch, row, column = where
    asked = np.stack([batch, row // stride, column // stride, given[where]], axis=1)
    asked, back = np.unique(asked, axis=0, return_inverse=True)
    states = np.concatenate([np.arange(len(asked))[:, None], asked[:, 1:3]], axis=1)  # question, row, column
    width = 0
    for features, seeds, similarity in levels:
        width = seeds.shape[3]
        parts = [
            _candidates(features, seeds, similarity, (part, asked[part[:, 0], 0]), tolerance)
            for part in np.split(states, range(CHUNK, len(states), CHUNK))
        ]
        states = np.unique(np.concatenate(parts), axis=0)
    reached = np.zeros(len(asked), bool)
    ids = states[:, 1] * width + states[:, 2]
    reached[states[ids == asked[states[:, 0], 3], 0]] = True
    return reached[back.reshape(-1)]


def _candidates(
    features: Array, seeds: Array, similarity: str, at: tuple[Indices, Indices], tolerance: float
) -> Indices:
    """States one level coarser: each cell that is nearly as similar as the most similar one.

    Similarities are compared as shares of the product of the lengths, with `dot` as well: that is how an error of the
    features shows in them.
    """
    states, batch = at
    pixels = features[batch, :, states[:, 1], states[:, 2]].astype(np.float64)
    steps = np.arange(9)
    rows = states[:, 1:2] // 2 + steps // 3 - 1
    columns = states[:, 2:3] // 2 + steps % 3 - 1
    h, w = seeds.shape[2:]
    inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
    centres = seeds[batch[:, None], :, rows.clip(0, h - 1), columns.clip(0, w - 1)].astype(np.float64)
    lengths = np.maximum(np.linalg.norm(centres, axis=2), NORM_FLOOR)
    if similarity == "dot":
        lengths = np.broadcast_to(np.where(inside, lengths, 0).max(axis=1, keepdims=True), lengths.shape)
    own = np.maximum(np.linalg.norm(pixels, axis=1), NORM_FLOOR)
    similar = np.einsum("nk,nck->nc", pixels, centres) / (lengths * own[:, None])
    similar = np.where(inside, similar, -np.inf)
    near = similar >= similar.max(axis=1, keepdims=True) - tolerance
    state, candidate = np.nonzero(near)
    return np.stack([states[state, 0], rows[state, candidate], columns[state, candidate]], axis=1)
