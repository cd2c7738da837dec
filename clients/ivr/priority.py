"""A place in front of the queue for the 20 ms clock, where the machine lets us: on a busy machine this is worth more than anything else
here.

`auto` takes round-robin real-time scheduling if it may (root, or CAP_SYS_NICE, or a limit on rtprio), else a better nice value if it may.
Everybody may ask Linux (6.12 and later) for short slices, which means to be let in sooner, for less at a time: that is done where there is
no real-time scheduling. The process uses a few percent of a core, Linux stops a runaway real-time process at 95 %, and what it starts (the
local voice) is scheduled as usual. Measured in README."""

from __future__ import annotations

import ctypes
import os
import platform

LEVEL = 5
"""Low among real-time priorities: behind the kernel's own threads and sound servers (10 and more). Precedent: JACK 10, Asterisk -p 10."""
NICE = -10
SLICE_NS = 100_000
"""The least that Linux takes."""
CHOICES = ("auto", "normal")
RESET_ON_FORK = 1
"""SCHED_FLAG_RESET_ON_FORK: what we start is scheduled as usual."""
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""Numbers of the system call; the C library has no name for it."""


class _Attributes(ctypes.Structure):
    """struct sched_attr of sched_setattr(2); for ordinary scheduling `runtime` is the slice."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def take_priority(choice: str) -> str:
    """Raise this process' priority, if wanted and allowed; returns what it has now, in words."""
    if choice == "normal":
        return "normal"
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(LEVEL))
        return f"real-time {LEVEL}"
    except (OSError, AttributeError):  # not allowed; not Linux
        pass
    try:
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
        return f"nice {NICE}{_short_slices(NICE)}"
    except (OSError, AttributeError):
        return f"normal{_short_slices(0)} (for an even clock on a busy machine, give the service CAP_SYS_NICE or a limit on rtprio)"


def _short_slices(nice: int) -> str:
    """Ask for short slices; says so if that worked."""
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None or platform.system() != "Linux":
        return ""
    wanted = _Attributes(ctypes.sizeof(_Attributes), os.SCHED_OTHER, RESET_ON_FORK, nice, 0, SLICE_NS, 0, 0)
    return ", short slices" if ctypes.CDLL(None).syscall(number, 0, ctypes.byref(wanted), 0) == 0 else ""
