"""More processes than anybody needs, and processes that will not go."""

from tests.conformance.abuse.table import Abuse, Family, HeldBy, Must

_PROCESSES = HeldBy(
    bubblewrap="cgroup `pids` (as user without one: `RLIMIT_NPROC`)",
    docker="cgroup `pids`",
    gvisor="cgroup `pids` over the sandbox, wider than the VM's own limit",
)
_TREE = HeldBy(
    "a supervisor per execution, a subreaper that ends every descendant",
    gvisor="the agent, which ends orphans itself",
)

PROCESSES = Family(
    "Processes",
    (
        Abuse(
            name="fork-bomb",
            tries="fork without end, from every child too",
            must=Must.BOUNDED,
            held_by=_PROCESSES,
            limits={"processes": 64},
            seconds=2,
            may_die=True,
            may_stop=frozenset({"gvisor"}),
            code="""
while True:
    try:
        os.fork()
    except OSError:
        pass
""",
        ),
        Abuse(
            name="process-table-full",
            tries="keep as many processes as it gets",
            must=Must.BOUNDED,
            held_by=_PROCESSES,
            limits={"processes": 64},
            holds=True,
            may_stop=frozenset({"gvisor"}),
            may_die=True,
            code="""
def one():
    pid = os.fork()
    if pid == 0:
        signal.pause()
    return pid
made = [] if GVISOR else until_refused(one, 100)
if GVISOR:
    made = [one() for _ in range(20)]
hold()
for pid in made:
    os.kill(pid, signal.SIGKILL)
held()
""",
        ),
        Abuse(
            name="thread-bomb",
            tries="start threads without end",
            must=Must.BOUNDED,
            held_by=_PROCESSES,
            limits={"processes": 64},
            may_die=True,
            may_stop=frozenset({"gvisor"}),
            code="""
import threading
threading.stack_size(65536)
def one():
    try:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, str(error))
if GVISOR:
    [one() for _ in range(20)]
else:
    until_refused(one, 100)
held()
sys.stdout.flush()
os._exit(0)
""",
        ),
        Abuse(
            name="zombie-flood",
            tries="never wait for a hundred children that have ended",
            must=Must.HARMLESS,
            held_by=HeldBy("zombies count as processes; the agent reaps them when their parent ends"),
            code="""
for _ in range(100):
    if os.fork() == 0:
        os._exit(0)
held()
""",
        ),
        Abuse(
            name="double-fork-daemon",
            tries="leave a daemon behind: fork, setsid, fork, deaf to signals, no descriptor of ours",
            must=Must.HARMLESS,
            held_by=_TREE,
            code="""
ready, done = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    os.write(done, b"1")
    os.closerange(0, 64)
    os.chdir("/")
    ctypes.CDLL(None).prctl(15, b"left-behind", 0, 0, 0)
    time.sleep(600)
os.read(ready, 1)
held()
""",
        ),
        Abuse(
            name="daemons-are-gone",
            tries="find the daemon that `double-fork-daemon` left",
            must=Must.REFUSED,
            held_by=_TREE,
            code="""
for name in os.listdir("/proc"):
    if name.isdecimal():
        try:
            if b"left-behind" in readable(f"/proc/{name}/comm"):
                sys.exit("it lives")
        except FileNotFoundError:
            pass
        except ProcessLookupError:
            pass
held()
""",
        ),
        Abuse(
            name="daemon-relay",
            tries="outrun its end: each child forks the next and ends, in sessions of their own",
            must=Must.HARMLESS,
            held_by=HeldBy("the whole tree is stopped before it is killed"),
            code="""
for _ in range(8):
    if os.fork() == 0:
        while True:
            try:
                if os.fork():
                    os._exit(0)
                os.setsid()
            except OSError:
                pass
held()
""",
        ),
        Abuse(
            name="kill-everybody",
            tries="`kill -9 -1`",
            must=Must.HARMLESS,
            held_by=HeldBy("process 1 is not meant by -1; what it loses, it ends and reports as such"),
            may_die=True,
            code="os.kill(-1, signal.SIGKILL)\ntime.sleep(1)\nheld()\n",
        ),
        Abuse(
            name="stop-everybody",
            tries="`kill -STOP -1`, so that nobody waits for it any more",
            must=Must.HARMLESS,
            held_by=HeldBy("the agent wakes a supervisor that was stopped"),
            may_die=True,
            seconds=2,
            code="""
if GVISOR:  # the bridge to the host is among them, and to find that out takes 20 seconds of silence
    for name in os.listdir("/proc"):
        if name.isdecimal() and not readable(f"/proc/{name}/comm").startswith(b"vmpool-agent"):
            if int(name) != os.getpid():
                os.kill(int(name), signal.SIGSTOP)
else:
    os.kill(-1, signal.SIGSTOP)
held()
""",
        ),
        Abuse(
            name="every-signal-to-the-agent",
            tries="send each of the 64 signals to process 1, by kill, tgkill and sigqueue",
            must=Must.HARMLESS,
            held_by=HeldBy(
                "the agent blocks all and hears the host's only; Linux drops SIGKILL and SIGSTOP",
                gvisor="a filter drops those two",
            ),
            code="""
for number in range(1, 65):
    for attempt in (lambda: os.kill(1, number), lambda: call((234, 131), 1, 1, number)):
        try:
            attempt()
        except OSError:
            pass
time.sleep(0.2)
held()
""",
        ),
        Abuse(
            name="raise-priority",
            tries="nice -20, real-time and deadline scheduling, real-time I/O",
            must=Must.REFUSED,
            held_by=HeldBy(
                "no capability; `RLIMIT_NICE` and `RLIMIT_RTPRIO` are 0",
                gvisor="niceness means nothing there",
            ),
            code="""
if not GVISOR:
    refused("nice", os.nice, -20)
for policy in (os.SCHED_FIFO, os.SCHED_RR):
    refused("real time", os.sched_setscheduler, 0, policy, os.sched_param(1))
deadline = struct.pack("IIQiIQQQ", 48, 6, 0, 0, 0, 10**6, 10**7, 10**7)
refused("deadline", call, (314, 274), 0, ctypes.c_char_p(deadline), 0)
if not GVISOR:
    refused("io", call, (251, 30), 1, 0, 1 << 13)
held()
""",
        ),
        Abuse(
            name="hog-every-core",
            tries="spin on every core, pinned to each",
            must=Must.BOUNDED,
            held_by=HeldBy("cgroup CPU quota", user="the host's fair scheduler where no cgroup is delegated"),
            holds=True,
            spins=True,
            code="""
pids = []
for core in os.sched_getaffinity(0):
    pid = os.fork()
    if pid == 0:
        os.sched_setaffinity(0, {core})
        while True:
            pass
    pids.append(pid)
hold()
for pid in pids:
    os.kill(pid, signal.SIGKILL)
held()
""",
        ),
        Abuse(
            name="cores-not-allowed",
            tries="set its affinity to a core it was not given, and to none",
            must=Must.REFUSED,
            held_by=HeldBy("the kernel: no core is left of such a set"),
            code="""
refused("none", os.sched_setaffinity, 0, set())
if not GVISOR:
    refused("far", os.sched_setaffinity, 0, {1023})
held()
""",
        ),
        Abuse(
            name="huge-arguments",
            tries="execute with more arguments and environment than fit",
            must=Must.REFUSED,
            held_by=HeldBy("the kernel's limits of an argument and of their sum"),
            code="""
refused("one", os.execve, "/bin/true", ["true", "x" * (1 << 21)], {})
refused("many", os.execve, "/bin/true", ["true"] + ["x" * 1000] * 20000, {})
held()
""",
        ),
    ),
)
