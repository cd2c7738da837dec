"""The child's end of the socket. Blocking writes: when the parent doesn't read, the child waits, and that is the backpressure."""

from __future__ import annotations

import select
import socket

from realtime.workers.messages import Message, MessageReader, encode

READ_SIZE = 65536


class ParentGone(Exception):
    """Raised when the parent closed its end, or died."""


class Link:
    """Messages over a connected stream socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.pcm = "f32"
        self._socket = sock
        self._reader = MessageReader()
        self._early: list[Message] = []  # what came in one read with Init
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def receive_init(self) -> Message:
        """The first message; those that came with it stay for `receive`. Raises `ParentGone`, `Garbled`."""
        while not self._early:
            self._early = self.receive(None)
        return self._early.pop(0)

    def receive(self, timeout_s: float | None) -> list[Message]:
        """Messages that have arrived; waits for some until the timeout, for ever if None. Raises `ParentGone`, `Garbled`."""
        if self._early:
            early, self._early = self._early, []
            return early
        timeout_ms = None if timeout_s is None else max(0, int(timeout_s * 1000 + 0.999))
        if not self._poll.poll(timeout_ms):
            return []
        try:
            data = self._socket.recv(READ_SIZE)
        except ConnectionError as error:
            raise ParentGone from error
        if not data:
            raise ParentGone
        return list(self._reader.push(data))

    def send(self, message: Message) -> None:
        """Write a message whole. Raises `ParentGone`."""
        head, payload = encode(message, self.pcm)
        try:
            sent = self._socket.sendmsg([head, payload] if len(payload) else [head])
            if sent < len(head):
                self._socket.sendall(head[sent:])
                sent = len(head)
            if sent < len(head) + len(payload):
                self._socket.sendall(memoryview(payload)[sent - len(head) :])
        except (BrokenPipeError, ConnectionError) as error:
            raise ParentGone from error
