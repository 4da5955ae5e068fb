package daemon

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/drivers/engine"
)

// onNewThread runs f on a thread that ends with it, so that nothing that f does to the thread is left.
func onNewThread(f func()) {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer close(done)
		f()
	}()
	<-done
}

// Every thread gets longer turns, those that start later, too, and keeps its priority.
func TestThreadsTakeLongTurns(t *testing.T) {
	onNewThread(func() {
		before, err := unix.SchedGetAttr(0, 0)
		if err != nil {
			t.Error(err)
			return
		}
		if before.Runtime == 0 {
			t.Log("the kernel has no turns of a thread's own (before Linux 6.12)")
		}
		if err := takeTurns(); err != nil {
			t.Error(err)
		}
		after, err := unix.SchedGetAttr(0, 0)
		if err != nil {
			t.Error(err)
			return
		}
		if before.Runtime != 0 && after.Runtime != uint64(turn) {
			t.Errorf("a turn is %v, want %v", time.Duration(after.Runtime), turn)
		}
		if after.Policy != before.Policy || after.Nice != before.Nice {
			t.Errorf("policy %d and nice %d became %d and %d", before.Policy, before.Nice, after.Policy, after.Nice)
		}
		// The number of locked threads makes some of these new ones.
		for range 8 {
			hold := make(chan struct{})
			ready := make(chan uint64)
			go func() {
				runtime.LockOSThread()
				attr, err := unix.SchedGetAttr(0, 0)
				if err != nil {
					t.Error(err)
					attr = &unix.SchedAttr{}
				}
				ready <- attr.Runtime
				<-hold
			}()
			if got := <-ready; before.Runtime != 0 && got != uint64(turn) {
				t.Errorf("a turn of a later thread is %v, want %v", time.Duration(got), turn)
			}
			defer close(hold)
		}
	})
}

// spin is an operation far shorter than a tick of the scheduler.
type spin struct{ engine.Operations } // only Decrypt is called

func (spin) Decrypt(*[engine.KeyLen]byte, []byte) {
	for end := time.Now().Add(50 * time.Microsecond); time.Now().Before(end); {
	}
}

// Beside another busy thread on the same processor, operations back to back let go of it again and again, and not only at
// the scheduler's ticks.
func TestOperationsYield(t *testing.T) {
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for cpu := 0; one.Count() == 0; cpu++ {
		if all.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	var stop atomic.Bool
	busy := make(chan struct{})
	go onNewThread(func() {
		defer close(busy)
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			t.Error(err)
		}
		for !stop.Load() {
		}
	})
	const operations = 50
	lettingGo := func(d engine.Decrypter) (times int64) {
		onNewThread(func() {
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				t.Error(err)
			}
			var before, after unix.Rusage
			_ = unix.Getrusage(unix.RUSAGE_THREAD, &before)
			var key [engine.KeyLen]byte
			for range operations {
				d.Decrypt(&key, nil)
			}
			_ = unix.Getrusage(unix.RUSAGE_THREAD, &after)
			times = after.Nivcsw - before.Nivcsw
		})
		return times
	}
	plain, yields := lettingGo(spin{}), int64(0)
	for range 20 { // with other work on the processor the scheduler owes this thread time, and takes no yield from it
		if yields = max(yields, lettingGo(yielding{spin{}})); yields >= operations/2 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop.Store(true)
	<-busy
	t.Logf("%d operations let go of the processor %d times by themselves, %d times when yielding", operations, plain, yields)
	if yields < operations/2 {
		t.Errorf("%d operations let go of the processor %d times", operations, yields)
	}
}
