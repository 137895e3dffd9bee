// Threads that wait for each other, or for nobody: deadlocks CASE.
//
//     abba [KIND]  two threads take two mutexes in opposite order: normal, recursive or errorcheck
//     three        three threads and three mutexes in a ring
//     rwlock       one thread has a read-write lock for writing and wants a mutex; the one that has
//                  the mutex wants to read
//     own          a thread locks a normal mutex twice
//     breaks       like abba, but one of the two gives up after two seconds
//     thread       a thread ends with a mutex another waits for
//     process      a process is killed with a mutex another process waits for
//     robust       the same with a robust mutex: the waiter gets it
//     across       two processes and two mutexes in memory they share
//     stopped      a process waits for a mutex of another, which is to be stopped
//     disk         a thread waits for a mutex of one that sleeps where no signal reaches it
//     chain        a thread sleeps with a mutex; another has a second one and waits; three wait
//     flock        a mutex in shared memory and a file lock, taken in opposite order by two processes
//     files [free] two processes of two threads each: the first thread of either takes a file, then both
//                  want that of the other; or, of the second process, one thread does nothing
//     crowd N M    N threads, M of which wait for a few mutexes in turn, the others for an event
//     busy MS      threads take eight mutexes in an order that cannot deadlock, for so long
//
// Once everybody waits, one JSON line says who; a line on standard input ends the program. Where
// something is over by itself, a second line says so.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef pthread_mutex_t mutex;

static mutex first = PTHREAD_MUTEX_INITIALIZER;
static mutex second = PTHREAD_MUTEX_INITIALIZER;
static mutex third = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t book = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t ready;
static pthread_cond_t event = PTHREAD_COND_INITIALIZER;

// In memory that children share.
static struct shared {
    mutex first, second;
    volatile int one, two, over;
    volatile int tids[4];
} *shared;

static int tid(void) { return syscall(SYS_gettid); }

static void check(int result) {
    if (result) {
        fprintf(stderr, "deadlocks: %s\n", strerror(result));
        _exit(99);
    }
}

static void nap(long ns) {
    struct timespec t = {ns / 1000000000, ns % 1000000000};
    nanosleep(&t, NULL);
}

static void told(void) {
    char byte;
    while (read(0, &byte, 1) == 1 && byte != '\n') {}
}

/// Until a thread sleeps in this system call.
static void await_call(int process, volatile int *thread, long call) {
    while (!*thread) nap(50000);
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/task/%d/syscall", process, *thread);
    for (;;) {
        FILE *file = fopen(path, "r");
        if (!file) _exit(99);
        int asleep = fgets(line, sizeof line, file) && atol(line) == call && line[0] != 'r';
        fclose(file);
        if (asleep) return;
        nap(50000);
    }
}

static void await_futex(volatile int *thread) { await_call(getpid(), thread, SYS_futex); }

static pthread_t start(void *(*body)(void *), void *with) {
    pthread_t thread;
    check(pthread_create(&thread, NULL, body, with));
    return thread;
}

/// Says who is in it, holders and waiters by thread id.
static void say(const char *what, int a, int b, int c) {
    printf("{\"case\":\"%s\",\"pid\":%d,\"threads\":[%d,%d,%d]}\n", what, getpid(), a, b, c);
    fflush(stdout);
}

// Rings of threads: each has one mutex and wants the next one's.

static struct member {
    mutex *has, *wants;
    volatile int tid, waits;
    const char *name;
    long gives_up;
} ring[3];

static void *member(void *with) {
    struct member *self = with;
    prctl(PR_SET_NAME, self->name);
    pthread_mutex_lock(self->has);
    pthread_barrier_wait(&ready);
    self->tid = tid();
    if (!self->gives_up) {
        pthread_mutex_lock(self->wants);
    } else {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += self->gives_up;
        if (pthread_mutex_timedlock(self->wants, &until) != ETIMEDOUT) _exit(99);
        pthread_mutex_unlock(self->has);
    }
    return NULL;
}

/// Makes the mutexes of a ring ones of this kind.
static void make(const char *kind) {
    pthread_mutexattr_t with;
    pthread_mutexattr_init(&with);
    int type = !strcmp(kind, "recursive")    ? PTHREAD_MUTEX_RECURSIVE
               : !strcmp(kind, "errorcheck") ? PTHREAD_MUTEX_ERRORCHECK
                                             : PTHREAD_MUTEX_NORMAL;
    check(pthread_mutexattr_settype(&with, type));
    check(pthread_mutex_init(&first, &with));
    check(pthread_mutex_init(&second, &with));
}

static void run_ring(const char *what, int members, long gives_up) {
    mutex *mutexes[] = {&first, &second, &third};
    const char *names[] = {"ann", "bob", "cid"};
    pthread_t threads[3];
    pthread_barrier_init(&ready, NULL, members);
    for (int i = 0; i < members; i++) {
        ring[i] = (struct member){mutexes[i], mutexes[(i + 1) % members], 0, 0, names[i], 0};
        if (i == 0) ring[i].gives_up = gives_up;
        threads[i] = start(member, &ring[i]);
    }
    for (int i = 0; i < members; i++) await_futex(&ring[i].tid);
    say(what, ring[0].tid, ring[1].tid, ring[2].tid);
    if (gives_up) {
        for (int i = 0; i < members; i++) pthread_join(threads[i], NULL);
        say("over", 0, 0, 0);
    }
}

static volatile int one, two, three;

static void *writer(void *with) {
    (void)with;
    pthread_rwlock_wrlock(&book);
    pthread_barrier_wait(&ready);
    one = tid();
    pthread_mutex_lock(&first);
    return NULL;
}

static void *reader(void *with) {
    (void)with;
    pthread_mutex_lock(&first);
    pthread_barrier_wait(&ready);
    two = tid();
    pthread_rwlock_rdlock(&book);
    return NULL;
}

static void rwlock(void) {
    pthread_barrier_init(&ready, NULL, 2);
    start(writer, NULL);
    start(reader, NULL);
    await_futex(&one);
    await_futex(&two);
    say("rwlock", one, two, 0);
}

static void *twice(void *with) {
    (void)with;
    pthread_mutex_lock(&first);
    one = tid();
    pthread_mutex_lock(&first);
    return NULL;
}

static void own(void) {
    start(twice, NULL);
    await_futex(&one);
    say("own", one, 0, 0);
}

static void *leaves_locked(void *with) {
    (void)with;
    one = tid();
    pthread_mutex_lock(&first);
    return NULL;
}

static void *wants_first(void *with) {
    *(volatile int *)with = tid();
    pthread_mutex_lock(&first);
    pthread_mutex_unlock(&first);
    return NULL;
}

static void thread(void) {
    pthread_join(start(leaves_locked, NULL), NULL);
    start(wants_first, (void *)&two);
    await_futex(&two);
    say("thread", one, two, 0);
}

static void share(int robust) {
    char path[] = "/dev/shm/lockprobe-deadlocks-XXXXXX";
    int file = mkstemp(path);
    if (file < 0 || ftruncate(file, sizeof *shared)) check(errno);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (shared == MAP_FAILED) check(errno);
    unlink(path);
    close(file);
    pthread_mutexattr_t with;
    pthread_mutexattr_init(&with);
    pthread_mutexattr_setpshared(&with, PTHREAD_PROCESS_SHARED);
    if (robust) pthread_mutexattr_setrobust(&with, PTHREAD_MUTEX_ROBUST);
    check(pthread_mutex_init(&shared->first, &with));
    check(pthread_mutex_init(&shared->second, &with));
}

/// A child that takes the first mutex of the shared ones, then does this.
static int child(void (*then)(void)) {
    int pid = fork();
    if (pid) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pthread_mutex_lock(&shared->first);
    shared->one = tid();
    then();
    _exit(0);
}

static void sleep_on(void) {
    for (;;) pause();
}

static void *wants_shared(void *with) {
    (void)with;
    two = tid();
    int result = pthread_mutex_lock(&shared->first);
    if (result == EOWNERDEAD) {
        pthread_mutex_consistent(&shared->first);
        pthread_mutex_unlock(&shared->first);
        shared->over = 1;
    }
    return NULL;
}

static int with_child(const char *what, int robust) {
    share(robust);
    int pid = child(sleep_on);
    while (!shared->one) nap(50000);
    start(wants_shared, NULL);
    await_futex(&two);
    say(what, pid, two, 0);
    return pid;
}

static void process(int robust) {
    int pid = with_child(robust ? "robust" : "process", robust);
    told();
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    while (robust && !shared->over) nap(50000);
    say("over", 0, 0, 0);
}

static void second_shared(void) {
    while (!shared->two) nap(50000);
    pthread_mutex_lock(&shared->second);
}

static int other;

/// Has the second lock, and wants the first once the child waits for the second.
static void *takes_second(void *call) {
    pthread_mutex_lock(&shared->second);
    int own = shared->two = tid();
    await_call(other, &shared->one, (long)call);
    two = own;
    pthread_mutex_lock(&shared->first);
    return NULL;
}

static void across(void) {
    share(0);
    other = child(second_shared);
    start(takes_second, (void *)SYS_futex);
    await_futex(&two);
    say("across", other, two, 0);
}

static void *sleeps_in_kernel(void *with) {
    (void)with;
    pthread_mutex_lock(&first);
    one = tid();
    // Until its child is done, the parent of a vfork is in state D.
    int pid = vfork();
    if (!pid) {
        struct timespec t = {3, 0};
        syscall(SYS_nanosleep, &t, NULL);
        _exit(0);
    }
    pthread_mutex_unlock(&first);
    return NULL;
}

static void disk(void) {
    pthread_t holder = start(sleeps_in_kernel, NULL);
    while (!one) nap(50000);
    pthread_t waiter = start(wants_first, (void *)&two);
    await_futex(&two);
    say("disk", one, two, 0);
    pthread_join(holder, NULL);
    pthread_join(waiter, NULL);
    say("over", 0, 0, 0);
}

static void *middle(void *with) {
    (void)with;
    prctl(PR_SET_NAME, "middle");
    pthread_mutex_lock(&second);
    two = tid();
    pthread_mutex_lock(&first);
    return NULL;
}

static void *last(void *with) {
    *(volatile int *)with = tid();
    pthread_mutex_lock(&second);
    return NULL;
}

static void *root(void *with) {
    (void)with;
    prctl(PR_SET_NAME, "root");
    pthread_mutex_lock(&first);
    one = tid();
    sleep_on();
    return NULL;
}

static void chain(void) {
    static volatile int lasts[3];
    start(root, NULL);
    while (!one) nap(50000);
    start(middle, NULL);
    await_futex(&two);
    for (int i = 0; i < 3; i++) {
        start(last, (void *)&lasts[i]);
        await_futex(&lasts[i]);
    }
    say("chain", one, two, lasts[0]);
}

static char file_path[] = "/dev/shm/lockprobe-file-XXXXXX";

static void wants_file(void) {
    int file = open(file_path, O_RDWR);
    while (!shared->two) nap(50000);
    flock(file, LOCK_EX);
}

/// Two processes of one thread each: one has the file and wants the mutex, the other the reverse.
static void file_and_mutex(void) {
    share(0);
    int file = mkstemp(file_path);
    if (file < 0) check(errno);
    close(file);
    other = child(wants_file);
    int pid = fork();
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        file = open(file_path, O_RDWR);
        flock(file, LOCK_EX);
        shared->two = tid();
        await_call(other, &shared->one, SYS_flock);
        pthread_mutex_lock(&shared->first);
    }
    await_call(pid, &shared->two, SYS_futex);
    unlink(file_path);
    say("flock", other, pid, 0);
}

static char file_paths[2][40] = {
    "/dev/shm/lockprobe-file-one-XXXXXX",
    "/dev/shm/lockprobe-file-two-XXXXXX",
};

static void *wants_file_of(void *with) {
    int file = open(file_paths[1 - (long)with / 2], O_RDWR);
    shared->tids[(long)with] = tid();
    flock(file, LOCK_EX);
    return NULL;
}

static void *wants_nothing(void *with) {
    shared->tids[(long)with] = tid();
    sleep_on();
    return NULL;
}

static void files_of_processes(int free) {
    share(0);
    int pids[2];
    for (int i = 0; i < 2; i++) {
        int made = mkstemp(file_paths[i]);
        if (made < 0) check(errno);
        close(made);
    }
    for (long i = 0; i < 2; i++) {
        if ((pids[i] = fork())) continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        flock(open(file_paths[i], O_RDWR), LOCK_EX);
        __sync_fetch_and_add(&shared->over, 1);
        while (shared->over < 2) nap(50000);
        start(free && i == 1 ? wants_nothing : wants_file_of, (void *)(2 * i + 1));
        wants_file_of((void *)(2 * i));
    }
    for (int i = 0; i < 4; i++) {
        await_call(pids[i / 2], &shared->tids[i], free && i == 3 ? SYS_pause : SYS_flock);
    }
    unlink(file_paths[0]);
    unlink(file_paths[1]);
    volatile int *t = shared->tids;
    printf("{\"case\":\"files\",\"pid\":%d,\"threads\":[%d,%d,%d,%d]}\n", getpid(), t[0], t[1], t[2],
           t[3]);
    fflush(stdout);
}

// A crowd: how long does a look take where many wait?

static mutex few[8];
static int crowd_waits;

static void *in_crowd(void *with) {
    long number = (long)with;
    if (number < crowd_waits) {
        pthread_mutex_lock(&few[number % 8]);
    } else {
        pthread_mutex_lock(&third);
        for (;;) pthread_cond_wait(&event, &third);
    }
    return NULL;
}

static int sleeping(void) {
    int asleep = 0;
    char path[64], line[64];
    FILE *list = popen("ls /proc/$PPID/task", "r");
    while (list && fgets(line, sizeof line, list)) {
        snprintf(path, sizeof path, "/proc/self/task/%d/syscall", atoi(line));
        FILE *file = fopen(path, "r");
        asleep += file && fgets(line, sizeof line, file) && atol(line) == SYS_futex;
        if (file) fclose(file);
    }
    if (list) pclose(list);
    return asleep;
}

static void crowd(int threads, int waits) {
    crowd_waits = waits;
    for (int i = 0; i < 8; i++) {
        pthread_mutex_init(&few[i], NULL);
        pthread_mutex_lock(&few[i]);
    }
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    for (long i = 0; i < threads; i++) {
        pthread_t thread;
        check(pthread_create(&thread, &small, in_crowd, (void *)i));
    }
    while (sleeping() < threads) nap(10000000);
    say("crowd", getpid(), threads, waits);
}

// Traffic that cannot deadlock: whoever holds some takes only higher ones.

static volatile int stop;

static void *traffic(void *with) {
    unsigned seed = (unsigned)(long)with;
    long done = 0;
    while (!stop) {
        unsigned char wanted = rand_r(&seed) >> 8;
        for (int i = 0; i < 8; i++) {
            if (wanted >> i & 1) pthread_mutex_lock(&few[i]);
        }
        if (rand_r(&seed) % 16 == 0) nap(1 + rand_r(&seed) % 3000000);
        for (int i = 7; i >= 0; i--) {
            if (wanted >> i & 1) pthread_mutex_unlock(&few[i]);
        }
        done++;
    }
    return (void *)done;
}

static void busy(long ms) {
    pthread_t threads[12];
    long done = 0;
    for (int i = 0; i < 8; i++) pthread_mutex_init(&few[i], NULL);
    for (long i = 0; i < 12; i++) threads[i] = start(traffic, (void *)(i + 1));
    nap(ms * 1000000);
    stop = 1;
    for (int i = 0; i < 12; i++) {
        void *its;
        pthread_join(threads[i], &its);
        done += (long)its;
    }
    printf("{\"case\":\"busy\",\"sections\":%ld}\n", done);
    fflush(stdout);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "abba") && argc > 2) make(argv[2]);
    if (!strcmp(what, "abba")) run_ring(what, 2, 0);
    else if (!strcmp(what, "three")) run_ring(what, 3, 0);
    else if (!strcmp(what, "breaks")) run_ring(what, 2, 2);
    else if (!strcmp(what, "rwlock")) rwlock();
    else if (!strcmp(what, "own")) own();
    else if (!strcmp(what, "thread")) thread();
    else if (!strcmp(what, "process")) process(0);
    else if (!strcmp(what, "robust")) process(1);
    else if (!strcmp(what, "across")) across();
    else if (!strcmp(what, "stopped")) with_child(what, 0);
    else if (!strcmp(what, "disk")) disk();
    else if (!strcmp(what, "chain")) chain();
    else if (!strcmp(what, "flock")) file_and_mutex();
    else if (!strcmp(what, "files")) files_of_processes(argc > 2);
    else if (!strcmp(what, "crowd") && argc > 3) crowd(atoi(argv[2]), atoi(argv[3]));
    else if (!strcmp(what, "busy") && argc > 2) busy(atol(argv[2]));
    else return 99;
    told();
    _exit(0);
}
