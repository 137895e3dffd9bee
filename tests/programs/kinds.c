// Every kind of lock of the C library, one after the other: kinds FILE SCENE...
//
// In a scene one thread has a lock and another waits for it, and the truth of it goes to FILE as a
// JSON line: which lock, who waited, who had it, from when to when (CLOCK_MONOTONIC, nanoseconds).
// Scenes that begin with "not_" wait for something that is no lock.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef PTHREAD_MUTEX_ADAPTIVE_NP
#define PTHREAD_MUTEX_ADAPTIVE_NP PTHREAD_MUTEX_NORMAL
#endif

enum { HOLD = 40000000, HOLDS = 40, WORKERS = 3, WORK = 5000000, REST = 1000000 };

typedef struct {
    const char *name;
    void (*prepare)(void);
    void (*take)(void);  // by the holder
    void (*drop)(void);
    void (*want)(void);  // by the waiter
    void (*leave)(void);
    void *lock;
    int late;  // the waiter says itself when it waits
} Scene;

static FILE *out;
static volatile int holder, waiter, third, woken;
static volatile int64_t begun, ended;

static int tid(void) { return syscall(SYS_gettid); }

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void nap(long ns) {
    struct timespec t = {ns / 1000000000, ns % 1000000000};
    nanosleep(&t, NULL);
}

/// Until a thread of a process sleeps in a futex call, and has done so for a moment.
static void await_sleep(volatile int *thread) {
    while (!*thread) nap(50000);
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/syscall", *thread);
    for (int asleep = 0; asleep < 3;) {
        FILE *file = fopen(path, "r");
        if (!file) exit(99);
        int futex = fgets(line, sizeof line, file) && atol(line) == SYS_futex;
        asleep = futex ? asleep + 1 : 0;
        fclose(file);
        nap(50000);
    }
}

static void say(const char *scene, void *lock, int who, int had_by, int64_t from, int64_t to) {
    fprintf(out,
            "{\"scene\":\"%s\",\"pid\":%d,\"lock\":%lu,\"waiter\":%d,\"holder\":%d,\"begin\":%lld,"
            "\"end\":%lld}\n",
            scene, getpid(), (unsigned long)lock, who, had_by, (long long)from, (long long)to);
    fflush(out);
}

static Scene *current;

static void *holds(void *with) {
    (void)with;
    current->take();
    if (waiter) return NULL;  // it has been waited for
    holder = tid();
    await_sleep(&waiter);
    nap(HOLD);
    if (current->drop) current->drop();
    return NULL;
}

static void *waits(void *with) {
    (void)with;
    while (!holder) nap(50000);
    begun = now();
    if (!current->late) waiter = tid();
    current->want();
    ended = now();
    if (current->leave) current->leave();
    return NULL;
}

static void play(Scene *scene) {
    pthread_t threads[2];
    current = scene;
    holder = waiter = third = 0;
    if (scene->prepare) scene->prepare();
    pthread_create(&threads[0], NULL, holds, NULL);
    pthread_create(&threads[1], NULL, waits, NULL);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    say(scene->name, scene->lock, waiter, holder, begun, ended);
}

// Mutexes.

static pthread_mutex_t mutex;

static void make(int type, int robust, int protocol, int shared) {
    pthread_mutexattr_t with;
    pthread_mutexattr_init(&with);
    pthread_mutexattr_settype(&with, type);
    if (robust) pthread_mutexattr_setrobust(&with, PTHREAD_MUTEX_ROBUST);
    if (protocol) pthread_mutexattr_setprotocol(&with, PTHREAD_PRIO_INHERIT);
    if (shared) pthread_mutexattr_setpshared(&with, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&mutex, &with);
}

static void normal(void) { make(PTHREAD_MUTEX_NORMAL, 0, 0, 0); }
static void recursive(void) { make(PTHREAD_MUTEX_RECURSIVE, 0, 0, 0); }
static void errorcheck(void) { make(PTHREAD_MUTEX_ERRORCHECK, 0, 0, 0); }
static void adaptive(void) { make(PTHREAD_MUTEX_ADAPTIVE_NP, 0, 0, 0); }
static void robust(void) { make(PTHREAD_MUTEX_NORMAL, 1, 0, 0); }
static void inherit(void) { make(PTHREAD_MUTEX_NORMAL, 0, 1, 0); }
static void robust_inherit(void) { make(PTHREAD_MUTEX_NORMAL, 1, 1, 0); }
static void lock(void) { pthread_mutex_lock(&mutex); }
static void unlock(void) { pthread_mutex_unlock(&mutex); }

static void timed_lock(void) {
    struct timespec until = {time(NULL) + 100, 0};
    pthread_mutex_timedlock(&mutex, &until);
}

static void lock_of_the_dead(void) {
    pthread_mutex_lock(&mutex);
    pthread_mutex_consistent(&mutex);
}

// Read-write locks.

static pthread_rwlock_t rwlock;

static void any(void) { pthread_rwlock_init(&rwlock, NULL); }
static void read_lock(void) { pthread_rwlock_rdlock(&rwlock); }
static void write_lock(void) { pthread_rwlock_wrlock(&rwlock); }
static void let_go(void) { pthread_rwlock_unlock(&rwlock); }

#ifdef __GLIBC__
static void writers_first(void) {
    pthread_rwlockattr_t with;
    pthread_rwlockattr_init(&with);
    pthread_rwlockattr_setkind_np(&with, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&rwlock, &with);
}

static void *writes(void *with) {
    (void)with;
    third = tid();
    write_lock();
    let_go();
    return NULL;
}

/// The waiting reader is not the first to wait: a writer is, which the reader must let pass.
static void read_behind_writer(void) {
    pthread_t writer;
    pthread_create(&writer, NULL, writes, NULL);
    await_sleep(&third);
    begun = now();
    waiter = tid();
    read_lock();
    ended = now();
    let_go();
    pthread_join(writer, NULL);
    read_lock();
}
#endif

// Semaphores and once.

static sem_t unnamed, *named;

static void one(void) { sem_init(&unnamed, 0, 1); }
static void down(void) { sem_wait(&unnamed); }
static void up(void) { sem_post(&unnamed); }

static void open_named(void) {
    char name[32];
    snprintf(name, sizeof name, "/lockprobe-kinds-%d", getpid());
    named = sem_open(name, O_CREAT | O_EXCL, 0600, 1);
    if (named == SEM_FAILED) exit(98);
    current->lock = named;
    sem_unlink(name);
}

static void named_down(void) { sem_wait(named); }
static void named_up(void) { sem_post(named); }

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void initialise(void) {
    holder = tid();
    await_sleep(&waiter);
    nap(HOLD);
}

static void first_call(void) { pthread_once(&once, initialise); }
static void second_call(void) { pthread_once(&once, initialise); }

// No locks, or not yet.

static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;

static void nothing(void) {}

static void await_condition(void) {
    lock();
    while (!woken) pthread_cond_wait(&condition, &mutex);
    unlock();
}

static void fulfil_condition(void) {
    lock();
    woken = 1;
    pthread_cond_signal(&condition);
    unlock();
}

/// The mutex is wanted again when the condition is signalled, and then it is taken.
static void signal_and_keep(void) {
    lock();
    woken = 1;
    begun = now();
    pthread_cond_signal(&condition);
    nap(HOLD);
    unlock();
}

static void two_at_barrier(void) { pthread_barrier_init(&barrier, NULL, 2); }
static void meet(void) { pthread_barrier_wait(&barrier); }

// Processes.

typedef struct {
    pthread_mutex_t mutex;
    volatile int parent, child, turn;
} Shared;

/// Each process waits for the other once. `there` is where the child has the memory.
static void two_processes(const char *name, Shared *here, int file) {
    pthread_mutexattr_t with;
    pthread_mutexattr_init(&with);
    pthread_mutexattr_setpshared(&with, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&here->mutex, &with);
    here->parent = here->child = here->turn = 0;
    pthread_mutex_lock(&here->mutex);
    pid_t child = fork();
    if (!child) {
        Shared *there = here;
        if (file >= 0) {
            there = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
            there = (Shared *)((char *)there + 4096);
        }
        int64_t from = now();
        there->child = tid();
        pthread_mutex_lock(&there->mutex);
        say(name, &there->mutex, tid(), getppid(), from, now());
        there->turn = 1;
        await_sleep(&there->parent);
        nap(HOLD);
        pthread_mutex_unlock(&there->mutex);
        _exit(0);
    }
    await_sleep(&here->child);
    nap(HOLD);
    pthread_mutex_unlock(&here->mutex);
    while (!here->turn) nap(50000);
    int64_t from = now();
    here->parent = tid();
    pthread_mutex_lock(&here->mutex);
    say(name, &here->mutex, tid(), child, from, now());
    pthread_mutex_unlock(&here->mutex);
    waitpid(child, NULL, 0);
}

static void processes(const char *name) {
    if (!strcmp(name, "mutex_of_forked")) {
        Shared *here = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        two_processes(name, here, -1);
        return;
    }
    char path[] = "/tmp/lockprobe-kinds-XXXXXX";
    int file = mkstemp(path);
    if (file < 0 || ftruncate(file, 2 * 4096)) exit(97);
    unlink(path);
    Shared *here = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 4096);
    two_processes(name, here, file);
}

// Many holds.

static pthread_mutex_t busy = PTHREAD_MUTEX_INITIALIZER;

static void *works(void *with) {
    (void)with;
    // The first and the last holds are not told: not all of the others want the mutex then.
    for (int i = -2; i < HOLDS + 2; i++) {
        pthread_mutex_lock(&busy);
        int64_t from = now();
        nap(WORK);
        int64_t to = now();
        pthread_mutex_unlock(&busy);
        nap(REST);
        if (i < 0 || i >= HOLDS) continue;
        flockfile(out);
        fprintf(out, "{\"hold\":%lu,\"tid\":%d,\"begin\":%lld,\"end\":%lld}\n",
                (unsigned long)&busy, tid(), (long long)from, (long long)to);
        funlockfile(out);
    }
    return NULL;
}

static void many_holds(void) {
    pthread_t threads[WORKERS];
    for (int i = 0; i < WORKERS; i++) pthread_create(&threads[i], NULL, works, NULL);
    for (int i = 0; i < WORKERS; i++) pthread_join(threads[i], NULL);
    fflush(out);
}

static Scene scenes[] = {
    {"mutex_normal", normal, lock, unlock, lock, unlock, &mutex, 0},
    {"mutex_recursive", recursive, lock, unlock, lock, unlock, &mutex, 0},
    {"mutex_errorcheck", errorcheck, lock, unlock, lock, unlock, &mutex, 0},
    {"mutex_adaptive", adaptive, lock, unlock, lock, unlock, &mutex, 0},
    {"mutex_timed", normal, lock, unlock, timed_lock, unlock, &mutex, 0},
    {"mutex_robust", robust, lock, unlock, lock, unlock, &mutex, 0},
    {"mutex_robust_died", robust, lock, NULL, lock_of_the_dead, unlock, &mutex, 0},
    {"mutex_inherit", inherit, lock, unlock, lock, unlock, &mutex, 0},
    {"mutex_robust_inherit", robust_inherit, lock, unlock, lock, unlock, &mutex, 0},
    {"read_while_written", any, write_lock, let_go, read_lock, let_go, &rwlock, 0},
    {"write_while_written", any, write_lock, let_go, write_lock, let_go, &rwlock, 0},
    {"write_while_read", any, read_lock, let_go, write_lock, let_go, &rwlock, 0},
#ifdef __GLIBC__
    {"read_behind_writer", writers_first, read_lock, let_go, read_behind_writer, let_go, &rwlock, 1},
#endif
    {"semaphore", one, down, up, down, up, &unnamed, 0},
    {"semaphore_named", open_named, named_down, named_up, named_down, named_up, NULL, 0},
    {"once", NULL, first_call, NULL, second_call, NULL, &once, 0},
    {"mutex_after_condition", normal, nothing, signal_and_keep, await_condition, NULL, &mutex, 0},
    {"not_condition", normal, nothing, fulfil_condition, await_condition, NULL, &condition, 0},
    {"not_barrier", two_at_barrier, nothing, meet, meet, NULL, &barrier, 0},
};

int main(int count, char **names) {
    out = count > 1 ? fopen(names[1], "w") : NULL;
    if (!out) return 96;
    for (int i = 2; i < count; i++) {
        woken = 0;
        if (!strcmp(names[i], "holds")) {
            many_holds();
            continue;
        }
        if (!strncmp(names[i], "mutex_of_", 9)) {
            processes(names[i]);
            continue;
        }
        Scene *scene = NULL;
        for (size_t j = 0; j < sizeof scenes / sizeof *scenes; j++) {
            if (!strcmp(scenes[j].name, names[i])) scene = &scenes[j];
        }
        if (!scene) return 95;
        play(scene);
    }
    return 0;
}
