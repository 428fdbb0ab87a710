/*
 * A disk that fails when it is told to, and keeps a record of all it was asked for: preloaded into the service (LD_PRELOAD), it
 * stands between SQLite and the system. See faults.ts, which compiles it, and disk-record.ts, which reads the record.
 *
 *   FAULTS_FOLDER   absolute: only files below it are recorded and made to fail
 *   FAULTS_RECORD   each call that has changed something is appended here: struct entry, path, data
 *   FAULTS_CONTROL  read before each call; a missing file means that all is well. Its lines:
 *                     fail SERIAL CALL ERRNO TIMES EVERY   CALL is sync or write. Every EVERY-th call fails, TIMES times in all
 *                                                          (-1: always). Another SERIAL begins to count anew
 *                     lie                                  sync says that it is done, and does nothing
 *                     delay CALL MS                        each such call takes so much longer
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, TRUNCATE, SYNC, UNLINK, RENAME, FAILED_SYNC };
enum { MAX_FD = 65536, MAX_CONTROL = 512 };

struct entry {
  uint32_t kind, path_bytes, data_bytes, unused;
  /* of the file: its number, and where it was written or to which size it was cut */
  uint64_t inode, offset;
};

struct control {
  char text[MAX_CONTROL];
  int serial, error, times, every, delay_ms;
  char call[16], delayed[16];
  int lies;
};

/* One call at a time, so that the order of the record is the order of the calls. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Of the descriptors that were opened below the folder. They may have been closed since: see inode_of. */
static ino_t opened[MAX_FD];
static int record = -1;
static int calls, failures, serial;

/* All real calls are system calls, so that nothing here calls itself. */
static int real_open(const char *path, int flags, mode_t mode) { return syscall(SYS_openat, AT_FDCWD, path, flags, mode); }

static int is_ours(const char *path) {
  const char *folder = getenv("FAULTS_FOLDER");
  size_t length = folder ? strlen(folder) : 0;
  return length && !strncmp(path, folder, length) && (path[length] == '/' || !path[length]);
}

/* 0: the descriptor is none of ours, or not any more. */
static ino_t inode_of(int fd) {
  struct stat found;
  if (fd < 0 || fd >= MAX_FD || !opened[fd] || fstat(fd, &found)) return 0;
  return S_ISREG(found.st_mode) || S_ISDIR(found.st_mode) ? (found.st_ino == opened[fd] ? found.st_ino : 0) : 0;
}

static struct control read_control(void) {
  struct control control = {.every = 1};
  const char *path = getenv("FAULTS_CONTROL");
  int fd = path ? real_open(path, O_RDONLY | O_CLOEXEC, 0) : -1;
  if (fd < 0) return control;
  ssize_t length = syscall(SYS_read, fd, control.text, MAX_CONTROL - 1);
  syscall(SYS_close, fd);
  if (length < 0) length = 0;
  control.text[length] = 0;
  for (char *line = control.text; line; line = (line = strchr(line, '\n')) ? line + 1 : NULL) {
    sscanf(line, "fail %d %15s %d %d %d", &control.serial, control.call, &control.error, &control.times, &control.every);
    sscanf(line, "delay %15s %d", control.delayed, &control.delay_ms);
    if (!strncmp(line, "lie", 3)) control.lies = 1;
  }
  return control;
}

/* Whether this call must fail now; sets errno. */
static int fails(const struct control *control, const char *call) {
  if (serial != control->serial) {
    serial = control->serial;
    calls = failures = 0;
  }
  if (strcmp(control->call, call) || (control->times >= 0 && failures >= control->times)) return 0;
  calls += 1;
  if (calls % control->every) return 0;
  failures += 1;
  errno = control->error;
  return 1;
}

static void delay(const struct control *control, const char *call) {
  if (!strcmp(control->delayed, call)) usleep(control->delay_ms * 1000);
}

static void append(int kind, ino_t inode, uint64_t offset, const char *path, const void *data, size_t bytes) {
  int kept = errno;
  if (record < 0) {
    const char *file = getenv("FAULTS_RECORD");
    record = file ? real_open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
  }
  struct entry head = {kind, path ? strlen(path) : 0, bytes, 0, inode, offset};
  struct iovec parts[] = {{&head, sizeof head}, {(void *)path, head.path_bytes}, {(void *)data, bytes}};
  ssize_t wanted = sizeof head + head.path_bytes + bytes;
  if (record >= 0 && syscall(SYS_writev, record, parts, 3) != wanted) {
    dprintf(2, "faults.c: the record could not be written\n");
    abort();
  }
  errno = kept;
}

static int open_file(const char *path, int flags, mode_t mode) {
  if (!is_ours(path)) return real_open(path, flags, mode);
  pthread_mutex_lock(&lock);
  struct stat found;
  int existed = !stat(path, &found);
  int fd = real_open(path, flags, mode);
  if (fd >= 0 && fd < MAX_FD && !fstat(fd, &found)) {
    opened[fd] = found.st_ino;
    if (!existed) append(CREATE, found.st_ino, 0, path, NULL, 0);
    else if (flags & O_TRUNC) append(TRUNCATE, found.st_ino, 0, NULL, NULL, 0);
  }
  pthread_mutex_unlock(&lock);
  return fd;
}

static mode_t mode_of(int flags, va_list rest) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; }

#define OPEN(name)                            \
  int name(const char *path, int flags, ...) { \
    va_list rest;                             \
    va_start(rest, flags);                    \
    mode_t mode = mode_of(flags, rest);       \
    va_end(rest);                             \
    return open_file(path, flags, mode);      \
  }
OPEN(open)
OPEN(open64)

/* An absolute path has no use for the folder it is relative to. */
#define OPENAT(name)                                                              \
  int name(int folder, const char *path, int flags, ...) {                        \
    va_list rest;                                                                 \
    va_start(rest, flags);                                                        \
    mode_t mode = mode_of(flags, rest);                                           \
    va_end(rest);                                                                 \
    return path[0] == '/' ? open_file(path, flags, mode) : (int)syscall(SYS_openat, folder, path, flags, mode); \
  }
OPENAT(openat)
OPENAT(openat64)

/* offset -1: where the descriptor stands */
static ssize_t write_at(int fd, const void *data, size_t bytes, off_t offset) {
  pthread_mutex_lock(&lock);
  ino_t inode = inode_of(fd);
  struct control control = inode ? read_control() : (struct control){0};
  ssize_t written = -1;
  delay(&control, "write");
  if (!inode || !fails(&control, "write")) {
    written = offset < 0 ? syscall(SYS_write, fd, data, bytes) : syscall(SYS_pwrite64, fd, data, bytes, offset);
    /* afterwards: O_APPEND has moved it to the end first */
    if (inode && written > 0) append(WRITE, inode, offset < 0 ? lseek(fd, 0, SEEK_CUR) - written : offset, NULL, data, written);
  }
  pthread_mutex_unlock(&lock);
  return written;
}

ssize_t write(int fd, const void *data, size_t bytes) {
  return fd >= 0 && fd < MAX_FD && opened[fd] ? write_at(fd, data, bytes, -1) : syscall(SYS_write, fd, data, bytes);
}
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset) { return write_at(fd, data, bytes, offset); }
ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t offset) { return write_at(fd, data, bytes, offset); }

static int truncate_to(int fd, off_t size) {
  pthread_mutex_lock(&lock);
  ino_t inode = inode_of(fd);
  int result = syscall(SYS_ftruncate, fd, size);
  if (inode && !result) append(TRUNCATE, inode, size, NULL, NULL, 0);
  pthread_mutex_unlock(&lock);
  return result;
}
int ftruncate(int fd, off_t size) { return truncate_to(fd, size); }
int ftruncate64(int fd, off64_t size) { return truncate_to(fd, size); }

static int sync_file(int fd, long call) {
  pthread_mutex_lock(&lock);
  ino_t inode = inode_of(fd);
  struct control control = inode ? read_control() : (struct control){0};
  int result = -1;
  delay(&control, "sync");
  if (inode && fails(&control, "sync")) {
    append(FAILED_SYNC, inode, 0, NULL, NULL, 0);
  } else if (control.lies) {
    result = 0;
  } else {
    result = syscall(call, fd);
    if (inode && !result) append(SYNC, inode, 0, NULL, NULL, 0);
  }
  pthread_mutex_unlock(&lock);
  return result;
}
int fsync(int fd) { return sync_file(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_file(fd, SYS_fdatasync); }

int unlink(const char *path) {
  if (!is_ours(path)) return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
  pthread_mutex_lock(&lock);
  int result = syscall(SYS_unlinkat, AT_FDCWD, path, 0);
  if (!result) append(UNLINK, 0, 0, path, NULL, 0);
  pthread_mutex_unlock(&lock);
  return result;
}

int rename(const char *from, const char *to) {
  if (!is_ours(from)) return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
  pthread_mutex_lock(&lock);
  int result = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
  if (!result) append(RENAME, 0, 0, from, to, strlen(to));
  pthread_mutex_unlock(&lock);
  return result;
}
