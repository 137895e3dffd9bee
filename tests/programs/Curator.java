// Locks of Curator, one recipe a run: Curator SERVER RECIPE NAME HOLD_MS.
// Says on standard output, in milliseconds of CLOCK_MONOTONIC, when it asked, got and let go.

import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.retry.RetryOneTime;

public class Curator {
    static String name;

    static void say(String what) {
        System.out.println(System.nanoTime() / 1e6 + " " + name + " " + what);
    }

    static void hold(InterProcessLock lock, long hold, String what) throws Exception {
        say("ask " + what);
        if (!lock.acquire(5, TimeUnit.SECONDS)) {
            say("refused " + what);
            return;
        }
        say("got " + what);
        Thread.sleep(hold);
        lock.release();
        say("released " + what);
    }

    static void leader(CuratorFramework client, long hold) throws Exception {
        LeaderLatch latch = new LeaderLatch(client, "/curator/latch", name);
        say("ask latch");
        latch.start();
        latch.await();
        say("got latch");
        Thread.sleep(hold);
        latch.close();
        say("released latch");
    }

    static void selector(CuratorFramework client, long hold) throws Exception {
        var done = new java.util.concurrent.CountDownLatch(1);
        LeaderSelector selector =
                new LeaderSelector(client, "/curator/leader", new LeaderSelectorListenerAdapter() {
                    @Override
                    public void takeLeadership(CuratorFramework c) throws Exception {
                        say("got leadership");
                        Thread.sleep(hold);
                        say("released leadership");
                        done.countDown();
                    }
                });
        selector.start();
        done.await();
        Thread.sleep(100);
        selector.close();
    }

    static void semaphore(CuratorFramework client, long hold) throws Exception {
        var semaphore = new InterProcessSemaphoreV2(client, "/curator/semaphore", 2);
        say("ask semaphore");
        Lease lease = semaphore.acquire(1, 5, TimeUnit.SECONDS).iterator().next();
        say("got semaphore");
        Thread.sleep(hold);
        semaphore.returnLease(lease);
        say("released semaphore");
    }

    public static void main(String[] args) throws Exception {
        name = args[2];
        long hold = Long.parseLong(args[3]);
        CuratorFramework client =
                CuratorFrameworkFactory.newClient(args[0], 4000, 4000, new RetryOneTime(100));
        client.start();
        client.blockUntilConnected();
        switch (args[1]) {
            case "mutex" -> hold(new InterProcessMutex(client, "/curator/mutex"), hold, "mutex");
            case "try" -> {
                var mutex = new InterProcessMutex(client, "/curator/mutex");
                say("ask mutex");
                say(mutex.acquire(200, TimeUnit.MILLISECONDS) ? "got mutex" : "timeout mutex");
            }
            case "rw" -> {
                var both = new InterProcessReadWriteLock(client, "/curator/rw");
                hold(both.readLock(), hold, "read");
                hold(both.writeLock(), hold, "write");
                both.writeLock().acquire();
                hold(both.readLock(), hold, "downgraded");
                both.writeLock().release();
            }
            case "latch" -> leader(client, hold);
            case "selector" -> selector(client, hold);
            case "semaphore" -> semaphore(client, hold);
            default -> throw new IllegalArgumentException(args[1]);
        }
        client.close();
    }
}
