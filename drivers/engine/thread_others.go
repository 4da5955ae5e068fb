//go:build !linux

package engine

import (
	"errors"
	"runtime"
)

// lowerPriority gives the calling goroutine a thread of its own. Elsewhere than on Linux a thread has no priority that we
// could lower.
func lowerPriority() error {
	runtime.LockOSThread()
	return errors.ErrUnsupported
}
