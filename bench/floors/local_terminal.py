"""A terminal of this host behind a WebSocket, with no VM: `python -m bench.floors.local_terminal PORT`.

The same server (uvicorn, its WebSocket implementation, Starlette) and the same messages as vmpool's.
"""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
import termios
import tty

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect


async def _terminal(socket: WebSocket) -> None:
    await socket.accept()
    pid, master = pty.fork()
    if pid == 0:
        os.execvp("sh", ["sh", "-c", "exec cat >/dev/null"])
    tty.setcbreak(master, when=termios.TCSANOW)
    _echo(master)
    loop = asyncio.get_running_loop()
    shown: asyncio.Queue[bytes] = asyncio.Queue()
    loop.add_reader(master, lambda: shown.put_nowait(os.read(master, 65536)))

    async def tell() -> None:
        offset = 0
        while True:
            data = await shown.get()
            message = {"event": "stdout", "offset": offset, "text": data.decode(errors="replace")}
            offset += len(data)
            await socket.send_text(json.dumps(message))

    telling = asyncio.create_task(tell())
    try:
        while True:
            message = json.loads(await socket.receive_text())
            os.write(master, message["stdin"].encode())
    except WebSocketDisconnect:
        pass
    finally:
        telling.cancel()
        loop.remove_reader(master)
        os.close(master)
        await asyncio.to_thread(os.waitpid, pid, 0)


def _echo(master: int) -> None:
    attributes = termios.tcgetattr(master)
    attributes[3] |= termios.ECHO
    termios.tcsetattr(master, termios.TCSANOW, attributes)


if __name__ == "__main__":
    app = Starlette(routes=[WebSocketRoute("/terminal", _terminal)])
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", ws="websockets-sansio", log_level="error"
    )
