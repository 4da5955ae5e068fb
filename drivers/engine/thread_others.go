//go:build !linux

package engine

import "runtime"

// onThread calls work on a thread that does nothing else. Elsewhere than on Linux a thread has no priority of its own that
// could be lowered.
func onThread(work func(low bool)) {
	runtime.LockOSThread()
	work(false)
}
