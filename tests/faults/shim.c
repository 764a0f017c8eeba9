/* Preloaded into agents and the collector: failing disks and wrong clocks, switched by a mapped file (struct below).
   FOREBAY_FAULTS names the file, FOREBAY_FAULTS_FOLDER the folder whose files are concerned. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct faults {
  int64_t clock_offset; /* seconds, added to the wall clock; the monotonic clock goes on */
  int64_t fsync_fails;
  int64_t write_fails;
  int64_t fsyncs_failed; /* how often each struck */
  int64_t writes_failed;
  int64_t clocks_read;
  int64_t no_room; /* how often the disk itself refused a write for want of room */
};

static struct faults none, *faults = &none;
static char folder[PATH_MAX];

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("FOREBAY_FAULTS"), *where = getenv("FOREBAY_FAULTS_FOLDER");
  int descriptor = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (descriptor < 0) return;
  void *map = mmap(NULL, sizeof none, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  close(descriptor);
  if (map != MAP_FAILED) faults = map;
  if (where) snprintf(folder, sizeof folder, "%s/", where);
}

static int concerned(int descriptor) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = '/'; /* the folder itself too */
  return folder[0] && !strncmp(path, folder, strlen(folder));
}

static int refused(int64_t *switched, int64_t *struck, int descriptor) {
  if (!*switched || !concerned(descriptor)) return 0;
  __atomic_add_fetch(struck, 1, __ATOMIC_RELAXED);
  errno = EIO;
  return 1;
}

static ssize_t noted(ssize_t outcome, int descriptor) {
  int told = errno;
  if (outcome < 0 && told == ENOSPC && concerned(descriptor)) __atomic_add_fetch(&faults->no_room, 1, __ATOMIC_RELAXED);
  errno = told;
  return outcome;
}

#define NEXT(name) static __typeof__(&name) next; if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define FSYNC(name) int name(int fd) { NEXT(name); \
  return refused(&faults->fsync_fails, &faults->fsyncs_failed, fd) ? -1 : next(fd); }
#define WRITE(name, parameters, ...) ssize_t name parameters { NEXT(name); \
  return refused(&faults->write_fails, &faults->writes_failed, fd) ? -1 : noted(next(__VA_ARGS__), fd); }

FSYNC(fsync)
FSYNC(fdatasync)
WRITE(write, (int fd, const void *content, size_t size), fd, content, size)
WRITE(pwrite, (int fd, const void *content, size_t size, off_t at), fd, content, size, at)
WRITE(pwrite64, (int fd, const void *content, size_t size, off64_t at), fd, content, size, at)
WRITE(writev, (int fd, const struct iovec *parts, int count), fd, parts, count)

static int64_t offset(void) {
  int64_t seconds = faults->clock_offset;
  if (seconds) __atomic_add_fetch(&faults->clocks_read, 1, __ATOMIC_RELAXED);
  return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  NEXT(clock_gettime);
  int outcome = next(clock, now);
  if (!outcome && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += offset();
  return outcome;
}

int gettimeofday(struct timeval *now, void *zone) {
  NEXT(gettimeofday);
  int outcome = next(now, zone);
  if (!outcome) now->tv_sec += offset();
  return outcome;
}

time_t time(time_t *now) {
  NEXT(time);
  time_t told = next(NULL) + offset();
  if (now) *now = told;
  return told;
}

/* Whoever waits until a moment of the wall clock waits for the kernel's: a clock that jumped for the process only would
   have it spin, or wait for the length of the jump. A moment is the wall clock's when it is no uptime. */
static const struct timespec *until(const struct timespec *moment, struct timespec *shifted) {
  if (!moment || !faults->clock_offset || moment->tv_sec < 1000000000) return moment;
  *shifted = *moment;
  shifted->tv_sec -= faults->clock_offset;
  return shifted;
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *moment) {
  NEXT(pthread_cond_timedwait);
  struct timespec shifted;
  return next(condition, mutex, until(moment, &shifted));
}

long syscall(long number, ...) {
  NEXT(syscall);
  long given[6];
  va_list list;
  va_start(list, number);
  for (int place = 0; place < 6; place++) given[place] = va_arg(list, long);
  va_end(list);
  struct timespec shifted;
  if (number == SYS_futex && (given[1] & FUTEX_CLOCK_REALTIME)) given[3] = (long)until((void *)given[3], &shifted);
  return next(number, given[0], given[1], given[2], given[3], given[4], given[5]);
}
