"""Standard output as a weapon."""

from tests.conformance.abuse.table import Abuse, Family, HeldBy, Must

_WINDOW = HeldBy("the agent holds 256 KiB a stream and reads no further until the server has taken it")

OUTPUT = Family(
    "Output",
    (
        Abuse(
            name="output-flood",
            tries="write output for a second, as fast as it goes, to both streams",
            must=Must.BOUNDED,
            held_by=_WINDOW,
            code="""
end = time.time() + 1
while time.time() < end:
    os.write(1, b"x" * 65536)
    os.write(2, b"y" * 65536)
os.write(1, b"\\n")
""",
            may_die=True,
        ),
        Abuse(
            name="output-unread",
            tries="write output that is not read while it goes on",
            must=Must.BOUNDED,
            held_by=_WINDOW,
            holds=True,
            code="""
print("holding", flush=True)
os.set_blocking(1, False)
end = time.time() + 1
while time.time() < end:
    try:
        os.write(1, b"x" * 65536)
    except BlockingIOError:
        pass
os.set_blocking(1, True)
sys.stdin.readline()
os.write(1, b"\\n")
""",
            may_die=True,
        ),
        Abuse(
            name="tiny-writes",
            tries="a hundred thousand writes of one byte",
            must=Must.BOUNDED,
            held_by=HeldBy("the agent gathers for a millisecond; the server takes a flood in small pieces"),
            code="for _ in range(100_000):\n    os.write(1, b'x')\nos.write(1, b'\\n')\nheld()\n",
        ),
        Abuse(
            name="not-text",
            tries="terminal escapes, NULs, invalid UTF-8, a byte order mark, lines without end",
            must=Must.HARMLESS,
            held_by=HeldBy("output is bytes as far as the API, which says where it was no text"),
            code="""
for data in (b"\\x1b[2J\\x1b]0;title\\x07\\x1b[6n\\x1bP", bytes(range(256)),
    b"\\xff\\xfe\\xc0\\x80\\xed\\xa0\\x80",
             b"\\0" * 1000, b"\\r" * 100, b"x" * 100_000):
    os.write(1, data)
os.write(1, b"\\n")
held()
""",
        ),
        Abuse(
            name="output-after-the-end",
            tries="leave a daemon that keeps the execution's output open and writes to it",
            must=Must.HARMLESS,
            held_by=HeldBy("the execution ends with its program; the daemon goes with it"),
            code="""
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    while True:
        try:
            os.write(1, b"late\\n")
        except OSError:
            pass
        time.sleep(0.01)
held()
""",
        ),
        Abuse(
            name="pipes-tampered-with",
            tries="enlarge, shrink, read back and reopen its own output's pipe",
            must=Must.HARMLESS,
            held_by=HeldBy("the pipe is the execution's own; only its output suffers"),
            code="""
held()
for size in (1 << 20, 4096):
    try:
        fcntl.fcntl(1, 1031, size)
    except OSError as error:
        print(error, file=sys.stderr)
for name in ("/proc/self/fd/1", "/proc/self/fd/2"):
    try:
        os.close(os.open(name, os.O_RDWR | os.O_NONBLOCK))
    except OSError as error:
        print(error, file=sys.stderr)
held()
""",
        ),
    ),
)
