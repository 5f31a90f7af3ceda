"""The guest agent, process 1 of the VM: trace it, read it, write to it, be it."""

from tests.conformance.abuse.table import Abuse, Family, HeldBy, Must

_UNDUMPABLE = HeldBy(
    "the agent and every supervisor are not dumpable: closed to ptrace, /proc belongs to root",
    gvisor="its kernel knows who may trace whom",
)

AGENT = Family(
    "The agent",
    (
        Abuse(
            name="trace-the-agent",
            tries="ptrace (attach and seize) process 1 and its own supervisor",
            must=Must.REFUSED,
            held_by=_UNDUMPABLE,
            code="""
for pid in (1, os.getppid()):
    refused("attach", call, (101, 117), 16, pid, 0, 0)
    refused("seize", call, (101, 117), 0x4206, pid, 0, 0)
held()
""",
        ),
        Abuse(
            name="memory-of-the-agent",
            tries="open /proc/1/mem, and process_vm_readv and process_vm_writev on process 1",
            must=Must.REFUSED,
            held_by=_UNDUMPABLE,
            code="""
for pid in (1, os.getppid()):
    refused("mem", readable, f"/proc/{pid}/mem")
    refused("mem", write_to, f"/proc/{pid}/mem")
    word = ctypes.create_string_buffer(8)
    local = struct.pack("QQ", ctypes.addressof(word), 8)
    remote = struct.pack("QQ", 0x400000, 8)
    refused("readv", call, (310, 270), pid, ctypes.c_char_p(local), 1, ctypes.c_char_p(remote), 1, 0)
    refused("writev", call, (311, 271), pid, ctypes.c_char_p(local), 1, ctypes.c_char_p(remote), 1, 0)
held()
""",
        ),
        Abuse(
            name="descriptors-of-the-agent",
            tries="read, open and take (pidfd_getfd) the descriptors of process 1 and of its supervisor",
            must=Must.REFUSED,
            held_by=HeldBy(
                bubblewrap="not dumpable: closed to ptrace",
                docker="not dumpable: closed to ptrace",
                gvisor="what can be opened there is nobody's but the execution's own; sockets cannot",
            ),
            code="""
for pid in (1, os.getppid()):
    for number in range(8):
        if not GVISOR:
            refused("read", os.readlink, f"/proc/{pid}/fd/{number}")
        if not GVISOR or (pid == 1 and number > 2):
            refused("write", write_to, f"/proc/{pid}/fd/{number}", b"x" * 64)
    try:
        descriptor = call(434, pid, 0)
    except OSError as error:
        print("pidfd", error)
        continue
    for number in range(8):
        refused("getfd", call, 438, descriptor, number, 0)
held()
""",
        ),
        Abuse(
            name="secrets-of-the-agent",
            tries="read environment, root, directory, maps and stack of process 1",
            must=Must.HARMLESS,
            held_by=_UNDUMPABLE,
            code="""
for name in ("environ", "maps", "stack", "syscall", "auxv", "io"):
    try:
        data = readable(f"/proc/1/{name}")
    except OSError as error:
        print(name, error)
    else:
        if name == "environ" and data.strip(b"\\0"):
            sys.exit(f"environment: {data!r}")
for name in ("root", "cwd", "exe"):
    try:
        if os.readlink(f"/proc/1/{name}") not in ("/", "/.vmpool/vmpool-agent"):
            sys.exit(f"it shows where it stands: {os.readlink(f'/proc/1/{name}')}")
    except OSError as error:
        print(name, error)
held()
""",
        ),
        Abuse(
            name="pose-as-the-host",
            tries="connect to the agent's socket and give orders",
            must=Must.REFUSED,
            held_by=HeldBy(
                bubblewrap="no path leads to the socket",
                docker="the agent serves a peer outside its PID namespace only",
                gvisor="not stopped: its kernel names no peer; the orders reach this VM alone",
            ),
            code="""
found = ["/run/vmpool/agent.sock", "/proc/1/fd/3"]
hello = struct.pack("<IBBHQQ", 16, 1, 0, 0, 1 << 63, 0) + struct.pack("<HHIQ", 1, 0, 8, 1)
for path in found:
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(5)
    try:
        peer.connect(path)
        peer.sendall(hello)
        answer = peer.recv(64)
    except OSError as error:
        print(path, error)
        continue
    if answer and not GVISOR:
        sys.exit(f"{path} answered {answer!r}")
held()
""",
        ),
        Abuse(
            name="pose-as-the-agent",
            tries="put a socket of its own in the place of the agent's",
            must=Must.REFUSED,
            held_by=HeldBy(
                bubblewrap="the listening socket lies outside the VM",
                docker="the socket's directory is root's, and the server checks who listens",
                gvisor="not stopped; it cuts off its own VM alone, until that is restarted",
            ),
            own=True,
            may_stop=frozenset({"gvisor"}),
            code="""
path = "/run/vmpool/agent.sock"
if GVISOR:
    os.unlink(path)
    impostor = socket.socket(socket.AF_UNIX)
    impostor.bind(path)
    held()
    sys.exit()
for deed in (os.unlink, os.rmdir, lambda it: os.rename(it, it + ".old"), lambda it: os.symlink("/",
    it + ".new")):
    refused("socket", deed, path)
impostor = socket.socket(socket.AF_UNIX)
refused("bind", impostor.bind, path)
refused("move", os.rename, "/run/vmpool", "/run/other")
held()
""",
        ),
        Abuse(
            name="replace-the-agent",
            tries="write to the agent's file, move it, mount over it, change its mode",
            must=Must.REFUSED,
            held_by=HeldBy("it lies on a read-only mount, and belongs to root"),
            code="""
for directory, names, files in os.walk("/.vmpool"):
    for name in files:
        path = os.path.join(directory, name)
        refused("write", write_to, path)
        refused("remove", os.unlink, path)
        refused("mode", os.chmod, path, 0o777)
        refused("rename", os.rename, path, "/tmp/agent")
refused("make", open, "/.vmpool/new", "w")
refused("directory", os.rename, "/.vmpool", "/.other")
held()
""",
        ),
        Abuse(
            name="second-agent",
            tries="run the agent's program itself: as an agent, as a bridge, as a supervisor",
            must=Must.HARMLESS,
            held_by=HeldBy("it has the powers of whoever runs it: none"),
            code="""
import subprocess
agent = "/.vmpool/vmpool-agent"
if not os.path.exists(agent):
    agent += "-" + platform.machine()
for words in (["--version"], ["connect", "/run/vmpool/agent.sock"], ["connect", "/nowhere"],
              ["supervise", "0", "1", "2"], ["supervise", "9", "1", "9"]):
    try:
        subprocess.run([agent, *words], stdin=subprocess.DEVNULL, timeout=0.5, capture_output=True)
    except subprocess.TimeoutExpired:
        pass
second = subprocess.Popen([agent, "--socket", "/tmp/second.sock"])
time.sleep(0.3)
second.kill()
second.wait()
held()
""",
        ),
        Abuse(
            name="next-execution-s-files",
            tries="put links, pipes and directories where the next executions' files will be",
            must=Must.HARMLESS,
            held_by=HeldBy("the agent follows no link there; what it cannot make fails that execution alone"),
            own=True,
            code="""
mine = int(__file__.split("-")[1])
for number in range(mine + 1, mine + 30):
    place = f"/tmp/.vmpool-{number}"
    [lambda: os.symlink("/etc/passwd", place), lambda: os.mkfifo(place), lambda: os.mkdir(place,
        0)][number % 3]()
    os.symlink("/etc/passwd", f"/home/user/.vmpool-{number}-main.py")
held()
""",
        ),
        Abuse(
            name="trace-another-execution",
            tries="ptrace a program of another execution of the same VM",
            must=Must.INSIDE,
            held_by=HeldBy("nothing: the VM is the wall, its executions share a user"),
            code="""
pid = os.fork()
if pid == 0:
    signal.pause()
time.sleep(0.1)
call((101, 117), 16, pid, 0, 0)
os.waitpid(pid, 0x40000000)
os.kill(pid, signal.SIGKILL)
held()
""",
        ),
        Abuse(
            name="lower-its-own-oom-score",
            tries="become the last to be killed for memory",
            must=Must.REFUSED,
            held_by=HeldBy(
                "the kernel: no capability to lower it", gvisor="its kernel has no such victim's choice"
            ),
            code="""
for pid in ("self", 1):
    if not GVISOR:
        refused("oom", write_to, f"/proc/{pid}/oom_score_adj", b"-1000")
held()
""",
        ),
        Abuse(
            name="limits-of-the-supervisor",
            tries="leave its supervisor no descriptors and no memory, and a daemon to be ended",
            must=Must.HARMLESS,
            held_by=HeldBy(
                "the agent, which ends what a supervisor does not once the execution's time is up"
            ),
            seconds=2,
            code="""
for what, limit in ((resource.RLIMIT_NOFILE, 0), (resource.RLIMIT_AS, 4096)):
    try:
        resource.prlimit(os.getppid(), what, (limit, limit))
    except OSError as error:
        print(what, error)
if os.fork() == 0:
    os.setsid()
    time.sleep(600)
held()
""",
        ),
        Abuse(
            name="limits-of-the-agent",
            tries="set the limits of process 1, and raise its own",
            must=Must.REFUSED,
            held_by=HeldBy("the agent's filter, for process 1; hard limits for itself"),
            code="""
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
def more():
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 1, hard + 1))
    except ValueError as error:
        raise OSError(errno.EPERM, str(error))
refused("open files", more)
low = struct.pack("QQ", 3, 3)
refused("agent", call, (302, 261), 1, 7, ctypes.c_char_p(low), 0)
held()
""",
        ),
    ),
)
