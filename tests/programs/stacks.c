// Threads that wait, and one that holds, in functions whose names and lines are known.
//
//     stacks rounds N MS   a thread holds a mutex for MS milliseconds N times, another waits for it
//     stacks crowd N MS    N threads wait for a mutex that is held for MS milliseconds, once
//     stacks generated N MS  as rounds, with a function made at run time below the waiting one;
//                            x86-64 only
//
// At the end it says the lines of the calls and the lengths of the waits, as one line of JSON.
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

// Not static: a stripped binary keeps the names it exports.
#define FUNCTION __attribute__((noinline, noipa, visibility("default")))
// So that a call is not turned into a jump, which leaves no frame.
#define STAY __asm__ volatile("")

static pthread_mutex_t ledger = PTHREAD_MUTEX_INITIALIZER;
static sem_t held, done;
static int rounds, milliseconds, lock_line, post_line, write_line, nap_line;
static long waits[1000];
static volatile int waited;

static long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

FUNCTION void take_a_nap(void) {
    struct timespec t = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    nap_line = __LINE__; nanosleep(&t, NULL);
    STAY;
}

FUNCTION void write_page(void) {
    write_line = __LINE__; take_a_nap();
    STAY;
}

FUNCTION void hold_the_ledger(void) {
    pthread_mutex_lock(&ledger);
    sem_post(&held);
    write_page();
    pthread_mutex_unlock(&ledger);
    STAY;
}

FUNCTION void post_entry(void) {
    lock_line = __LINE__; pthread_mutex_lock(&ledger);
    pthread_mutex_unlock(&ledger);
    STAY;
}

/// Calls its argument, in code that no file has; the name is told in the way of run times.
static void (*generate(void))(void (*)(void)) {
    // push %rbp; mov %rsp,%rbp; call *%rdi; pop %rbp; ret
    static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0xff, 0xd7, 0x5d, 0xc3};
    void *made = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(made, code, sizeof code);
    mprotect(made, 4096, PROT_READ | PROT_EXEC);
    char path[64];
    snprintf(path, sizeof path, "/tmp/perf-%d.map", getpid());
    FILE *map = fopen(path, "w");
    if (!map) exit(99);
    fprintf(map, "%lx %zx made_at_run_time ledger.js:7\n", (long)made, sizeof code);
    fclose(map);
    return (void (*)(void (*)(void)))made;
}

static void (*generated)(void (*)(void));

FUNCTION void transfer(void) {
    long start = now();
    if (generated) generated(post_entry);
    else post_line = __LINE__, post_entry();
    waits[__atomic_fetch_add(&waited, 1, __ATOMIC_RELAXED) % 1000] = now() - start;
    STAY;
}

static void *holder(void *with) {
    (void)with;
    for (int i = 0; i < rounds; i++) {
        hold_the_ledger();
        sem_wait(&done);
    }
    return NULL;
}

static void *waiter(void *with) {
    (void)with;
    for (int i = 0; i < rounds; i++) {
        sem_wait(&held);
        transfer();
        sem_post(&done);
    }
    return NULL;
}

static void *one_of_many(void *with) {
    (void)with;
    transfer();
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 4) return 2;
    int n = atoi(arguments[2]);
    milliseconds = atoi(arguments[3]);
    sem_init(&held, 0, 0);
    sem_init(&done, 0, 0);
    pthread_t threads[1000];
    if (!strcmp(arguments[1], "generated")) generated = generate();
    if (strcmp(arguments[1], "crowd")) {
        rounds = n;
        pthread_create(&threads[0], NULL, holder, NULL);
        pthread_create(&threads[1], NULL, waiter, NULL);
        n = 2;
    } else {
        pthread_mutex_lock(&ledger);
        for (int i = 0; i < n; i++) pthread_create(&threads[i], NULL, one_of_many, NULL);
        write_page();
        pthread_mutex_unlock(&ledger);
    }
    for (int i = 0; i < n; i++) pthread_join(threads[i], NULL);
    char path[64];
    snprintf(path, sizeof path, "/tmp/perf-%d.map", getpid());
    if (generated) unlink(path);
    printf("{\"lock\":%d,\"post\":%d,\"write\":%d,\"nap\":%d,\"waits\":[", lock_line, post_line, write_line, nap_line);
    for (int i = 0; i < waited; i++) printf("%s%ld", i ? "," : "", waits[i]);
    printf("]}\n");
    return 0;
}
