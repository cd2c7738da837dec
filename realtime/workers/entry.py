"""The first code of a worker process; the pool starts it as `python entry.py '<json>'`, a fresh interpreter with nothing inherited.

It settles what must be settled before numpy and the engine are imported (cores, thread counts, import path), then hands over to
child.py. Only the standard library until then.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
from typing import Any

# What OpenBLAS, MKL, OpenMP, BLIS and Accelerate read, in C, when they are loaded.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Prepare this process as `sys.argv[1]` says (keys fd, parent, path, cores, threads) and serve until told to leave."""
    boot: dict[str, Any] = json.loads(sys.argv[1])
    sys.path[:] = boot["path"]
    _die_with(boot["parent"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means for us
    if boot["cores"]:
        os.sched_setaffinity(0, boot["cores"])
    for name in THREAD_VARIABLES:
        os.putenv(name, str(boot["threads"]))
    from realtime.workers import child

    child.serve(socket.socket(fileno=boot["fd"]))


def _die_with(parent: int) -> None:
    """Have the kernel kill us when the parent dies, also if we hang in C then and never see its end of the socket close."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the call
            sys.exit(0)


if __name__ == "__main__":
    main()
