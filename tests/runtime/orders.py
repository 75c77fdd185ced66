"""Every order of calls on one runtime -> a line of JSON for each order: what each of its calls told.

`python -m tests.runtime.orders KIND PATH`. In a process of its own: a runtime that crashes ends this one alone, and the
lines that are missing tell in which order.
"""

import itertools
import json
import sys
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import numpy as np

from hc_deploy.errors import DeployError
from hc_deploy.runtime import engine_check, open_session, tensorrt
from hc_deploy.runtime.session import SessionBase
from tests.runtime.doubles import GpuDouble, module
from tests.video.toys import toy_spec

CALLS = ("load a", "load b", "execute", "fetch", "close")
ORDERS = [order for length in range(1, 5) for order in itertools.product(CALLS, repeat=length)]
ORDERS += [
    ("load a", "execute", "fetch", "load b", "execute", "fetch"),
    ("load a", "execute", "load b", "fetch", "execute", "fetch"),
]
SHORT = 3
"""Calls of an order on a runtime that takes long to open a model."""
REFUSALS = ("is closed", "nothing is loaded", "nothing was executed")
SCRIBBLE = 99
NEAR_ENOUGH = 0.99
"""Share of the values that must be as expected: a GPU's may round anew. Of 8x9 pixels that is all of them."""


def orders_of(kind):
    return [order for order in ORDERS if len(order) <= SHORT] if kind == "openvino" else ORDERS


def picture(seed, shape):
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


@contextmanager
def opener(kind, path):
    """(a function that opens a session of the kind, what its outputs must be or None where nobody else knows)."""
    if kind == "torch":
        yield toy_in_torch, toy
    elif kind == "engine double":
        gpu = GpuDouble()
        with (
            mock.patch.object(tensorrt, "open_device", lambda: gpu),
            mock.patch.object(engine_check.flavours, "load", lambda flavour: module(gpu, [])),
        ):
            yield lambda: open_session(path), lambda image: {"labels": image[..., 0] + 1}
    elif kind == "openvino":
        yield lambda: open_session(path, provider="openvino", threads=1), toy
    elif kind == "onnxruntime":
        yield lambda: open_session(path, threads=1), toy
    else:
        yield lambda: open_session(path, provider="cuda" if kind == "cuda" else None), None


def toy(image):
    """What the toy model says of an RGB image (`tests.video.toys`)."""
    return {"labels": image[..., 0] // 14, "superpixels": image[..., 1].astype(np.int32) // 64}


def toy_in_torch():
    """Its labels lie in the same buffer every time, as those of a captured graph do."""
    import torch

    from hc_deploy.runtime.torch import TorchSession

    class Toy(torch.nn.Module):
        labels = torch.zeros(0, dtype=torch.uint8)

        def forward(self, image):
            self.labels.resize_(image.shape[:3]).copy_(image[..., 0] // 14)
            return self.labels, image[..., 1].int() // 64

    return TorchSession(Toy(), toy_spec(), name="net")


def told_in(order, session, images, truths):
    """What each call told: `done`, the image that an answer belongs to, a refusal, or what should not be."""
    told, kept = [], []
    for call in order:
        try:
            if call.startswith("load"):
                image = images[call[-1]].copy()
                session.load(image)
                image[:] = 255 - image  # the caller's again
            elif call == "fetch":
                outputs = session.fetch()
                told.append(next((name for name, truth in truths.items() if same(outputs, truth)), "another answer"))
                for (
                    array
                ) in outputs.values():  # the caller's, too: each answer is written over with a number of its own
                    array[...] = SCRIBBLE + len(kept)
                    kept.append(array)
                continue
            else:
                getattr(session, call)()
            told.append("done")
        except DeployError as error:
            known = next((refusal for refusal in REFUSALS if refusal in error.received), None)
            told.append(known if known and error.expected and error.mend else f"DeployError: {error}")
        except Exception as error:
            told.append(f"{type(error).__name__}: {error}")
    if any((array != SCRIBBLE + number).any() for number, array in enumerate(kept)):
        told.append("a call changed what an earlier one had given")
    return told


def same(outputs, truth):
    return outputs.keys() == truth.keys() and all(
        outputs[name].shape == truth[name].shape and np.mean(np.isclose(outputs[name], truth[name])) >= NEAR_ENOUGH
        for name in truth
    )


def main(kind, path):
    warnings.simplefilter("error")
    with ExitStack() as stack:
        opened, truth = stack.enter_context(opener(kind, path))
        with opened() as session:
            assert isinstance(session, SessionBase)
            height, width = session.spec.size or (8, 9)
            images = {name: picture(seed, (1, height, width, 3)) for seed, name in enumerate("ab")}
            truths = {name: truth(image) if truth else session.run(image) for name, image in images.items()}
            assert not same(truths["a"], truths["b"])
        for order in orders_of(kind):
            with opened() as session:
                print(json.dumps(told_in(order, session, images, truths)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
