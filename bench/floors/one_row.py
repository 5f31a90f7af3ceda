"""A REST endpoint that writes one row and runs nothing: `python one_row.py DATABASE PORT`.

FastAPI and uvicorn with uvloop and httptools, SQLite with every commit on the disk: the floor of a REST API
that keeps a history.
"""

from __future__ import annotations

import sqlite3
import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Asked(BaseModel):
    """The body."""

    code: str


class Answer(BaseModel):
    """The row."""

    id: int
    output: str


def build(database: str) -> FastAPI:
    """The application."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE executions (id INTEGER PRIMARY KEY, code TEXT, output TEXT)")
    app = FastAPI()

    @app.post("/api/vms/1/execute")
    async def execute(asked: Asked) -> Answer:
        output = "2\n"
        row = connection.execute("INSERT INTO executions (code, output) VALUES (?, ?)", (asked.code, output))
        return Answer(id=row.lastrowid or 0, output=output)

    return app


if __name__ == "__main__":
    uvicorn.run(
        build(sys.argv[1]),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        log_level="error",
        access_log=False,
        timeout_keep_alive=3600,
    )
