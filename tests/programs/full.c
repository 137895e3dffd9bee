// Takes POSIX locks a known number of times, in known orders, for known times.
//
// Usage: full SCENE. It says that it is ready, waits for a byte on its standard input, does the
// scene, says what it did as one JSON object, waits for another byte, and ends.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t a_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t b_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t c_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rw_lock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int ready;

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void run(void *(*body)(void *), void *argument) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, argument) != 0) abort();
    pthread_join(thread, NULL);
}

static void must(int result) {
    if (result != 0) {
        fprintf(stderr, "full: %s\n", strerror(result));
        abort();
    }
}

static struct timespec soon(long nanoseconds) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += nanoseconds;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

// Ten thousand times, without anyone else.
static void count(void) {
    for (int i = 0; i < 10000; i++) {
        pthread_mutex_lock(&a_lock);
        pthread_mutex_unlock(&a_lock);
    }
    printf("{\"acquisitions\":10000}\n");
}

// Fifty holds whose lengths it measures itself, from inside.
static void hold(void) {
    long long total = 0;
    for (int i = 0; i < 50; i++) {
        pthread_mutex_lock(&a_lock);
        long long begun = now();
        usleep(4000 + 100 * i);
        total += now() - begun;
        pthread_mutex_unlock(&a_lock);
    }
    printf("{\"acquisitions\":50,\"hold_mean_ns\":%lld}\n", total / 50);
}

static void *contender(void *held) {
    pthread_mutex_lock(&a_lock);
    long long begun = now();
    usleep(10000);
    *(long long *)held += now() - begun;
    pthread_mutex_unlock(&a_lock);
    return NULL;
}

// Twenty times a thread waits 30 ms for the lock and then holds it for 10 ms.
static void contend(void) {
    long long owner = 0, waiter = 0;
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        pthread_mutex_lock(&a_lock);
        long long begun = now();
        if (pthread_create(&thread, NULL, contender, &waiter) != 0) abort();
        usleep(30000);
        owner += now() - begun;
        pthread_mutex_unlock(&a_lock);
        pthread_join(thread, NULL);
    }
    printf("{\"acquisitions\":40,\"contended\":20,\"hold_mean_ns\":%lld}\n", (owner + waiter) / 40);
}

static void *try_it(void *refused) {
    for (int i = 0; i < 10; i++) {
        *(int *)refused += pthread_mutex_trylock(&a_lock) == EBUSY;
    }
    struct timespec deadline = soon(20000000);
    *(int *)refused += pthread_mutex_timedlock(&a_lock, &deadline) == ETIMEDOUT;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    *(int *)refused += pthread_mutex_clocklock(&a_lock, CLOCK_MONOTONIC, &deadline) == ETIMEDOUT;
    return NULL;
}

// Twelve attempts in vain, from another thread; as many acquisitions.
static void refuse(void) {
    int refused = 0;
    pthread_mutex_lock(&a_lock);
    run(try_it, &refused);
    pthread_mutex_unlock(&a_lock);
    for (int i = 0; i < 10; i++) {
        must(pthread_mutex_trylock(&a_lock));
        pthread_mutex_unlock(&a_lock);
    }
    struct timespec deadline = soon(1000000000);
    must(pthread_mutex_timedlock(&a_lock, &deadline));
    pthread_mutex_unlock(&a_lock);
    // Read-write locks are asked in the same way.
    must(pthread_rwlock_trywrlock(&rw_lock));
    int busy = pthread_rwlock_tryrdlock(&rw_lock) == EBUSY;
    pthread_rwlock_unlock(&rw_lock);
    must(pthread_rwlock_tryrdlock(&rw_lock));
    pthread_rwlock_unlock(&rw_lock);
    printf("{\"acquisitions\":12,\"refused\":%d,\"rw_acquisitions\":2,\"rw_refused\":%d}\n",
           refused, busy);
}

static void *wait_for_it(void *unused) {
    (void)unused;
    pthread_mutex_lock(&a_lock);
    while (!ready) pthread_cond_wait(&condition, &a_lock);
    pthread_mutex_unlock(&a_lock);
    return NULL;
}

// A thread waits 100 ms for a condition, and once more until a deadline: nobody holds the mutex
// meanwhile.
static void wait_condition(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, wait_for_it, NULL) != 0) abort();
    usleep(100000);
    pthread_mutex_lock(&a_lock);
    ready = 1;
    pthread_cond_signal(&condition);
    pthread_mutex_unlock(&a_lock);
    pthread_join(thread, NULL);
    struct timespec deadline = soon(100000000);
    pthread_mutex_lock(&a_lock);
    if (pthread_cond_timedwait(&condition, &a_lock, &deadline) != ETIMEDOUT) abort();
    pthread_mutex_unlock(&a_lock);
    // Lock, taken back, the signal's, lock, taken back.
    printf("{\"acquisitions\":5}\n");
}

static void *a_then_b(void *unused) {
    (void)unused;
    for (int i = 0; i < 30; i++) {
        pthread_mutex_lock(&a_lock);
        pthread_mutex_lock(&b_lock);
        pthread_mutex_unlock(&b_lock);
        pthread_mutex_unlock(&a_lock);
    }
    return NULL;
}

static void *b_then_a(void *unused) {
    (void)unused;
    for (int i = 0; i < 7; i++) {
        pthread_mutex_lock(&b_lock);
        pthread_mutex_lock(&a_lock);
        pthread_mutex_unlock(&a_lock);
        pthread_mutex_unlock(&b_lock);
    }
    return NULL;
}

// Two threads, one after the other, take two locks in opposite orders.
static void invert(void) {
    run(a_then_b, NULL);
    run(b_then_a, NULL);
    printf("{\"a_then_b\":30,\"b_then_a\":7}\n");
}

static void *behind_the_gate(void *body) {
    pthread_mutex_lock(&gate);
    ((void *(*)(void *))body)(NULL);
    pthread_mutex_unlock(&gate);
    return NULL;
}

static void *b_if_free_then_a(void *unused) {
    (void)unused;
    pthread_mutex_lock(&b_lock);
    if (pthread_mutex_trylock(&a_lock) == 0) pthread_mutex_unlock(&a_lock);
    pthread_mutex_unlock(&b_lock);
    return NULL;
}

static void *b_then_c(void *unused) {
    (void)unused;
    pthread_mutex_lock(&b_lock);
    pthread_mutex_lock(&c_lock);
    pthread_mutex_unlock(&c_lock);
    pthread_mutex_unlock(&b_lock);
    return NULL;
}

// Orders that are no danger: the same everywhere, but for a try.
static void order(void) {
    run(a_then_b, NULL);
    run(a_then_b, NULL);
    run(b_then_c, NULL);
    run(b_if_free_then_a, NULL);
    printf("{}\n");
}

// Opposite orders behind a lock of their own.
static void guard(void) {
    run(behind_the_gate, (void *)a_then_b);
    run(behind_the_gate, (void *)b_then_a);
    printf("{}\n");
}

// A recursive mutex three deep, ten times; an error-checking one that refuses.
static void recurse(void) {
    pthread_mutexattr_t kind;
    pthread_mutexattr_init(&kind);
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&a_lock, &kind);
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&b_lock, &kind);
    long long total = 0;
    for (int i = 0; i < 10; i++) {
        for (int n = 0; n < 3; n++) pthread_mutex_lock(&a_lock);
        long long begun = now();
        usleep(5000);
        total += now() - begun;
        for (int n = 0; n < 3; n++) pthread_mutex_unlock(&a_lock);
    }
    pthread_mutex_lock(&b_lock);
    int refused = pthread_mutex_lock(&b_lock) == EDEADLK;
    pthread_mutex_unlock(&b_lock);
    printf("{\"acquisitions\":30,\"hold_mean_ns\":%lld,\"refused\":%d}\n", total / 10, refused);
}

// Readers, writers, and a reader within a reader.
static void read_write(void) {
    for (int i = 0; i < 20; i++) {
        pthread_rwlock_rdlock(&rw_lock);
        pthread_rwlock_unlock(&rw_lock);
    }
    pthread_rwlock_rdlock(&rw_lock);
    pthread_rwlock_rdlock(&rw_lock);
    pthread_rwlock_unlock(&rw_lock);
    pthread_rwlock_unlock(&rw_lock);
    long long total = 0;
    for (int i = 0; i < 5; i++) {
        pthread_rwlock_wrlock(&rw_lock);
        long long begun = now();
        usleep(20000);
        total += now() - begun;
        pthread_rwlock_unlock(&rw_lock);
    }
    printf("{\"acquisitions\":27,\"shared\":22,\"writing_ns\":%lld}\n", total);
}

static void *keep(void *unused) {
    (void)unused;
    pthread_mutex_lock(&c_lock);
    return NULL;
}

// Locks that are never let go: by a thread that ends, and by one that goes on.
static void keep_it(void) {
    run(keep, NULL);
    pthread_mutex_lock(&a_lock);
    pthread_mutex_lock(&b_lock);
    pthread_mutex_unlock(&b_lock);
    printf("{\"a\":1,\"b\":1,\"c\":1}\n");
}

// A child that does nothing until a byte comes.
static void fork_off(void) {
    pid_t child = fork();
    if (child == 0) {
        getchar();
        for (int i = 0; i < 100; i++) {
            pthread_mutex_lock(&c_lock);
            pthread_mutex_unlock(&c_lock);
        }
        getchar();
        _exit(0);
    }
    printf("{\"child\":%d}\n", child);
    int status;
    waitpid(child, &status, 0);
    printf("{\"status\":%d}\n", status);
}

int main(int argc, char **argv) {
    const struct {
        const char *name;
        void (*scene)(void);
    } scenes[] = {
        {"count", count},   {"hold", hold},       {"contend", contend}, {"refuse", refuse},
        {"wait", wait_condition}, {"invert", invert}, {"order", order}, {"guard", guard},
        {"recurse", recurse}, {"rwlock", read_write}, {"keep", keep_it},
        {"fork", fork_off},
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("{\"ready\":true}\n");
    if (getchar() == EOF) return 1;
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) {
        if (argc == 2 && strcmp(argv[1], scenes[i].name) == 0) scenes[i].scene();
    }
    getchar();
    return 0;
}
