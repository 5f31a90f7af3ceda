"""The text of the warm Python interpreter: what the host sends in WARM as `python3 -c <TEXT>`.

The agent starts it once (Z).  Z imports nothing a bare interpreter has not, and waits on descriptor 3.
For each message there it makes a spare: its native half (descriptor 5, `agent/native/warm_python.c`)
makes a child that is the agent's (X) and shares Z's memory only until it has forked the spare (C) and
become the agent's own binary (descriptor 4), C's supervisor.  C waits on a pipe for what to run and then
becomes that program.

C runs the file as `python3 file.py` would: in the real `__main__`, at the root of the stack, with the
same `sys.argv`, `sys.path[0]`, streams, tracebacks and exit.  Wherever it cannot be sure of that (a
syntax error, a source that is no UTF-8, packages installed since Z started) it executes the interpreter
afresh: slower, never different.  At the end it leaves without tearing the interpreter down where nobody
could tell: no finalizer, no open file, no thread, no foreign extension.

What remains to be seen by a program that looks for it is listed in `docs/design/0004-the-fastest-pool.md`.
"""

from __future__ import annotations

_BODY = r"""
import sys
*_, newest = sys.modules
if newest == "linecache" and sys.version_info >= (3, 13):
    del sys.modules[newest]  # loaded for the sake of -c
plain_modules = {*sys.modules}
*_, newest_plain = sys.modules
import _imp, _thread as thread, _weakref as weakref, atexit, gc, io, os, posix

# The agent has every symbol of the C library looked up before a fork, not in each one after it.
bind_now = {"LD_BIND_NOW": os.environ.pop("LD_BIND_NOW")} if "LD_BIND_NOW" in os.environ else {}
posix.environ.pop(b"LD_BIND_NOW", None)
native = _imp.create_dynamic(type(sys.implementation)(name="vmpool_warm", origin="/proc/self/fd/5"))
_imp.exec_dynamic(native)
frozen = True

def sites():
    # What a fresh start would read: the directories, and in them what runs at a start.
    user = getattr(sys.modules.get("site"), "USER_SITE", None)
    found = [sys.executable]
    for path in [*sys.path[1:], *([user] if user else [])]:
        found.append(path)
        if os.path.isdir(path):
            names = [name for name in os.listdir(path) if name.endswith((".pth", "customize.py"))]
            found += [os.path.join(path, name) for name in sorted(names)]
    return [os.fsencode(path) for path in found[:32]]

def layout():
    # Of this process, which its children share: for `show`.
    fd = posix.open("/proc/self/stat", posix.O_RDONLY)
    fields = posix.read(fd, 4096).rpartition(b")")[2].split()
    posix.close(fd)
    return tuple(int(fields[number - 3]) for number in (26, 27, 28, 45, 46, 47))

def keep_mapped():
    # A fork copies the page tables of what its parent has written to; all else is mapped again by faults,
    # some seventy for the interpreter's own code.  So one byte of each such mapping is written, as it was.
    fd = posix.open("/proc/self/maps", posix.O_RDONLY)
    parts = []
    while part := posix.read(fd, 65536):
        parts.append(part)
    posix.close(fd)
    for line in b"".join(parts).splitlines():
        span, mode, _offset, _device, inode, *_path = line.split()
        if mode in (b"r-xp", b"r--p") and inode != b"0":
            first, end = (int(address, 16) for address in span.split(b"-"))
            native.own(first, end - first, mode == b"r-xp")

def show(where, argv, environment):
    # What `ps` and /proc say of this process; the bytes are read in place.
    global shown
    old, shown = globals().get("shown"), (b"\0".join([*argv, b""]), b"\0".join([*environment, b""]))
    return native.show(where, *shown)

def serve():
    # Role: Z, and what comes of it.  Returns in a spare that has a job.
    for name in ("last_exc", "last_type", "last_value", "last_traceback"):
        if hasattr(sys, name):
            delattr(sys, name)
    sys.excepthook = sys.__excepthook__
    global empty_stdin, first_stdin
    paths, where, environment = sites(), layout(), own_environment()
    stamps = native.stamps(*paths)
    first_stdin, empty_stdin = sys.stdin, text_of_nothing()  # kept: a spare need not take the old one apart
    for finder in sys.path_importer_cache.values():
        if finder is not None:
            finder.invalidate_caches()
    keep_mapped()
    if not show(where, [os.fsencode(sys.orig_argv[0])], environment):
        os._exit(1)  # not Linux but gVisor, which stands still after a few spares: everything starts cold
    native.compile(b"1", b"main.py")
    functions = [thing for thing in globals().values() if type(thing) is type(serve)]
    native.hide(native, native.__dict__, *functions)
    gc.freeze()
    while native.receive():
        if native.stamps(*paths) != stamps:
            # The spare that was asked for is not made; the agent asks again.
            os.execve(sys.executable, sys.orig_argv, {**os.environ, **bind_now})
        if native.spawn():
            return wait_for_job(paths, stamps, where, environment)
    os._exit(0)

def wait_for_job(paths, stamps, where, standing):
    # Role: C, the spare.  Parent: X.
    rehearse()
    parts = []
    while part := posix.read(3, 65536):
        parts.append(part)
    if not parts:
        os._exit(0)
    posix.close(3)
    umask, no_stdin, cwd, argc, *words = b"".join(parts).split(b"\0")
    argv, environment = words[: int(argc)], words[int(argc) : -1]
    if no_stdin == b"1":
        close_stdin()
        sys.stdin = sys.__stdin__ = empty_stdin
    posix.umask(int(umask))
    posix.chdir(cwd)
    if environment != standing:
        set_environment(environment)
    if native.stamps(*paths) != stamps:
        cold(argv)
    return prepare(where, argv, environment)

def rehearse():
    # Touch what every program touches, and what comes before and after it: the pages shared with Z are
    # copied now, not when it is waited for.
    main = sys.modules["__main__"]
    _, path, *_ = b"0\0/dev/null\0".split(b"\0")
    exec(compiled(path, []), {})
    program = b"import sys\ndef f(x):\n    return [x, str(x)]\nprint(*f(1)[2:], end='', flush=True)\n"
    exec(native.compile(program, path), fresh_main(os.fsdecode(path)).__dict__)
    sys.modules["__main__"] = main
    os.fsdecode(native.real(path).rpartition(b"/")[0])
    is_plain_end()
    gc.freeze()

def own_environment():
    return [name + b"=" + value for name, value in posix.environ.items()]

def set_environment(pairs):
    posix.environ.clear()
    os.environ.clear()
    for pair in pairs:
        name, _, value = pair.partition(b"=")
        posix.environ[name] = value
        os.environ[os.fsdecode(name)] = os.fsdecode(value)

def close_stdin():
    null = posix.open("/dev/null", posix.O_RDONLY)
    posix.dup2(null, 0)
    posix.close(null)

def text_of_nothing():
    # As sys.stdin is when it is /dev/null.
    pipe = posix.dup(0)
    close_stdin()
    old = sys.stdin
    binary = io.open(0, "rb", closefd=False)
    binary.raw.name = "<stdin>"
    text = io.TextIOWrapper(binary, encoding=old.encoding, errors=old.errors, newline="\n")
    text.mode = "r"
    posix.dup2(pipe, 0)
    posix.close(pipe)
    return text

def cold(argv):
    os.execvp(argv[0], argv)

def compiled(path, argv):
    # Warnings of the compiler are held back until it is sure that they are not repeated.
    stderr, sys.stderr = sys.stderr, io.StringIO()
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        parts = []
        while part := posix.read(fd, 1 << 20):
            parts.append(part)
        posix.close(fd)
        source = b"".join(parts)
        source.decode("utf-8")
        code = native.compile(source, path)
    except Exception:
        cold(argv)
    held, sys.stderr = sys.stderr.getvalue(), stderr
    if held:
        stderr.write(held)
    return code

def prepare(where, argv, environment):
    path = argv[1]
    code = compiled(path, argv)
    show(where, argv, environment)
    path = os.fsdecode(path)
    sys.orig_argv[:] = [os.fsdecode(word) for word in argv]
    sys.argv[:] = sys.orig_argv[1:]
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = os.fsdecode(native.real(argv[1]).rpartition(b"/")[0] or b"/")
    sys.path_importer_cache[path] = None  # a start looks whether the file is a package
    native.watch(thaw)
    native.hide(globals())
    gc.freeze()
    if "gc" in plain_modules:
        thaw()
    return code, fresh_main(path)

def thaw():
    # The program imports `gc`: it is to see every object.
    global frozen
    frozen = False
    gc.unfreeze()

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
    return module

def is_plain_end():
    # Whether tearing the interpreter down could show: then it is done, else the kernel is quicker.  Only what
    # was made since the freeze is looked at.
    modules = sys.modules
    if not frozen or thread._count() or sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__:
        return False
    objects = gc.get_objects()
    if len(objects) > 4000:
        return False
    imported = 0
    for name in reversed(modules):
        if name == newest_plain:
            break
        imported += 1
        file = getattr(modules[name], "__file__", None) or ""
        if name in ("_ctypes", "_cffi_backend", "readline") or file.endswith(".so") and "-packages" in file:
            return False
    if len(modules) != len(plain_modules) + imported:
        return False  # one that was there is gone, and others may stand where they were not looked for
    for thing in objects:
        kind = type(thing)
        if kind is type:
            if "__del__" in thing.__dict__:
                return False
        elif hasattr(kind, "__del__") or issubclass(kind, weakref.ref) and thing.__callback__ is not None:
            return False
    return True

def begin_end(status):
    # What is to be called first.  Raises to have the interpreter do it all.
    threading = sys.modules.get("threading")
    if threading is None:
        return int
    if getattr(threading, "_threading_atexits", True):
        raise SystemExit(status)
    return threading._shutdown

def leave(status):
    # Not at all, or returns for the interpreter to tear itself down.
    if is_plain_end():
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except Exception:
            pass
        else:
            os._exit(status)

def status_of(error):
    # -1: more than a number.
    code = error.code
    return code & 0xFF if type(code) is int and -(2**31) <= code < 2**31 else 0 if code is None else -1

def note_interrupt():
    # That the interpreter is to end itself by SIGINT.
    try:
        exec("raise KeyboardInterrupt", {})
    except KeyboardInterrupt:
        pass

native.begin(serve, status_of, begin_end, atexit._run_exitfuncs, leave, note_interrupt)
sys.excepthook = native.run
for name in sys.modules.keys() - plain_modules:
    del sys.modules[name]
"""

TEXT = f"exec({_BODY!r}, {{'__name__': 'vmpool_warm'}})\nraise RuntimeError\n"
"""Run by the agent with its control socket at 3, its own executable at 4 and the native half at 5."""
