"""Runs inside a VM: the Python of one context.  Standard library only, and nothing of vmpool.

A line on standard input is a JSON object: `{"n": 1, "code": "..."}` runs a cell, `{"sync": "..."}` asks.
A line on standard output is one too; see `vmpool.pool.contexts.wire`.  The program's own standard streams are
pipes that end here, so that what a child process prints arrives like what a `print` does.
"""

from __future__ import annotations

import ast
import base64
import builtins
import fcntl
import importlib
import io
import json
import linecache
import os
import select
import signal
import sys
import threading
import time
import traceback
import types
import warnings
from collections.abc import Callable, Mapping
from types import CodeType, FrameType
from typing import Any

PIECE = 32 << 10
LARGEST_BUNDLE = 4 << 20
LONGEST_TEXT = 256 << 10
LONGEST_NAME = 255
MOST_FORMS = 32
KEPT_SOURCES = 1000
RICH = (
    ("text/html", "_repr_html_"),
    ("text/markdown", "_repr_markdown_"),
    ("text/latex", "_repr_latex_"),
    ("image/svg+xml", "_repr_svg_"),
    ("image/png", "_repr_png_"),
    ("image/jpeg", "_repr_jpeg_"),
    ("application/json", "_repr_json_"),
)


class Wire:
    """The way to the host.  Any thread may send."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.RLock()

    def send(self, **message: object) -> None:
        """One message."""
        data = memoryview(_encoded(message) + b"\n")
        with self._lock:
            while data:
                data = data[os.write(self._descriptor, data) :]


class Output(io.TextIOBase):
    """`sys.stdout` or `sys.stderr`: sends whole lines at once, and what is left when it is flushed."""

    def __init__(self, kernel: Kernel, name: str, descriptor: int) -> None:
        self._kernel = kernel
        self._stream = name
        self._descriptor = descriptor
        self._held: list[str] = []
        self._size = 0
        self.buffer = Raw(self)

    encoding = "utf-8"
    errors = "replace"

    @property
    def name(self) -> str:
        return f"<{self._stream}>"

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._held.append(text)
        self._size += len(text)
        if "\n" in text or self._size >= PIECE:
            self.flush()
        return len(text)

    def flush(self) -> None:
        held, self._held, self._size = self._held, [], 0
        text = "".join(held)
        for at in range(0, len(text), PIECE):
            self._kernel.say(self._stream, text[at : at + PIECE])


class Raw(io.RawIOBase):
    """`sys.stdout.buffer`."""

    def __init__(self, text: Output) -> None:
        self._text = text

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        raw = bytes(data)
        self._text.write(raw.decode("utf-8", "replace"))
        return len(raw)

    def flush(self) -> None:
        self._text.flush()


class Pipes:
    """Descriptors 1 and 2, for what is written past `sys.stdout`: by child processes and native code."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._lock = threading.Lock()
        self._ends: dict[int, str] = {}
        self._ready = select.poll()
        for number, name in ((1, "stdout"), (2, "stderr")):
            reading, writing = os.pipe()
            os.dup2(writing, number)
            os.close(writing)
            os.set_blocking(reading, False)
            fcntl.fcntl(reading, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
            self._ends[reading] = name
            self._ready.register(reading, select.POLLIN)
        threading.Thread(target=self._carry, name="output of child processes", daemon=True).start()

    def drain(self) -> None:
        """Send all that is there now."""
        with self._lock:
            for reading, name in self._ends.items():
                while True:
                    try:
                        data = os.read(reading, PIECE)
                    except BlockingIOError:
                        break
                    self._kernel.say(name, data.decode("utf-8", "replace"))

    def _carry(self) -> None:
        while True:
            self._ready.poll()
            self.drain()
            time.sleep(0.005)  # what comes in small pieces goes in larger ones


class Kernel:
    """What the cells share."""

    def __init__(self, requests: io.BufferedReader, wire: Wire) -> None:
        self._requests = requests
        self._wire = wire
        self._pid = os.getpid()
        self._number = 0
        self._running = False
        self._loop: Any = None
        self._pipes: Pipes | None = None
        self._sources: list[str] = []
        self._main = types.ModuleType("__main__")
        self._names: dict[str, Any] = vars(self._main)
        self._names["__builtins__"] = builtins
        self.stdout = Output(self, "stdout", 1)
        self.stderr = Output(self, "stderr", 2)

    # -- to the host

    def say(self, stream: str, text: str) -> None:
        """Text that was written."""
        if text:
            self._wire.send(t="text", n=self._number, s=stream, d=text)

    def show(self, kind: str, data: Mapping[str, object]) -> None:
        """A value, in as many forms as it has."""
        self._flush()
        fitting: dict[str, object] = {}
        left = LARGEST_BUNDLE
        for mime, form in list(data.items())[:MOST_FORMS]:
            if mime == "text/plain" and isinstance(form, str) and len(form) > LONGEST_TEXT:
                form = form[:LONGEST_TEXT] + "\n... (cut)"
            size = len(_encoded(form))
            if size <= left:
                fitting[str(mime)[:LONGEST_NAME]] = form
                left -= size
            else:
                self.say("stderr", f"({mime} of {size} bytes is too large to be shown)\n")
        self._wire.send(t="show", n=self._number, k=kind, m=fitting)

    def display(self, *values: Any, raw: bool = False, **ignored: object) -> None:
        """Show each value as a notebook does; with `raw` it is a MIME bundle already."""
        for value in values:
            self.show("display", _checked(value) if raw else forms_of(value))

    def publish(self, data: Mapping[str, object], *ignored: object, **also_ignored: object) -> None:
        """`IPython.display.publish_display_data`."""
        self.show("display", _checked(data))

    def _flush(self) -> None:
        for stream in (sys.stdout, sys.stderr, self.stdout, self.stderr):
            try:
                stream.flush()
            except Exception:  # the cell's own stream, or none
                pass
        if self._pipes is not None:
            self._pipes.drain()

    # -- the loop

    def serve(self) -> None:
        """Until the host closes standard input."""
        self._install()
        self._pipes = Pipes(self)
        self._wire.send(t="ready")
        for line in self._requests:
            try:
                request = json.loads(line)
            except ValueError:  # the rest of what a server could not finish
                continue
            if "sync" in request:
                self._wire.send(t="sync", c=request["sync"], n=self._number)
                continue
            self._number = int(request["n"])
            problem = self._guarded(str(request["code"]))
            if os.getpid() != self._pid:  # the cell forked, and its child came back here
                os._exit(0)
            self._flush()
            self._figures()
            if problem is not None:
                self._wire.send(t="error", n=self._number, **problem)
            self._wire.send(t="end", n=self._number, ok=problem is None)

    def _install(self) -> None:
        sys.modules["__main__"] = self._main
        sys.argv, sys.path[0] = [""], ""
        sys.stdin = os.fdopen(0, closefd=False)
        sys.stdout = self.stdout
        sys.stderr = self.stderr
        builtins.display = self.display  # type: ignore[attr-defined]
        os.environ.setdefault("MPLBACKEND", "Agg")
        warnings.filterwarnings("ignore", message=".*non-interactive.*")
        warnings.filterwarnings("default", category=DeprecationWarning, module="__main__")
        signal.signal(signal.SIGINT, self._interrupted)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if self._running:
            raise KeyboardInterrupt

    def _guarded(self, code: str) -> dict[str, str] | None:
        """Run a cell; what it ended with, if not well."""
        try:
            try:
                self._running = True
                self._run(code)
            finally:
                self._running = False
        except BaseException as error:  # SystemExit too: the context goes on
            return self._problem(error)
        return None

    def _run(self, code: str) -> None:
        filename = f"<cell {self._number}>"
        self._remember(filename, code)
        if "IPython" in code:
            self._stand_in()
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        tree = compile(code, filename, "exec", ast.PyCF_ONLY_AST | flags)
        assert isinstance(tree, ast.Module)
        last = tree.body[-1] if tree.body else None
        if isinstance(last, ast.Expr) and not code.rstrip().endswith(";"):
            tree.body.pop()
        else:
            last = None
        if tree.body:
            self._evaluate(compile(tree, filename, "exec", flags))
        if last is not None:
            expression = ast.Expression(last.value)
            value = self._evaluate(compile(expression, filename, "eval", flags))
            if value is not None:
                self._names["___"] = self._names.get("__")
                self._names["__"] = self._names.get("_")
                self._names["_"] = value
                self.show("result", forms_of(value))

    def _evaluate(self, code: CodeType) -> Any:
        value = eval(code, self._names)
        if not code.co_flags & 0x80:  # CO_COROUTINE: it awaits something
            return value
        if self._loop is None:
            import asyncio

            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        task = self._loop.create_task(value)
        try:
            return self._loop.run_until_complete(task)
        except KeyboardInterrupt:
            task.cancel()
            try:
                self._loop.run_until_complete(task)
            except BaseException:  # it was cancelled
                pass
            raise

    def _remember(self, filename: str, code: str) -> None:
        """For tracebacks and `inspect`."""
        linecache.cache[filename] = (len(code), None, code.splitlines(keepends=True), filename)
        self._sources.append(filename)
        if len(self._sources) > KEPT_SOURCES:
            linecache.cache.pop(self._sources.pop(0), None)

    def _problem(self, error: BaseException) -> dict[str, str]:
        trace = error.__traceback__
        while trace is not None and not trace.tb_frame.f_code.co_filename.startswith("<cell "):
            trace = trace.tb_next
        try:
            told = traceback.TracebackException(type(error), error, trace)
            own = [frame for frame in told.stack if frame.filename != __file__]
            told.stack = traceback.StackSummary.from_list(own)
            text, value = "".join(told.format()), str(error)
        except Exception as another:  # its own __str__
            text = value = f"<it cannot be shown: {type(another).__name__}>"
        return {
            "name": type(error).__name__[:LONGEST_NAME],
            "value": value[:LONGEST_TEXT],
            "trace": _shortened(text),
        }

    # -- libraries of notebooks

    def _figures(self) -> None:
        """Show the figures a cell has left open, as notebooks do."""
        pyplot: Any = sys.modules.get("matplotlib.pyplot")
        if pyplot is None:
            return

        def show(*ignored: object, **also_ignored: object) -> None:
            self._show_figures()

        try:
            pyplot.show = show  # no method: matplotlib writes a signature onto it
            self._show_figures()
        except Exception:
            self.say("stderr", traceback.format_exc(limit=-3))

    def _show_figures(self) -> None:
        pyplot: Any = sys.modules["matplotlib.pyplot"]
        for number in pyplot.get_fignums():
            self.show("display", forms_of(pyplot.figure(number)))
        pyplot.close("all")

    def _stand_in(self) -> None:
        """Let `IPython.display.display` show here, where there is an IPython to import it from."""
        try:
            found: list[Any] = [
                importlib.import_module(f"IPython.{name}") for name in ("core.display_functions", "display")
            ]
        except Exception:  # none, or one of another make: the cell finds out
            return
        for module in found:
            module.display = self.display
            module.publish_display_data = self.publish


def _encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def forms_of(value: Any) -> dict[str, object]:
    """The MIME bundle of a value: every form it has, and text always."""
    forms: dict[str, object] = {}
    kind = type(value)
    try:
        whole = getattr(kind, "_repr_mimebundle_", None)
        if whole is not None:
            found = whole(value, include=None, exclude=None)
            forms.update(_checked(found[0] if isinstance(found, tuple) else found))
    except Exception:  # as notebooks do: the other forms are left
        pass
    for mime, name in RICH:
        method: Callable[[Any], Any] | None = getattr(kind, name, None)
        if method is None or mime in forms:
            continue
        try:
            form = method(value)
            if form is not None:
                forms.update(_checked({mime: form[0] if isinstance(form, tuple) else form}))
        except Exception:
            continue
    if kind.__module__ == "matplotlib.figure" and "image/png" not in forms:
        picture = io.BytesIO()
        value.savefig(picture, format="png", bbox_inches="tight")
        forms["image/png"] = base64.b64encode(picture.getvalue()).decode()
    if "text/plain" not in forms:
        forms["text/plain"] = _text_of(value)
    return forms


def _shortened(text: str) -> str:
    half = LONGEST_TEXT // 2
    return text if len(text) <= LONGEST_TEXT else f"{text[:half]}\n...\n{text[-half:]}"


def _text_of(value: Any) -> str:
    try:
        text = repr(value)
        if len(text) > 79 and type(value) in (dict, list, set, tuple) and len(text) < LONGEST_TEXT:
            import pprint

            text = pprint.pformat(value, width=79, sort_dicts=False)
    except Exception as error:
        text = f"<a {type(value).__name__} whose __repr__ fails: {type(error).__name__}: {error}>"
    return text


def _checked(forms: Any) -> dict[str, object]:
    """A bundle as it can be sent: bytes as Base64, the rest text or what JSON has."""
    found: dict[str, object] = {}
    for mime, form in dict(forms).items():
        if isinstance(form, bytes):
            form = base64.b64encode(form).decode()
        if isinstance(form, str) or json.dumps(form, allow_nan=False):
            found[str(mime)] = form
    return found


def main() -> None:
    """Take the standard streams for the protocol and give the program others."""
    requests = os.fdopen(os.dup(0), "rb")
    wire = Wire(os.dup(1))
    empty = os.open(os.devnull, os.O_RDWR)
    os.dup2(empty, 0)
    os.close(empty)
    Kernel(requests, wire).serve()


if __name__ == "__main__":
    main()
