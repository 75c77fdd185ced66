"""Surfaces: noise, foliage, masonry, fences, facades. Seeds and sizes enter, uint8 pictures (RGB or RGBA) leave."""

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np

Colour = tuple[float, float, float]

CELL = (60, 48)  # pixels (rows, columns) of one storey of one bay


@functools.cache
def noise(seed: int, size: int, coarsest: int) -> np.ndarray:
    """Periodic fractal noise, uint8 [size, size] around 128; `coarsest`: cells of the lowest octave."""
    rng = np.random.default_rng(seed)
    total = np.zeros((size, size), np.float32)
    cells, weight = coarsest, 1.0
    while cells <= size:
        patch = np.pad(rng.standard_normal((cells, cells)).astype(np.float32), ((0, 1), (0, 1)), mode="wrap")
        total += weight * cv2.resize(patch, (size + size // cells, size + size // cells))[:size, :size]
        cells, weight = cells * 2, weight * 0.62
    total /= total.std()
    return np.clip(128 + 42 * total, 0, 255).astype(np.uint8)


@functools.cache
def foliage(seed: int, kind: str) -> np.ndarray:
    """A crown ('round', 'tall', 'bush' or 'sparse') as uint8 [96, 96, 2]: brightness (128 = plain) and mask."""
    rng = np.random.default_rng(seed)
    side = 96
    field: np.ndarray = np.zeros((side, side), np.float32)
    for _ in range(26 if kind != "sparse" else 30):
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1))
        spread = {"round": (0.29, 0.29), "tall": (0.17, 0.34), "bush": (0.33, 0.2), "sparse": (0.3, 0.28)}[kind]
        middle = (48 + side * spread[0] * reach * np.cos(angle), 48 + side * spread[1] * reach * np.sin(angle))
        radius = rng.uniform(0.06, 0.15) * side * (0.75 if kind == "sparse" else 1.0)
        cv2.circle(field, (int(middle[0]), int(middle[1])), int(radius), 1.0, -1)
    if kind == "bush":
        field[60:95, 12:84] = 1.0
    field = cv2.GaussianBlur(field, (0, 0), 2.5)
    fine = (noise(seed + 1, 128, 16)[:side, :side].astype(np.float32) - 128) / 42
    leaves = rng.standard_normal((side, side)).astype(np.float32)
    leaves = cv2.GaussianBlur(leaves, (0, 0), 0.8) * 2.0
    mask: np.ndarray = field + 0.16 * fine + 0.10 * leaves > (0.5 if kind != "sparse" else 0.6)
    _, parts, sizes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    mask &= sizes[parts, cv2.CC_STAT_AREA] > 40  # no leaf hangs in the air
    lumps = cv2.GaussianBlur(rng.standard_normal((side, side)).astype(np.float32), (0, 0), 5) * 9
    bright = 128 + 24 * leaves + 16 * fine + 20 * lumps - 0.45 * (np.arange(side, dtype=np.float32)[:, None] - 48)
    return np.dstack([np.clip(bright, 30, 250), mask * np.float32(255)]).astype(np.uint8)


class Texture:
    """A surface and its shrunken copies, each made when first asked for. `full`: uint8 [h, w, channels]."""

    def __init__(self, full: np.ndarray) -> None:
        self.full = full
        self._levels: dict[tuple[int, int], np.ndarray] = {(0, 0): full}

    def level(self, rows: float, columns: float) -> np.ndarray:
        """The smallest copy that still has the given rows and columns; halved each way on its own, since a facade
        seen along the street is squeezed in one direction only."""
        high, wide = self.full.shape[:2]
        halvings = (int(math.log2(max(high / max(rows, 2.0), 1))), int(math.log2(max(wide / max(columns, 2.0), 1))))
        if halvings not in self._levels:
            small = (max(wide >> halvings[1], 1), max(high >> halvings[0], 1))
            self._levels[halvings] = cv2.resize(self.full, small, interpolation=cv2.INTER_AREA)
        return self._levels[halvings]


def crown(seed: int, kind: str, colour: Colour) -> tuple[np.ndarray, ...]:
    """A coloured crown as a pyramid of RGBA pictures, 96 pixels a side and its halves."""
    grey, mask = cv2.split(foliage(seed, kind))
    level = cv2.merge([*(cv2.convertScaleAbs(grey, alpha=c / 128) for c in colour), mask])
    levels = [level]
    while level.shape[0] > 6:
        level = cv2.resize(level, (level.shape[1] // 2, level.shape[0] // 2), interpolation=cv2.INTER_AREA)
        levels.append(level)
    return tuple(levels)


def masonry(seed: int, colour: Colour, style: str, length: float) -> np.ndarray:
    """A wall surface, RGB, 64 rows; style 'brick', 'concrete', 'stone' or 'hedge'; length over height."""
    columns = int(np.clip(64 * length, 64, 640))
    rng = np.random.default_rng(seed)
    face = np.empty((64, columns, 3), np.uint8)
    face[:] = colour
    joint = [0.72 * c for c in colour]
    if style in ("brick", "stone"):
        step, wide = (8, 16) if style == "brick" else (13, 26)
        for row, top in enumerate(range(0, 64, step)):
            for left in range(-wide // 2 * (row % 2), columns, wide):
                tone = rng.uniform(0.85, 1.15)
                block = [min(c * tone, 255) for c in colour]
                cv2.rectangle(face, (left + 1, top + 1), (left + wide - 1, top + step - 1), block, -1)
    elif style == "concrete":
        for left in range(0, columns, 48):
            cv2.line(face, (left, 0), (left, 63), joint, 2)
    face[:4] = np.clip(np.array(colour) * rng.uniform(0.6, 1.25), 0, 255)
    return grain(face, seed, 0.5 if style != "hedge" else 1.3)


def fence(seed: int, colour: Colour, style: str, length: float) -> np.ndarray:
    """A fence surface, RGBA, 64 rows; style 'bars', 'mesh' (both with holes) or 'planks'; length over height."""
    columns = int(np.clip(64 * length, 64, 1024))
    face = np.zeros((64, columns, 4), np.uint8)
    solid = [*colour, 255]
    if style == "planks":
        face[:] = [*(0.55 * c for c in colour), 255]
        for index, left in enumerate(range(0, columns, 10)):
            tone = 0.85 + 0.3 * ((index * 7919 + seed) % 13) / 13
            cv2.rectangle(face, (left, 0), (left + 7, 63), [*(min(c * tone, 255) for c in colour), 255], -1)
        return face
    step, thick = (12, 3) if style == "bars" else (7, 1)
    for left in range(0, columns, step):
        cv2.line(face, (left, 0), (left, 63), solid, thick)
    for top in (2, 58) if style == "bars" else range(2, 64, 7):
        cv2.line(face, (0, top), (columns, top), solid, max(thick, 2) if style == "bars" else 1)
    for left in range(0, columns, 96):
        cv2.line(face, (left, 0), (left, 63), solid, 6)
    return face


def grain(face: np.ndarray, seed: int, strength: float) -> np.ndarray:
    """The surface with noise multiplied in."""
    rows, columns = face.shape[:2]
    tile, start = noise(seed % 4 + 20, 256, 8), (seed * 37) % 128
    more = (max(start + rows - 256, 0), max(start + columns - 256, 0))
    patch = cv2.copyMakeBorder(tile, 0, more[0], 0, more[1], cv2.BORDER_WRAP)
    patch = patch[start : start + rows, start : start + columns]
    factor = cv2.convertScaleAbs(patch, alpha=strength, beta=128 * (1 - strength))
    return cv2.multiply(face, cv2.merge([factor] * 3), scale=1 / 128)


@dataclass(frozen=True)
class Facade:
    """What a building's street side looks like. Colours are RGB 0..255; shares are 0..1."""

    seed: int
    storeys: int
    bays: int
    wall: Colour
    trim: Colour
    glass: Colour
    base: Colour
    window: tuple[float, float]  # share of the cell (width, height)
    shop: bool
    balconies: bool
    bands: bool


def facade(spec: Facade) -> np.ndarray:
    """The street side of a building, RGB [storeys * 60, bays * 48, 3]."""
    rng = np.random.default_rng(spec.seed)
    upper = np.stack([_cell(spec, rng) for _ in range(4)])
    lower = np.stack([_ground_cell(spec, rng) for _ in range(3)])
    rows = [upper[rng.integers(0, 4, spec.bays)] for _ in range(spec.storeys - 1)]
    rows.append(lower[rng.integers(0, 3, spec.bays)])
    cells = np.stack(rows)  # [storeys, bays, 60, 48, 3]
    face = cells.transpose(0, 2, 1, 3, 4).reshape(spec.storeys * CELL[0], spec.bays * CELL[1], 3)
    face = np.ascontiguousarray(face)
    face[: 6 if spec.bands else 3] = spec.trim
    if spec.shop:
        edge = (spec.storeys - 1) * CELL[0]
        sign = rng.uniform(20, 235, 3)
        face[edge : edge + 11] = sign
        for left in range(12, face.shape[1] - 24, int(rng.integers(40, 130))):
            cv2.line(face, (left, edge + 6), (left + 18, edge + 6), (255 - sign).tolist(), 3)
    return grain(face, spec.seed, 0.22)


def _cell(spec: Facade, rng: np.random.Generator) -> np.ndarray:
    cell = np.empty((*CELL, 3), np.uint8)
    cell[:] = spec.wall
    wide, high = int(CELL[1] * spec.window[0]), int(CELL[0] * spec.window[1])
    left, top = (CELL[1] - wide) // 2, (CELL[0] - high) // 2
    cv2.rectangle(cell, (left - 3, top - 3), (left + wide + 2, top + high + 3), spec.trim, -1)
    glass = np.clip(np.array(spec.glass) * rng.uniform(0.5, 1.5), 0, 255).tolist()
    if rng.random() < 0.12:
        glass = [235, 205, 140]
    cv2.rectangle(cell, (left, top), (left + wide - 1, top + high - 1), glass, -1)
    shade = int(high * rng.choice([0.0, 0.25, 0.6], p=[0.5, 0.3, 0.2]))
    if shade:
        cv2.rectangle(cell, (left, top), (left + wide - 1, top + shade), rng.uniform(120, 230, 3).tolist(), -1)
    cv2.line(cell, (left + wide // 2, top), (left + wide // 2, top + high), spec.trim, 2)
    cv2.line(cell, (left, top + high // 3), (left + wide, top + high // 3), spec.trim, 1)
    if spec.bands:
        cell[-4:] = spec.trim
    if spec.balconies:
        rail = [0.45 * c for c in spec.trim]
        cv2.rectangle(cell, (left - 5, CELL[0] - 20), (left + wide + 4, CELL[0] - 3), rail, 2)
        for column in range(left - 5, left + wide + 5, 4):
            cv2.line(cell, (column, CELL[0] - 20), (column, CELL[0] - 3), rail, 1)
    return cell


def _ground_cell(spec: Facade, rng: np.random.Generator) -> np.ndarray:
    cell = np.empty((*CELL, 3), np.uint8)
    cell[:] = spec.base
    glass = (np.array(spec.glass) * rng.uniform(0.4, 1.3)).clip(0, 255).tolist()
    if spec.shop:
        cv2.rectangle(cell, (3, 16), (CELL[1] - 4, CELL[0] - 6), spec.trim, -1)
        cv2.rectangle(cell, (5, 18), (CELL[1] - 6, CELL[0] - 9), glass, -1)
        for _ in range(4):
            at = (int(rng.integers(8, 38)), int(rng.integers(30, 48)))
            cv2.rectangle(cell, at, (at[0] + 5, at[1] + 6), rng.uniform(30, 230, 3).tolist(), -1)
        return cell
    if rng.random() < 0.4:
        door = rng.uniform(25, 140, 3).tolist()
        cv2.rectangle(cell, (12, 16), (35, CELL[0] - 1), spec.trim, -1)
        cv2.rectangle(cell, (14, 19), (33, CELL[0] - 1), door, -1)
        cv2.rectangle(cell, (17, 21), (30, 28), glass, -1)
        return cell
    cv2.rectangle(cell, (9, 13), (38, 45), spec.trim, -1)
    cv2.rectangle(cell, (12, 16), (35, 42), glass, -1)
    cv2.line(cell, (23, 16), (23, 42), spec.trim, 2)
    return cell
