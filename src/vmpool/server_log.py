"""The server's own log, on standard error: for people on a terminal, one JSON object a line for machines."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from vmpool.settings import Log
from vmpool.telemetry import log_context


class JSONLines(logging.Formatter):
    """One JSON object for each record."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's time, level, logger, message, ids (`vmpool.telemetry.log_context`) and traceback."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **log_context.current(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class Lines(logging.Formatter):
    """A line for people, with its ids at the end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s%(ids)s")

    def format(self, record: logging.LogRecord) -> str:
        """The record's time, level, logger, message, ids and traceback."""
        ids = " ".join(f"{name}={value}" for name, value in log_context.current().items())
        record.ids = f" [{ids}]" if ids else ""
        return super().format(record)


def configure(log: Log) -> None:
    """Set up the root logger.  Libraries are heard from warnings on, unless everything is asked for."""
    as_json = log.format == "json" or (log.format == "auto" and not sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.setFormatter(JSONLines() if as_json else Lines())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.DEBUG if log.level == "debug" else logging.WARNING)
    logging.getLogger("vmpool").setLevel(log.level.upper())
