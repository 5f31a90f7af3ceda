/* What the FILE_* verbs share. */
#pragma once

#include <sys/stat.h>

#include "agent.h"
#include "file_request.h"

/* 0, or -1 with errno ENXIO: of /proc nothing is read or written, through it the agent would mean itself. */
int files_check_not_proc(int fd);
/* 0 if a regular file of a real file system, with its status. */
int files_check_regular(int fd, struct stat *status);

/* The directory relative paths begin at, a descriptor the caller owns. */
int files_home(const struct agent *agent);

/* Opened to be written as `request` says, with the status it had; -1 with errno. */
int files_open_to_write(int home, struct file_request *request, struct stat *status);
void files_make_parents(int home, char *path);
/* Sets the time of change, where one was given; 0 or -1. */
int files_set_time(int fd, const struct file_request *request);
struct timespec files_time(const struct file_request *request);
uint64_t files_mtime_ns(const struct stat *status);

/* -1 with errno ENOTDIR only where the path itself is something else. */
int files_open_directory(int home, const char *path, int flags);

void files_reply_error(struct connection *connection, uint64_t channel, int error);
void files_reply_bad(struct connection *connection, uint64_t channel, const char *what);
void files_reply_done(struct connection *connection, uint64_t channel);
