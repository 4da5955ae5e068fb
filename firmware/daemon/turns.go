package daemon

import (
	"errors"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/drivers/engine"
)

// turn is for how long a thread of this process asks to run before the scheduler looks for another one.
//
// Where one processor does it all, a low priority alone does not keep RSA from a packet that is being handled. The scheduler
// (EEVDF, since Linux 6.6) weighs what each thread has had since it last waited. A thread that has run for some microseconds
// has had more than its share beside an RSA thread that wants to run all the time. As soon as anything makes the scheduler
// choose, be it the end of a slice or the wakeup of a third thread, the RSA thread is the only one that is due. It then runs
// until the next tick: 4 ms, or 10 with HZ=100. With longer turns there are fewer such choices; others that ask for shorter
// turns come first, as before.
const turn = 10 * time.Millisecond

// takeTurns asks for turn for each thread of this process; threads that are started later take it from those that start
// them. It needs no privilege. Kernels before 6.12 take no notice.
func takeTurns() error {
	for range 3 { // a thread that was not asked for yet may start another meanwhile
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		done := true
		for _, t := range tasks {
			id, err := strconv.Atoi(t.Name())
			if err != nil {
				return err
			}
			attr, err := unix.SchedGetAttr(id, 0)
			if err == nil {
				if attr.Policy != unix.SCHED_NORMAL || attr.Runtime == uint64(turn) {
					continue // an operator who set a policy knows why
				}
				done = false
				attr.Runtime = uint64(turn)
				err = unix.SchedSetAttr(id, attr, 0)
			}
			if err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
		if done {
			return nil
		}
	}
	return nil
}

// yielding lets other threads run after each operation with a private key. A worker with a full queue would go on with the
// next one until the scheduler's tick, even if a packet has been waiting since the middle of the first.
type yielding struct{ engine.Operations }

func (y yielding) Decrypt(dst *[engine.KeyLen]byte, ciphertext []byte) {
	y.Operations.Decrypt(dst, ciphertext)
	yield()
}

func (y yielding) Sign(digest [engine.DigestLen]byte) ([]byte, error) {
	defer yield()
	return y.Operations.Sign(digest)
}

func yield() { _, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) } // never fails
