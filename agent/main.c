/* The guest agent: process 1 of a VM, parent of everything that runs in it.
 *
 *   vmpool-agent --listen-fd N      serve the host on a listening socket passed in
 *   vmpool-agent --socket PATH      bind that socket first
 *      --home PATH                  instead of /home/user
 *      --no-seccomp                 for emulators that cannot filter
 *      --no-subreaper               as on kernels without them (orphans.c)
 *   vmpool-agent connect PATH       carry standard input and output to the socket of an agent
 *   vmpool-agent route [NAMESPACE]  make every address of a network namespace, else of this one, its own
 *   vmpool-agent supervise FD PID FD   what a warm interpreter executes beside a spare it has forked
 *   vmpool-agent --version
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent.h"
#include "bridge.h"
#include "guard.h"
#include "network.h"
#include "program.h"
#include "route.h"
#include "seccomp.h"
#include "supervisor.h"
#include "warm.h"

enum { STOP_LIMIT_US = 3000000, BACKLOG = 128 };

struct options {
  int listen_fd;
  const char *socket;
  const char *home;
  bool filtered;
  bool subreaper;
};

static _Noreturn void usage(void) {
  die(
    "usage: vmpool-agent (--listen-fd N | --socket PATH) [--home PATH] [--no-seccomp] [--no-subreaper]"
    " | connect PATH | route [NAMESPACE] | --version");
}

static int number(const char *text) {
  char *end;
  long value = strtol(text, &end, 10);
  if (*text == '\0' || *end != '\0' || value < 0 || value > INT32_MAX) {
    usage();
  }
  return (int)value;
}

static struct options parse(int argc, char **argv) {
  struct options options = {.listen_fd = -1, .home = "/home/user", .filtered = true, .subreaper = true};
  for (int i = 1; i < argc; i += 2) {
    if (strcmp(argv[i], "--no-seccomp") == 0) {
      options.filtered = false;
      i--;
      continue;
    }
    if (strcmp(argv[i], "--no-subreaper") == 0) {
      options.subreaper = false;
      i--;
      continue;
    }
    if (i + 1 >= argc) {
      usage();
    }
    if (strcmp(argv[i], "--listen-fd") == 0) {
      options.listen_fd = number(argv[i + 1]);
    } else if (strcmp(argv[i], "--socket") == 0) {
      options.socket = argv[i + 1];
    } else if (strcmp(argv[i], "--home") == 0) {
      options.home = argv[i + 1];
    } else {
      usage();
    }
  }
  if ((options.listen_fd < 0) == (options.socket == NULL)) {
    usage();
  }
  return options;
}

/* Bound under another name and renamed, so that whoever sees the socket can connect. */
static int bind_socket(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) + 5 > sizeof address.sun_path) {
    die("the socket's path is too long");
  }
  snprintf(address.sun_path, sizeof address.sun_path, "%s.new", path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  unlink(address.sun_path);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || chmod(address.sun_path, 0666) != 0 ||
      listen(fd, BACKLOG) != 0 || rename(address.sun_path, path) != 0) {
    die_errno("cannot bind the socket");
  }
  return fd;
}

/* Whether orphans go to the nearest subreaper, as Linux does; gVisor before 2023 knows of none.  No process
   is spent on finding out: a kernel that has them says so when asked. */
static bool become_subreaper(void) {
  int is_one = 0;
  return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0 && prctl(PR_GET_CHILD_SUBREAPER, &is_one, 0, 0, 0) == 0 &&
         is_one == 1;
}

/* Some kernels (gVisor's) show anybody of our user where we came from; nothing of it is needed any more. */
static void forget_environment(void) {
  for (char **entry = environ; *entry != NULL; entry++) {
    memset(*entry, 0, strlen(*entry));
  }
  clearenv();
}

/* What the kernel should know of process 1: closed to ptrace, reaper of all, last to go when memory runs
   out, deaf to everything but what signalfd reads. */
static void set_apart(void) {
  set_oom_score(-900);
  forget_environment();
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  prctl(PR_SET_NAME, "vmpool-agent", 0, 0, 0);
  set_signal_mask(EVERY_SIGNAL);
  struct rlimit cores = {CORE_BYTES, CORE_BYTES};
  setrlimit(RLIMIT_CORE, &cores); /* before the filter, which keeps it */
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  umask(022);
}

/* Standard descriptors lead nowhere unless they are something already; no other is kept. */
static void keep_descriptors(int listener) {
  for (int fd = 0; fd < 3; fd++) {
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0) {
      die_errno("cannot open /dev/null");
    }
  }
  if (listener != 3 && dup2(listener, 3) != 3) {
    die_errno("cannot place the socket");
  }
  close_from(4);
}

static void open_agent(struct agent *agent, const struct options *options, int listener) {
  *agent = (struct agent){.home = options->home, .is_init = getpid() == 1, .started_us = now_us()};
  list_init(&agent->connections);
  list_init(&agent->running);
  list_init(&agent->finished);
  list_init(&agent->lingering);
  list_init(&agent->supervised);
  list_init(&agent->warms);
  for (size_t i = 0; i < EXECUTION_BUCKETS; i++) {
    list_init(&agent->buckets[i]);
  }
  if (getrandom(&agent->boot_id, sizeof agent->boot_id, 0) != sizeof agent->boot_id) {
    die_errno("no random numbers");
  }
  agent->executable = open("/proc/self/exe", O_PATH | O_CLOEXEC);
  if (loop_open(&agent->loop) != 0 || !children_open(agent) || !listener_ready_to_serve(agent, listener)) {
    die_errno("cannot begin");
  }
}

/* Milliseconds until the next thing to be done without an event; -1 if there is none. */
static int pause_ms(const struct agent *agent, uint64_t now) {
  uint64_t due = executions_next_due(agent);
  const uint64_t others[] = {warms_next_due(agent), connections_next_due(agent), network_next_due(agent)};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    if (others[i] != 0 && (due == 0 || others[i] < due)) {
      due = others[i];
    }
  }
  if (agent->strays && (due == 0 || agent->strays_due_us < due)) {
    due = agent->strays_due_us;
  }
  if (agent->stopping && (due == 0 || agent->stopping_kill_us < due)) {
    due = agent->stopping_kill_us > now ? agent->stopping_kill_us : now + 50000;
  }
  if (due == 0) {
    return -1;
  }
  uint64_t left = due > now ? (due - now + 999) / 1000 : 0;
  return left > 3600000 ? 3600000 : (int)left;
}

static void serve(struct agent *agent) {
  bool killed = false;
  for (;;) {
    uint64_t now = now_us();
    executions_due(agent, now);
    children_due(agent, now);
    if (agent->stopping && !killed && now >= agent->stopping_kill_us) {
      killed = true;
      executions_end_all(agent, SIGKILL);
    }
    network_due(agent, now);
    connections_flush(agent, now);
    warms_due(agent, now);
    if (agent->stopping && (agent->running_count == 0 || now >= agent->stopping_kill_us + STOP_LIMIT_US)) {
      return;
    }
    loop_turn(&agent->loop, pause_ms(agent, now));
  }
}

static void sync_files(const char *home) {
  const char *const places[] = {home, "/"};
  for (size_t i = 0; i < 2; i++) {
    cleanup_fd int fd = open(places[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
      syncfs(fd);
    }
  }
}

/* For whoever is root over that namespace.  `namespace`: NULL for where we are. */
static int route(const char *namespace) {
  const char *failed;
  int result = namespace != NULL ? route_in_namespace(namespace, &failed) : route_every_address_here(&failed);
  if (result != 0) {
    die_errno(failed);
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "--version") == 0) {
    puts("vmpool-agent " AGENT_VERSION);
    return 0;
  }
  if (argc == 3 && strcmp(argv[1], "connect") == 0) {
    return bridge_run(argv[2]);
  }
  if ((argc == 2 || argc == 3) && strcmp(argv[1], "route") == 0) {
    return route(argv[2]);
  }
  if (argc == 5 && strcmp(argv[1], "supervise") == 0) {
    supervisor_run_warm(number(argv[2]), number(argv[3]), number(argv[4]));
  }
  struct options options = parse(argc, argv);
  keep_descriptors(options.socket != NULL ? bind_socket(options.socket) : options.listen_fd);
  if (chdir("/") != 0) {
    die_errno("cannot enter /");
  }
  set_apart();
  if (options.filtered && seccomp_apply() != 0) {
    die_errno("cannot filter system calls");
  }
  if (options.filtered && getpid() == 1 && guard_apply() != 0) {
    die_errno("cannot guard process 1");
  }
  static struct agent agent;
  open_agent(&agent, &options, 3);
  agent.adopts = !become_subreaper() || !options.subreaper;
  serve(&agent);
  sync_files(agent.home);
  return 0;
}
