// A process in a container: two threads contend for a mutex, and processes for a lock of Redis.
//
//   contained ADDRESS PORT KEY
//
// It obeys lines on its standard input and says what it did in JSON lines, with the ids that its
// own PID namespace gives:
//   mutex       one thread has it for 60 ms, another waits
//   take        takes the lock of Redis, trying again every 20 ms
//   release     lets it go
//   flock PATH  one thread has the file's lock for 60 ms, another, that opened it too, waits
//   grab PATH   takes a file's lock
//   drop        lets it go
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t contained_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t has_it;
static int server;
static char token[33];

static void nap(int ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&time, NULL);
}

static long tid(void) { return syscall(SYS_gettid); }

static void *holder(void *at) {
    *(long *)at = tid();
    pthread_mutex_lock(&contained_lock);
    pthread_barrier_wait(&has_it);
    nap(60);
    pthread_mutex_unlock(&contained_lock);
    return NULL;
}

static void *waiter(void *at) {
    *(long *)at = tid();
    pthread_barrier_wait(&has_it);
    pthread_mutex_lock(&contained_lock);
    pthread_mutex_unlock(&contained_lock);
    // What its id means is asked while it is there.
    nap(500);
    return NULL;
}

static void contend(const char *what, void *(*has)(void *), void *(*wants)(void *)) {
    pthread_t threads[2];
    long ids[2] = {0};
    pthread_barrier_init(&has_it, NULL, 2);
    pthread_create(&threads[0], NULL, has, &ids[0]);
    pthread_create(&threads[1], NULL, wants, &ids[1]);
    pthread_join(threads[0], NULL);
    nap(20);
    printf("{\"did\": \"%s\", \"holder\": %ld, \"waiter\": %ld}\n", what, ids[0], ids[1]);
    fflush(stdout);
    pthread_join(threads[1], NULL);
}

static const char *path;

static int opened(void) {
    int file = open(path, O_RDWR | O_CREAT, 0600);
    if (file < 0) perror(path), exit(7);
    return file;
}

static void *file_holder(void *at) {
    *(long *)at = tid();
    int file = opened();
    flock(file, LOCK_EX);
    pthread_barrier_wait(&has_it);
    nap(60);
    flock(file, LOCK_UN);
    close(file);
    return NULL;
}

static void *file_waiter(void *at) {
    *(long *)at = tid();
    int file = opened();
    pthread_barrier_wait(&has_it);
    flock(file, LOCK_EX);
    flock(file, LOCK_UN);
    nap(500);
    close(file);
    return NULL;
}

static void grab(int takes) {
    static int file;
    if (takes) file = opened();
    flock(file, takes ? LOCK_EX : LOCK_UN);
    if (!takes) close(file);
    printf("{\"did\": \"%s\"}\n", takes ? "grab" : "drop");
    fflush(stdout);
}

// Sends words as an array of RESP and reads the first line of the answer.
static const char *ask(int n, const char **words) {
    static char text[4096];
    int length = snprintf(text, sizeof text, "*%d\r\n", n);
    for (int i = 0; i < n; i++) {
        length += snprintf(text + length, sizeof text - length, "$%zu\r\n%s\r\n", strlen(words[i]), words[i]);
    }
    if (write(server, text, length) != length) exit(3);
    length = 0;
    do {
        ssize_t got = read(server, text + length, sizeof text - 1 - length);
        if (got <= 0) exit(4);
        length += got;
        text[length] = 0;
    } while (!strstr(text, "\r\n"));
    return text;
}

static void redis(const char *key, int take) {
    static const char *script =
        "if redis.call(\"get\",KEYS[1]) == ARGV[1] then\n    return redis.call(\"del\",KEYS[1])\n"
        "else\n    return 0\nend";
    const char *set[] = {"SET", key, token, "NX", "PX", "30000"};
    const char *eval[] = {"EVAL", script, "1", key, token};
    int tries = 1;
    if (take) {
        while (ask(6, set)[0] != '+') {
            tries++;
            nap(20);
        }
    } else if (ask(5, eval)[1] != '1') {
        exit(5);
    }
    printf("{\"did\": \"%s\", \"pid\": %d, \"tries\": %d}\n", take ? "take" : "release", getpid(), tries);
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    inet_pton(AF_INET, argv[1], &address.sin_addr);
    server = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(server, (struct sockaddr *)&address, sizeof address)) return perror("connect"), 3;
    FILE *random = fopen("/dev/urandom", "r");
    unsigned char bytes[16];
    if (!random || fread(bytes, 1, 16, random) != 16) return 6;
    for (int i = 0; i < 16; i++) sprintf(token + 2 * i, "%02x", bytes[i]);
    printf("{\"did\": \"start\", \"pid\": %d}\n", getpid());
    fflush(stdout);
    static char line[256];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        path = strchr(line, ' ') ? strchr(line, ' ') + 1 : path;
        if (!strncmp(line, "flock ", 6)) contend("flock", file_holder, file_waiter);
        if (!strncmp(line, "grab ", 5)) grab(1);
        if (!strcmp(line, "drop")) grab(0);
        if (!strcmp(line, "mutex")) contend("mutex", holder, waiter);
        if (!strcmp(line, "take")) redis(argv[3], 1);
        if (!strcmp(line, "release")) redis(argv[3], 0);
    }
    return 0;
}
