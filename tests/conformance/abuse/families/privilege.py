"""Becoming somebody else."""

from tests.conformance.abuse.table import Abuse, Family, HeldBy, Must

_NO_CAPABILITY = HeldBy("no capability, and an empty bounding set")
_NO_NEW = HeldBy("no new privileges")

PRIVILEGE = Family(
    "Privilege",
    (
        Abuse(
            name="become-root",
            tries="setuid, setgid, setgroups, setresuid and setfsuid to others",
            must=Must.REFUSED,
            held_by=_NO_CAPABILITY,
            code="""
for name, arguments in (("setuid", (0,)), ("setgid", (0,)), ("setgroups", ([0],)), ("setresuid", (0, 0, 0)),
                        ("setresgid", (0, 0, 0)), ("setuid", (65534,))):
    refused(name, getattr(os, name), *arguments)
libc.setfsuid(0)
refused("file", readable, "/etc/shadow")
held()
""",
        ),
        Abuse(
            name="setuid-of-its-own",
            tries="make a file setuid and setgid and execute it; make it root's",
            must=Must.HARMLESS,
            held_by=_NO_NEW,
            code="""
import shutil, subprocess
for place in ("/home/user", "/tmp", "/dev/shm"):
    path = place + "/become"
    shutil.copy("/usr/bin/id", path)
    os.chmod(path, 0o6755)
    refused("owner", os.chown, path, 0, 0)
    try:
        said = subprocess.run([path, "-u"], capture_output=True, text=True).stdout.strip()
        if said not in ("1000", ""):
            sys.exit(said)
    except OSError as error:
        print(place, error)
    os.unlink(path)
held()
""",
        ),
        Abuse(
            name="setuid-programs-there",
            tries="every setuid program there is: su, mount, passwd, newgrp",
            must=Must.HARMLESS,
            held_by=HeldBy(
                "no new privileges, and mounts without setuid", bubblewrap="root's files are nobody's"
            ),
            code="""
import subprocess
for directory in ("/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/lib"):
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        try:
            if not stat.S_ISREG(os.stat(path).st_mode) or not os.stat(path).st_mode & 0o6000:
                continue
        except OSError:
            continue
        print(path)
uid = subprocess.run(["su", "-c", "id -u"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
if uid.stdout.strip() == "0":
    sys.exit("root")
held()
""",
        ),
        Abuse(
            name="take-capabilities",
            tries="capset, ambient capabilities, secure bits, keep-capabilities",
            must=Must.REFUSED,
            held_by=_NO_CAPABILITY,
            code="""
header = struct.pack("II", 0x20080522, 0)
everything = struct.pack("IIIIII", *[0xffffffff] * 6)
refused("capset", call, (126, 91), ctypes.c_char_p(header), ctypes.c_char_p(everything))
for option, arguments in ((47, (2, 21, 0, 0)), (28, (0x2f, 0, 0, 0)), (24, (21, 0, 0, 0))):
    if GVISOR and option != 47:
        continue
    refused(f"prctl {option}", call, (157, 167), option, *arguments)
status = open("/proc/self/status").read()
for name in ("CapEff", "CapPrm", "CapInh", "CapBnd"):
    if int(status.split(name + ":")[1].split()[0], 16):
        sys.exit(name)
held()
""",
        ),
        Abuse(
            name="undo-the-filter",
            tries="filters of its own that allow everything, and a listener that answers for the kernel",
            must=Must.HARMLESS,
            held_by=HeldBy("filters add up: the strictest answers"),
            code="""
libc.prctl(38, 1, 0, 0, 0)
allow = struct.pack("HBBI", 6, 0, 0, 0x7fff0000)
buffer = ctypes.create_string_buffer(allow)
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 1, ctypes.addressof(buffer)))
for flags in (0, 8):
    try:
        print("installed", call((317, 277), 1, flags, ctypes.addressof(program)))
    except OSError as error:
        print(flags, error)
refused("mount", call, (165, 40), b"none", b"/tmp", b"tmpfs", 0, 0)
refused("unshare", call, (272, 97), 0x10000000)
held()
""",
        ),
        Abuse(
            name="another-instruction-set",
            tries="system calls of the 32-bit and x32 interfaces, past a filter of numbers",
            must=Must.REFUSED,
            held_by=HeldBy(
                "the agent's filter ends a process that uses another interface",
                gvisor="its kernel has none of them",
            ),
            code="""
if X86:
    code = mmap.mmap(-1, 4096, prot=7)
    code.write(bytes.fromhex("b814000000cd80c3"))
    enter = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    def old():
        if enter() < 0:
            os._exit(77)
    status = child(old)
    if status == 0:
        sys.exit("int 0x80 was answered")
    refused("x32", call, 0x40000000 + 39)
held()
""",
        ),
        Abuse(
            name="run-from-memory",
            tries="execute a program that is in no file (memfd), and one from /dev/shm and /tmp",
            must=Must.INSIDE,
            held_by=HeldBy("the filter and the limits hold for it too"),
            code="""
import subprocess
memory = os.memfd_create("program", 0)
with open("/usr/bin/env", "rb") as program:
    os.write(memory, program.read())
try:
    said = subprocess.run([f"/proc/self/fd/{memory}", "grep", "-E", "^(Seccomp|NoNewPrivs):",
        "/proc/self/status"],
                          pass_fds=[memory], capture_output=True, text=True)
    if not GVISOR and said.stdout.split() != ["NoNewPrivs:", "1", "Seccomp:", "2"]:
        sys.exit(repr(said))
except OSError as error:
    print(error)
held()
""",
        ),
        Abuse(
            name="crash",
            tries="crash, whatever the limit of core dumps, to start the program of `core_pattern`",
            must=Must.HARMLESS,
            held_by=HeldBy(
                "`RLIMIT_CORE` is 1 byte, at which the kernel starts nothing; the agent's filter keeps it so",
                gvisor="its kernel writes none",
            ),
            code="""
def crash(limit=None):
    if limit is not None:
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))
        except (OSError, ValueError) as error:
            print(error)
    if not GVISOR and resource.getrlimit(resource.RLIMIT_CORE) != (1, 1):
        os._exit(98)
    ctypes.string_at(0)
for limit in (None, 0, resource.RLIM_INFINITY):
    status = child(lambda: crash(limit))
    if not os.WIFSIGNALED(status) or os.WCOREDUMP(status):
        sys.exit(f"status {status}")
held()
""",
        ),
        Abuse(
            name="memory-layout",
            tries="personalities that make old mistakes useful; PR_SET_MM",
            must=Must.REFUSED,
            held_by=HeldBy("the agent's filter; no capability"),
            code="""
for persona in (0x0400000, 0x0100000 | 0x0400000, 0x0200000):
    refused(hex(persona), call, (135, 92), persona)
refused("mm", call, (157, 167), 35, 8, 4096, 0, 0)
held()
""",
        ),
    ),
)
