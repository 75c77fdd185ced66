"""A reader with every fault there is, each called by a word in the file."""

import os
import signal
import subprocess
import time

from hc_deploy.errors import DeployError


def read(path):
    data = path.read_bytes()
    if b"refuse" in data:
        raise DeployError("refused")
    if b"boom" in data:
        raise ValueError("boom")
    if b"exit" in data:
        raise SystemExit(0)
    if b"vanish" in data:
        os._exit(0)
    if b"crash" in data:
        os.kill(os.getpid(), signal.SIGSEGV)
    if b"hang" in data:
        time.sleep(1000)
    if b"grow" in data:
        bytearray(os.urandom(1 << 20)) * 200
    if b"start" in data:
        try:
            subprocess.run(["touch", path.with_suffix(".ran")], check=True)
        except Exception as error:
            raise DeployError("hidden") from error
