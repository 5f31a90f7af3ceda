"""The kernel: what is large, old or dangerous in it, and what is one for the whole host."""

from tests.conformance.abuse.table import Abuse, Family, HeldBy, Must

_FILTER = HeldBy("the agent's filter; no capability")
_OWNER = HeldBy(
    "root's files, and the VM's root is not the host's",
    docker="read-only or masked",
    gvisor="its kernel's own, read-only",
)


def _refused(name: str, tries: str, code: str, held_by: HeldBy = _FILTER) -> Abuse:
    return Abuse(name=name, tries=tries, must=Must.REFUSED, held_by=held_by, code=code + "\nheld()\n")


KERNEL = Family(
    "The kernel",
    (
        _refused(
            "bpf",
            "load a bpf program, make a map",
            """
for command in (0, 5, 6, 18):
    refused("bpf", call, (321, 280), command, ctypes.c_char_p(bytes(128)), 128)""",
        ),
        _refused(
            "keyrings",
            "add, ask for and join kernel keys",
            """
refused("add", call, (248, 217), b"user", b"name", b"x", 1, -3)
refused("request", call, (249, 218), b"user", b"name", 0, -3)
for command in (0, 1, 11, 27):
    refused("keyctl", call, (250, 219), command, -3, 0, 0, 0)""",
        ),
        _refused(
            "io-uring",
            "io_uring, which does system calls past a filter",
            """
refused("setup", call, 425, 8, ctypes.c_char_p(bytes(120)))
refused("enter", call, 426, 0, 1, 0, 0, 0, 0)
refused("register", call, 427, 0, 0, 0, 0)""",
        ),
        _refused(
            "performance-counters",
            "perf_event_open on itself and on the whole machine",
            """
attributes = ctypes.create_string_buffer(struct.pack("II", 1, 112) + bytes(104))
refused("own", call, (298, 241), attributes, 0, -1, -1, 0)
refused("all", call, (298, 241), attributes, -1, 0, -1, 0)""",
        ),
        _refused(
            "page-faults",
            "userfaultfd, which makes races winnable",
            """
for flags in (0, 1):
    refused("userfaultfd", call, (323, 282), flags)""",
        ),
        _refused(
            "modules",
            "load and remove kernel modules",
            """
refused("init", call, (175, 105), ctypes.c_char_p(bytes(64)), 64, b"")
refused("finit", call, (313, 273), 0, b"", 0)
refused("delete", call, (176, 106), b"loop", 0)""",
        ),
        _refused(
            "other-kernel",
            "kexec: start another kernel",
            """
refused("load", call, (246, 104), 0, 0, 0, 0)
refused("file", call, (320, 294), 0, 0, 0, b"", 0)""",
        ),
        _refused(
            "reboot",
            "reboot, power off, Ctrl-Alt-Del",
            """
for command in (0x1234567, 0x4321fedc, 0xcdef0123, 0, 0x89abcdef, 0xa1b2c3d4):
    refused("reboot", call, (169, 142), 0xfee1dead, 672274793, command, 0)""",
        ),
        _refused(
            "swap",
            "swapon a file of its own, swapoff the host's",
            """
with open("swap", "wb") as file:
    file.write(bytes(4096 - 10) + b"SWAPSPACE2")
refused("on", call, (167, 224), b"/home/user/swap", 0)
refused("off", call, (168, 225), b"/dev/sda2")
os.unlink("swap")""",
        ),
        _refused(
            "clock",
            "set the clock, slew it, set the hardware's",
            """
refused("time of day", call, (164, 170), ctypes.c_char_p(struct.pack("QQ", 10**9, 0)), 0)
refused("clock", call, (227, 112), 0, ctypes.c_char_p(struct.pack("QQ", 10**9, 0)))
slew = ctypes.create_string_buffer(struct.pack("I", 0x4001) + bytes(204))
refused("adjtimex", call, (159, 171), slew)
refused("clock_adjtime", call, (305, 266), 0, slew)""",
        ),
        _refused(
            "names",
            "set the host's and the domain's name",
            """
refused("host", call, (170, 161), b"other", 5)
refused("domain", call, (171, 162), b"other", 5)
refused("file", write_to, "/proc/sys/kernel/hostname", b"other")""",
        ),
        _refused(
            "kernel-log",
            "read and clear the kernel's log",
            """
for action in (2, 3, 4, 5, 10):
    refused("syslog", call, (103, 116), action, ctypes.c_char_p(bytes(64)), 64)
refused("kmsg", readable, "/dev/kmsg")
refused("proc", readable, "/proc/kmsg") if not GVISOR else None""",
        ),
        _refused(
            "accounting-and-quota",
            "acct, quotactl, vhangup, fanotify, I/O ports",
            """
refused("acct", call, (163, 89), b"/home/user/acct")
refused("quota", call, (179, 60), 0x800007 << 8, b"/dev/sda1", 0, 0)
refused("hangup", call, (153, 58))
refused("fanotify", call, (300, 262), 0, 0)
if X86:
    refused("iopl", call, 172, 3)
    refused("ioperm", call, 173, 0x60, 1, 1)""",
        ),
        _refused(
            "kernel-settings",
            "write to every file of /proc/sys: core_pattern, modprobe, binfmt_misc, ...",
            """
for path in walk("/proc/sys"):
    try:
        write_to(path, readable(path))
    except OSError:
        continue
    sys.exit(f"{path} can be written to")
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe",
    "/proc/sys/fs/binfmt_misc/register"):
    refused(path, write_to, path, b"|/bin/sh")""",
            _OWNER,
        ),
        _refused(
            "magic-keys",
            "sysrq-trigger, and the rest of /proc that acts",
            """
for path in ("/proc/sysrq-trigger", "/proc/mtrr", "/proc/latency_stats", "/proc/irq/0/smp_affinity",
             "/proc/irq/default_smp_affinity", "/proc/scsi/scsi", "/proc/timer_stats", "/proc/fs/xfs/stat"):
    refused(path, write_to, path, b"c")""",
            _OWNER,
        ),
        _refused(
            "kernel-memory",
            "read the kernel's memory, symbols and keys",
            """
for path in ("/proc/kcore", "/dev/mem", "/dev/kmem", "/dev/port", "/boot/vmlinuz", "/proc/vmcore"):
    try:
        data = readable(path)
    except OSError as error:
        print(path, error)
    else:
        if data:
            sys.exit(f"{path}: {data[:40]!r}")
try:
    symbols = readable("/proc/kallsyms")
except OSError as error:
    print(error)
else:
    if any(line.split()[0].strip(b"0") for line in symbols.splitlines()[:20] if line):
        sys.exit("addresses of the kernel")""",
            _OWNER,
        ),
        _refused(
            "devices-of-sys",
            "write to every file of /sys: uevent_helper, power state, slab, block",
            """
for path in walk("/sys", 4000):
    try:
        os.close(os.open(path, os.O_WRONLY))
    except OSError:
        continue
    if not GVISOR:
        sys.exit(f"{path} can be written to")
for path in ("/sys/kernel/uevent_helper", "/sys/power/state", "/sys/kernel/mm/ksm/run",
             "/sys/module/printk/parameters/time"):
    refused(path, write_to, path, b"/bin/sh")""",
            HeldBy(bubblewrap="there is no /sys", docker="read-only", gvisor="its kernel's own"),
        ),
        _refused(
            "load-by-asking",
            "make the kernel load modules: odd socket families, protocols, file systems, formats",
            """
for family in (3, 4, 5, 6, 8, 9, 11, 12, 15, 17, 21, 23, 24, 26, 28, 29, 30, 31, 33, 35, 36, 37, 38,
    39, 40, 41, 42,
               43, 44, 45):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET, socket.SOCK_RAW):
        refused(f"family {family}", call, (41, 198), family, kind, 0)
        refused(f"pair {family}", call, (53, 199), family, kind, 0, ctypes.c_char_p(bytes(8)))
for protocol in (33, 132, 136, 262, 115, 253):
    if protocol != 262:
        refused(f"protocol {protocol}", call, (41, 198), 2, socket.SOCK_STREAM, protocol)
for protocol in (3, 6, 7, 9, 12, 16, 20, 21):
    if not GVISOR:
        refused(f"netlink {protocol}", call, (41, 198), 16, socket.SOCK_RAW, protocol)
with open("format", "wb") as file:
    file.write(b"\\x01\\x99\\x98\\x97" * 64)
os.chmod("format", 0o755)
refused("format", os.execv, "/home/user/format", ["format"])
os.unlink("format")""",
            HeldBy(
                "the agent's filter: only unix, inet, inet6 and route sockets, and their usual protocols",
                gvisor="its kernel has no modules",
            ),
        ),
        _refused(
            "security-attributes",
            "write another security context for itself",
            """
for name in ("current", "exec", "fscreate", "sockcreate", "keycreate"):
    path = f"/proc/self/attr/{name}"
    try:
        write_to(path, b"unconfined")
    except OSError as error:
        print(name, error)
    else:
        sys.exit(path)""",
            HeldBy("the kernel, whether it has such contexts or not"),
        ),
        Abuse(
            name="every-system-call",
            tries="each system call number there is, with arguments of nothing, and with nonsense",
            must=Must.HARMLESS,
            held_by=HeldBy("all of the above"),
            may_die=True,
            own=True,
            may_stop=frozenset({"gvisor"}),
            code="""
LEAVE = {60, 231, 93, 94} | {34, 61, 247} | {23, 270, 7, 271, 232, 281}
def sweep(word):
    resource.setrlimit(resource.RLIMIT_CPU, (4, 4))
    for number in range(0, 470):
        if number in LEAVE:
            continue
        pid = os.fork()
        if pid == 0:
            signal.alarm(1)
            libc.syscall(ctypes.c_long(number), *[ctypes.c_long(word)] * 6)
            os._exit(0)
        os.waitpid(pid, 0)
for word in (0,) if GVISOR else (0, -1):
    child(lambda: sweep(word))
held()
""",
        ),
    ),
)
