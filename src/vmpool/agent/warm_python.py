"""The text of the warm Python interpreter: what the host sends in WARM as `python3 -c <TEXT>`.

The agent starts it once (Z).  Z imports nothing a bare interpreter has not, but `_socket`, and waits on
descriptor 3.  For each message there it makes a spare: it forks twice, so that the inner process (X) is
the agent's child; X forks the spare (C) and executes the agent's own binary (descriptor 4) as C's
supervisor.  C waits on a pipe for what to run and then becomes that program.

C runs the file as `python3 file.py` would: in the real `__main__`, with the same `sys.argv`, `sys.path[0]`,
streams, tracebacks and exit.  Wherever it cannot be sure of that (a syntax error, a source that is no
UTF-8, packages installed since Z started) it executes the interpreter afresh: slower, never different.
At the end it leaves without tearing the interpreter down where nobody could tell: no finalizer, no open
file, no thread, no foreign extension.

Three things remain to be seen by a program that looks for them: one more frame at the root of its stack,
`_socket` among the loaded modules, and the hash seed, which all children of one Z share.
"""

from __future__ import annotations

_BODY = r"""
import _socket, _thread as thread, _weakref as weakref, atexit, gc, io, os, posix, sys

def sites():
    # What a fresh start would read; None for what is not there.
    found = []
    user = getattr(sys.modules.get("site"), "USER_SITE", None)
    for path in [*sys.path[1:], *([user] if user else [])]:
        try:
            found.append((path, os.stat(path).st_mtime_ns))
        except OSError:
            found.append((path, None))
    return found

def receive(control):
    # The descriptors of one request, or None when the agent is gone.
    data, ancillary, _, _ = control.recvmsg(16, 256)
    if not data:
        return None
    fds = []
    for level, kind, raw in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fds += [int.from_bytes(raw[i : i + 4], sys.byteorder) for i in range(0, len(raw) - 3, 4)]
    return fds

def supervise(fds):
    # Role: X.  Parent: about to be the agent.  Becomes the spare's supervisor.
    supervisor_end, *stdio = fds
    job_read, job_write = os.pipe()
    spare = os.fork()
    if spare == 0:
        return wait_for_job(job_read, stdio)
    os.dup2(job_write, 1)
    os.dup2(supervisor_end, 3)
    try:
        os.execve(4, ["vmpool-agent", "supervise", "3", str(spare), "1"], {})
    finally:
        os._exit(70)

def wait_for_job(job, stdio):
    # Role: C, the spare.  Parent: X.
    os.setsid()
    for number, fd in enumerate(stdio):
        os.dup2(fd, number)
    os.dup2(job, 3, False)
    os.closerange(4, max(job, *stdio) + 16)
    rehearse()
    parts = []
    while part := os.read(3, 65536):
        parts.append(part)
    os.close(3)
    if not parts:
        os._exit(0)
    return b"".join(parts).split(b"\0")

def rehearse():
    # Touch what every program touches: the pages shared with Z are copied now, not when it is waited for.
    set_environment([name + b"=" + value for name, value in list(posix.environ.items())])
    held = io.StringIO()
    scope = {"out": held}
    for path in sites()[:1]:
        os.path.realpath(path[0])
    program = "import sys\ndef f(x):\n    return [x, str(x)]\nprint(*f(1), file=out, flush=True)\n"
    exec(compile(program.encode(), "main.py", "exec", 0, True), scope)
    scope.clear()
    gc.get_objects()

def serve():
    control = _socket.socket(fileno=3)
    known = sites()
    gc.freeze()
    while True:
        fds = receive(control)
        if fds is None:
            os._exit(0)
        if sites() != known:
            # The spare that was asked for is not made; the agent asks again.
            os.set_inheritable(3, True)
            os.set_inheritable(4, True)
            os.execv(sys.executable, sys.orig_argv)
        if (middle := os.fork()) == 0:
            if os.fork() != 0:
                os._exit(0)
            return known, supervise(fds)
        for fd in fds:
            os.close(fd)
        os.waitpid(middle, 0)

def set_environment(pairs):
    posix.environ.clear()
    os.environ.clear()
    for pair in pairs:
        name, _, value = pair.partition(b"=")
        posix.environ[name] = value
        os.environ[os.fsdecode(name)] = os.fsdecode(value)

def empty_stdin():
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    binary = io.open(0, "rb", closefd=False)
    binary.raw.name = "<stdin>"
    old = sys.stdin
    text = io.TextIOWrapper(binary, encoding=old.encoding, errors=old.errors, newline="\n")
    text.mode = "r"
    sys.stdin = sys.__stdin__ = text

def cold(argv):
    os.execvp(argv[0], argv)

def compiled(path, argv):
    # Warnings of the compiler are held back until it is sure that they are not repeated.
    stderr, sys.stderr = sys.stderr, io.StringIO()
    try:
        with io.open(path, "rb", 0) as file:
            source = file.read()
        source.decode("utf-8")
        code = compile(source, path, "exec", 0, True)
    except Exception:
        cold(argv)
    held, sys.stderr = sys.stderr.getvalue(), stderr
    if held:
        stderr.write(held)
    return code

def is_plain_end():
    # Whether tearing the interpreter down could show: then it is done, else the kernel is quicker.  Only what
    # was made since the freeze is looked at.
    objects = gc.get_objects()
    modules = sys.modules
    if len(objects) > 4000 or thread._count() or {"_ctypes", "_cffi_backend", "readline"} & modules.keys():
        return False
    if (sys.stdout, sys.stderr) != (sys.__stdout__, sys.__stderr__):
        return False
    for module in list(modules.values()):
        file = getattr(module, "__file__", None) or ""
        if file.endswith(".so") and "-packages" in file:
            return False
    stdin = sys.__stdin__
    known = {id(stdin), id(stdin.buffer), id(stdin.buffer.raw)}
    for thing in objects:
        kind = type(thing)
        if kind is type:
            if "__del__" in thing.__dict__:
                return False
        elif hasattr(kind, "__del__") and id(thing) not in known:
            return False
        elif issubclass(kind, weakref.ref) and thing.__callback__ is not None:
            return False
    return True

def end(status):
    # In the interpreter's own order: threads, exit functions, streams, the rest.
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()
    atexit._run_exitfuncs()
    if not is_plain_end():
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception:
        return
    os._exit(status & 0xFF)

class Ended:
    # Around the program: what the interpreter does with an exception nobody caught.
    def __enter__(self):
        pass

    def __exit__(self, kind, error, traceback):
        if kind is None:
            return end(0)
        if issubclass(kind, SystemExit):
            code = error.code
            return end(code or 0) if code is None or type(code) is int and -(2**31) <= code < 2**31 else None
        traceback = error.__traceback__ = traceback.tb_next
        sys.last_type, sys.last_value, sys.last_traceback = kind, error, traceback
        if sys.version_info >= (3, 12):
            sys.last_exc = error
        try:
            sys.excepthook(kind, error, traceback)
        except SystemExit:
            raise
        except BaseException as second:
            second.__context__ = None
            sys.stderr.write("Error in sys.excepthook:\n")
            second.__traceback__ = second.__traceback__.tb_next
            sys.__excepthook__(type(second), second, second.__traceback__)
            sys.stderr.write("\nOriginal exception was:\n")
            sys.__excepthook__(kind, error, traceback)
        if not issubclass(kind, KeyboardInterrupt):
            end(1)
            raise SystemExit(1) from None
        sys.excepthook = lambda *_: None  # shown already; the interpreter ends itself by SIGINT

def prepare(known, job):
    umask, no_stdin, cwd, argc, *words = job
    argv = words[: int(argc)]
    os.umask(int(umask))
    os.chdir(cwd)
    set_environment(words[int(argc) : -1])
    if no_stdin == b"1":
        empty_stdin()
    if sites() != known:
        cold(argv)
    path = os.fsdecode(argv[1])
    code = compiled(path, argv)
    sys.orig_argv[:] = [os.fsdecode(word) for word in argv]
    sys.argv[:] = sys.orig_argv[1:]
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = os.path.dirname(os.path.realpath(path))
    sys.path_importer_cache.clear()
    return code, fresh_main(path)

def fresh_main(path):
    # A module that was not frozen: what the program leaves in it is collected at the end.
    loader = sys.modules["_frozen_importlib_external"].SourceFileLoader
    old = sys.modules["__main__"].__dict__
    module = type(sys)("__main__")
    main = module.__dict__
    main.update(__loader__=loader("__main__", path))
    if "__annotations__" in old:
        main["__annotations__"] = {}
    main.update(__builtins__=old["__builtins__"], __file__=path)
    if "__cached__" in old or sys.version_info < (3, 15):
        main["__cached__"] = None
    sys.modules["__main__"] = module
    return main

known, job = serve()
sys.modules["vmpool_warm"] = Ended(), prepare(known, job)
for name in ("gc", "atexit"):
    sys.modules.pop(name, None)
"""

TEXT = (
    f"exec({_BODY!r}, {{'__name__': 'vmpool_warm'}})\n"
    "with __import__('sys').modules['vmpool_warm'][0]:"
    " exec(*__import__('sys').modules.pop('vmpool_warm')[1])\n"
)
"""Run as `python3 -c TEXT` by the agent, with its control socket at 3 and its own executable at 4."""
