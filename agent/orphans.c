/* Ending what executions leave where a supervisor cannot be its descendants' reaper.
 *
 * Linux gives an orphan to the nearest subreaper, its execution's supervisor, which knows by that whose it is
 * and ends it.  Where there are no subreapers (gVisor before 2023) orphans become the agent's children, and
 * whose they are has to be concluded:
 *
 *   - An orphan in the session of a program belongs to that execution: it ends when the execution is over,
 *     at once.
 *   - Any other (it called setsid itself) can only belong to an execution that began before it started.  If
 *     one of these is not over, the orphan may be its, and is spared; it is looked at again when the next
 *     execution ends.  Else it ends.
 *
 * A foreground execution is over when its main process has ended, a background one when it is told to end;
 * until then it may have descendants for as long as any orphan it could own lives.  Both are over when told
 * to end or when somebody killed the supervisor.  So nothing is ever ended that might belong to an execution
 * that goes on, and once none goes on nothing is left.  What an orphan has below it goes with it.  While a
 * spare interpreter is being made its supervisor looks like an orphan: then the unknown ones wait. */
#include "execution.h"
#include "tree.h"
#include "warm.h"

void orphans_note_start(struct execution *execution) {
  if (execution->agent->adopts) {
    execution->began_ticks = process_started(execution->supervisor);
  }
}

bool execution_is_over(const struct execution *execution) {
  return execution->lost || execution->ending || (execution->main_ended && !execution->background);
}

static bool owns(const struct execution *execution, pid_t session) {
  return execution->sessions[0] == session || execution->sessions[1] == session;
}

bool orphan_lives(const struct process *orphan, void *context) {
  struct agent *agent = context;
  bool spared = warms_expected(agent);
  struct link *lists[] = {&agent->running, &agent->finished, &agent->lingering};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    list_each(at, next, lists[i]) {
      struct execution *execution = container_of(at, struct execution, order);
      if (execution->tree_gone) {
        continue;
      }
      bool over = execution_is_over(execution);
      if (owns(execution, orphan->session)) {
        execution->survived |= !over;
        return !over;
      }
      if (!over && execution->began_ticks <= orphan->started) {
        execution->survived = spared = true;
      }
    }
  }
  return spared;
}

void orphans_forget_survivors(struct agent *agent) {
  struct link *lists[] = {&agent->running, &agent->finished, &agent->lingering};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    list_each(at, next, lists[i]) {
      container_of(at, struct execution, order)->survived = false;
    }
  }
}

bool orphans_awaited(const struct agent *agent) {
  const struct link *lists[] = {&agent->running, &agent->finished, &agent->lingering};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    for (const struct link *at = lists[i]->next; at != lists[i]; at = at->next) {
      const struct execution *execution = container_of(at, struct execution, order);
      if (execution->childless && !execution->tree_gone) {
        return true;
      }
    }
  }
  return false;
}
