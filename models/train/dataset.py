"""Training samples: rendered street scenes in a cache on disk -> augmented batches of tensors."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

import scenes as renderer
from hc_deploy.errors import DeployError
from hc_deploy.evaluate.metrics import IGNORE
from hc_deploy.shown import quoted
from hc_deploy.spec import IMAGENET_MEAN, IMAGENET_STD
from hc_deploy.system.children import die_with_the_parent
from hc_deploy.system.files import atomic_path, make_folder
from hc_deploy.system.interrupts import cleanup, postponed
from scenes.scene import Scene

Sample = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(frozen=True)
class Frames:
    """images uint8 [N,H,W,3] RGB and labels uint8 [N,H,W], memory-mapped; DeployError for anything else."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def __post_init__(self) -> None:
        kinds = {str(self.images.dtype), str(self.labels.dtype)}
        if kinds != {"uint8"} or self.images.shape != (*self.labels.shape, 3) or self.labels.ndim != 3:
            raise DeployError(
                f"images {self.images.dtype} {self.images.shape}, labels {self.labels.dtype} {self.labels.shape}",
                expected="uint8 [N,H,W,3] and uint8 [N,H,W]",
            )

    def __len__(self) -> int:
        return len(self.images)


@contextmanager
def _masked() -> Iterator[None]:
    """Processes that are started within the block never see Ctrl-C or the terminal's end: their parent ends them.

    They hear SIGTERM, with which the pool ends them where one has died.
    """
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _end_children(but: set[Any]) -> None:
    for child in set(multiprocessing.active_children()) - but:
        child.kill()


def _render(seed: int, size: tuple[int, int]) -> Sample:
    frame = Scene(seed, size).render(time_s=(seed % 7) * 0.9)
    return frame.image, frame.labels


def _generator() -> str:
    """Digest of the sources that draw a scene: when they change, it is drawn anew."""
    sources = sorted(Path(renderer.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:8]


def _render_all(images: NDArray[np.uint8], labels: NDArray[np.uint8], first_seed: int, size: tuple[int, int]) -> None:
    """Fill both, in as many processes as there are cores."""
    end_workers = partial(_end_children, but=set(multiprocessing.active_children()))
    seeds = range(first_seed, first_seed + len(images))
    try:
        with ProcessPoolExecutor(os.cpu_count(), initializer=die_with_the_parent) as pool, cleanup(end_workers):
            with postponed(), _masked():
                samples = pool.map(_render, seeds, [size] * len(images), chunksize=4)
            for index, sample in enumerate(samples):
                images[index], labels[index] = sample
    except BrokenProcessPool:
        raise DeployError("a process that draws scenes was killed", mend="free some memory") from None


def rendered_streets(folder: Path, *, first_seed: int, count: int, size: tuple[int, int]) -> Frames:
    """`count` scenes of seeds first_seed.. at `size` (H, W); rendered once, then read from `folder`."""
    height, width = size
    stem = f"streets_{_generator()}_{first_seed}_{count}_{height}x{width}"
    paths = make_folder(folder) / f"{stem}_images.npy", folder / f"{stem}_labels.npy"
    if not all(path.exists() for path in paths):
        with atomic_path(paths[0]) as image_path, atomic_path(paths[1]) as label_path:
            images = np.lib.format.open_memmap(image_path, "w+", np.uint8, (count, height, width, 3))
            labels = np.lib.format.open_memmap(label_path, "w+", np.uint8, (count, height, width))
            _render_all(images, labels, first_seed, size)
            images.flush()
            labels.flush()
    return Frames(
        _cached(paths[0], (count, height, width, 3)),
        _cached(paths[1], (count, height, width)),
    )


def _cached(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A file of the cache, which anything may have happened to since it was written."""
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise DeployError(f"{path} cannot be read: {error}", expected="scenes", mend=f"rm {quoted(path)}") from None
    if array.shape != shape or array.dtype != np.uint8:
        raise DeployError(
            f"{path} holds {array.dtype} of shape {array.shape}", expected=f"uint8 {shape}", mend=f"rm {quoted(path)}"
        )
    return array


def augment(
    image: NDArray[np.uint8], labels: NDArray[np.uint8], crop: tuple[int, int], rng: np.random.Generator
) -> Sample:
    """Random resize between 0.5 and 1.5, random crop (padded with ignore) and horizontal flip, as in section 4.1."""
    scale = float(rng.uniform(0.5, 1.5))
    height, width = crop
    source = (min(round(height / scale), image.shape[0]), min(round(width / scale), image.shape[1]))
    top = int(rng.integers(0, image.shape[0] - source[0] + 1))
    left = int(rng.integers(0, image.shape[1] - source[1] + 1))
    window = np.s_[top : top + source[0], left : left + source[1]]
    target = (min(round(source[1] * scale), width), min(round(source[0] * scale), height))
    small = cv2.resize(image[window], target, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    classes = cv2.resize(labels[window], target, interpolation=cv2.INTER_NEAREST_EXACT)
    pad = (0, height - target[1], 0, width - target[0])
    small = cv2.copyMakeBorder(small, *pad, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    classes = cv2.copyMakeBorder(classes, *pad, cv2.BORDER_CONSTANT, value=(IGNORE,))
    if rng.random() < 0.5:
        small, classes = small[:, ::-1], classes[:, ::-1]
    return np.ascontiguousarray(small), np.ascontiguousarray(classes)


def normalised(images: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 RGB [B,H,W,3] -> float32 [B,3,H,W] by ImageNet's mean and deviation."""
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return (tensor - mean[:, None, None]) / std[:, None, None]


def batches(
    frames: Frames, *, crop: tuple[int, int], batch: int, steps: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """`steps` augmented batches: images [B,3,h,w] and labels int64 [B,h,w]."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        picks = rng.integers(0, len(frames), batch)
        samples = [augment(frames.images[i], frames.labels[i], crop, rng) for i in picks]
        images, labels = (np.stack(part) for part in zip(*samples, strict=True))
        yield normalised(images), torch.from_numpy(labels.astype(np.int64))
