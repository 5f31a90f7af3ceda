"""Awkward Python programs: each shows something of itself that a warm start could get wrong."""

# ruff: noqa: E501 - a table, not text to be read

from __future__ import annotations

from dataclasses import replace

from tests.conformance.differential.both_ways import Program

ADDRESS = r"0x[0-9a-f]{5,}"
PID = r"\b\d{1,7}\b"
SITE = "/home/user/.local/lib/python{}.{}/site-packages"

START = {
    "arguments": Program(
        "import sys; print(sys.argv, sys.orig_argv, sys.flags, sys.executable, sys.path, sys.prefix)",
        arguments=("one", "--two", "", "drei vier", "-c"),
    ),
    "modules": Program("import sys; print(list(sys.modules))"),
    "main": Program(
        "import sys; print({k: (type(v), v if isinstance(v, (str, type(None), dict)) and k != '__builtins__' else 0) for k, v in globals().items()},"
        " __loader__.name, __loader__.path, __builtins__, __loader__.get_filename(), sys.modules['__main__'].__dict__ is globals(), repr(sys.modules['__main__']))",
        varies=(ADDRESS,),
    ),
    "names": Program(
        "print(__name__, __file__, __spec__, __package__, __doc__, __annotations__ if '__annotations__' in globals() else 0, dir())"
    ),
    "annotations": Program("x: int = 1\nprint(__annotations__, list(globals()))"),
    "sys": Program(
        "import sys\nfor n in sorted(dir(sys)):\n    v = getattr(sys, n)\n    if isinstance(v, (str, int, float, tuple, list, type(None))) and n not in ('path_hooks', 'meta_path'): print(n, v)\n"
        "print(sys.meta_path, [h.__name__ for h in sys.path_hooks], sorted(sys.path_importer_cache))",
        varies=(ADDRESS,),
    ),
    "depth": Program(
        "import sys\nprint(sys._getframe().f_back, sys._getframe().f_code.co_name, sys._getframe().f_lasti >= 0)\n"
        "def f(n=0):\n    try: return f(n + 1)\n    except RecursionError: return n\nprint(f(), sys.getrecursionlimit())"
    ),
    "stack": Program("import traceback; traceback.print_stack(); print(len(traceback.extract_stack()))"),
    "exception-state": Program(
        "import sys; print(sys.exc_info(), [hasattr(sys, n) for n in ('last_type', 'last_value', 'last_traceback', 'last_exc')], sys.excepthook)"
    ),
    "hooks": Program(
        "import sys; print(sys.gettrace(), sys.getprofile(), sys.displayhook, sys.breakpointhook, sys.unraisablehook, sys.getswitchinterval(), sys.get_asyncgen_hooks())"
    ),
    "builtins": Program(
        "import builtins; print(sorted(vars(builtins)), __builtins__ is builtins, hasattr(builtins, '_'))"
    ),
    "code": Program(
        "import sys; c = sys._getframe().f_code; print(c.co_filename, c.co_name, c.co_flags, c.co_firstlineno)"
    ),
    "open-files": Program(
        "import os; print(sorted((int(n), os.readlink('/proc/self/fd/' + n).split(':')[0]) for n in os.listdir('/proc/self/fd') if int(n) < 3 or os.path.exists('/proc/self/fd/' + n)))"
    ),
    "inheritable": Program("import os; print([os.get_inheritable(n) for n in range(3)])"),
    "next-descriptor": Program("import os; print(os.open('/dev/null', 0), os.dup(1))"),
    "stat": Program("import os; print([oct(os.fstat(n).st_mode) for n in range(3)])"),
    "blocking": Program("import os, fcntl; print([fcntl.fcntl(n, fcntl.F_GETFL) for n in range(3)])"),
    "command-line": Program(
        "print(open('/proc/self/cmdline', 'rb').read(), open('/proc/self/comm').read())", arguments=("a", "b")
    ),
    "short-command-line": Program("print(open('/proc/self/cmdline', 'rb').read())"),
    "environ-file": Program(
        "print(sorted(open('/proc/self/environ', 'rb').read().split(b'\\0')))", env={"MINE": "1" * 5000}
    ),
    "ps": Program("import os; print(os.popen(f'ps -o args= -p {os.getpid()} 2>&1').read())", varies=(PID,)),
    "exe": Program("import os; print(os.readlink('/proc/self/exe'), os.readlink('/proc/self/cwd'))"),
    "limits": Program("print(open('/proc/self/limits').read())"),
    "status": Program(
        "print([l for l in open('/proc/self/status') if l.split(':')[0] in ('Name', 'Umask', 'Uid', 'Gid', 'FDSize', 'Groups', 'Threads', 'SigBlk', 'SigIgn', 'SigCgt', 'CapEff', 'NoNewPrivs', 'Seccomp', 'TracerPid')])"
    ),
    "oom-score": Program("print(open('/proc/self/oom_score_adj').read())"),
    "session": Program(
        "import os; p = os.getpid(); print(os.getsid(0) == p, os.getpgrp() == p, os.getpgid(0) == p)"
    ),
    "parent": Program(
        "import os; print(open(f'/proc/{os.getppid()}/comm').read(), open(f'/proc/{os.getppid()}/stat').read().split()[3] == '1')"
    ),
    "terminal": Program(
        "import os\ntry: os.open('/dev/tty', 0)\nexcept OSError as e: print(e)\nprint(os.isatty(0), os.isatty(1))"
    ),
    "cwd": Program("import os; print(os.getcwd(), os.path.abspath('x'), os.listdir('.'))"),
    "umask": Program(
        "import os; print(os.umask(0)); open('made', 'w'); print(oct(os.stat('made').st_mode)); os.remove('made')"
    ),
    "environment": Program(
        "import os; print(os.environ, os.environb, os.getenv('MINE'))", env={"MINE": "äö", "EMPTY": ""}
    ),
    "environment-of-children": Program(
        "import os, subprocess; os.environ['NEW'] = '1'; del os.environ['LOGNAME']; print(subprocess.check_output(['sh', '-c', 'env | sort']), os.popen('env | sort').read())"
    ),
    "identity": Program("import os; print(os.getuid(), os.geteuid(), os.getgid(), os.getgroups())"),
    "locale": Program(
        "import locale, sys; print(locale.setlocale(locale.LC_ALL, None), locale.getpreferredencoding(), sys.getfilesystemencoding(), locale.localeconv())"
    ),
    "affinity": Program("import os; print(os.sched_getaffinity(0), os.nice(0), os.sched_getscheduler(0))"),
    "ctypes-constants": Program(
        "import ctypes; print(ctypes.c_int.in_dll(ctypes.pythonapi, 'Py_VerboseFlag'), ctypes.CDLL(None).getpid() == __import__('os').getpid())"
    ),
    "thread-ids": Program(
        "import os, threading; t = threading.main_thread(); print(t.native_id == os.getpid() == threading.get_native_id(), t.ident == threading.get_ident(), t.name, threading.active_count())"
    ),
    "children-of-a-thread": Program("import ctypes, os; print(ctypes.CDLL(None).gettid() == os.getpid())"),
    "dev-mode": Program(
        "import sys; print(sys.flags.dev_mode, sys.flags.utf8_mode, sys.flags.hash_randomization, sys.dont_write_bytecode, sys.warnoptions, sys._xoptions)"
    ),
    "faulthandler": Program("import faulthandler; print(faulthandler.is_enabled())"),
    "subclasses": Program(
        "print(sorted(c.__module__ + '.' + c.__qualname__ for c in object.__subclasses__() if c.__module__ != 'ast'))"
    ),
    "allocations": Program(
        "import tracemalloc; print(tracemalloc.is_tracing()); tracemalloc.start(); x = [1] * 1000; print(tracemalloc.get_traced_memory()[0] > 8000)"
    ),
    "interned": Program(
        "import sys; a = ''.join(['inter', 'ned']); print(sys.intern(a) is a, 'x' is ''.join(['x']))"
    ),
    "refcounts": Program(
        "import sys; x = object(); print(sys.getrefcount(x), sys.getrefcount(sys.modules['__main__']), sys.getrefcount(globals()))"
    ),
    "hash-seed-fixed": Program("print(hash('a'), hash(b'a'))", env={}, varies=(r"-?\d+",)),
    "sites": Program(
        "import site, sys; print(site.getsitepackages(), site.getusersitepackages(), site.ENABLE_USER_SITE, site.PREFIXES, 'sitecustomize' in sys.modules)"
    ),
    "sysconfig": Program("import sysconfig; print(sysconfig.get_paths())"),
    "linecache": Program(
        "import linecache; print(linecache.cache, linecache.getline(__file__, 1))", varies=(r"\d+\.\d+",)
    ),
    "help": Program("import pydoc; print(pydoc.plain(pydoc.render_doc(len)))"),
    "odd-imports": Program("import this, __hello__\n__hello__.main()"),
    "zoneinfo": Program(
        "import time, datetime; print(time.tzname, time.timezone, datetime.datetime.fromtimestamp(0), time.strftime('%Z', time.localtime(0)))"
    ),
}

GARBAGE = {
    "gc-settings": Program(
        "import gc; print(gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.garbage, gc.callbacks, gc.get_freeze_count(), len(gc.get_stats()))"
    ),
    "gc-objects": Program(
        "import gc; n = len(gc.get_objects()); print(n > 3000, gc.is_tracked({}), gc.is_tracked([]))"
    ),
    "gc-modules": Program(
        "import gc, os; print(any(o is os.environ for o in gc.get_objects()), any(r is os.__dict__ for r in gc.get_referrers(os.environ)))"
    ),
    "gc-cycle": Program(
        "import gc\nclass A:\n    def __del__(self): print('gone')\na = A(); a.a = a; del a\nprint(gc.collect() > 0)"
    ),
    "gc-frozen": Program(
        "import gc; gc.freeze(); print(gc.get_freeze_count() > 3000); gc.unfreeze(); print(gc.get_freeze_count())"
    ),
    "gc-foreign-frames": Program(
        "import gc, types; print(sorted({o.f_code.co_filename for o in gc.get_objects() if isinstance(o, types.FrameType)}))"
    ),
    "weakref-at-end": Program(
        "import weakref\nclass A: pass\na = A()\nweakref.finalize(a, print, 'finalized')\nprint('end')"
    ),
    "weakref-callback": Program(
        "import weakref\nclass A: pass\na = A()\nr = weakref.ref(a, lambda r: print('called'))\nprint('end')"
    ),
    "del-in-module": Program(
        "class A:\n    def __del__(self): print('gone', print.__name__, __name__)\na = A()\nl = [a]\nprint('end')"
    ),
    "del-by-metaclass": Program(
        "class M(type):\n    def __del__(cls): print('class gone')\nclass A(metaclass=M): pass\nprint('end')"
    ),
    "del-set-later": Program("class A: pass\na = A()\nA.__del__ = lambda self: print('late')\nprint('end')"),
    "del-inherited": Program(
        "class A:\n    def __del__(self): print('gone', type(self).__name__)\nclass B(A): pass\nclass C(B): pass\nx = C()\nprint('end')"
    ),
    "del-slots": Program(
        "class A:\n    __slots__ = ('x',)\n    def __del__(self): print('gone')\na = A()\nprint('end')"
    ),
    "del-in-dict-of-builtin": Program(
        "import sys, builtins\nclass A:\n    def __del__(self): print('gone', sys)\nbuiltins.kept = A(); sys.kept = A()\nprint('end')"
    ),
    "unclosed-file": Program(
        "f = open('unclosed.txt', 'w'); f.write('kept' * 10)\nimport atexit, os\nprint(os.path.getsize('unclosed.txt'))"
    ),
    "unclosed-file-was-written": Program(
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', \"f = open('u.txt', 'w'); f.write('kept')\"])\nprint(open('u.txt').read())\ng = open('v.txt', 'w'); g.write('x')"
    ),
    "what-an-unclosed-file-left": Program("print(open('v.txt').read())", files={}),
    "generator-at-end": Program(
        "def g():\n    try: yield 1\n    finally: print('closed')\nx = g(); next(x)\nprint('end')"
    ),
    "coroutine-never-awaited": Program("async def f(): pass\nx = f()\nprint('end')"),
    "async-generator-at-end": Program(
        "async def g():\n    try: yield 1\n    finally: print('closed')\nx = g()\ntry: x.__anext__().send(None)\nexcept StopIteration as e: print(e.value)\nprint('end')"
    ),
    "contextmanager-at-end": Program(
        "import contextlib\n@contextlib.contextmanager\ndef c():\n    try: yield\n    finally: print('left')\nx = c(); x.__enter__()\nprint('end')"
    ),
    "temporary-directory": Program(
        "import tempfile, os\nd = tempfile.TemporaryDirectory()\nprint(os.path.isdir(d.name))",
        varies=(r"/tmp/\w+",),
    ),
    "resource-warnings": Program(
        "import warnings; warnings.simplefilter('always')\ndef f(): open('/dev/null')\nf()\ng = open('/dev/null')"
    ),
    "thread-local": Program(
        "import threading\nclass A:\n    def __del__(self): print('gone')\nl = threading.local(); l.a = A()\nprint('end')"
    ),
    "many-objects": Program(
        "x = [[i] for i in range(20000)]\nclass A:\n    def __del__(self): print('gone')\nx.append(A())\nprint('end')"
    ),
}

END = {
    "exit-negative": Program("import sys; sys.exit(-1)"),
    "exit-300": Program("import sys; sys.exit(300)"),
    "exit-huge": Program("import sys; sys.exit(1 << 40)"),
    "exit-none": Program("import sys; sys.exit(None)"),
    "exit-true": Program("import sys; sys.exit(True)"),
    "exit-text": Program("import sys; sys.exit('ein Grund: ä')"),
    "exit-list": Program("import sys; sys.exit([1, 2])"),
    "exit-bad-text": Program("class A:\n    def __str__(self): raise ValueError\nraise SystemExit(A())"),
    "exit-subclass": Program("class E(SystemExit): pass\nraise E(7)"),
    "exit-in-function": Program("def f(): exit(3)\ntry: f()\nfinally: print('finally')"),
    "quit": Program("quit()"),
    "exit-in-thread": Program(
        "import threading, sys\nt = threading.Thread(target=sys.exit, args=(3,)); t.start(); t.join(); print('on')"
    ),
    "exit-at-exit": Program("import atexit, sys\natexit.register(sys.exit, 9)\nprint(1)"),
    "exit-now": Program("import os, sys; sys.stdout.write('lost'); os._exit(9)"),
    "abort": Program("import os; os.abort()"),
    "segfault": Program("import ctypes; ctypes.string_at(0)"),
    "killed": Program("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"),
    "sigterm": Program("import os, signal; os.kill(os.getpid(), signal.SIGTERM); print('never')"),
    "sigint": Program(
        "import os, signal, time\ntry: os.kill(os.getpid(), signal.SIGINT); time.sleep(1)\nexcept KeyboardInterrupt: print('caught')"
    ),
    "sigint-uncaught": Program("import signal\nsignal.raise_signal(signal.SIGINT)"),
    "sigint-after-exec": Program("exec('1')\nraise KeyboardInterrupt"),
    "interrupt-subclass": Program("class K(KeyboardInterrupt): pass\nraise K('mine')"),
    "interrupt-with-handler": Program(
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nraise KeyboardInterrupt"
    ),
    "interrupt-then-exit-functions": Program(
        "import atexit; atexit.register(print, 'last')\nraise KeyboardInterrupt"
    ),
    "sigpipe": Program(
        "import os\nr, w = os.pipe(); os.close(r)\ntry: os.write(w, b'x')\nexcept BrokenPipeError as e: print(e)"
    ),
    "handlers": Program(
        "import signal; print([(s.name, signal.getsignal(s)) for s in signal.valid_signals() if isinstance(s, signal.Signals)], signal.pthread_sigmask(0, []), signal.set_wakeup_fd(-1))"
    ),
    "handler": Program(
        "import signal, os\nsignal.signal(signal.SIGUSR1, lambda n, f: print(n, f.f_code.co_name, f.f_back))\nos.kill(os.getpid(), signal.SIGUSR1)\nprint('on')"
    ),
    "alarm": Program("import signal\nsignal.setitimer(signal.ITIMER_REAL, 0.02)\nsignal.pause()"),
    "default-signals-of-children": Program(
        "import subprocess; print(subprocess.check_output(['grep', 'Sig', '/proc/self/status']).decode())"
    ),
    "atexit-order": Program(
        "import atexit\nfor i in range(3): atexit.register(print, i)\nprint(atexit._ncallbacks())"
    ),
    "atexit-registers": Program(
        "import atexit\ndef f(): print('f'); atexit.register(print, 'g')\natexit.register(f)"
    ),
    "atexit-fails": Program(
        "import atexit\natexit.register(lambda: 1 / 0)\natexit.register(print, 'second')"
    ),
    "atexit-and-status": Program("import atexit, os\natexit.register(os._exit, 4)"),
    "atexit-after-threads": Program(
        "import atexit, threading, time\natexit.register(print, 'exit')\ndef f(): time.sleep(0.03); print('thread')\nthreading.Thread(target=f).start()"
    ),
    "fault-in-thread": Program(
        "import threading\nt = threading.Thread(target=lambda: 1 / 0, name='t'); t.start(); t.join(); print('on')"
    ),
    "daemon": Program(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nprint('end')"
    ),
    "thread-starts-thread": Program(
        "import threading, time\ndef f(n):\n    time.sleep(0.01); print(n)\n    if n: threading.Thread(target=f, args=(n - 1,)).start()\nf(3)"
    ),
    "executor-at-exit": Program(
        "from concurrent.futures import ThreadPoolExecutor\nimport time\ndef f(): time.sleep(0.02); print('done')\nThreadPoolExecutor(1).submit(f)\nprint('end')"
    ),
    "low-level-thread": Program(
        "import _thread, time\n_thread.start_new_thread(time.sleep, (60,))\nprint('end')"
    ),
    "flush-fails": Program("import os, sys\nprint('x'); os.close(1)"),
    "flush-into-full-device": Program(
        "import os, sys\nfd = os.open('/dev/full', os.O_WRONLY); os.dup2(fd, 1); print('x')"
    ),
    "closed-streams": Program("import sys\nsys.stdout.close(); sys.stderr.close()"),
    "replaced-stdout": Program(
        "import io, sys\nsys.stdout = io.StringIO(); print('nowhere')\nsys.__stdout__.write('somewhere')"
    ),
    "stdout-none": Program("import sys\nsys.stdout = None; print('nowhere')\nsys.stderr.write('there')"),
    "detached": Program("import sys\nb = sys.stdout.detach(); b.write(b'x')"),
    "reconfigured": Program(
        "import sys\nsys.stdout.reconfigure(encoding='latin-1', line_buffering=True); print('\\xe4')"
    ),
    "interleaved": Program(
        "import os, sys\nprint('a'); os.write(1, b'b'); sys.stderr.write('c'); sys.stdout.flush(); os.system('echo d'); print('e')"
    ),
    "much-output": Program(
        "import sys\nfor i in range(20000): print(i)\nprint('x' * 100000, file=sys.stderr)"
    ),
    "profile-left-on": Program("import sys\nsys.setprofile(lambda f, e, a: None)\nprint(1)"),
    "trace-left-on": Program(
        "import sys\nseen = []\nsys.settrace(lambda f, e, a: seen.append((f.f_code.co_name, e)))\ndef f(): pass\nf()\nprint(seen)"
    ),
    "audit": Program(
        "import sys\nsys.addaudithook(lambda e, a: print(e) if e in ('compile', 'exec', 'cpython.run_file') else None)\nexec('1')"
    ),
    "modules-gone": Program("import sys\nsys.modules.clear()"),
    "main-replaced": Program(
        "import sys, types\nsys.modules['__main__'] = types.ModuleType('other')\nprint(__name__)"
    ),
    "builtins-broken": Program("import builtins\nprint(1)\ndel builtins.print"),
}

ERRORS = {
    "error": Program("def f(x):\n    return 1 / x\n\nclass A:\n    def m(self): f(0)\nA().m()"),
    "error-with-unicode": Program("def größe(ä):\n    raise ValueError('☃ ' + ä)\ngröße('é')"),
    "error-with-surrogates": Program("raise ValueError('\\udc80')"),
    "error-chained": Program(
        "try:\n    {}['a']\nexcept KeyError as e:\n    raise ValueError('second') from e"
    ),
    "error-in-context": Program("try:\n    1 / 0\nexcept ZeroDivisionError:\n    undefined"),
    "error-suppressed": Program("try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise ValueError from None"),
    "error-with-notes": Program(
        "e = ValueError('x'); e.add_note('a note') if hasattr(e, 'add_note') else None\nraise e"
    ),
    "error-group": Program(
        "raise BaseExceptionGroup('g', [ValueError(1), KeyboardInterrupt()]) if 'BaseExceptionGroup' in dir(__builtins__) else 1"
    ),
    "error-in-exec": Program("exec('def f():\\n  1/0\\nf()')"),
    "error-in-eval": Program("eval('1 +')"),
    "error-in-compiled": Program("exec(compile('x = (', 'given.py', 'exec'))"),
    "error-in-lambda": Program("(lambda: (lambda: 1 / 0)())()"),
    "error-in-import": Program("import broken_module", files={"broken_module.py": "def f(:\n"}),
    "error-below-import": Program(
        "import failing_module", files={"failing_module.py": "def f(): raise ValueError('below')\nf()\n"}
    ),
    "error-in-comprehension": Program("[x / 0 for x in (1,)]"),
    "error-in-class-body": Program("class A:\n    x = 1 / 0"),
    "error-in-str": Program("class E(Exception):\n    def __str__(self): raise RuntimeError\nraise E"),
    "error-recursion": Program("def f(n): f(n + 1)\nf(0)"),
    "error-mutual-recursion": Program("def f(): g()\ndef g(): f()\nf()"),
    "error-hook": Program(
        "import sys\ndef hook(t, e, tb):\n    n = 0\n    while tb: n += 1; tb = tb.tb_next\n    print('hook', t, e, n, sys._getframe().f_back, sys.exc_info())\nsys.excepthook = hook\n1 / 0"
    ),
    "error-hook-fails": Program("import sys\ndef hook(*a): {}[1]\nsys.excepthook = hook\n1 / 0"),
    "error-hook-gone": Program("import sys\ndel sys.excepthook\n1 / 0"),
    "error-hook-exits": Program("import sys\nsys.excepthook = lambda *a: sys.exit(5)\n1 / 0"),
    "error-last-value": Program(
        "import atexit, sys\natexit.register(lambda: print(sys.last_type, sys.last_value, sys.last_traceback.tb_lineno, sys.last_traceback.tb_next))\n1 / 0"
    ),
    "error-unraisable": Program("class A:\n    def __del__(self): 1 / 0\nA()\nprint('on')"),
    "error-os": Program("open('/no/such/file')"),
    "error-traceback-limit": Program("import sys\nsys.tracebacklimit = 1\ndef f(): g()\ndef g(): 1 / 0\nf()"),
    "error-long-line": Program("x = [" + ", ".join(["1"] * 300) + ", 1 / 0]"),
    "error-wide": Program("'日本語' + 1 ; x = '日本語'"),
    "error-in-file-without-newline": Program("if 1:\n    1 / 0"),
    "syntax": Program("x = = 1"),
    "syntax-unclosed": Program("print((1)\n"),
    "syntax-indentation": Program("if True:\nprint(1)"),
    "syntax-tabs": Program("if True:\n        x = 1\n\tx = 2"),
    "syntax-unicode": Program("grün = “1”"),
    "syntax-return": Program("return 1"),
    "syntax-null": Program("print(1)\0"),
    "syntax-string": Program("x = 'abc"),
    "syntax-fstring": Program("x = f'{'"),
    "syntax-deep": Program("(" * 300 + ")" * 300),
    "syntax-await": Program("await x"),
    "syntax-warning": Program("print(1 is 1)\nassert (1, 2)"),
    "syntax-warning-escape": Program("import re\nprint('\\d')"),
    "syntax-future": Program(
        "from __future__ import annotations\ndef f(x: undefined): pass\nprint(f.__annotations__)"
    ),
    "syntax-late-future": Program("x = 1\nfrom __future__ import annotations"),
    "empty": Program(""),
    "only-a-comment": Program("# nothing"),
    "docstring": Program("'''What it is.'''\nprint(__doc__)"),
    "carriage-returns": Program("x = 1\r\nprint(x)\r\nprint('''a\r\nb''')\r\n"),
    "form-feed": Program("x = 1\n\f\nprint(x)"),
    "bom": Program("\ufeffprint('bom')"),
    "cookie": Program("# -*- coding: latin-1 -*-\nprint(ascii('ä'))"),
    "cookie-unknown": Program("# -*- coding: nonsense -*-\nprint(1)"),
    "big-source": Program("x = [\n" + "    'some words to make it long',\n" * 5000 + "]\nprint(len(x))"),
    "many-constants": Program("\n".join(f"v{i} = {i}" for i in range(2000)) + "\nprint(v1999)"),
}

ORDER = {
    "flushed-before-exit-functions": Program(
        "import atexit, os\natexit.register(os.write, 1, b'exit function\\n')\nprint('buffered')"
    ),
    "flushed-before-threads-end": Program(
        "import os, threading, time\ndef f(): time.sleep(0.05); os.write(1, b'thread\\n')\nthreading.Thread(target=f).start()\nprint('buffered')"
    ),
    "flushed-before-error": Program("import os\nos.dup2(1, 2)\nprint('buffered')\n1 / 0"),
    "flushed-before-exit-text": Program(
        "import os, sys\nos.dup2(1, 2)\nprint('buffered')\nsys.exit('reason')"
    ),
    "exit-functions-after-error": Program(
        "import atexit, os\nos.dup2(1, 2)\natexit.register(print, 'last')\n1 / 0"
    ),
    "frames-of-exit-functions": Program(
        "import atexit, sys\natexit.register(lambda: print(sys._getframe().f_back, sys.exc_info()))"
    ),
    "frames-of-finalizers": Program(
        "import sys\nclass A:\n    def __del__(self, get=sys._getframe): print(get().f_back)\na = A()"
    ),
    "frames-of-a-stream": Program(
        "import io, sys\nclass S(io.StringIO):\n    def flush(self): sys.__stdout__.write(f'flush {sys._getframe().f_back}\\n')\nsys.stdout = S()"
    ),
    "recursion-in-excepthook": Program("import sys\nsys.excepthook = lambda *a: sys.excepthook(*a)\n1 / 0"),
    "error-in-shutdown": Program("import threading\nthreading._register_atexit(lambda: 1 / 0)\nprint('end')"),
    "foreign-objects": Program(
        "import gc, types\nprint(sorted({f.__module__ or '' for f in gc.get_objects() if isinstance(f, types.FunctionType) and 'vmpool' in str(f.__module__)}), [m for m in gc.get_objects() if isinstance(m, types.ModuleType) and 'vmpool' in m.__name__], [d for d in gc.get_objects() if isinstance(d, dict) and d.get('__name__') == 'vmpool_warm'])"
    ),
}

WARNINGS = {
    "warning": Program("import warnings\nwarnings.warn('careful')\nprint(warnings.filters)"),
    "warning-deprecated": Program(
        "import warnings\nwarnings.warn('old', DeprecationWarning)\ndef f(): warnings.warn('older', DeprecationWarning, stacklevel=2)\nf()"
    ),
    "warning-registry": Program(
        "import warnings\nfor _ in range(3): warnings.warn('once')\nprint(list(globals()))"
    ),
    "warning-as-error": Program("import warnings\nwarnings.simplefilter('error')\nwarnings.warn('now')"),
    "logging": Program(
        "import logging\nlogging.warning('w %s', 1)\nlogging.basicConfig(format='%(module)s %(funcName)s %(lineno)d %(message)s')\nlogging.error('e')"
    ),
}

INPUT = {
    "input": Program("print(input('? ') + '!')", stdin=b"yes\n"),
    "input-none": Program("print(input())"),
    "input-end": Program("input(); input()", stdin=b"one\n"),
    "input-lines": Program("import sys\nfor l in sys.stdin: print(repr(l))", stdin=b"a\r\nb\nc"),
    "input-bytes": Program("import sys\nprint(sys.stdin.buffer.read())", stdin=bytes(range(256))),
    "input-not-utf8": Program("import sys\nprint(ascii(sys.stdin.read()))", stdin=b"\xff\xfea"),
    "input-file": Program("print(open(0).read(), open('/dev/stdin').read())", stdin=b"x"),
    "input-fileinput": Program(
        "import fileinput\nfor l in fileinput.input(): print(fileinput.filename(), l)", stdin=b"1\n2\n"
    ),
    "input-of-child": Program(
        "import subprocess\nprint(subprocess.run(['cat'], capture_output=True).stdout)", stdin=b"for cat"
    ),
    "input-much": Program("import sys\nprint(len(sys.stdin.read()))", stdin=b"x" * 500000),
    "input-seek": Program(
        "import sys\nprint(sys.stdin.seekable(), sys.stdin.buffer.seekable(), sys.stdin.buffer.raw.mode)\ntry: print(sys.stdin.tell())\nexcept OSError as e: print(e)"
    ),
    "input-seek-given": Program(
        "import sys\nprint(sys.stdin.seekable(), sys.stdin.buffer.peek())\ntry: print(sys.stdin.tell())\nexcept OSError as e: print(e)",
        stdin=b"abc",
    ),
    "input-closed": Program(
        "import sys, os\nos.close(0)\ntry: sys.stdin.read()\nexcept OSError as e: print(e)"
    ),
    "streams": Program(
        "import sys\nfor s in (sys.stdin, sys.stdout, sys.stderr): print(s, s.fileno(), s.isatty(), s.line_buffering, s.write_through, s.encoding, s.errors, s.newlines, s.buffer, s.buffer.raw, s.mode, s.name, s.closed)\n"
        "print(sys.stdin is sys.__stdin__, sys.stdout is sys.__stdout__)",
        varies=(ADDRESS,),
    ),
    "code-module": Program("import code; code.interact(banner='b', exitmsg='e')", stdin=b"1 + 1\n__name__\n"),
    "breakpoint": Program("breakpoint()\nprint('on')", stdin=b"p __name__\nc\n"),
}

PROCESSES = {
    "fork": Program(
        "import os\nif os.fork() == 0:\n    print('child', os.getppid() > 1); raise SystemExit(3)\nprint(os.waitstatus_to_exitcode(os.wait()[1]))"
    ),
    "fork-hooks": Program(
        "import os\nos.register_at_fork(before=lambda: print('before'), after_in_child=lambda: print('child'), after_in_parent=lambda: print('parent'))\nprint('', flush=True)\nif os.fork() == 0: os._exit(0)\nos.wait()"
    ),
    "children": Program("import os\ntry: os.wait()\nexcept ChildProcessError as e: print(e)"),
    "subprocess": Program(
        "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'import sys; print(sys.argv, sys.path[0], __name__)', 'x'], capture_output=True, text=True))"
    ),
    "subprocess-module": Program(
        "import subprocess, sys\nprint(subprocess.run([sys.executable, '-m', 'json.tool'], input='{}', capture_output=True, text=True))"
    ),
    "system": Program("import os\nprint(os.system('exit 3'), os.popen('echo $0 $PPID').read().split()[0])"),
    "pool-fork": Program(
        "import multiprocessing as m\ndef f(x): return x * x\nif __name__ == '__main__':\n    with m.get_context('fork').Pool(2) as p: print(p.map(f, range(5)))"
    ),
    "pool-spawn": Program(
        "import multiprocessing as m\nprint('top', __name__, flush=True)\ndef f(x): return x * x, __name__\nif __name__ == '__main__':\n    with m.get_context('spawn').Pool(1) as p: print(p.map(f, range(3)))"
    ),
    "pool-forkserver": Program(
        "import multiprocessing as m\ndef f(x): return x * x\nif __name__ == '__main__':\n    with m.get_context('forkserver').Pool(1) as p: print(p.map(f, range(3)))"
    ),
    "process": Program(
        "import multiprocessing as m, os\ndef f(q): q.put((__name__, m.current_process().name, m.parent_process().pid == os.getppid()))\nif __name__ == '__main__':\n    q = m.Queue(); p = m.Process(target=f, args=(q,)); p.start(); print(q.get()); p.join(); print(p.exitcode, m.current_process())"
    ),
    "process-executor": Program(
        "from concurrent.futures import ProcessPoolExecutor\nif __name__ == '__main__':\n    with ProcessPoolExecutor(2) as e: print(list(e.map(abs, [-1, -2])))"
    ),
    "shared-memory": Program(
        "from multiprocessing import shared_memory\ns = shared_memory.SharedMemory(create=True, size=8); s.buf[0] = 7; print(s.buf[0]); s.close(); s.unlink()"
    ),
    "exec-self": Program(
        "import os, sys\nif len(sys.argv) > 1: print('again', sys.argv[1:])\nelse: sys.stdout.flush(); os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:], 'again'])"
    ),
    "pty": Program(
        "import pty, os\npid, fd = pty.fork()\nif pid == 0: print(os.isatty(0)); os._exit(0)\nprint(os.read(fd, 100)); os.waitpid(pid, 0)"
    ),
    "runpy": Program(
        "import runpy, sys\nif __name__ == '__main__': print(runpy.run_path(__file__, run_name='other')['__name__'])"
    ),
}

IMPORTS = {
    "sibling": Program(
        "import sibling_module; print(sibling_module.VALUE, sibling_module.__file__, sibling_module.__spec__)",
        files={"sibling_module.py": "VALUE = 6\n"},
        varies=(ADDRESS,),
    ),
    "sibling-new": Program(
        "import sys, fresh_module_2; print(fresh_module_2.A, fresh_module_2.__cached__)",
        files={"fresh_module_2.py": "A = 1\n"},
    ),
    "sibling-shadows": Program(
        "import statistics; print(statistics.__file__)", files={"statistics.py": "pass\n"}
    ),
    "package": Program(
        "from pack.sub import x; import pack; print(x, pack.__path__)",
        files={"pack/__init__.py": "", "pack/sub.py": "from . import y as x\n", "pack/y.py": ""},
    ),
    "namespace-package": Program(
        "import space.part; print(space.__path__, space.__spec__.origin)", files={"space/part.py": ""}
    ),
    "main-imported": Program("import __main__; print(__main__.__file__, __main__.__dict__ is globals())"),
    "circular": Program(
        "import main_user",
        files={"main_user.py": "import __main__; print(__main__.__file__, hasattr(__main__, 'x'))\n"},
    ),
    "reload": Program(
        "import importlib, sibling_module; print(importlib.reload(sibling_module).VALUE)",
        files={"sibling_module.py": "VALUE = 6\n"},
    ),
    "zip": Program(
        "import sys, zipfile\nzipfile.ZipFile('z.zip', 'w').writestr('zipped.py', 'V = 1')\nsys.path.insert(0, 'z.zip'); import zipped; print(zipped.__file__)"
    ),
    "source": Program(
        "import inspect\ndef f():\n    return 1\nprint(inspect.getsource(f), inspect.getmodule(f), inspect.getsourcefile(f), inspect.currentframe().f_lineno, len(inspect.stack()))",
        varies=(ADDRESS,),
    ),
    "pickle": Program(
        "import pickle\nclass A:\n    x = 1\ndef f(): pass\nprint(pickle.loads(pickle.dumps(A())).x, pickle.dumps(f), pickle.loads(pickle.dumps(A)) is A)"
    ),
    "dataclass": Program(
        "from dataclasses import dataclass, field\n@dataclass\nclass P:\n    x: int = field(default=1)\nprint(P(), P.__module__, P.__qualname__)"
    ),
    "typing": Program("import typing\ndef f(x: 'C'): pass\nclass C: pass\nprint(typing.get_type_hints(f))"),
    "doctest": Program(
        "def f():\n    '''\n    >>> f()\n    2\n    '''\n    return 1\nimport doctest; doctest.testmod()"
    ),
    "unittest": Program(
        "import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertEqual(1, 2)\nunittest.main()",
        varies=(r"in \d+\.\d+s",),
    ),
    "argparse": Program(
        "import argparse\np = argparse.ArgumentParser(); p.add_argument('x'); p.parse_args()"
    ),
    "asyncio": Program(
        "import asyncio\nasync def f():\n    await asyncio.sleep(0.01); return 4\nprint(asyncio.run(f()))"
    ),
    "asyncio-subprocess": Program(
        "import asyncio\nasync def f():\n    p = await asyncio.create_subprocess_exec('echo', 'hi', stdout=-1); print(await p.communicate())\nasyncio.run(f())"
    ),
    "asyncio-leftover": Program(
        "import asyncio\nasync def g(): await asyncio.sleep(60)\nasync def f(): asyncio.create_task(g()); print('f')\nasyncio.run(f())"
    ),
    "asyncio-debug": Program(
        "import asyncio\nasync def f(): 1 / 0\nasyncio.run(f(), debug=True)", varies=(ADDRESS,)
    ),
    "sqlite": Program("import sqlite3; print(sqlite3.connect(':memory:').execute('select 1').fetchall())"),
    "socket": Program(
        "import socket; a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1), socket.gethostname())"
    ),
    "decimal": Program(
        "import decimal, fractions, json, re, csv, hashlib; print(decimal.getcontext(), json.dumps({'a': [1]}), hashlib.md5(b'').hexdigest())"
    ),
    "random-seeded": Program(
        "import random; random.seed(5); print(random.random(), random.sample(range(100), 5))"
    ),
    "curses-free": Program(
        "import getpass, shutil, platform; print(getpass.getuser(), shutil.get_terminal_size(), platform.python_implementation())"
    ),
    "tkinter-missing": Program("import no_such_module_at_all"),
    "ctypes-prctl": Program(
        "import ctypes; l = ctypes.CDLL(None, use_errno=True); print(l.prctl(3, 0, 0, 0, 0), l.prctl(39, 0, 0, 0, 0))"
    ),
    "stack-size": Program(
        "import threading, resource; print(threading.stack_size(), resource.getrlimit(resource.RLIMIT_STACK))"
    ),
    "unbuffered-child": Program(
        "import subprocess, sys; subprocess.run([sys.executable, '-u', '-c', 'print(1)'])"
    ),
    "faulthandler-dump": Program(
        "import faulthandler, sys; faulthandler.dump_traceback(); faulthandler.enable(); sys.stderr.flush()",
        varies=(ADDRESS,),
    ),
    "timeit": Program("import timeit; print(timeit.timeit('1', number=3) >= 0)"),
    "cprofile": Program("import cProfile; cProfile.run('1 + 1')", varies=(r"\d+\.\d+",)),
}


def _without_addresses(program: Program) -> Program:
    return replace(program, varies=(*program.varies, ADDRESS))


PROGRAMS = {
    name: _without_addresses(program)
    for table in (START, GARBAGE, END, ERRORS, ORDER, WARNINGS, INPUT, PROCESSES, IMPORTS)
    for name, program in table.items()
}
"""All of them by name."""
