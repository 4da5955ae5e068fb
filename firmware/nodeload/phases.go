package nodeload

import (
	"context"
	"errors"
	"time"

	"github.com/roamkey/roamkey/mipsec/lke"
)

// attachPace is how many nodes begin to attach each attachTick: thousands at once would only fill the router's queue.
const (
	attachPace = 20
	attachTick = 10 * time.Millisecond
)

// settleTime is what is added to the router's duplicate address detection before a node that was not asked is given up.
const settleTime = 3 * time.Second

// phases plays one phase after the other. A phase that runs out of time does not keep the next one from being played with
// the nodes that came so far.
func (l *load) phases(ctx context.Context, wires []wire) (r Result, err error) {
	steps := []func(context.Context, *Result) error{l.attach, l.encryptAll, l.exchange, l.settle}
	if len(wires) > 1 {
		steps = append(steps, func(ctx context.Context, r *Result) error { return l.move(ctx, wires[1], r) }, l.update)
	}
	for _, step := range steps {
		if err := step(ctx, &r); err != nil && !errors.Is(err, errLimit) {
			return r, err
		}
	}
	return r, nil
}

// watch runs the loop for a phase and tells how far it is.
func (l *load) watch(ctx context.Context, phase string, of int, limit time.Duration, count func() int, done func() bool) error {
	deadline := time.Now().Add(limit)
	last, lastAt := count(), time.Now()
	for {
		next := time.Now().Add(time.Second)
		if next.After(deadline) {
			next = deadline
		}
		err := l.until(ctx, next, done)
		if !errors.Is(err, errLimit) {
			return err
		}
		now := time.Now()
		if l.cfg.Progress != nil {
			n := count()
			l.cfg.Progress(Progress{Phase: phase, Done: n, Of: of, Rate: float64(n-last) / now.Sub(lastAt).Seconds()})
			last, lastAt = n, now
		}
		if !now.Before(deadline) {
			return errLimit
		}
	}
}

// attach makes all nodes look for a router on the link where they are.
func (l *load) attach(ctx context.Context, r *Result) error {
	err := l.find(ctx, "attach", &r.Attached)
	for _, m := range l.members {
		if !m.heard {
			continue
		}
		// The encryption that follows is kept: it must not count to the exchange.
		l.ahead = true
		m.careOf = m.address
		l.step(m, lke.Input{Kind: lke.InAddress, Home: m.address})
	}
	return err
}

// find lets nodes begin to look for a router at a bounded pace, and waits until all have heard one.
func (l *load) find(ctx context.Context, phase string, heard *int) error {
	count := func() int {
		n := 0
		for _, m := range l.members {
			if m.heard {
				n++
			}
		}
		return n
	}
	begin := time.Now()
	begun := 0
	err := l.watch(ctx, phase, len(l.members), l.cfg.Limit, count, func() bool {
		due := min(len(l.members), attachPace*(1+int(time.Since(begin)/attachTick)))
		for ; begun < due; begun++ {
			l.step(l.members[begun], lke.Input{Kind: lke.InAttached})
		}
		return begun == len(l.members) && count() == len(l.members)
	})
	*heard = count()
	return err
}

// encryptAll waits until all keys are encrypted.
func (l *load) encryptAll(ctx context.Context, r *Result) error {
	count := func() int {
		n := 0
		for _, m := range l.members {
			if m.job != nil {
				n++
			}
		}
		return n
	}
	err := l.watch(ctx, "encrypt", r.Attached, l.cfg.Limit, count, func() bool {
		for _, m := range l.members {
			if m.encrypting {
				return false
			}
		}
		return true
	})
	l.ahead = false
	return err
}

// exchange sends the key exchange requests.
func (l *load) exchange(ctx context.Context, r *Result) error {
	var ready []*member
	for _, m := range l.members {
		if m.job != nil {
			ready = append(ready, m)
		}
	}
	return l.window(ctx, "key exchange", lke.EventAcknowledge, ready, &r.Exchange, func(m *member) {
		in := *m.job
		m.job = nil
		l.step(m, in)
	})
}

// window begins what is to be done with each member, so that no more than cfg.Window are under way, and measures how long
// the answers take.
func (l *load) window(ctx context.Context, phase string, answer lke.EventKind, ready []*member, p *Phase, begin func(*member)) error {
	p.Of = len(ready)
	started := time.Now()
	last := started
	underWay, next := 0, 0
	l.acknowledged = func(m *member, kind lke.EventKind) {
		if kind != answer {
			return
		}
		last = time.Now()
		p.add(last.Sub(m.begun))
		if m.messages > 1 {
			p.Late++
		}
		m.begun = time.Time{}
		underWay--
	}
	for _, m := range ready {
		m.begun, m.messages = time.Time{}, 0
	}
	err := l.watch(ctx, phase, len(ready), l.cfg.Limit, p.Done, func() bool {
		for underWay < l.cfg.Window && next < len(ready) {
			underWay++
			m := ready[next]
			next++
			begin(m)
			if m.begun.IsZero() && m.messages == 0 {
				underWay-- // its core had nothing to send: it will be missing
			}
		}
		return p.Done() == p.Of
	})
	l.acknowledged = nil
	p.Took = last.Sub(started)
	return err
}

// settle waits until the router's duplicate address detection is over.
func (l *load) settle(ctx context.Context, r *Result) error {
	count := func() int {
		n := 0
		for _, m := range l.members {
			if m.valid {
				n++
			}
		}
		return n
	}
	err := l.watch(ctx, "duplicate address detection", r.Exchange.Done(), settleTime, count, func() bool { return count() >= r.Exchange.Done() })
	r.Valid = count()
	return err
}

// move takes all nodes to the second link.
func (l *load) move(ctx context.Context, to wire, r *Result) error {
	l.wire = to
	for _, m := range l.members {
		m.heard, m.address, m.encrypting = false, m.careOf, false
	}
	return l.find(ctx, "move", &r.Moved)
}

// update has the first router forward what is sent to the nodes' first addresses.
func (l *load) update(ctx context.Context, r *Result) error {
	var ready []*member
	for _, m := range l.members {
		if m.heard && m.valid && m.address != m.careOf {
			ready = append(ready, m)
		}
	}
	l.deaf = true // keys for the new router are none of this phase's
	return l.window(ctx, "binding update", lke.EventBound, ready, &r.Update, func(m *member) {
		m.careOf = m.address
		l.step(m, lke.Input{Kind: lke.InAddress, Home: m.address})
	})
}
