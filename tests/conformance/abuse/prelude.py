"""What every abuse program begins with: a few ways to say what is tried and what must come of it.

Written for the VM's own Python, with nothing but its standard library.
"""

PRELUDE = r'''
import ctypes, errno, fcntl, mmap, os, platform, resource, select, signal, socket, stat, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
X86 = platform.machine() == "x86_64"
GVISOR = "gVisor" in open("/proc/version").read() or os.uname().release.startswith("4.4.0")

def call(number, *arguments):
    """A system call by its number (x86_64, aarch64); OSError as the kernel says."""
    if isinstance(number, tuple):
        number = number[0 if X86 else 1]
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

def refused(what, deed, *arguments, **more):
    """The deed must raise OSError."""
    try:
        result = deed(*arguments, **more)
    except OSError as error:
        print(what, errno.errorcode.get(error.errno, error), flush=True)
        return error.errno
    sys.exit(f"{what}: it was let do it: {result!r}")

def unanswered(what, host, port):
    """Whoever takes the connection, no byte comes back; and the VM's proxy, where it has one, refuses."""
    answer = answered((host, port), "GET / HTTP/1.0")
    if answer:
        sys.exit(f"{what}: something answered: {answer!r}")
    named = f"[{host}]" if host.count(":") > 1 and host[0] != "[" else host
    answer = answered(("127.0.0.1", 3128), f"CONNECT {named}:{port} HTTP/1.1")
    if answer and answer.split()[1] < b"400":
        sys.exit(f"{what}: the proxy led to it: {answer!r}")

def answered(address, line):
    """What comes back to a request of this first line."""
    try:
        with socket.create_connection(address, timeout=5) as peer:
            peer.sendall(line.encode() + b"\r\nHost: x\r\n\r\n")
            answer = peer.recv(100)
    except OSError as error:
        answer = b""
        print(address, error, flush=True)
    print(line, answer, flush=True)
    return answer

def until_refused(deed, most):
    """How often the deed can be done; what it returned is kept until then.  Failing `most` times to fail is
    a failure."""
    kept = []
    for _ in range(most):
        try:
            kept.append(deed())
        except (OSError, MemoryError, BlockingIOError) as error:
            print("stopped after", len(kept), "by", error, flush=True)
            return kept
    sys.exit(f"nothing stopped it after {most}")

def child(deed):
    """The deed in a process of its own; its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            deed()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(99)
    return os.waitpid(pid, 0)[1]

def hold():
    """Everything is taken: whoever watches may look now, and says when to go on by a line."""
    print("holding", flush=True)
    sys.stdin.readline()

def held():
    print("held", flush=True)

def readable(path):
    with open(path, "rb") as file:
        return file.read(4096)

def write_to(path, data=b"1"):
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)

def walk(top, most=20000):
    """Files below, links not followed."""
    found = []
    for directory, names, files in os.walk(top):
        found += [os.path.join(directory, name) for name in files]
        if len(found) > most:
            break
    return found
'''
