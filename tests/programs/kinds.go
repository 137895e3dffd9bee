// Locks of Go: kinds FILE SCENE...
//
// A goroutine that waits for a sync.Mutex sleeps in no system call: no thread waits for it. The
// threads of the run time sleep when they have nothing to do, and that is no lock either.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
)

func main() {
	out, err := os.Create(os.Args[1])
	if err != nil {
		panic(err)
	}
	for _, scene := range os.Args[2:] {
		var lock sync.Mutex
		var done sync.WaitGroup
		done.Add(2)
		lock.Lock()
		for i := 0; i < 2; i++ {
			go func() {
				defer done.Done()
				runtime.LockOSThread()
				begin := time.Now()
				lock.Lock()
				length := time.Since(begin).Nanoseconds()
				fmt.Fprintf(out, "{\"scene\":%q,\"pid\":%d,\"lock\":0,\"waiter\":%d,\"holder\":%d,\"begin\":0,\"end\":%d}\n",
					scene, os.Getpid(), syscall.Gettid(), 0, length)
				lock.Unlock()
			}()
		}
		time.Sleep(40 * time.Millisecond)
		lock.Unlock()
		done.Wait()
	}
}
