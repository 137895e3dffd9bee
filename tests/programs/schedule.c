// A program that knows its own truth: who held which mutex when, who waited for it and how long.
//
//     schedule TRUTH-FILE
//
// Writes JSON lines: every wait and hold with times of CLOCK_MONOTONIC taken around the lock call,
// then the decoys that are no lock waits. Whether a wait really slept comes from the kernel's own
// count of voluntary context switches; whether the measuring itself was disturbed, from the count
// of involuntary ones, and from processor time a lock call does not need: the host of a virtual
// machine took it.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000ull
#define QUEUE 3
#define CPU_OF_A_LOCK_CALL 80000

typedef unsigned long long u64;

static void fail(const char *what) {
    fprintf(stderr, "schedule: %s: %s\n", what, strerror(errno));
    exit(99);
}

static u64 clock_of(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static u64 now(void) { return clock_of(CLOCK_MONOTONIC); }

// Thread ids as the host sees them: through its /proc, inherited as descriptor 9, where the program
// runs in a PID namespace of its own.
static int host_proc;

static int tid(void) {
    static __thread int known;
    char link[64];
    if (known) return known;
    if (!host_proc) return known = syscall(SYS_gettid);
    ssize_t length = readlinkat(9, "thread-self", link, sizeof link - 1);
    if (length < 0) fail("readlink thread-self");
    link[length] = 0;
    return known = atoi(strrchr(link, '/') + 1);
}

static void nap(u64 ns) {
    struct timespec t = {ns / 1000000000ull, ns % 1000000000ull};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR) {}
}

// ---- what happened, written down when all is over ----

struct wait {
    const char *scene, *outcome;
    void *lock;
    int tid, holder, from, sleeps, disturbed;
    u64 begin, end, expected;
};

struct hold {
    const char *scene;
    void *lock;
    int tid;
    u64 begin, end;
};

static struct wait waits[1024];
static struct hold holds[1024];
static int n_waits, n_holds;

// ---- a mutex that knows who has it ----

struct truth {
    pthread_mutex_t mutex;
    const char *scene;
    volatile int holder; // who has it
    volatile int last;   // who let it go last
    volatile u64 since;
    u64 expected;        // how long a wait should last; 0 where nothing is expected
};

static int lock_word(struct truth *t) {
    return __atomic_load_n(&t->mutex.__data.__lock, __ATOMIC_RELAXED);
}

/// Locks and writes down the wait, if there was one. `timeout` 0 for none.
static int take(struct truth *t, u64 timeout) {
    struct rusage before, after;
    struct timespec until;
    int me = tid();
    if (timeout) {
        u64 end = clock_of(CLOCK_REALTIME) + timeout;
        until.tv_sec = end / 1000000000ull;
        until.tv_nsec = end % 1000000000ull;
    }
    getrusage(RUSAGE_THREAD, &before);
    int holder = t->holder;
    u64 cpu = clock_of(CLOCK_THREAD_CPUTIME_ID);
    u64 begin = now();
    int error = timeout ? pthread_mutex_timedlock(&t->mutex, &until) : pthread_mutex_lock(&t->mutex);
    u64 end = now();
    cpu = clock_of(CLOCK_THREAD_CPUTIME_ID) - cpu;
    int from = t->last;
    getrusage(RUSAGE_THREAD, &after);
    if (error && error != ETIMEDOUT) fail("lock");
    if (!error) {
        t->holder = me;
        t->since = end;
    }
    if (after.ru_nvcsw != before.ru_nvcsw) {
        int at = __atomic_fetch_add(&n_waits, 1, __ATOMIC_RELAXED);
        waits[at] = (struct wait){
            .scene = t->scene,
            .outcome = error ? "timeout" : "acquired",
            .lock = &t->mutex,
            .tid = me,
            .holder = holder,
            .from = error ? 0 : from,
            .sleeps = after.ru_nvcsw - before.ru_nvcsw,
            .disturbed = after.ru_nivcsw != before.ru_nivcsw
                || cpu > CPU_OF_A_LOCK_CALL,
            .begin = begin,
            .end = end,
            .expected = timeout ? timeout : t->expected,
        };
    }
    return error;
}

static void give(struct truth *t) {
    int me = tid();
    int at = __atomic_fetch_add(&n_holds, 1, __ATOMIC_RELAXED);
    t->holder = 0;
    t->last = me;
    u64 end = now();
    holds[at] = (struct hold){t->scene, &t->mutex, me, t->since, end};
    pthread_mutex_unlock(&t->mutex);
}

/// Until someone waits for the mutex: its word says so.
static void await_waiter(struct truth *t) {
    while (lock_word(t) != 2) nap(20000);
}

// ---- threads; pipes tell them when, so that nothing but the mutexes makes them wait on futexes ----

struct pipe { int read, write; };

static struct pipe make_pipe(void) {
    int ends[2];
    if (pipe(ends)) fail("pipe");
    return (struct pipe){ends[0], ends[1]};
}

static void tell(struct pipe p) {
    if (write(p.write, "", 1) != 1) fail("write");
}

static void await(struct pipe p) {
    char byte;
    while (read(p.read, &byte, 1) != 1)
        if (errno != EINTR) fail("read");
}

static int real_time;

static pthread_t start(const char *name, void *(*body)(void *), void *with) {
    pthread_t thread;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    if (real_time) {
        // Others on this machine must not come between a measurement and what it measures.
        struct sched_param param = {.sched_priority = 10};
        pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
        pthread_attr_setschedpolicy(&attr, SCHED_FIFO);
        pthread_attr_setschedparam(&attr, &param);
    }
    int error = pthread_create(&thread, &attr, body, with);
    if (error) { errno = error; fail("pthread_create"); }
    pthread_attr_destroy(&attr);
    pthread_setname_np(thread, name);
    return thread;
}

static void join(pthread_t thread) { pthread_join(thread, NULL); }

static void init(struct truth *t, const char *scene, int type) {
    pthread_mutexattr_t attr;
    memset(t, 0, sizeof *t);
    t->scene = scene;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, type);
    pthread_mutex_init(&t->mutex, &attr);
    pthread_mutexattr_destroy(&attr);
}

// ---- one holder, one waiter, a hold of known length, several rounds ----

struct pair {
    struct truth *lock;
    u64 length;
    u64 timeout;
    int rounds, nested, signals, again;
    struct pipe held, done;
    pthread_t waiter;
};

static void *pair_holder(void *with) {
    struct pair *p = with;
    struct truth *t = p->lock;
    for (int round = 0; round < p->rounds; round++) {
        take(t, 0);
        for (int i = 0; i < p->nested; i++) pthread_mutex_lock(&t->mutex);
        tell(p->held);
        await_waiter(t);
        for (int i = 0; i < p->signals; i++) {
            nap(p->length / (p->signals + 1));
            pthread_kill(p->waiter, SIGUSR1);
        }
        nap(p->length / (p->signals + 1));
        for (int i = 0; i < p->nested; i++) pthread_mutex_unlock(&t->mutex);
        give(t);
        if (p->again) {
            // Gone again before the waiter can have it: it is woken for nothing.
            take(t, 0);
            nap(p->length);
            give(t);
        }
        await(p->done);
    }
    return NULL;
}

static void *pair_waiter(void *with) {
    struct pair *p = with;
    for (int round = 0; round < p->rounds; round++) {
        await(p->held);
        if (take(p->lock, p->timeout) == 0) give(p->lock);
        tell(p->done);
    }
    return NULL;
}

static void run_pair(struct pair *p, struct truth *t, const char *scene, int type) {
    init(t, scene, type);
    p->lock = t;
    t->expected = p->again ? 2 * p->length : p->length;
    p->held = make_pipe();
    p->done = make_pipe();
    p->waiter = start("waiter", pair_waiter, p);
    pthread_t holder = start("holder", pair_holder, p);
    join(holder);
    join(p->waiter);
}

// ---- a queue: each waiter in turn holds while the next ones wait ----

struct queue {
    struct truth *lock;
    struct pipe turn[QUEUE], left;
    int place;
};

static struct queue line;

static void *queuer(void *with) {
    int place = (int)(intptr_t)with;
    await(line.turn[place]);
    take(line.lock, 0);
    nap(15 * MS);
    give(line.lock);
    tell(line.left);
    return NULL;
}

static void *head_of_queue(void *with) {
    (void)with;
    take(line.lock, 0);
    for (int i = 0; i < QUEUE; i++) {
        tell(line.turn[i]);
        nap(8 * MS);
    }
    give(line.lock);
    for (int i = 0; i < QUEUE; i++) await(line.left);
    return NULL;
}

static void run_queue(struct truth *t) {
    static const char *names[QUEUE] = {"queue-1", "queue-2", "queue-3"};
    pthread_t threads[QUEUE];
    init(t, "queue", PTHREAD_MUTEX_NORMAL);
    line.lock = t;
    line.left = make_pipe();
    for (int i = 0; i < QUEUE; i++) {
        line.turn[i] = make_pipe();
        threads[i] = start(names[i], queuer, (void *)(intptr_t)i);
    }
    join(start("queue-head", head_of_queue, NULL));
    for (int i = 0; i < QUEUE; i++) join(threads[i]);
}

// ---- a waiter that dozes off with the lock in hand, and comes again from the very same place ----

static struct truth doze;
static struct pipe doze_held, doze_done;
static volatile int doze_rounds;
static struct wait dozing;

// What changes from round to round is kept out of the waiter's frame and registers.
static __attribute__((noinline)) void doze_begins(void) {
    dozing = (struct wait){
        .scene = doze.scene, .outcome = "acquired", .lock = &doze.mutex, .tid = tid(),
        .holder = doze.holder, .from = doze.holder, .sleeps = 1, .expected = 5 * MS,
    };
    dozing.begin = now();
}

static __attribute__((noinline)) void doze_ends(void) {
    dozing.end = now();
    doze.since = dozing.end;
    doze.holder = tid();
    waits[__atomic_fetch_add(&n_waits, 1, __ATOMIC_RELAXED)] = dozing;
}

static void *doze_waiter(void *with) {
    (void)with;
    while (doze_rounds) {
        await(doze_held);
        doze_begins();
        pthread_mutex_lock(&doze.mutex);
        doze_ends();
        nap(3 * MS);
        give(&doze);
        tell(doze_done);
    }
    return NULL;
}

static void *doze_holder(void *with) {
    (void)with;
    while (doze_rounds) {
        take(&doze, 0);
        tell(doze_held);
        await_waiter(&doze);
        nap(5 * MS);
        doze_rounds--;
        give(&doze);
        await(doze_done);
    }
    return NULL;
}

static void run_doze(void) {
    init(&doze, "doze", PTHREAD_MUTEX_NORMAL);
    doze_held = make_pipe();
    doze_done = make_pipe();
    doze_rounds = 4;
    pthread_t waiter = start("dozer", doze_waiter, NULL);
    join(start("doze-holder", doze_holder, NULL));
    join(waiter);
}

// ---- decoys: waits that are none for a lock ----

struct decoy {
    const char *kind;
    void *address;
    u64 size;
};

static pthread_mutex_t pool_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t pool_work = PTHREAD_COND_INITIALIZER;
static int pool_over;
static pthread_mutex_t event_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t event = PTHREAD_COND_INITIALIZER;
static int events;

static void *idle_pool_thread(void *with) {
    (void)with;
    pthread_mutex_lock(&pool_mutex);
    while (!pool_over) pthread_cond_wait(&pool_work, &pool_mutex);
    pthread_mutex_unlock(&pool_mutex);
    return NULL;
}

static void *event_waiter(void *with) {
    (void)with;
    pthread_mutex_lock(&event_mutex);
    for (int seen = 0; seen < 5; seen++)
        while (events <= seen) pthread_cond_wait(&event, &event_mutex);
    pthread_mutex_unlock(&event_mutex);
    return NULL;
}

static void *timed_event_waiter(void *with) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
    (void)with;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < 5; i++) {
        struct timespec until;
        u64 end = clock_of(CLOCK_REALTIME) + 10 * MS;
        until.tv_sec = end / 1000000000ull;
        until.tv_nsec = end % 1000000000ull;
        while (pthread_cond_timedwait(&never, &mutex, &until) != ETIMEDOUT) {}
    }
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static void *sleeper(void *with) {
    (void)with;
    nap(20 * MS);
    return NULL;
}

static void run_decoys(void) {
    pthread_t timed = start("timed-event", timed_event_waiter, NULL);
    pthread_t waiter = start("event", event_waiter, NULL);
    for (int i = 0; i < 5; i++) {
        nap(8 * MS);
        pthread_mutex_lock(&event_mutex);
        events++;
        pthread_mutex_unlock(&event_mutex);
        pthread_cond_signal(&event);
    }
    join(waiter);
    join(timed);
    join(start("sleeper", sleeper, NULL));
}

// ---- a condition variable whose mutex is still held when it is signalled ----

static struct truth relock;
static pthread_cond_t relock_event = PTHREAD_COND_INITIALIZER;
static volatile int relock_ready;
static volatile u64 relock_signalled;

static void *relock_waiter(void *with) {
    (void)with;
    struct rusage before, after;
    pthread_mutex_lock(&relock.mutex);
    getrusage(RUSAGE_THREAD, &before);
    relock_ready = 1;
    pthread_cond_wait(&relock_event, &relock.mutex);
    u64 end = now();
    getrusage(RUSAGE_THREAD, &after);
    // One sleep for the event, the others for the mutex.
    if (after.ru_nvcsw - before.ru_nvcsw >= 2) {
        waits[__atomic_fetch_add(&n_waits, 1, __ATOMIC_RELAXED)] = (struct wait){
            .scene = relock.scene,
            .outcome = "acquired",
            .lock = &relock.mutex,
            .tid = tid(),
            .holder = relock.last,
            .from = relock.last,
            .sleeps = after.ru_nvcsw - before.ru_nvcsw - 1,
            .disturbed = after.ru_nivcsw != before.ru_nivcsw,
            .begin = relock_signalled,
            .end = end,
            .expected = 12 * MS,
        };
    }
    pthread_mutex_unlock(&relock.mutex);
    return NULL;
}

static void *relock_signaller(void *with) {
    (void)with;
    while (!relock_ready) nap(20000);
    // The mutex is free once the waiter sleeps on the condition variable.
    pthread_mutex_lock(&relock.mutex);
    relock.last = tid();
    u64 begin = now();
    nap(2 * MS);
    relock_signalled = now();
    pthread_cond_signal(&relock_event);
    nap(12 * MS);
    holds[__atomic_fetch_add(&n_holds, 1, __ATOMIC_RELAXED)] =
        (struct hold){relock.scene, &relock.mutex, tid(), begin, now()};
    pthread_mutex_unlock(&relock.mutex);
    return NULL;
}

static void run_relock(void) {
    init(&relock, "relock", PTHREAD_MUTEX_NORMAL);
    pthread_t waiter = start("relock-waiter", relock_waiter, NULL);
    join(start("relock-holder", relock_signaller, NULL));
    join(waiter);
}

// ---- ----

static void nothing(int signal) { (void)signal; }

static void *everything(void *with) {
    static const u64 lengths[] = {5, 10, 20, 50, 100};
    static struct truth main_locks[5], queue_locks[2], timed, recursive, below, signalled, again;
    (void)with;
    for (int i = 0; i < 5; i++) {
        struct pair p = {.length = lengths[i] * MS, .rounds = 3};
        run_pair(&p, &main_locks[i], "hold", PTHREAD_MUTEX_NORMAL);
    }
    for (int i = 0; i < 2; i++) run_queue(&queue_locks[i]);
    struct pair p = {.length = 60 * MS, .timeout = 25 * MS, .rounds = 2};
    run_pair(&p, &timed, "timed", PTHREAD_MUTEX_NORMAL);
    p = (struct pair){.length = 12 * MS, .rounds = 2, .nested = 2};
    run_pair(&p, &recursive, "recursive", PTHREAD_MUTEX_RECURSIVE);
    p = (struct pair){.length = MS / 5, .rounds = 20};
    run_pair(&p, &below, "below", PTHREAD_MUTEX_NORMAL);
    p = (struct pair){.length = 40 * MS, .rounds = 2, .signals = 3};
    run_pair(&p, &signalled, "signalled", PTHREAD_MUTEX_NORMAL);
    p = (struct pair){.length = 15 * MS, .rounds = 3, .again = 1};
    run_pair(&p, &again, "again", PTHREAD_MUTEX_NORMAL);
    run_doze();
    run_relock();
    run_decoys();
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 2) { fprintf(stderr, "usage: schedule TRUTH-FILE\n"); return 99; }
    host_proc = getenv("HOST_PROC") != NULL;
    struct sigaction action = {.sa_handler = nothing, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    struct sched_param param = {.sched_priority = 10};
    real_time = sched_setscheduler(0, SCHED_FIFO, &param) == 0;
    param.sched_priority = 0;
    sched_setscheduler(0, SCHED_OTHER, &param);

    pthread_t pool = start("pool", idle_pool_thread, NULL);
    join(start("director", everything, NULL));
    pthread_mutex_lock(&pool_mutex);
    pool_over = 1;
    pthread_mutex_unlock(&pool_mutex);
    pthread_cond_signal(&pool_work);
    join(pool);

    FILE *out = fopen(argv[1], "w");
    if (!out) fail(argv[1]);
    u64 offset = clock_of(CLOCK_REALTIME) - now();
    fprintf(out, "{\"truth\":\"clock\",\"offset\":%llu,\"pid\":%d,\"ns_pid\":%d,\"real_time\":%s}\n",
            offset, tid(), getpid(), real_time ? "true" : "false");
    for (int i = 0; i < n_waits; i++) {
        struct wait *w = &waits[i];
        fprintf(out,
                "{\"truth\":\"wait\",\"scene\":\"%s\",\"lock\":\"%p\",\"tid\":%d,\"holder\":%d,"
                "\"from\":%d,\"sleeps\":%d,\"disturbed\":%s,\"outcome\":\"%s\",\"begin\":%llu,"
                "\"end\":%llu,\"expected\":%llu}\n",
                w->scene, w->lock, w->tid, w->holder, w->from, w->sleeps,
                w->disturbed ? "true" : "false", w->outcome, w->begin, w->end, w->expected);
    }
    for (int i = 0; i < n_holds; i++) {
        struct hold *h = &holds[i];
        fprintf(out,
                "{\"truth\":\"hold\",\"scene\":\"%s\",\"lock\":\"%p\",\"tid\":%d,\"begin\":%llu,"
                "\"end\":%llu}\n",
                h->scene, h->lock, h->tid, h->begin, h->end);
    }
    struct decoy decoys[] = {
        {"pool", &pool_work, sizeof pool_work},
        {"event", &event, sizeof event},
        {"relock", &relock_event, sizeof relock_event},
    };
    for (unsigned i = 0; i < sizeof decoys / sizeof *decoys; i++)
        fprintf(out, "{\"truth\":\"decoy\",\"kind\":\"%s\",\"address\":%llu,\"size\":%llu}\n",
                decoys[i].kind, (u64)(uintptr_t)decoys[i].address, decoys[i].size);
    if (fclose(out)) fail("fclose");
    return 0;
}
