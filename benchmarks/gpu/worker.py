"""One process a group: a job in, its result out, whatever becomes of the process.

A fault on a GPU spoils every later call of its process, and a runtime may end its process: neither may cost the run
more than one group. The processes are forked from a server that has the heavy modules imported and nothing started.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
from multiprocessing.connection import Connection

from benchmarks.gpu.measure import GroupResult, Job, not_run, reason_of, run_group
from hc_deploy.system.children import leave_signals_to_the_parent
from hc_deploy.system.interrupts import salvaging

PRELOAD = ["torch", "onnxruntime", "cv2", "benchmarks.gpu.measure"]
LONGEST = 1800.0
"""Seconds that a group may take beside its sampling; ONNX Runtime builds its TensorRT engines in that time."""
LAST_SECONDS = 5.0


def run(job: Job) -> GroupResult:
    """The job's result, `not run` where the process died or hung. A signal ends the process, and is passed on."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job, sender))
    process.start()
    sender.close()
    longest = LONGEST + len(job.group.cases) * (job.plan.max_seconds or 0)
    try:
        with salvaging(process.kill):
            if not receiver.poll(longest):
                return not_run(job.group, f"its process gave no answer in {longest:.0f} s and was ended")
            result: GroupResult = receiver.recv()
        process.join(LAST_SECONDS)
        return result
    except EOFError:
        process.join(LAST_SECONDS)
        return not_run(job.group, f"its process died of {_cause(process.exitcode)}")
    finally:
        process.kill()
        process.join()


def _work(job: Job, sender: Connection) -> None:
    leave_signals_to_the_parent()
    try:
        result = run_group(job)
    except Exception as error:
        result = not_run(job.group, reason_of(error))
    sender.send(result)
    sender.close()
    sys.stdout.flush()


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {-code} ({signal.strsignal(-code)})"
    return f"exit code {code}"
