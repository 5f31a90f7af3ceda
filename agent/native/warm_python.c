/* The native half of the warm Python interpreter (../src/vmpool/agent/warm_python.py): a Python extension module
   that needs no headers of Python and no particular libc.  The agent carries it and hands it over at descriptor 5.

   It uses Python's stable ABI only, declared here, and of the C library what glibc and musl have alike; both are found
   in the interpreter it is loaded into.  What an interpreter's own language cannot do is here: making a child that
   is the agent's, running a program with no frame below it, and looking like the command that was asked for. */
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* -- Python's stable ABI */

typedef struct object PyObject;
typedef PyObject *(*PyCFunction)(PyObject *self, PyObject *args);

struct method {
  const char *name;
  PyCFunction function;
  int flags;
  const char *doc;
};

struct module_definition {
  struct {
    intptr_t references;
    void *type;
    void *init;
    intptr_t index;
    void *copy;
  } base;
  const char *name, *doc;
  intptr_t size;
  struct method *methods;
  void *slots, *traverse, *clear, *release;
};

enum { WITHOUT_ARGUMENTS = 4, WITH_ARGUMENTS = 1, WITH_ONE_ARGUMENT = 8, FILE_INPUT = 257 };

PyObject *PyModuleDef_Init(struct module_definition *);
PyObject *PyBool_FromLong(long);
PyObject *PyErr_SetFromErrno(PyObject *);
void PyErr_Clear(void);
void PyErr_SetObject(PyObject *, PyObject *);
void PyErr_Print(void);
PyObject *PyErr_Occurred(void);
void PyErr_WriteUnraisable(PyObject *);
int PyErr_ExceptionMatches(PyObject *);
void PyErr_Restore(PyObject *, PyObject *, PyObject *);
void PyErr_Fetch(PyObject **, PyObject **, PyObject **);
void PyErr_NormalizeException(PyObject **, PyObject **, PyObject **);
int PyErr_CheckSignals(void);
int Py_EnterRecursiveCall(const char *);
void Py_LeaveRecursiveCall(void);
PyObject *PyLong_FromLong(long);
long PyLong_AsLong(PyObject *);
PyObject *PyImport_GetModuleDict(void);
PyObject *PyDict_GetItemString(PyObject *, const char *);
PyObject *PyModule_GetDict(PyObject *);
PyObject *PySys_GetObject(const char *);
PyObject *PyObject_GetAttrString(PyObject *, const char *);
PyObject *PyObject_CallMethod(PyObject *, const char *, const char *, ...);
void PyObject_GC_UnTrack(void *);
intptr_t PyTuple_Size(PyObject *);
PyObject *PyEval_EvalCode(PyObject *, PyObject *, PyObject *);
PyObject *PyObject_CallFunctionObjArgs(PyObject *, ...);
int PyArg_ParseTuple(PyObject *, const char *, ...);
PyObject *PyTuple_GetItem(PyObject *, intptr_t);
PyObject *Py_CompileString(const char *, const char *, int);
int PyUnicode_CompareWithASCIIString(PyObject *, const char *);
char *PyBytes_AsString(PyObject *);
PyObject *PyBytes_FromStringAndSize(const char *, intptr_t);
intptr_t PyBytes_Size(PyObject *);
int PySys_AddAuditHook(int (*)(const char *, PyObject *, void *), void *);
void PyOS_BeforeFork(void);
void PyOS_AfterFork_Parent(void);
void PyOS_AfterFork_Child(void);
void Py_IncRef(PyObject *);
void Py_DecRef(PyObject *);
extern PyObject *PyExc_OSError, *PyExc_SystemExit, *PyExc_KeyboardInterrupt;
__attribute__((visibility("default"))) PyObject *PyInit_vmpool_warm(void);

/* -- making spares */

enum { CONTROL = 3, AGENT = 4, JOB = 3, STDIO = 3, ASKED_FDS = 1 + STDIO, EXIT_NO_SPARE = 70 };

/* Of the request at hand: the supervisor's end of its socket, then the spare's streams. */
static int asked[ASKED_FDS];

/* receive() -> whether a spare is wanted; False: the agent is gone. */
static PyObject *receive(PyObject *self, PyObject *nothing) {
  (void)self;
  (void)nothing;
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof asked)];
  } control;
  char word[16];
  struct iovec data = {.iov_base = word, .iov_len = sizeof word};
  for (;;) {
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(CONTROL, &message, MSG_CMSG_CLOEXEC);
    if (got < 0) {
      if (PyErr_CheckSignals() != 0) {
        return NULL;
      }
      continue;
    }
    if (got == 0) {
      return PyBool_FromLong(0);
    }
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header != NULL && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof asked)) {
      memcpy(asked, CMSG_DATA(header), sizeof asked);
      return PyBool_FromLong(1);
    }
  }
}

/* Like vfork, but the child is our parent's: it shares our memory while we stand still, until it has executed. */
static inline long share(void) {
  long flags = CLONE_VM | CLONE_VFORK | CLONE_PARENT | SIGCHLD;
#if defined __x86_64__
  long pid;
  register long fourth __asm__("r10") = 0;
  register long fifth __asm__("r8") = 0;
  __asm__ volatile("syscall"
                   : "=a"(pid)
                   : "a"(SYS_clone), "D"(flags), "S"(0), "d"(0), "r"(fourth), "r"(fifth)
                   : "rcx", "r11", "memory");
  return pid;
#elif defined __aarch64__
  register long number __asm__("x8") = SYS_clone;
  register long first __asm__("x0") = flags;
  register long second __asm__("x1") = 0;
  register long third __asm__("x2") = 0;
  register long fourth __asm__("x3") = 0;
  register long fifth __asm__("x4") = 0;
  __asm__ volatile("svc 0"
                   : "+r"(first)
                   : "r"(number), "r"(second), "r"(third), "r"(fourth), "r"(fifth)
                   : "memory");
  return first;
#else
#error "no system call for this machine"
#endif
}

static char *decimal(unsigned number, char *end) {
  *--end = '\0';
  do {
    *--end = (char)('0' + number % 10);
    number /= 10;
  } while (number != 0);
  return end;
}

/* Role: the spare's supervisor, in the warm interpreter's memory for the moment.  Parent: the agent.  Makes the
   spare, which alone returns, and becomes the agent's supervisor program. */
static __attribute__((noinline)) void supervise(const int job[2]) {
  pid_t spare = fork();
  if (spare == 0) {
    return;
  }
  if (spare > 0) {
    char text[16];
    const char *const argv[] = {"vmpool-agent", "supervise", "3", decimal((unsigned)spare, text + sizeof text), "1", NULL};
    const char *const env[] = {NULL};
    dup2(job[1], STDOUT_FILENO);
    dup2(asked[0], CONTROL);
    syscall(SYS_execveat, AGENT, "", argv, env, AT_EMPTY_PATH);
  }
  _exit(EXIT_NO_SPARE);
}

static void close_from(int first) {
  if (syscall(SYS_close_range, first, ~0U, 0) != 0) {
    for (int fd = first; fd < 64; fd++) {
      close(fd);
    }
  }
}

/* Role: the spare.  Parent: its supervisor. */
static void take_place(const int job[2]) {
  int source = fcntl(job[0], F_DUPFD, JOB + 1); /* low: the program sees how large its table of them has grown */
  setsid();
  for (int i = 0; i < STDIO; i++) {
    dup2(asked[1 + i], i);
  }
  dup2(source, JOB);
  close_from(JOB + 1);
}

/* spawn() -> whether this is the spare, which finds its job at descriptor 3. */
static PyObject *spawn(PyObject *self, PyObject *nothing) {
  (void)self;
  (void)nothing;
  int job[2];
  if (pipe2(job, O_CLOEXEC) != 0) {
    return PyErr_SetFromErrno(PyExc_OSError);
  }
  PyOS_BeforeFork();
  long pid = share();
  if (pid == 0) {
    supervise(job);
    PyOS_AfterFork_Child();
    take_place(job);
    return PyBool_FromLong(1);
  }
  PyOS_AfterFork_Parent();
  close(job[0]);
  close(job[1]);
  for (int i = 0; i < ASKED_FDS; i++) {
    close(asked[i]);
  }
  return PyBool_FromLong(0);
}

/* -- being a program */

/* compile(source, path) -> code.  The builtin one would make the types of `ast`, which running a file does not. */
static PyObject *compile(PyObject *self, PyObject *args) {
  (void)self;
  const char *source, *path;
  return PyArg_ParseTuple(args, "yy", &source, &path) ? Py_CompileString(source, path, FILE_INPUT) : NULL;
}

enum { STAMPS_MAX = 32, MODIFIED = 0x40 };

/* The kernel's struct statx, which not every C library has. */
struct found {
  uint64_t before[8];
  struct {
    int64_t seconds;
    uint32_t nanoseconds;
    int32_t unused;
  } accessed, made, changed, modified;
  uint64_t after[16];
};

/* stamps(path, ...) -> bytes that change when one of them does, comes or goes. */
static PyObject *stamps(PyObject *self, PyObject *paths) {
  (void)self;
  int64_t times[STAMPS_MAX * 2] = {0};
  intptr_t count = PyTuple_Size(paths) < STAMPS_MAX ? PyTuple_Size(paths) : STAMPS_MAX;
  for (intptr_t i = 0; i < count; i++) {
    struct found found = {0};
    if (syscall(SYS_statx, AT_FDCWD, PyBytes_AsString(PyTuple_GetItem(paths, i)), 0, MODIFIED, &found) == 0) {
      times[2 * i] = found.modified.seconds;
      times[2 * i + 1] = found.modified.nanoseconds + 1LL;
    }
  }
  return PyBytes_FromStringAndSize((const char *)times, (intptr_t)sizeof *times * 2 * count);
}

/* real(path) -> the path without links; OSError where there is none. */
static PyObject *real(PyObject *self, PyObject *path) {
  (void)self;
  char found[PATH_MAX];
  if (realpath(PyBytes_AsString(path), found) == NULL) {
    return PyErr_SetFromErrno(PyExc_OSError);
  }
  return PyBytes_FromStringAndSize(found, (intptr_t)strlen(found));
}

/* show(layout, words, environment) -> whether /proc shows them as this process's.  layout: numbers of this process
   from its stat file: startcode, endcode, startstack, start_data, end_data, start_brk.  The bytes must stay. */
static PyObject *show(PyObject *self, PyObject *args) {
  (void)self;
  unsigned long long at[6];
  PyObject *words, *environment;
  if (!PyArg_ParseTuple(args, "(KKKKKK)SS", &at[0], &at[1], &at[2], &at[3], &at[4], &at[5], &words, &environment)) {
    return NULL;
  }
  uintptr_t words_at = (uintptr_t)PyBytes_AsString(words), environment_at = (uintptr_t)PyBytes_AsString(environment);
  struct prctl_mm_map map = {
    .start_code = at[0],
    .end_code = at[1],
    .start_stack = at[2],
    .start_data = at[3],
    .end_data = at[4],
    .start_brk = at[5],
    .brk = (uint64_t)syscall(SYS_brk, 0),
    .arg_start = words_at,
    .arg_end = words_at + (uintptr_t)PyBytes_Size(words),
    .env_start = environment_at,
    .env_end = environment_at + (uintptr_t)PyBytes_Size(environment),
    .exe_fd = (uint32_t)-1,
  };
  return PyBool_FromLong(prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0) == 0);
}

/* own(start, length, runs): make the pages of a mapping of a file this process's, by writing one byte as it is; a fork then
   copies the page table.  Where that is not allowed nothing changes. */
static PyObject *own(PyObject *self, PyObject *args) {
  (void)self;
  unsigned long long start, length;
  int runs;
  if (!PyArg_ParseTuple(args, "KKp", &start, &length, &runs)) {
    return NULL;
  }
  volatile char *first = (volatile char *)(uintptr_t)start;
  int mode = PROT_READ | (runs ? PROT_EXEC : 0);
  bool allowed = mprotect((void *)(uintptr_t)start, length, mode | PROT_WRITE) == 0;
  if (allowed) {
    *first = *first;
    mprotect((void *)(uintptr_t)start, length, mode);
  }
  return PyBool_FromLong(allowed);
}

static PyObject *unfreeze;

/* The garbage collector shows only what was made since the interpreter froze.  Who imports `gc` is to see all. */
static int on_event(const char *event, PyObject *args, void *nothing) {
  (void)nothing;
  if (unfreeze == NULL || strcmp(event, "import") != 0 ||
      PyUnicode_CompareWithASCIIString(PyTuple_GetItem(args, 0), "gc") != 0) {
    return 0;
  }
  PyObject *call = unfreeze;
  unfreeze = NULL;
  PyObject *done = PyObject_CallFunctionObjArgs(call, NULL);
  Py_DecRef(call);
  if (done == NULL) {
    return -1;
  }
  Py_DecRef(done);
  return 0;
}

/* watch(unfreeze): call it when the program imports `gc`. */
static PyObject *watch(PyObject *self, PyObject *callable) {
  (void)self;
  Py_IncRef(callable);
  unfreeze = callable;
  return PyBool_FromLong(PySys_AddAuditHook(on_event, NULL) == 0);
}

/* Not every kind of object can be freed while the garbage collector does not know it: this one never will be. */
static void hide_one(PyObject *thing) {
  Py_IncRef(thing);
  PyObject_GC_UnTrack(thing);
}

/* hide(thing, ...): from those who ask the garbage collector for every object. */
static PyObject *hide(PyObject *self, PyObject *things) {
  (void)self;
  for (intptr_t i = 0; i < PyTuple_Size(things); i++) {
    hide_one(PyTuple_GetItem(things, i));
  }
  return PyBool_FromLong(1);
}

static PyObject *serve, *status_of, *begin_end, *exit_functions, *leave, *note_interrupt;

/* Of a call whose failure nobody is told. */
static void forget(PyObject *result) {
  if (result == NULL) {
    PyErr_Clear();
  } else {
    Py_DecRef(result);
  }
}

static void flush(const char *name) {
  PyObject *stream = PySys_GetObject(name);
  if (stream != NULL) {
    Py_IncRef(stream);
    forget(PyObject_CallMethod(stream, "flush", NULL));
    Py_DecRef(stream);
  }
}

/* What the interpreter does when the main program has run, before it looks how that ended. */
static void flush_streams(void) {
  PyObject *kind, *error, *traceback;
  PyErr_Fetch(&kind, &error, &traceback);
  flush("stderr");
  flush("stdout");
  PyErr_Restore(kind, error, traceback);
}

/* The number in a SystemExit that is set, which is cleared then; -1: the interpreter is to deal with it. */
static long exit_status(void) {
  PyObject *kind, *error, *traceback;
  PyErr_Fetch(&kind, &error, &traceback);
  PyErr_NormalizeException(&kind, &error, &traceback);
  PyObject *number = PyObject_CallFunctionObjArgs(status_of, error, NULL);
  long status = number != NULL ? PyLong_AsLong(number) : -1;
  forget(number);
  if (status < 0) {
    PyErr_Restore(kind, error, traceback);
    return -1;
  }
  Py_DecRef(kind);
  Py_DecRef(error);
  if (traceback != NULL) {
    Py_DecRef(traceback);
  }
  return status;
}

/* The end in the interpreter's own order: threads, exit functions, the rest. */
static PyObject *finish(long status) {
  PyObject *number = PyLong_FromLong(status);
  PyObject *shutdown = PyObject_CallFunctionObjArgs(begin_end, number, NULL);
  if (shutdown != NULL) {
    PyObject *done = PyObject_CallFunctionObjArgs(shutdown, NULL);
    if (done == NULL) {
      PyErr_WriteUnraisable(PyDict_GetItemString(PyImport_GetModuleDict(), "threading"));
    }
    forget(done);
    forget(PyObject_CallFunctionObjArgs(exit_functions, NULL));
    Py_DecRef(shutdown);
    forget(PyObject_CallFunctionObjArgs(leave, number, NULL));
    PyErr_SetObject(PyExc_SystemExit, number);
  }
  Py_DecRef(number);
  return NULL;
}

static void hide_exception(PyObject *args) {
  PyObject *frame = PyObject_GetAttrString(PyTuple_GetItem(args, 2), "tb_frame");
  if (frame == NULL) {
    PyErr_Clear();
    return;
  }
  hide_one(frame);
  hide_one(PyTuple_GetItem(args, 1));
  hide_one(PyTuple_GetItem(args, 2));
}

/* The interpreter's `sys.excepthook` while it is warm: what is called there has no frame below it.  Serves, and in a
   spare runs the program and ends it; what it raises is what the interpreter exits with. */
static PyObject *run(PyObject *self, PyObject *args) {
  (void)self;
  hide_exception(args);
  PyObject *job = PyObject_CallFunctionObjArgs(serve, NULL);
  if (job == NULL) {
    return NULL;
  }
  PyObject *code = PyTuple_GetItem(job, 0), *module = PyTuple_GetItem(job, 1);
  Py_IncRef(code);
  Py_IncRef(module);
  Py_DecRef(job);
  Py_LeaveRecursiveCall(); /* the call of this very function, which the program is not to pay for */
  PyObject *result = PyEval_EvalCode(code, PyModule_GetDict(module), PyModule_GetDict(module));
  flush_streams();
  Py_DecRef(code);
  Py_DecRef(module);
  PyObject *end = NULL;
  if (result != NULL) {
    Py_DecRef(result);
    end = finish(0);
  } else if (PyErr_ExceptionMatches(PyExc_SystemExit)) {
    long status = exit_status();
    end = status >= 0 ? finish(status) : NULL;
  } else {
    bool interrupted = PyErr_Occurred() == PyExc_KeyboardInterrupt;
    PyErr_Print();
    end = interrupted ? PyObject_CallFunctionObjArgs(note_interrupt, NULL) : finish(1);
  }
  Py_EnterRecursiveCall("");
  return end;
}

/* begin(serve, status_of, begin_end, exit_functions, leave, note_interrupt): what `run` calls. */
static PyObject *begin(PyObject *self, PyObject *args) {
  (void)self;
  if (!PyArg_ParseTuple(args, "OOOOOO", &serve, &status_of, &begin_end, &exit_functions, &leave, &note_interrupt)) {
    return NULL;
  }
  Py_IncRef(args); /* for ever */
  return PyBool_FromLong(1);
}

static struct method methods[] = {
  {"receive", receive, WITHOUT_ARGUMENTS, NULL}, {"spawn", spawn, WITHOUT_ARGUMENTS, NULL},
  {"compile", compile, WITH_ARGUMENTS, NULL},    {"show", show, WITH_ARGUMENTS, NULL},
  {"watch", watch, WITH_ONE_ARGUMENT, NULL},     {"begin", begin, WITH_ARGUMENTS, NULL},
  {"hide", hide, WITH_ARGUMENTS, NULL},          {"run", run, WITH_ARGUMENTS, NULL},
  {"stamps", stamps, WITH_ARGUMENTS, NULL},      {"real", real, WITH_ONE_ARGUMENT, NULL},
  {"own", own, WITH_ARGUMENTS, NULL},
  {NULL, NULL, 0, NULL},
};

static struct module_definition definition = {
  .base = {.references = 1}, .name = "vmpool_warm", .methods = methods};

PyObject *PyInit_vmpool_warm(void) {
  return PyModuleDef_Init(&definition);
}
