"""A warm interpreter on the host that forks a child for each request: `python forking.py SOCKET`.

A request is four bytes of length and the code; the answer is four bytes of length and what it printed.
No isolation, no limits, no history, no time limit: the floor of an execution.
"""

from __future__ import annotations

import os
import select
import socket
import sys


def main(path: str) -> None:
    """Serve until killed."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(128)
    poller = select.epoll()
    poller.register(listener, select.EPOLLIN)
    connections: dict[int, socket.socket] = {}
    running: dict[int, tuple[int, socket.socket, bytearray]] = {}
    while True:
        for fd, _ in poller.poll():
            if fd == listener.fileno():
                connection, _ = listener.accept()
                connections[connection.fileno()] = connection
                poller.register(connection, select.EPOLLIN)
            elif fd in running:
                pid, connection, output = running[fd]
                data = os.read(fd, 1 << 16)
                output += data
                if not data:
                    poller.unregister(fd)
                    os.close(fd)
                    del running[fd]
                    os.waitpid(pid, 0)
                    connection.sendall(len(output).to_bytes(4, "big") + output)
            else:
                connection = connections[fd]
                code = receive(connection)
                if code is None:
                    poller.unregister(fd)
                    connections.pop(fd).close()
                else:
                    pid, reading = start(code)
                    running[reading] = (pid, connection, bytearray())
                    poller.register(reading, select.EPOLLIN)


def receive(connection: socket.socket) -> bytes | None:
    """The code of one request; None when the other side is gone."""
    head = connection.recv(4, socket.MSG_WAITALL)
    if len(head) < 4:
        return None
    return connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)


def start(code: bytes) -> tuple[int, int]:
    """A child that runs it: its process id, and where its output can be read."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    os.dup2(writing, 1)
    try:
        exec(compile(code, "main.py", "exec"), {"__name__": "__main__"})
        sys.stdout.flush()
    finally:
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
