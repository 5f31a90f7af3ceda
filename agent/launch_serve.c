/* Plans come over standard input (SOCK_SEQPACKET), one message each, and with it descriptors: those the plan
 * names, which have the numbers from FIRST_PLAN_FD on, and last the one that becomes the launcher's standard
 * error, where a NUL says that the plan was carried out.  Each plan is carried out by a child, so that they do not wait for one another.
 *
 * Parent: the server.  Ends: with the other end of the socket; children under way go on, as one that a
 * killed server leaves must bring its VM to stand or to nothing. */
#include "launch.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_PLAN = 1 << 17, MAX_FDS = 4, LAUNCH_SECONDS = 30, FIRST_PLAN_FD = 3 };

static char words[MAX_PLAN];

/* Length of the plan, 0 at the end; the descriptors that came with it. */
static size_t receive(int fds[MAX_FDS], int *count) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * MAX_FDS)];
    } control;
    struct iovec piece = {.iov_base = words, .iov_len = sizeof words};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *header;
    ssize_t got;

    while ((got = recvmsg(STDIN_FILENO, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
        ;
    if (got < 0)
        die("cannot receive a plan");
    *count = 0;
    header = CMSG_FIRSTHDR(&message);
    if (got > 0 && header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        *count = (int) ((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fds, CMSG_DATA(header), sizeof(int) * (size_t) *count);
    }
    if (message.msg_flags & MSG_TRUNC)
        words[sizeof words - 1] = 'x'; /* not a plan's end: refused as cut short */
    return (size_t) got;
}

static void out_of_time(int number) {
    static const char text[] = "the VM did not start in time\n";

    (void) number;
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
        _exit(2);
    _exit(1); /* what is under way dies with us */
}

_Noreturn static void carry_out(void (*launch)(char *, size_t), size_t length, const int *fds, int count) {
    signal(SIGCHLD, SIG_DFL);
    signal(SIGALRM, out_of_time);
    setsid();
    if (count < 1 || dup2(fds[count - 1], STDERR_FILENO) < 0 || dup2(STDOUT_FILENO, STDIN_FILENO) < 0)
        _exit(1);
    close(fds[count - 1]);
    for (int at = 0; at < count; at++)
        if (fds[at] != FIRST_PLAN_FD + at)
            die_plain("descriptors in disorder");
    alarm(LAUNCH_SECONDS);
    launch(words, length);
    /* Done.  Where nobody waits any more, the VM stands all the same. */
    _exit(write(STDERR_FILENO, "", 1) == 1 ? 0 : 1);
}

int serve(void (*launch)(char *words, size_t length)) {
    int fds[MAX_FDS], count;
    size_t length;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN); /* nobody waits for a launcher: its answer says all */
    while ((length = receive(fds, &count)) > 0) {
        pid_t child = fork();

        if (child == 0)
            carry_out(launch, length, fds, count);
        if (child < 0 && count > 0)
            dprintf(fds[count - 1], "cannot start a launcher: %s\n", strerror(errno));
        for (int at = 0; at < count; at++)
            close(fds[at]);
    }
    return 0;
}
