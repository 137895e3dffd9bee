// Locks of the C++ library, one after the other: kinds FILE SCENE...
//
// In a scene one thread has a lock and another waits for it, and the truth of it goes to FILE as a
// JSON line (see kinds.c).
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

static std::mutex mutex;
static std::shared_mutex shared;
static std::once_flag flag;
static std::atomic<int> holder, waiter;

static int tid() { return syscall(SYS_gettid); }

static long now() {
    return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

static void nap(std::chrono::nanoseconds time) { std::this_thread::sleep_for(time); }

/// As the holder: until the other sleeps in a futex call, and a while longer.
static void keep() {
    holder = tid();
    for (int asleep = 0; asleep < 3; nap(std::chrono::microseconds(50))) {
        if (!waiter) continue;
        std::ifstream file("/proc/" + std::to_string(waiter) + "/syscall");
        long call = 0;
        asleep = file >> call && call == SYS_futex ? asleep + 1 : 0;
    }
    nap(std::chrono::milliseconds(40));
}

static int value() {
    static int value = (keep(), 7);
    return value;
}

using Body = std::function<void()>;

int main(int count, char **names) {
    const std::map<std::string, std::tuple<Body, Body, void *>> scenes = {
        {"mutex", {[] { std::lock_guard has(mutex); keep(); }, [] { std::lock_guard has(mutex); }, &mutex}},
        {"shared_mutex_write", {[] { std::shared_lock has(shared); keep(); }, [] { std::unique_lock has(shared); }, &shared}},
        {"shared_mutex_read", {[] { std::unique_lock has(shared); keep(); }, [] { std::shared_lock has(shared); }, &shared}},
        {"call_once", {[] { std::call_once(flag, keep); }, [] { std::call_once(flag, keep); }, &flag}},
        {"static_init", {value, value, nullptr}},
    };
    FILE *out = count > 1 ? std::fopen(names[1], "w") : nullptr;
    if (!out) return 96;
    for (int i = 2; i < count; i++) {
        const auto &[has, wants, lock] = scenes.at(names[i]);
        holder = waiter = 0;
        std::thread one(has);
        long begin = 0, end = 0;
        std::thread two([&, &wants = wants] {
            while (!holder) nap(std::chrono::microseconds(50));
            begin = now();
            waiter = tid();
            wants();
            end = now();
        });
        one.join();
        two.join();
        std::fprintf(out, "{\"scene\":\"%s\",\"pid\":%d,\"lock\":%lu,\"waiter\":%d,\"holder\":%d,\"begin\":%ld,\"end\":%ld}\n",
                     names[i], getpid(), reinterpret_cast<unsigned long>(lock), waiter.load(), holder.load(), begin, end);
    }
    return std::fclose(out);
}
