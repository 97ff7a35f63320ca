// Preloaded into a program: counts what reaches the disk and, where told to, kills the process before the nth call, makes it
// fail, undoes what was not synced (a power loss), or fails the nth allocation. Set by environment:
//
//   FAULT_DIR=/path/          files below it count; effects.log there stands for the world outside and only counts
//   FAULT_COUNT=file          8 bytes, shared: the count goes on from process to process
//   FAULT_CRASH_AT=n          SIGKILL before the nth call
//   FAULT_POWER=discard|torn  with CRASH_AT: nothing unsynced survives, or each 512-byte sector of it by chance (FAULT_SEED)
//   FAULT_FAIL_AT=n, FAULT_FAIL_FROM=n, FAULT_FAIL_EVERY=n, FAULT_FAIL_ERRNO=number
//   FAULT_NOSYNC=1            syncs are counted and believed, not made: the kernel keeps what a killed process wrote
//   FAULT_MALLOC_AT=n         the nth allocation after fault_arm() fails; FAULT_ARM_AT_OPEN=1 arms at the first open below FAULT_DIR
//   FAULT_READ_DIR=/path/     files below it count for the next two
//   FAULT_OPEN_AT=n, FAULT_READ_AT=n   the nth open (read) there fails with FAULT_FAIL_ERRNO
//   FAULT_SQLITE_NORMAL=1     PRAGMA synchronous = NORMAL at the beginning of each writing transaction
//   FAULT_TOTALS=file         how many opens, reads and allocations there were, at the end
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { kMostFds = 4096, kMostFiles = 64, kPath = 512, kSector = 512 };

void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void __libc_free(void*);

// ---- what was not synced yet

struct Entry {
  struct Entry* next;  // the one before
  int64_t offset, length, old_size, old_length;
  int truncate;
  unsigned char* old_bytes;  // old_length of them
  unsigned char* new_bytes;  // length of them; null for a truncation
};

struct File {
  char path[kPath];
  struct Entry* last;
  int journalled;      // its content matters after a power loss
  int effects;         // the world outside
  int entry_unsynced;  // made, and its folder not synced since
  char undead[kPath];  // unlinked, and its folder not synced since: where it is kept
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char dir[kPath];
static size_t dir_length;
static int64_t crash_at, fail_at, fail_from, fail_every, malloc_at;
static int fail_errno = EIO, no_sync, power;  // power: 1 discard, 2 torn
static uint64_t seed = 1;
static int64_t own_count;
static int64_t* count = &own_count;
static int fd_file[kMostFds];  // file + 1; -1: the folder
static struct File files[kMostFiles];
static int file_count;
static volatile int armed;
static int64_t allocations, opens, reads;
static char read_dir[kPath];
static int64_t open_at, read_at;
static int arm_at_open, sqlite_normal;
static unsigned char fd_read[kMostFds];  // below read_dir

static int64_t number(const char* name) {
  const char* text = getenv(name);
  return text ? strtoll(text, NULL, 10) : 0;
}

__attribute__((constructor)) static void start(void) {
  const char* where = getenv("FAULT_DIR");
  const char* read_where = getenv("FAULT_READ_DIR");
  malloc_at = number("FAULT_MALLOC_AT");
  arm_at_open = (int)number("FAULT_ARM_AT_OPEN");
  sqlite_normal = (int)number("FAULT_SQLITE_NORMAL");
  open_at = number("FAULT_OPEN_AT");
  read_at = number("FAULT_READ_AT");
  if (getenv("FAULT_FAIL_ERRNO")) fail_errno = (int)number("FAULT_FAIL_ERRNO");
  if (read_where && strlen(read_where) < kPath) strcpy(read_dir, read_where);
  if (!where || strlen(where) >= kPath) return;
  strcpy(dir, where);
  dir_length = strlen(dir);
  crash_at = number("FAULT_CRASH_AT");
  fail_at = number("FAULT_FAIL_AT");
  fail_from = number("FAULT_FAIL_FROM");
  fail_every = number("FAULT_FAIL_EVERY");
  no_sync = (int)number("FAULT_NOSYNC");
  const char* mode = getenv("FAULT_POWER");
  power = !mode ? 0 : strcmp(mode, "torn") == 0 ? 2 : 1;
  seed = (uint64_t)number("FAULT_SEED") * 0x9e3779b97f4a7c15u + 1;
  const char* shared = getenv("FAULT_COUNT");
  if (shared) {
    const int fd = (int)syscall(SYS_openat, AT_FDCWD, shared, O_RDWR | O_CREAT, 0644);
    if (fd >= 0 && syscall(SYS_ftruncate, fd, 8) == 0) {
      void* at = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
      if (at != MAP_FAILED) count = at;
    }
    if (fd >= 0) syscall(SYS_close, fd);
  }
}

static uint64_t chance(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed >> 11;
}

static int64_t size_of(int fd) {
  struct stat info;
  return fstat(fd, &info) == 0 ? info.st_size : 0;
}

static int file_at(const char* path) {
  for (int i = 0; i < file_count; ++i) {
    if (strcmp(files[i].path, path) == 0) return i;
  }
  if (file_count == kMostFiles || strlen(path) >= kPath) return -1;
  struct File* file = &files[file_count];
  strcpy(file->path, path);
  const size_t n = strlen(path);
  file->effects = n >= 11 && strcmp(path + n - 11, "effects.log") == 0;
  const int index = n >= 4 && strcmp(path + n - 4, "-shm") == 0;
  const int guard = n >= 5 && strcmp(path + n - 5, ".lock") == 0;
  file->journalled = power && !file->effects && !index && !guard;
  return file_count++;
}

static void forget(struct File* file) {
  while (file->last) {
    struct Entry* entry = file->last;
    file->last = entry->next;
    __libc_free(entry->old_bytes);
    __libc_free(entry->new_bytes);
    __libc_free(entry);
  }
}

static void put(int fd, const unsigned char* bytes, int64_t length, int64_t offset) {
  while (length > 0) {
    const int64_t done = syscall(SYS_pwrite64, fd, bytes, (size_t)length, offset);
    if (done <= 0) return;
    bytes += done;
    length -= done;
    offset += done;
  }
}

static void remember(struct File* file, int fd, const void* bytes, int64_t length, int64_t offset, int truncate) {
  struct Entry* entry = __libc_calloc(1, sizeof *entry);
  entry->offset = offset;
  entry->length = length;
  entry->truncate = truncate;
  entry->old_size = size_of(fd);
  int64_t old = entry->old_size - offset;
  if (old < 0) old = 0;
  if (!truncate && old > length) old = length;
  entry->old_length = old;
  if (old > 0) {
    entry->old_bytes = __libc_malloc((size_t)old);
    // The caller's descriptor may be write-only.
    const int in = (int)syscall(SYS_openat, AT_FDCWD, file->path, O_RDONLY, 0);
    for (int64_t got = 0; got < old;) {
      const int64_t n = syscall(SYS_pread64, in, entry->old_bytes + got, (size_t)(old - got), offset + got);
      if (n <= 0) break;
      got += n;
    }
    syscall(SYS_close, in);
  }
  if (!truncate) {
    entry->new_bytes = __libc_malloc((size_t)length + 1);
    memcpy(entry->new_bytes, bytes, (size_t)length);
  }
  entry->next = file->last;
  file->last = entry;
}

// The file as the disk has it.
static void lose(struct File* file) {
  if (file->undead[0] && file->entry_unsynced) {  // unlinked and made again: the old one comes back
    rename(file->undead, file->path);
    return;
  }
  if (file->undead[0]) {
    if (power == 1 || chance() % 2)
      rename(file->undead, file->path);
    else
      syscall(SYS_unlinkat, AT_FDCWD, file->undead, 0);
  }
  if (file->last) {
    const int fd = (int)syscall(SYS_openat, AT_FDCWD, file->path, O_RDWR, 0);
    if (fd >= 0) {
      struct Entry* in_order = NULL;
      for (struct Entry* entry = file->last; entry;) {
        put(fd, entry->old_bytes, entry->old_length, entry->offset);
        syscall(SYS_ftruncate, fd, entry->old_size);
        struct Entry* next = entry->next;
        entry->next = in_order;
        in_order = entry;
        entry = next;
      }
      for (struct Entry* entry = in_order; entry && power == 2; entry = entry->next) {
        if (entry->truncate) {
          if (chance() % 2) syscall(SYS_ftruncate, fd, entry->offset);
          continue;
        }
        for (int64_t at = 0; at < entry->length;) {
          int64_t n = kSector - (entry->offset + at) % kSector;
          if (n > entry->length - at) n = entry->length - at;
          if (chance() % 2) put(fd, entry->new_bytes + at, n, entry->offset + at);
          at += n;
        }
      }
      syscall(SYS_close, fd);
    }
  }
  if (file->journalled && file->entry_unsynced && (power == 1 || chance() % 2)) syscall(SYS_unlinkat, AT_FDCWD, file->path, 0);
}

// Called with the lock held. 0: go on; else the call fails.
static int next_call(int effects) {
  const int64_t n = __atomic_add_fetch(count, 1, __ATOMIC_SEQ_CST);
  if (crash_at && n == crash_at) {
    if (power) {
      for (int i = 0; i < file_count; ++i) lose(&files[i]);
    }
    kill(getpid(), SIGKILL);
    for (;;) pause();
  }
  if (effects) return 0;
  if ((fail_at && n == fail_at) || (fail_from && n >= fail_from) || (fail_every && n % fail_every == 0)) {
    errno = fail_errno;
    return -1;
  }
  return 0;
}

static struct File* file_of(int fd) { return fd >= 0 && fd < kMostFds && fd_file[fd] > 0 ? &files[fd_file[fd] - 1] : NULL; }

static int below(const char* path) { return dir_length && strncmp(path, dir, dir_length) == 0; }

static int is_dir(const char* path) {
  return dir_length && strncmp(path, dir, dir_length - 1) == 0 &&
         (path[dir_length - 1] == 0 || (path[dir_length - 1] == '/' && path[dir_length] == 0));
}

// -1 with errno where this open is the one that fails.
static int open_refused(const char* path) {
  if (!read_dir[0] || strncmp(path, read_dir, strlen(read_dir)) != 0) return 0;
  if (arm_at_open) armed = 1;
  if (__atomic_add_fetch(&opens, 1, __ATOMIC_SEQ_CST) != open_at) return 0;
  errno = fail_errno;
  return -1;
}

static int counted(const char* path, int fd) {
  if (fd >= 0 && fd < kMostFds) fd_read[fd] = read_dir[0] && strncmp(path, read_dir, strlen(read_dir)) == 0;
  return fd;
}

static int opened_below(const char* path, int flags, mode_t mode);

static int opened(const char* path, int flags, mode_t mode) {
  if (open_refused(path) != 0) return -1;
  return counted(path, opened_below(path, flags, mode));
}

static int opened_below(const char* path, int flags, mode_t mode) {
  if (!below(path) && !is_dir(path)) return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
  pthread_mutex_lock(&lock);
  int made = 0;
  if (is_dir(path)) {
    const int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd >= 0 && fd < kMostFds) fd_file[fd] = -1;
    pthread_mutex_unlock(&lock);
    return fd;
  }
  const int file = file_at(path);
  if ((flags & O_CREAT) && access(path, F_OK) != 0) {
    made = 1;
    if (file >= 0 && next_call(files[file].effects) != 0) {
      pthread_mutex_unlock(&lock);
      return -1;
    }
  }
  const int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
  if (fd >= 0 && fd < kMostFds && file >= 0) {
    fd_file[fd] = file + 1;
    if (made) files[file].entry_unsynced = 1;
  }
  pthread_mutex_unlock(&lock);
  return fd;
}

int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & O_CREAT) ? va_arg(more, mode_t) : 0;
  va_end(more);
  return opened(path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & O_CREAT) ? va_arg(more, mode_t) : 0;
  va_end(more);
  return opened(path, flags, mode);
}

int openat(int at, const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & O_CREAT) ? va_arg(more, mode_t) : 0;
  va_end(more);
  return at == AT_FDCWD || path[0] == '/' ? opened(path, flags, mode) : (int)syscall(SYS_openat, at, path, flags, mode);
}

// The C library's own streams open and read inside it: they can only be refused as a whole.
typedef FILE* (*Fopen)(const char*, const char*);
FILE* fopen(const char* path, const char* mode) {
  static Fopen real;
  if (!real) real = (Fopen)dlsym(RTLD_NEXT, "fopen");
  return open_refused(path) != 0 ? NULL : real(path, mode);
}
FILE* fopen64(const char* path, const char* mode) { return fopen(path, mode); }

static int read_refused(int fd) {
  if (fd < 0 || fd >= kMostFds || !fd_read[fd]) return 0;
  if (__atomic_add_fetch(&reads, 1, __ATOMIC_SEQ_CST) != read_at) return 0;
  errno = fail_errno;
  return 1;
}
ssize_t read(int fd, void* to, size_t length) { return read_refused(fd) ? -1 : syscall(SYS_read, fd, to, length); }
ssize_t pread(int fd, void* to, size_t length, off_t offset) { return read_refused(fd) ? -1 : syscall(SYS_pread64, fd, to, length, offset); }
ssize_t pread64(int fd, void* to, size_t length, off64_t offset) { return read_refused(fd) ? -1 : syscall(SYS_pread64, fd, to, length, offset); }

// The program checks at the start that FULL was taken; so NORMAL comes with each transaction.
typedef int (*SqliteExec)(void*, const char*, void*, void*, char**);
typedef int (*SqliteStep)(void*);
typedef const char* (*SqliteSql)(void*);
typedef void* (*SqliteHandle)(void*);
int sqlite3_step(void* statement) {
  static SqliteStep real;
  static SqliteSql sql_of;
  static SqliteHandle handle_of;
  static SqliteExec execute;
  static __thread int inside;
  if (!real) {
    real = (SqliteStep)dlsym(RTLD_NEXT, "sqlite3_step");
    sql_of = (SqliteSql)dlsym(RTLD_NEXT, "sqlite3_sql");
    handle_of = (SqliteHandle)dlsym(RTLD_NEXT, "sqlite3_db_handle");
    execute = (SqliteExec)dlsym(RTLD_NEXT, "sqlite3_exec");
  }
  const char* sql = sqlite_normal && !inside ? sql_of(statement) : NULL;
  if (sql && strstr(sql, "BEGIN IMMEDIATE")) {
    inside = 1;
    execute(handle_of(statement), "PRAGMA synchronous = NORMAL", NULL, NULL, NULL);
    inside = 0;
  }
  return real(statement);
}

int close(int fd) {
  if (fd >= 0 && fd < kMostFds) fd_read[fd] = 0;
  if (fd >= 0 && fd < kMostFds && fd_file[fd]) {
    pthread_mutex_lock(&lock);
    fd_file[fd] = 0;
    const int done = (int)syscall(SYS_close, fd);
    pthread_mutex_unlock(&lock);
    return done;
  }
  return (int)syscall(SYS_close, fd);
}

static ssize_t written(int fd, const void* bytes, size_t length, off_t offset, int at_offset) {
  struct File* file = file_of(fd);
  if (!file) return at_offset ? syscall(SYS_pwrite64, fd, bytes, length, offset) : syscall(SYS_write, fd, bytes, length);
  pthread_mutex_lock(&lock);
  ssize_t done = -1;
  if (next_call(file->effects) == 0) {
    if (file->journalled) remember(file, fd, bytes, (int64_t)length, at_offset ? offset : lseek(fd, 0, SEEK_CUR), 0);
    done = at_offset ? syscall(SYS_pwrite64, fd, bytes, length, offset) : syscall(SYS_write, fd, bytes, length);
  }
  pthread_mutex_unlock(&lock);
  return done;
}

ssize_t write(int fd, const void* bytes, size_t length) { return written(fd, bytes, length, 0, 0); }
ssize_t pwrite(int fd, const void* bytes, size_t length, off_t offset) { return written(fd, bytes, length, offset, 1); }
ssize_t pwrite64(int fd, const void* bytes, size_t length, off64_t offset) { return written(fd, bytes, length, offset, 1); }

static int synced(int fd, long call) {
  const int known = fd >= 0 && fd < kMostFds ? fd_file[fd] : 0;
  if (!known) return (int)syscall(call, fd);
  pthread_mutex_lock(&lock);
  struct File* file = known > 0 ? &files[known - 1] : NULL;
  int done = -1;
  if (next_call(file && file->effects) == 0) {
    done = no_sync ? 0 : (int)syscall(call, fd);
    if (done == 0 && file) forget(file);
    if (done == 0 && !file) {
      for (int i = 0; i < file_count; ++i) {
        files[i].entry_unsynced = 0;
        if (files[i].undead[0]) syscall(SYS_unlinkat, AT_FDCWD, files[i].undead, 0);
        files[i].undead[0] = 0;
      }
    }
  }
  pthread_mutex_unlock(&lock);
  return done;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static int truncated(int fd, off_t size) {
  struct File* file = file_of(fd);
  if (!file) return (int)syscall(SYS_ftruncate, fd, size);
  pthread_mutex_lock(&lock);
  int done = -1;
  if (next_call(file->effects) == 0) {
    if (file->journalled) remember(file, fd, NULL, 0, size, 1);
    done = (int)syscall(SYS_ftruncate, fd, size);
  }
  pthread_mutex_unlock(&lock);
  return done;
}

int ftruncate(int fd, off_t size) { return truncated(fd, size); }
int ftruncate64(int fd, off64_t size) { return truncated(fd, size); }

int unlink(const char* path) {
  if (!below(path)) return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
  pthread_mutex_lock(&lock);
  int done = -1;
  const int at = file_at(path);
  if (next_call(at >= 0 && files[at].effects) == 0) {
    if (at >= 0 && files[at].journalled && !files[at].entry_unsynced) {
      snprintf(files[at].undead, kPath, "%.480s.undead", path);
      done = rename(path, files[at].undead);
      if (done != 0) files[at].undead[0] = 0;
    } else {
      done = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    }
    if (done == 0 && at >= 0) {
      if (!files[at].undead[0]) forget(&files[at]);
      files[at].entry_unsynced = 0;
    }
  }
  pthread_mutex_unlock(&lock);
  return done;
}

// What a process that ends by itself has done stays done: what follows it begins with a synced disk.
__attribute__((destructor)) static void end(void) {
  for (int i = 0; i < file_count; ++i) {
    if (files[i].undead[0]) syscall(SYS_unlinkat, AT_FDCWD, files[i].undead, 0);
  }
  const char* totals = getenv("FAULT_TOTALS");
  if (!totals) return;
  char line[128];
  const int n = snprintf(line, sizeof line, "%lld %lld %lld\n", (long long)opens, (long long)reads, (long long)allocations);
  const int fd = (int)syscall(SYS_openat, AT_FDCWD, totals, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd >= 0) {
    syscall(SYS_write, fd, line, (size_t)n);
    syscall(SYS_close, fd);
  }
}

// ---- allocations

void fault_arm(void) { armed = 1; }
void fault_disarm(void) { armed = 0; }
int64_t fault_allocations(void) { return __atomic_load_n(&allocations, __ATOMIC_SEQ_CST); }
int64_t fault_calls(void) { return *count; }

static int refused(void) {
  if (!armed) return 0;
  if (__atomic_add_fetch(&allocations, 1, __ATOMIC_SEQ_CST) != malloc_at) return 0;
  errno = ENOMEM;
  return 1;
}

void* malloc(size_t size) { return refused() ? NULL : __libc_malloc(size); }
void* calloc(size_t n, size_t size) { return refused() ? NULL : __libc_calloc(n, size); }
void* realloc(void* old, size_t size) { return refused() ? NULL : __libc_realloc(old, size); }
void* memalign(size_t align, size_t size) { return refused() ? NULL : __libc_memalign(align, size); }
void* aligned_alloc(size_t align, size_t size) { return refused() ? NULL : __libc_memalign(align, size); }
int posix_memalign(void** out, size_t align, size_t size) {
  if (refused()) return ENOMEM;
  *out = __libc_memalign(align, size);
  return *out ? 0 : ENOMEM;
}
void free(void* old) { __libc_free(old); }
