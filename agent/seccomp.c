/* The filter, put together from the kernel's own numbers: the same on every backend, with no library.
 *
 * What is refused: mounts and new namespaces (the way to most kernel mistakes), loading code into the kernel,
 * interfaces that are large and of no use here (io_uring, bpf, perf, userfaultfd, keys), the machine's clock,
 * swap, quota and reboot; and sockets of any family but the usual, since the kernel loads a module for whoever
 * asks for one.  ptrace stays: debuggers need it, and the agent is not dumpable.  clone3 answers
 * ENOSYS because a filter cannot see its flags; every libc then uses clone. */
#include "seccomp.h"

#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "filter.h"

#define KILL_PROCESS 0x80000000U
enum { X32_BIT = 0x40000000 };

#if defined(__x86_64__)
#define MACHINE 0xc000003eU
#elif defined(__aarch64__)
#define MACHINE 0xc00000b7U
#else
#error "no system call filter for this machine"
#endif

/* Numbers younger than some libc; from 424 on they are the same on every machine. */
enum {
  CALL_IO_URING_SETUP = 425,
  CALL_IO_URING_ENTER = 426,
  CALL_IO_URING_REGISTER = 427,
  CALL_OPEN_TREE = 428,
  CALL_MOVE_MOUNT = 429,
  CALL_FSOPEN = 430,
  CALL_FSCONFIG = 431,
  CALL_FSMOUNT = 432,
  CALL_FSPICK = 433,
  CALL_CLONE3 = 435,
  CALL_MOUNT_SETATTR = 442,
  CALL_QUOTACTL_FD = 443,
  CALL_OPEN_TREE_ATTR = 467,
};

struct refusal {
  uint32_t number;
  int error;
};

static const struct refusal REFUSALS[] = {
  {SYS_mount, EPERM},
  {SYS_umount2, EPERM},
  {SYS_pivot_root, EPERM},
  {SYS_chroot, EPERM},
  {CALL_OPEN_TREE, EPERM},
  {CALL_OPEN_TREE_ATTR, EPERM},
  {CALL_MOVE_MOUNT, EPERM},
  {CALL_FSOPEN, EPERM},
  {CALL_FSCONFIG, EPERM},
  {CALL_FSMOUNT, EPERM},
  {CALL_FSPICK, EPERM},
  {CALL_MOUNT_SETATTR, EPERM},
  {SYS_setns, EPERM},
  {SYS_open_by_handle_at, EPERM},
  {SYS_bpf, EPERM},
  {SYS_perf_event_open, EPERM},
  {SYS_userfaultfd, EPERM},
  {SYS_keyctl, EPERM},
  {SYS_add_key, EPERM},
  {SYS_request_key, EPERM},
  {SYS_init_module, EPERM},
  {SYS_finit_module, EPERM},
  {SYS_delete_module, EPERM},
  {SYS_kexec_load, EPERM},
  {SYS_kexec_file_load, EPERM},
  {SYS_reboot, EPERM},
  {SYS_swapon, EPERM},
  {SYS_swapoff, EPERM},
  {SYS_settimeofday, EPERM},
  {SYS_clock_settime, EPERM},
  {SYS_quotactl, EPERM},
  {CALL_QUOTACTL_FD, EPERM},
  {SYS_acct, EPERM},
  {SYS_syslog, EPERM},
  {SYS_sethostname, EPERM},
  {SYS_setdomainname, EPERM},
  {SYS_vhangup, EPERM},
  {SYS_fanotify_init, EPERM},
#ifdef SYS_iopl
  {SYS_iopl, EPERM},
  {SYS_ioperm, EPERM},
#endif
  {CALL_IO_URING_SETUP, ENOSYS},
  {CALL_IO_URING_ENTER, ENOSYS},
  {CALL_IO_URING_REGISTER, ENOSYS},
  {CALL_CLONE3, ENOSYS},
};

/* CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET; NEWTIME is a signal number in clone. */
#define NEW_NAMESPACES 0x7e020000U
#define NEW_TIME_NAMESPACE 0x00000080U

enum { TERMINAL_LINUX_CODE = 0x541c, IP_ANY = 0, ROUTE = 0 };

/* Of the internet families; ICMP is what ping uses without a raw socket. */
static const uint32_t PROTOCOLS[] = {IP_ANY, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_ICMPV6};

/* Linux's own, 32-bit-like memory layout, no randomisation (debuggers), the old kernel's name, and "ask". */
static const uint32_t PERSONALITIES[] = {0, 0x0008, 0x40000, 0x20000, 0x20008, 0xffffffff};

enum { INSTRUCTIONS_MAX = 256 };

struct builder {
  struct instruction instructions[INSTRUCTIONS_MAX];
  uint16_t length;
};

static void put(struct builder *builder, uint16_t code, uint32_t operand, uint8_t if_true, uint8_t if_false) {
  builder->instructions[builder->length++] = (struct instruction){code, if_true, if_false, operand};
}

static void load_number(struct builder *builder) {
  put(builder, LOAD, offsetof(struct call, number), 0, 0);
}

/* The low half of an argument; both machines are little-endian. */
static void load_argument(struct builder *builder, unsigned index) {
  put(builder, LOAD, (uint32_t)(offsetof(struct call, arguments) + index * sizeof(uint64_t)), 0, 0);
}

static void load_argument_high(struct builder *builder, unsigned index) {
  const uint32_t half = sizeof(uint32_t);
  put(builder, LOAD, (uint32_t)(offsetof(struct call, arguments) + index * sizeof(uint64_t)) + half, 0, 0);
}

static void refuse_if_equal(struct builder *builder, uint32_t value, int error) {
  put(builder, JUMP_EQUAL, value, 0, 1);
  put(builder, RETURN, REFUSE(error), 0, 0);
}

static void refuse_flags(struct builder *builder, uint32_t number, uint32_t flags) {
  put(builder, JUMP_EQUAL, number, 0, 4);
  load_argument(builder, 0);
  put(builder, JUMP_BITS, flags, 0, 1);
  put(builder, RETURN, REFUSE(EPERM), 0, 0);
  load_number(builder);
}

static void check_ioctl(struct builder *builder) {
  put(builder, JUMP_EQUAL, SYS_ioctl, 0, 6);
  load_argument(builder, 1);
  refuse_if_equal(builder, TIOCSTI, EPERM); /* typing into somebody's terminal */
  refuse_if_equal(builder, TERMINAL_LINUX_CODE, EPERM);
  load_number(builder);
}

static void allow_if_equal(struct builder *builder, uint32_t value) {
  put(builder, JUMP_EQUAL, value, 0, 1);
  put(builder, RETURN, ALLOW, 0, 0);
}

/* Unix, IPv4 and IPv6 with the usual protocols, and what getifaddrs asks (netlink's route). */
static void check_socket(struct builder *builder, uint32_t number) {
  enum { COUNT = sizeof PROTOCOLS / sizeof *PROTOCOLS, INTERNET = 1 + 2 * COUNT + 1, NETLINK = 4 };
  put(builder, JUMP_EQUAL, number, 0, 1 + 2 + 2 + INTERNET + 1 + NETLINK + 1);
  load_argument(builder, 0);
  allow_if_equal(builder, AF_UNIX);
  put(builder, JUMP_EQUAL, AF_INET, 1, 0);
  put(builder, JUMP_EQUAL, AF_INET6, 0, INTERNET);
  load_argument(builder, 2);
  for (unsigned i = 0; i < COUNT; i++) {
    allow_if_equal(builder, PROTOCOLS[i]);
  }
  put(builder, RETURN, REFUSE(EPROTONOSUPPORT), 0, 0);
  put(builder, JUMP_EQUAL, AF_NETLINK, 0, NETLINK);
  load_argument(builder, 2);
  allow_if_equal(builder, ROUTE);
  put(builder, RETURN, REFUSE(EPROTONOSUPPORT), 0, 0);
  put(builder, RETURN, REFUSE(EAFNOSUPPORT), 0, 0);
}

/* The limit of core dumps stays what it is, 1 byte, and whoever sets it is told that it is done: at any other
 * limit, 0 too, a crash starts the program that the host's core_pattern may name, as the host's root. */
static void keep_core_limit(struct builder *builder) {
#ifdef SYS_setrlimit
  put(builder, JUMP_EQUAL, SYS_setrlimit, 0, 4);
  load_argument(builder, 0);
  refuse_if_equal(builder, RLIMIT_CORE, 0);
  load_number(builder);
#endif
  put(builder, JUMP_EQUAL, SYS_prlimit64, 0, 9);
  load_argument(builder, 1);
  put(builder, JUMP_EQUAL, RLIMIT_CORE, 0, 6);
  load_argument(builder, 2);
  put(builder, JUMP_EQUAL, 0, 0, 3); /* a new limit is given unless both halves are 0 */
  load_argument_high(builder, 2);
  put(builder, JUMP_EQUAL, 0, 0, 1);
  put(builder, RETURN, ALLOW, 0, 0);
  put(builder, RETURN, REFUSE(0), 0, 0);
  load_number(builder);
}

static void check_personality(struct builder *builder) {
  enum { COUNT = sizeof PERSONALITIES / sizeof *PERSONALITIES };
  put(builder, JUMP_EQUAL, SYS_personality, 0, 2 * COUNT + 2);
  load_argument(builder, 0);
  for (unsigned i = 0; i < COUNT; i++) {
    put(builder, JUMP_EQUAL, PERSONALITIES[i], 0, 1);
    put(builder, RETURN, ALLOW, 0, 0);
  }
  put(builder, RETURN, REFUSE(EPERM), 0, 0);
}

static void build(struct builder *builder) {
  put(builder, LOAD, offsetof(struct call, machine), 0, 0);
  put(builder, JUMP_EQUAL, MACHINE, 1, 0);
  put(builder, RETURN, KILL_PROCESS, 0, 0);
  load_number(builder);
#if defined(__x86_64__)
  put(builder, JUMP_ABOVE, X32_BIT, 0, 1);
  put(builder, RETURN, REFUSE(ENOSYS), 0, 0);
#endif
  refuse_flags(builder, SYS_clone, NEW_NAMESPACES);
  refuse_flags(builder, SYS_unshare, NEW_NAMESPACES | NEW_TIME_NAMESPACE);
  check_ioctl(builder);
  check_socket(builder, SYS_socket);
  check_socket(builder, SYS_socketpair);
  keep_core_limit(builder);
  check_personality(builder);
  for (size_t i = 0; i < sizeof REFUSALS / sizeof *REFUSALS; i++) {
    refuse_if_equal(builder, REFUSALS[i].number, REFUSALS[i].error);
  }
  put(builder, RETURN, ALLOW, 0, 0);
}

int seccomp_apply(void) {
  struct builder builder = {.length = 0};
  build(&builder);
  struct program program = {.length = builder.length, .instructions = builder.instructions};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return -1;
  }
  return prctl(PR_SET_SECCOMP, FILTER_MODE, &program, 0, 0);
}
