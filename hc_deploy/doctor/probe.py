"""A model of our four ops that a deployed machine can run: its inputs and its right answers, without torch or onnx.

`ops.onnx` beside this file is made by `python -m hc_deploy.doctor.ops_model`. The nine seeds around any cell are the
nine unit vectors, so that a pixel belongs to the one candidate that its own vector names, soft or hard.
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

FINE, COARSE = (5, 7), (3, 4)
"""Odd sizes: the bodies pad them."""
CANDIDATES = 9
Arrays = dict[str, NDArray[np.generic]]


def model() -> bytes:
    """The ONNX model: `features`, `seeds`, `numbers` in; `ids` and `labels` out."""
    return files("hc_deploy.doctor").joinpath("ops.onnx").read_bytes()


def inputs() -> Arrays:
    """features [1,9,5,7] and seeds [1,9,3,4], unit vectors; numbers [1,12,3,4], one channel a cell, for HCUpsample."""
    unit = np.eye(CANDIDATES, dtype=np.float32)
    cells = _cells()
    kinds = cells // COARSE[1] % 3 * 3 + cells % COARSE[1] % 3
    wide = {"features": unit[kinds.reshape(-1)[_chosen()]], "seeds": unit[kinds]}
    given: Arrays = {name: values.transpose(2, 0, 1)[None].copy() for name, values in wide.items()}
    given["numbers"] = np.eye(cells.size, dtype=np.float32).reshape(1, cells.size, *COARSE)
    return given


def answers() -> Arrays:
    """`ids` of hard HCAssign and HCDecode, `labels` of soft HCUpsample and HCArgmax: each pixel's cell, [1,5,7]."""
    return {name: _chosen().astype(np.int32)[None] for name in ("ids", "labels")}


def _cells() -> NDArray[np.int64]:
    return np.arange(COARSE[0] * COARSE[1]).reshape(COARSE)


def _chosen() -> NDArray[np.int64]:
    """The cell that each pixel belongs to: the candidates in turn, those outside the map brought to its border."""
    row, column = np.mgrid[: FINE[0], : FINE[1]]
    turn = (row * FINE[1] + column) % CANDIDATES
    row = (row // 2 + turn // 3 - 1).clip(0, COARSE[0] - 1)
    column = (column // 2 + turn % 3 - 1).clip(0, COARSE[1] - 1)
    return _cells()[row, column]
