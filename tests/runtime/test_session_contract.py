"""One state machine for every runtime: each order of calls, whose array is whose, and what a failing runtime gives.

On a GPU where there is one; the TensorRT session on doubles everywhere.
"""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from hc_deploy.errors import DeployError
from tests.runtime.doubles import write
from tests.runtime.orders import opener, orders_of, picture
from tests.video.toys import save_toy, toy_spec

HERE = ("onnxruntime", "openvino", "torch", "engine double")
ON_GPU = ("cuda", "tensorrt", "tensorrt-rtx")
SHAPE = (1, 8, 9, 3)


def expected(order):
    """What each call must tell: the state machine in a few lines of its own."""
    state, image = "new", ""
    for call in order:
        if call == "close":
            state = "closed"
            yield "done"
        elif state == "closed":
            yield "is closed"
        elif call.startswith("load"):
            state, image = "loaded", call[-1]
            yield "done"
        elif call == "execute":
            yield "nothing is loaded" if state == "new" else "done"
            state = "new" if state == "new" else "executed"
        else:
            yield image if state == "executed" else "nothing was executed"


def model_of(kind, folder):
    """A file for `opener`."""
    (folder / "net").mkdir()
    if kind == "engine double":
        write(folder / "net" / "model.engine", b"engine")
        return folder / "net" / "model.engine"
    return save_toy(folder / "net" / "model.onnx", toy_spec())


@pytest.mark.parametrize("kind", [*HERE, *ON_GPU])
def test_every_order(kind, tmp_path, request):
    """In another process: run(a), load(b), fetch() once was a segmentation fault, after close() an AttributeError."""
    path = request.getfixturevalue("on_gpu")(kind) if kind in ON_GPU else model_of(kind, tmp_path)
    command = [sys.executable, "-m", "tests.runtime.orders", kind, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    told = [json.loads(line) for line in result.stdout.splitlines()]
    orders = orders_of(kind)
    wrong = {order: found for order, found in zip(orders, told, strict=False) if found != list(expected(order))}
    assert wrong == {}
    assert result.returncode == 0, f"ended by {result.returncode} in {orders[len(told)]}: {result.stderr[-2000:]}"
    assert len(told) == len(orders)


@pytest.fixture(params=HERE)
def opened(request, tmp_path):
    """(an open session, what its outputs must be for an image)."""
    with opener(request.param, model_of(request.param, tmp_path)) as (open_one, truth), open_one() as session:
        yield session, truth


def test_after_a_load_that_failed_nothing_is_loaded(opened):
    session, truth = opened
    session.run(picture(0, SHAPE))
    for wrong in (np.zeros((1, 8, 9, 4), np.uint8), np.zeros(SHAPE, np.float32), [[0]], None):
        with pytest.raises(DeployError, match=r"(?s)^net: .*expected: shape .* and type uint8.*try: "):
            session.load(wrong)
        with pytest.raises(DeployError, match="nothing is loaded"):
            session.execute()
        with pytest.raises(DeployError, match="nothing was executed"):
            session.fetch()
    assert_same(session.run(picture(1, SHAPE)), truth(picture(1, SHAPE)))


def test_any_array_is_taken_and_left_as_it_was(opened):
    """Read-only ones, as decoders and memory maps give, and views that run backwards; of changing sizes."""
    session, truth = opened
    frozen = picture(2, SHAPE)
    frozen.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for image in (frozen, picture(3, SHAPE)[:, ::-1, :, ::-1], frozen[:, 1:6, 2:7], frozen):
            before = image.copy()
            assert_same(session.run(image), truth(before))
            np.testing.assert_array_equal(image, before)


def test_the_state_after_execute_that_failed(opened, monkeypatch):
    """The image is still there, the answer before it is not; once the runtime works again, so does the session."""
    session, truth = opened
    session.run(picture(0, SHAPE))
    session.load(picture(1, SHAPE))
    session.execute()
    monkeypatch.setattr(session, "_execute", failing(RuntimeError("no luck")))
    with pytest.raises(DeployError, match=f"^net failed on {session.provider} while running: no luck"):
        session.execute()
    with pytest.raises(DeployError, match="nothing was executed since the last load"):
        session.fetch()
    monkeypatch.undo()
    session.execute()
    assert_same(session.fetch(), truth(picture(1, SHAPE)))


@pytest.mark.parametrize(
    ("part", "doing"),
    [("_load", "taking the images"), ("_execute", "running"), ("_fetch", "giving the outputs"), ("_close", "closing")],
)
@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ZeroDivisionError("by zero\nmore"), "by zero"),
        (AssertionError(), "AssertionError"),
        (MemoryError("300 GB"), "out of memory (300 GB)"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:1] not enough memory"), "out of memory"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_whatever_a_runtime_raises_is_one_error(opened, monkeypatch, part, doing, error, says):
    session, _ = opened
    with monkeypatch.context() as patched, pytest.raises(DeployError) as caught:
        patched.setattr(session, part, failing(error))
        session.run(picture(0, SHAPE))
        session.close()
    text = str(caught.value)
    assert text.startswith(f"net failed on {session.provider} while {doing}: ") and "more" not in text.splitlines()[0]
    assert says in text and caught.value.expected and caught.value.mend


def test_a_closed_session_is_not_entered(opened):
    session, _ = opened
    session.close()
    with pytest.raises(DeployError, match="net is closed"), session:
        pytest.fail("it was entered")


def failing(error):
    def fail(*_):
        raise error

    return fail


def assert_same(outputs, truth):
    assert outputs.keys() == truth.keys()
    for name, value in truth.items():
        np.testing.assert_array_equal(outputs[name], value)
