"""One worker process as its parent sees it: started, listened to, watched, and gone for a stated reason.

Two wake-ups tell of a death, whichever comes first: the end of the socket and the pidfd. Both come from the kernel within about
a millisecond of the exit; what the process wrote before is still delivered. A hang shows as a ping that stays unanswered: the
child answers between steps. Unanswered time is counted in ticks of this process's loop, not on the clock, so that a stall of
*this* process blames nobody.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import psutil

from realtime.workers import messages as m
from realtime.workers.interface import LossReason

READ_SIZE = 1 << 18  # bytes; two seconds of sound in one read
SOCKET_BUFFER = 1 << 20  # a few seconds of sound: a busy parent loop doesn't stop the child
MAX_UNSENT = 4 << 20  # commands are small: so many bytes unread mean a dead reader
EXIT_GRACE_S = 0.05  # between the end of the socket and the exit status
ENTRY = Path(__file__).with_name("entry.py")

# Everything is read into one place: a fresh buffer of this size may be mapped and unmapped by every call (LOG). One thread reads, and
# what was read is copied before the next one does.
_inbox = memoryview(bytearray(READ_SIZE))

OnMessage = Callable[[m.Message], None]
OnLost = Callable[[LossReason, str], None]


class Child:
    """A process and its socket. `on_lost` is called exactly once; no message follows it."""

    def __init__(self, init: m.Init, cores: tuple[int, ...], threads: int, on_message: OnMessage, on_lost: OnLost) -> None:
        self._on_message = on_message
        self._on_lost = on_lost
        self._reader = m.MessageReader()
        self._unsent = bytearray()
        self._is_over = False
        self._exited = anyio.Event()
        self._loop = asyncio.get_running_loop()
        self.bytes_received = 0
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
        self._socket = ours
        boot = {"fd": theirs.fileno(), "parent": os.getpid(), "path": sys.path, "cores": cores, "threads": threads}
        try:
            self._process, self._pidfd = _start(json.dumps(boot), theirs.fileno())
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid
        self._loop.add_reader(self._socket.fileno(), self._readable)
        self._loop.add_reader(self._pidfd, self._process_exited)
        self._rss = psutil.Process(self.pid)
        self.send(init)

    # ---- use

    def send(self, message: m.Message) -> None:
        """Send without waiting; ignored once the process is gone. A reader that lets too much pile up is killed."""
        if self._is_over:
            return
        head, payload = m.encode(message)
        self._unsent += head
        self._unsent += payload
        self._flush()
        if len(self._unsent) > MAX_UNSENT:
            self.kill(LossReason.HUNG, "it doesn't read its commands")

    def rss_mb(self) -> float:
        """Resident memory now, 0 when gone."""
        try:
            return float(self._rss.memory_info().rss) / 1e6
        except psutil.Error:
            return 0.0

    def kill(self, reason: LossReason, detail: str) -> None:
        """Kill at once, for a reason; `on_lost` is called before this returns."""
        if self._process.returncode is None:
            self._process.kill()  # also ends a stopped process
        self._finish(reason, detail)

    @property
    def is_reaped(self) -> bool:
        """The process is gone and nothing of it is left here."""
        return self._exited.is_set()

    async def exited(self) -> None:
        """Return once the process is reaped and nothing of it is left here."""
        await self._exited.wait()

    # ---- wake-ups

    def _readable(self) -> None:
        """Some bytes, or the end."""
        data = self._receive()
        if data:
            self._feed(data)
        elif data is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.call_later(EXIT_GRACE_S, self._closed_but_alive)

    def _process_exited(self) -> None:
        """The exit status is there: deliver what it still wrote, then say why it went."""
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        status = self._process.wait()
        try:
            while not self._is_over and (data := self._receive()):
                self._feed(data)
            self._finish(LossReason.DIED, _describe(status))
        finally:
            self._close_socket()
            self._exited.set()

    def _closed_but_alive(self) -> None:
        if not self._exited.is_set() and not self._is_over:
            self.kill(LossReason.DIED, "it closed its socket")

    # ---- private

    def _receive(self) -> memoryview | None:
        """Bytes, good until the next call; none at the end, None if there is nothing now."""
        try:
            return _inbox[: self._socket.recv_into(_inbox)]
        except BlockingIOError:
            return None
        except OSError:  # reset: the same as the end
            return _inbox[:0]

    def _feed(self, data: bytes | memoryview) -> None:
        self.bytes_received += len(data)
        is_read = False
        try:
            for message in self._reader.push(data):
                if self._is_over:
                    break
                self._on_message(message)
            is_read = True
        except m.Garbled as error:
            is_read = True
            self.kill(LossReason.GARBLED, error.message)
        finally:
            if not is_read:  # the callback raised: the loop reports that, and the messages behind it still count
                self._loop.call_soon(self._feed, b"")

    def _flush(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:  # it is dead; the pidfd says how
            self._unsent.clear()
            return
        del self._unsent[:sent]
        if self._unsent:
            self._loop.add_writer(self._socket.fileno(), self._writable)

    def _writable(self) -> None:
        self._loop.remove_writer(self._socket.fileno())
        self._flush()

    def _finish(self, reason: LossReason, detail: str) -> None:
        if not self._is_over:
            self._is_over = True
            self._on_lost(reason, detail)

    def _close_socket(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()


def _start(boot: str, fd: int) -> tuple[subprocess.Popen[bytes], int]:
    """A new interpreter that holds `fd`, and its pidfd. Raises `OSError`, leaving nothing behind."""
    # stdout of a library must not mix with what a command prints for machines; both go to stderr
    process = subprocess.Popen([sys.executable, "-P", str(ENTRY), boot], stdin=subprocess.DEVNULL, stdout=2, pass_fds=[fd])
    try:
        return process, os.pidfd_open(process.pid)
    except OSError:
        process.kill()
        process.wait()
        raise


def _describe(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"it exited with status {status}"
    try:
        return f"it was killed by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal has no name
        return f"it was killed by signal {-status}"
