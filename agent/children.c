/* The agent as a parent: reaping, and ending what a lost supervisor left. */
#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "tree.h"
#include "warm.h"

enum { STRAYS_PAUSE_US = 5000, EXPECTED_PAUSE_US = 50000, KNOWN_MAX = 8192, STOP_SLACK_US = 3000000 };

static void reap(struct agent *agent) {
  for (;;) {
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG | WUNTRACED);
    if (pid <= 0) {
      return;
    }
    if (WIFSTOPPED(status)) {
      kill(pid, SIGCONT); /* nobody but us may stop a supervisor */
    } else {
      executions_supervisor_reaped(agent, pid);
      warms_reaped(agent, pid);
      if (agent->adopts && !agent->strays && orphans_awaited(agent)) {
        children_lost(agent);
      }
    }
  }
}

static void signals_ready(struct watch *watch, uint32_t events) {
  (void)events;
  struct agent *agent = container_of(watch, struct agent, signals);
  struct signalfd_siginfo info[16];
  ssize_t got;
  while ((got = read_some(watch->fd, info, sizeof info)) > 0) {
    for (size_t i = 0; i < (size_t)got / sizeof *info; i++) {
      /* A program in the VM may send us whatever it likes; only the engine, outside, is heard. */
      bool from_outside = info[i].ssi_pid == 0 || !agent->is_init;
      if (info[i].ssi_signo != SIGCHLD && from_outside) {
        agent_stop(agent, STOP_SLACK_US);
      }
    }
  }
  reap(agent);
}

bool is_our_child(pid_t pid) {
  siginfo_t info;
  return pid > 1 && waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

bool children_open(struct agent *agent) {
  sigset_t heard;
  sigemptyset(&heard);
  sigaddset(&heard, SIGCHLD);
  sigaddset(&heard, SIGTERM);
  sigaddset(&heard, SIGINT);
  agent->signals.ready = signals_ready;
  agent->signals.fd = signalfd(-1, &heard, SFD_CLOEXEC | SFD_NONBLOCK);
  return agent->signals.fd >= 0 && watch_for(&agent->loop, &agent->signals, EPOLLIN);
}

void children_lost(struct agent *agent) {
  if (!agent->strays) {
    agent->strays_round = 0;
  }
  agent->strays = true;
  agent->strays_due_us = now_us();
}

void children_due(struct agent *agent, uint64_t now) {
  if (!agent->strays || now < agent->strays_due_us) {
    return;
  }
  static pid_t known[KNOWN_MAX];
  size_t count = executions_supervisors(agent, known, KNOWN_MAX);
  count += warms_known(agent, known + count, KNOWN_MAX - count);
  struct spared spared = {known, count, agent->adopts ? orphan_lives : NULL, agent};
  orphans_forget_survivors(agent);
  if (tree_end_step(getpid(), &spared, agent->strays_round++) != 0) {
    agent->strays_due_us = now + STRAYS_PAUSE_US;
    return;
  }
  agent->strays = agent->adopts && warms_expected(agent); /* then everybody unknown was spared: look again */
  agent->strays_round = 0;
  agent->strays_due_us = now + EXPECTED_PAUSE_US;
  executions_orphans_gone(agent);
}

void agent_stop(struct agent *agent, uint64_t grace_us) {
  agent->stopping = true;
  agent->stopping_kill_us = now_us() + grace_us;
  warms_end(agent);
  executions_end_all(agent, SIGTERM);
}
