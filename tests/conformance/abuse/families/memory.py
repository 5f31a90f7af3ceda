"""All the memory there is, and memory that stays when the program is gone."""

from tests.conformance.abuse.table import Abuse, Family, HeldBy, Must

_MEMORY = HeldBy(
    "cgroup memory, the program is killed", user="where none is delegated `RLIMIT_DATA`, per process"
)
_KERNEL_MEMORY = HeldBy(
    "cgroup memory, which counts the kernel's memory too", gvisor="the sandbox's memory is its own"
)
_SMALL = {"memory": 128}

MEMORY = Family(
    "Memory",
    (
        Abuse(
            name="memory-bomb",
            tries="take memory without end",
            must=Must.BOUNDED,
            held_by=_MEMORY,
            limits=_SMALL,
            may_die=True,
            may_stop=frozenset({"gvisor"}),
            code="until_refused(lambda: bytearray(b'x' * (8 << 20)), 200)\nheld()\n",
        ),
        Abuse(
            name="memory-bomb-of-many",
            tries="take it by many processes that each stay small",
            must=Must.BOUNDED,
            held_by=HeldBy(
                "cgroup memory", user="where none is delegated nothing, and the VM's warnings say so"
            ),
            limits=_SMALL,
            may_die=True,
            may_stop=frozenset({"gvisor"}),
            code="""
pids = []
for _ in range(20):
    pid = os.fork()
    if pid == 0:
        kept = b"x" * (16 << 20)
        time.sleep(1)
        os._exit(0)
    pids.append(pid)
killed = [pid for pid in pids if os.waitpid(pid, 0)[1] != 0]
print(len(killed), "killed")
held()
""",
        ),
        Abuse(
            name="memory-file",
            tries="fill a memfd",
            must=Must.BOUNDED,
            held_by=HeldBy(
                "cgroup memory; gone with its last descriptor",
                user="where none is delegated nothing, and the VM's warnings say so",
            ),
            limits=_SMALL,
            may_die=True,
            may_stop=frozenset({"gvisor"}),
            code="""
file = os.memfd_create("fill")
for _ in range(200):
    try:
        os.write(file, b"x" * (1 << 20))
    except OSError as error:
        print(error)
        break
held()
""",
        ),
        Abuse(
            name="shared-memory-that-stays",
            tries="fill System V shared memory and leave it behind",
            must=Must.BOUNDED,
            held_by=HeldBy(
                "`kernel.shmall`: 64 MB of it in a VM",
                gvisor="the sandbox's memory",
                user="cgroup memory where delegated; else nothing, and the VM's warnings say so",
            ),
            limits=_SMALL,
            may_die=True,
            may_stop=frozenset({"gvisor"}),
            code="""
libc.shmat.restype = ctypes.c_void_p
libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
for _ in range(40):
    segment = libc.shmget(0, 8 << 20, 0o1600)
    if segment < 0:
        print("refused", os.strerror(ctypes.get_errno()))
        break
    address = libc.shmat(segment, None, 0)
    ctypes.memset(address, 1, 8 << 20)
    libc.shmdt(ctypes.c_void_p(address))
held()
""",
        ),
        Abuse(
            name="fill-every-tmpfs",
            tries="write into every mount that is memory until it is full, and leave it so",
            must=Must.BOUNDED,
            held_by=HeldBy(
                "every tmpfs has a size: /dev/shm 64 MB",
                user="/tmp half the memory limit",
                docker="the socket's 64 KB",
                gvisor="the socket's 64 KB",
            ),
            limits={"memory": 256},
            may_die=True,
            may_stop=frozenset({"gvisor"}),
            code="""
places = {line.split()[1] for line in open("/proc/mounts") if line.split()[2] == "tmpfs"} | {"/dev/shm"}
for place in sorted(places):
    taken = 0
    try:
        with open(place + "/fill", "wb", buffering=0) as file:
            while taken < 300 << 20:
                taken += file.write(b"x" * (1 << 20))
    except OSError as error:
        print(place, taken >> 20, error)
        continue
    sys.exit(f"{place} has no end")
held()
""",
        ),
        Abuse(
            name="tmpfs-inodes",
            tries="make empty files in /dev/shm without end",
            must=Must.BOUNDED,
            held_by=HeldBy("the tmpfs's number of inodes, and cgroup memory"),
            limits={"memory": 256},
            may_die=True,
            may_stop=frozenset({"gvisor"}),
            code="""
end = time.time() + 1
try:
    for number in range(10**6):
        os.close(os.open(f"/dev/shm/{number}", os.O_CREAT | os.O_WRONLY))
        if time.time() > end:
            break
except OSError as error:
    print(number, error)
held()
""",
        ),
        Abuse(
            name="locked-memory",
            tries="lock memory beyond its limit, and all there is to come",
            must=Must.BOUNDED,
            held_by=HeldBy("`RLIMIT_MEMLOCK`, and cgroup memory"),
            code="""
area = mmap.mmap(-1, 64 << 20)
address = ctypes.addressof(ctypes.c_char.from_buffer(area))
print(libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(64 << 20)), ctypes.get_errno())
print(libc.mlockall(3), ctypes.get_errno())
held()
""",
        ),
        Abuse(
            name="page-tables",
            tries="touch one page in every two megabytes of a huge mapping",
            must=Must.BOUNDED,
            held_by=_KERNEL_MEMORY,
            limits=_SMALL,
            may_die=True,
            may_stop=frozenset({"gvisor"}),
            code="""
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
    ctypes.c_long]
size = (4 if GVISOR else 64) << 30
address = libc.mmap(None, size, 3, 0x4022, -1, 0)
if address in (None, ctypes.c_void_p(-1).value):
    print("no such mapping")
else:
    for offset in range(0, size, 2 << 20):
        ctypes.memset(address + offset, 1, 1)
held()
""",
        ),
        Abuse(
            name="mappings",
            tries="make mappings without end",
            must=Must.BOUNDED,
            held_by=HeldBy("`vm.max_map_count`, and cgroup memory"),
            limits=_SMALL,
            may_die=True,
            may_stop=frozenset({"gvisor"}),
            code="""
libc.mmap.restype = ctypes.c_void_p
made = 0
most = 20_000 if GVISOR else 200_000
while made < most and libc.mmap(None, 4096, made % 2, 0x22, -1, 0) != ctypes.c_void_p(-1).value:
    made += 1
print(made)
held()
""",
        ),
        Abuse(
            name="stack",
            tries="recurse without end",
            must=Must.BOUNDED,
            held_by=HeldBy("`RLIMIT_STACK`"),
            code="""
sys.setrecursionlimit(10**9)
def deeper():
    import json
    return json.loads("[" * 10**6) and deeper()
def run():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc.qsort.argtypes = None
    down = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    data = (ctypes.c_int * 4)(4, 3, 2, 1)
    @down
    def compare(one, other):
        libc.qsort(data, 4, 4, compare)
        return 0
    libc.qsort(data, 4, 4, compare)
print(child(run))
held()
""",
        ),
        Abuse(
            name="message-queues",
            tries="fill System V message queues and semaphores and leave them",
            must=Must.BOUNDED,
            held_by=HeldBy("the IPC namespace's own limits, and cgroup memory"),
            limits=_SMALL,
            may_die=True,
            may_stop=frozenset({"gvisor"}),
            code="""
queues = 0
message = struct.pack("l", 1) + b"x" * 8000
end = time.time() + 1
while time.time() < end:
    queue = libc.msgget(0, 0o1600)
    if queue < 0:
        break
    queues += 1
    while libc.msgsnd(queue, message, 8000, 0o4000) == 0:
        pass
arrays = 0
while time.time() < end + 1 and libc.semget(0, 250, 0o1600) >= 0:
    arrays += 1
print(queues, arrays)
held()
""",
        ),
        Abuse(
            name="posix-message-queues",
            tries="fill POSIX message queues and leave them",
            must=Must.BOUNDED,
            held_by=HeldBy(
                "`RLIMIT_MSGQUEUE`, and `fs.mqueue` of its IPC namespace", gvisor="the sandbox's memory"
            ),
            code="""
rt = ctypes.CDLL(None, use_errno=True)
class Attributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("flags", "most", "size", "now", *"abcd")]
made = 0
for number in range(1000):
    queue = rt.mq_open(b"/abuse-%d" % number, 0o102, 0o600, ctypes.byref(Attributes(0, 10, 8192)))
    if queue < 0:
        print(made, os.strerror(ctypes.get_errno()))
        break
    made += 1
else:
    if not GVISOR:
        sys.exit("nothing stopped it")
for number in range(made):
    rt.mq_unlink(b"/abuse-%d" % number)
held()
""",
        ),
        Abuse(
            name="pipe-buffers",
            tries="fill as many enlarged pipes as it gets",
            must=Must.BOUNDED,
            held_by=HeldBy("cgroup memory; `fs.pipe-user-pages-soft` makes the rest small"),
            limits=_SMALL,
            may_die=True,
            may_stop=frozenset({"gvisor"}),
            code="""
kept = []
try:
    for _ in range(400):
        reader, writer = os.pipe()
        kept.append(reader)
        try:
            fcntl.fcntl(writer, 1031, 1 << 20)
        except OSError:
            pass
        os.set_blocking(writer, False)
        try:
            while os.write(writer, b"x" * 65536):
                pass
        except BlockingIOError:
            pass
except OSError as error:
    print(error)
held()
""",
        ),
        Abuse(
            name="socket-buffers",
            tries="fill as many sockets as it gets",
            must=Must.BOUNDED,
            held_by=_KERNEL_MEMORY,
            limits=_SMALL,
            may_die=True,
            may_stop=frozenset({"gvisor"}),
            code="""
kept = []
try:
    for _ in range(450):
        pair = socket.socketpair()
        kept.append(pair)
        pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 << 20)
        pair[0].setblocking(False)
        try:
            while pair[0].send(b"x" * 65536):
                pass
        except BlockingIOError:
            pass
except OSError as error:
    print(error)
held()
""",
        ),
        Abuse(
            name="hidden-in-a-socket",
            tries="hide open files in sockets in flight, beyond its own limit, inside one another",
            must=Must.BOUNDED,
            held_by=HeldBy(
                "the kernel: `RLIMIT_NOFILE` for files in flight, four levels of sockets",
                gvisor="the sandbox's own limits",
            ),
            holds=True,
            may_die=True,
            code="""
import array
kept, hidden = [], 0
null = os.open("/dev/null", os.O_RDONLY)
try:
    for _ in range(400):
        pair = socket.socketpair()
        kept.append(pair)
        pair[0].setblocking(False)
        try:
            for _ in range(200):
                pair[0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i",
                    [null] * 200))])
                hidden += 200
        except BlockingIOError:
            pass
except OSError as error:
    print(hidden, error)
hold()
held()
""",
        ),
    ),
)
