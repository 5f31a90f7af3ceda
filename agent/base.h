/* Ownership at the declaration, and what every file needs of the system. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define AGENT_VERSION "0.1.0"

#define container_of(pointer, type, member) ((type *)(void *)((char *)(pointer) - offsetof(type, member)))

#define cleanup_fd __attribute__((cleanup(close_owned)))
#define cleanup_free __attribute__((cleanup(free_owned)))
#define cleanup_directory __attribute__((cleanup(close_directory)))

/* Close if it is one, and forget it; errno survives. */
void close_owned(int *fd);
void free_owned(void *pointer);
void close_directory(void *directory);

/* Give an owned descriptor away. */
int take_fd(int *fd);

/* Only before the loop starts: afterwards an error is a reply. */
_Noreturn void die(const char *what);
_Noreturn void die_errno(const char *what);

uint64_t now_us(void);

/* Retried when interrupted; what `read` and `write` answer otherwise. */
ssize_t read_some(int fd, void *data, size_t size);
ssize_t write_some(int fd, const void *data, size_t size);

/* 0 or -1; for blocking descriptors. */
int write_all(int fd, const void *data, size_t size);

/* Close every descriptor from `first` on. */
void close_from(int first);

/* A whole small file, NUL-terminated; bytes read or -1. */
ssize_t read_small_file(const char *path, char *text, size_t capacity);

/* Raise this process's own chance to be the victim when memory runs out (anybody may raise). */
void set_oom_score(int score);

/* Block these signals, a bit for each, and no other. */
#define NO_SIGNAL UINT64_C(0)
#define EVERY_SIGNAL (~UINT64_C(0))
void set_signal_mask(uint64_t mask);

/* Reset what a program must not inherit of us: signal mask, dispositions.  Also undoes the undumpable flag. */
void become_ordinary(void);
