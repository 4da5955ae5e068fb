package engine

import (
	"runtime"

	"golang.org/x/sys/unix"
)

const (
	lowered = 15 // nice value of a worker's thread

	// slice is for how long a worker may keep the processor from a thread that wakes up, in nanoseconds. Schedulers since
	// Linux 6.6 let a running thread end its slice first, whatever its priority is, and that is 3 ms; since 6.12 a thread
	// can ask for less. Others take no notice.
	slice = 100_000
)

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
	low := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), lowered) == nil
	if low {
		// Where that cannot be had nothing is lost.
		_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL, Nice: lowered, Runtime: slice}, 0)
	}
	work(low)
}
