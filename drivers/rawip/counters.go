package rawip

import (
	"sync/atomic"

	"github.com/roamkey/roamkey/ipv6"
)

// counters holds what the readers and senders count. Each drop has its reason.
type counters struct {
	received      atomic.Uint64
	urgent        atomic.Uint64
	protected     atomic.Uint64
	problems      [ipv6.Problems]atomic.Uint64
	tooLong       atomic.Uint64
	strayed       atomic.Uint64
	full          atomic.Uint64
	urgentFull    atomic.Uint64
	protectedFull atomic.Uint64
	kernel        atomic.Uint64
	receiveErrors atomic.Uint64
	sent          atomic.Uint64
	sendErrors    atomic.Uint64
	watched       atomic.Uint64
	promiscuous   atomic.Uint64
}

func (c *counters) yield(yield func(name string, value uint64)) {
	yield("received_link", c.received.Load())
	yield("received_urgent", c.urgent.Load())
	yield("received_protected", c.protected.Load())
	for i := range c.problems {
		if p := ipv6.Problem(i); p != ipv6.OK {
			yield("drop_"+p.String(), c.problems[i].Load())
		}
	}
	yield("drop_too_long", c.tooLong.Load())
	yield("drop_not_ours", c.strayed.Load())
	yield("drop_queue_full", c.full.Load())
	yield("drop_urgent_queue_full", c.urgentFull.Load())
	yield("drop_protected_queue_full", c.protectedFull.Load())
	yield("drop_kernel_buffer_full", c.kernel.Load())
	yield("receive_errors", c.receiveErrors.Load())
	yield("sent", c.sent.Load())
	yield("send_errors", c.sendErrors.Load())
	yield("watched", c.watched.Load())
	yield("watch_promiscuous", c.promiscuous.Load())
}
