// Locks of Java, one after the other: Kinds FILE SCENE...
//
// In a scene one thread has a lock and another waits for it, and the truth of it goes to FILE as a
// JSON line: which lock (0: Java does not tell), who waited, who had it, from when to when
// (nanoseconds). Scenes that begin with "not_" wait for something that is no lock.
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.locks.ReentrantLock;

class Kinds {
    static final long HOLD = 200;
    static final Object monitor = new Object();
    static final ReentrantLock lock = new ReentrantLock();
    static volatile long holder, waiter, slept;
    static volatile boolean woken;
    static StringBuilder truth = new StringBuilder();

    /** The thread's id as the kernel has it. */
    static long tid() {
        try {
            return Long.parseLong(Path.of("/proc/thread-self").toRealPath().getFileName().toString());
        } catch (IOException e) {
            throw new RuntimeException(e);
        }
    }

    static void awaitSleep() throws Exception {
        for (int asleep = 0; asleep < 3; Thread.sleep(1)) {
            if (waiter == 0) continue;
            // Before it sleeps it tries in a loop, for as long as others keep the processors busy.
            if (asleep == 0) slept = System.nanoTime();
            String call = Files.readString(Path.of("/proc/" + waiter + "/syscall"));
            asleep = call.startsWith("202 ") || call.startsWith("98 ") ? asleep + 1 : 0;
        }
        Thread.sleep(HOLD);
    }

    static void say(String scene, long begin, long end) {
        truth.append(String.format(
            "{\"scene\":\"%s\",\"pid\":%d,\"lock\":0,\"waiter\":%d,\"holder\":%d,\"begin\":%d,\"end\":%d}%n",
            scene, ProcessHandle.current().pid(), waiter, holder, begin, end));
    }

    interface Body {
        void run() throws Exception;
    }

    static Thread start(Body body) {
        Thread thread = new Thread(() -> {
            try {
                body.run();
            } catch (Exception e) {
                throw new RuntimeException(e);
            }
        });
        thread.start();
        return thread;
    }

    static void play(String scene, Body has, Body wants) throws Exception {
        holder = waiter = 0;
        woken = false;
        Thread one = start(has);
        while (holder == 0) Thread.sleep(1);
        Thread two = start(() -> {
            waiter = tid();
            wants.run();
            say(scene, slept, System.nanoTime());
        });
        one.join();
        two.join();
    }

    public static void main(String[] names) throws Exception {
        for (int i = 1; i < names.length; i++) {
            switch (names[i]) {
                case "monitor":
                    play(names[i], () -> {
                        synchronized (monitor) {
                            holder = tid();
                            awaitSleep();
                        }
                    }, () -> {
                        synchronized (monitor) { }
                    });
                    break;
                case "reentrant":
                    play(names[i], () -> {
                        lock.lock();
                        holder = tid();
                        awaitSleep();
                        lock.unlock();
                    }, () -> {
                        lock.lock();
                        lock.unlock();
                    });
                    break;
                case "not_condition":
                    play(names[i], () -> {
                        holder = tid();
                        awaitSleep();
                        synchronized (monitor) {
                            woken = true;
                            monitor.notify();
                        }
                    }, () -> {
                        synchronized (monitor) {
                            while (!woken) monitor.wait();
                        }
                    });
                    break;
                default:
                    System.exit(95);
            }
        }
        Files.writeString(Path.of(names[0]), truth);
    }
}
