"""Open files, and the kernel's small things that are counted by user."""

from tests.conformance.abuse.table import Abuse, Family, HeldBy, Must

_PER_USER = "one budget for all VMs of the engine"

DESCRIPTORS = Family(
    "Descriptors and small things of the kernel",
    (
        Abuse(
            name="open-files",
            tries="open files until it is refused, in many processes at once",
            must=Must.BOUNDED,
            held_by=HeldBy("`RLIMIT_NOFILE` 4096 a process, and the limit of processes"),
            holds=True,
            code="""
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
def fill(ready):
    null = os.open("/dev/null", os.O_RDONLY)
    until_refused(lambda: os.dup(null), 5000)
    os.write(ready, b"1")
    signal.pause()
reader, writer = os.pipe()
pids = []
for _ in range(4 if GVISOR else 16):
    pid = os.fork()
    if pid == 0:
        fill(writer)
    pids.append(pid)
for _ in pids:
    os.read(reader, 1)
hold()
for pid in pids:
    os.kill(pid, signal.SIGKILL)
held()
""",
        ),
        Abuse(
            name="inotify",
            tries="take every inotify instance, and watches without end",
            must=Must.BOUNDED,
            held_by=HeldBy(
                "`fs.inotify.max_user_instances`",
                root="counted for this VM's own users",
                user="counted for the server's user",
                docker=_PER_USER,
                gvisor="its kernel's own",
            ),
            holds=True,
            code="""
made = []
for _ in range(1000):
    descriptor = libc.inotify_init1(0)
    if descriptor < 0:
        print(len(made), os.strerror(ctypes.get_errno()))
        break
    made.append(descriptor)
if made:
    for path in walk("/usr/share", 2000)[:2000]:
        libc.inotify_add_watch(made[0], os.fsencode(path), 2)
hold()
held()
""",
        ),
        Abuse(
            name="epoll",
            tries="epolls of epolls, deep and in a circle",
            must=Must.BOUNDED,
            held_by=HeldBy("the kernel: five levels, no circles"),
            code="""
first = last = select.epoll()
kept = [first]
try:
    for _ in range(20):
        following = select.epoll()
        kept.append(following)
        following.register(last.fileno(), select.EPOLLIN)
        last = following
    sys.exit("nothing stopped it")
except OSError as error:
    print(len(kept), error)
refused("circle", first.register, kept[1].fileno(), select.EPOLLIN)
held()
""",
        ),
        Abuse(
            name="timers",
            tries="POSIX timers and queued signals without end",
            must=Must.BOUNDED,
            held_by=HeldBy("`RLIMIT_SIGPENDING`", docker=_PER_USER, gvisor="its kernel's own"),
            holds=True,
            may_die=True,
            code="""
timer = ctypes.c_void_p()
made, end = 0, time.time() + 1
while made < 200_000 and time.time() < end and libc.timer_create(1, None, ctypes.byref(timer)) == 0:
    made += 1
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMIN})
sent = 0
libc.sigqueue.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_void_p]
while sent < 200_000 and time.time() < end + 1 and libc.sigqueue(os.getpid(), signal.SIGRTMIN, None) == 0:
    sent += 1
print(made, sent)
hold()
held()
""",
        ),
        Abuse(
            name="event-descriptors",
            tries="eventfd, timerfd, signalfd, memfd and pidfd until each is refused",
            must=Must.BOUNDED,
            held_by=HeldBy("`RLIMIT_NOFILE`: each is an open file"),
            code="""
for number in ((290, 19), (283, 85), (319, 279)):
    name = ctypes.create_string_buffer(b"x")
    first = 1 if number == (283, 85) else ctypes.addressof(name) if number == (319, 279) else 0
    for descriptor in until_refused(lambda: call(number, first, 0), 5000):
        os.close(descriptor)
held()
""",
        ),
        Abuse(
            name="inherited-descriptors",
            tries="find a descriptor that it was not meant to have",
            must=Must.REFUSED,
            held_by=HeldBy("the supervisor closes all but the three of the program"),
            code="""
found = [int(name) for name in os.listdir("/proc/self/fd")]
for number in found:
    if number < 3:
        continue
    try:
        target = os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        continue
    if not target.startswith(("/proc/", "/home/user/.vmpool-")):
        sys.exit(f"{number} is {target}")
held()
""",
        ),
    ),
)
