package engine

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// lowered is the nice value of a worker's thread.
const lowered = 15

// lowerPriority gives the calling goroutine a thread of its own, with low priority. The goroutine must end without giving
// it back.
func lowerPriority() error {
	runtime.LockOSThread()
	return unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), lowered)
}
