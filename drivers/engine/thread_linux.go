package engine

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// lowered is the nice value of a worker's thread.
const lowered = 15

// onThread calls work on a thread that does nothing else, with low priority if that can be had, and that ends with it: a
// priority once lowered could not be raised again without privilege.
//
// It is never the main thread, whose priority is what tools show of the process, and which takes its signals.
func onThread(work func(low bool)) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		done := make(chan struct{})
		go func() { // on another thread: this one is taken
			defer close(done)
			onThread(work)
		}()
		<-done
		runtime.UnlockOSThread()
		return
	}
	work(unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), lowered) == nil)
}
