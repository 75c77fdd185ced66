"""One thread a torch process: the networks under test are small, and threads of many processes wait for each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
