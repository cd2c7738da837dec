"""A place in front of the queue for the 20 ms clock, where the machine lets us: on a busy machine this is worth more than anything else
here.

`auto` takes round-robin real-time scheduling if it may (root, or CAP_SYS_NICE, or a limit on rtprio), else a better nice value if it may,
else goes on as it is. The process uses a few percent of a core, Linux stops a runaway real-time process at 95 %, and what it starts (the
local voice) is scheduled as usual. Measured in README."""

from __future__ import annotations

import os

LEVEL = 5
"""Low among real-time priorities: behind the kernel's own threads and sound servers (10 and more). Precedent: JACK 10, Asterisk -p 10."""
NICE = -10
CHOICES = ("auto", "normal")


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
        return f"nice {NICE}"
    except (OSError, AttributeError):
        return "normal (not allowed to have more; give the service CAP_SYS_NICE for an even clock on a busy machine)"
