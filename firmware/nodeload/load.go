package nodeload

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/roamkey/roamkey/drivers/frames"
	"github.com/roamkey/roamkey/firmware/mobilenode"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/ndp"
)

// wire is where frames go and come from. *frames.Socket is one.
type wire interface {
	Receive(b []byte) (int, error)
	Send(frame []byte) error
	Close() error
}

// received is one frame. Frames of a link that the nodes have left say nothing.
type received struct {
	octets []byte
	from   wire
}

// load is one run. One goroutine owns all of it.
type load struct {
	cfg     Config
	wire    wire // of the link where the nodes are
	members []*member

	byHardware map[ipv6.LinkAddr]*member
	byAddress  map[netip.Addr]*member
	timers     timers
	frames     chan received
	encrypted  chan encrypted
	work       chan encryption
	failed     chan error
	spare      chan []byte // of frames' octets
	out        []byte

	// acknowledged is called when a member's first message of a phase was answered.
	acknowledged func(m *member, kind lke.EventKind)
	ahead        bool // encryptions are kept until it is the member's turn
	deaf         bool // no more keys are agreed on
}

type encryption struct {
	m    *member
	job  uint64
	spki []byte
	key  [lke.KeyLen]byte
}

type encrypted struct {
	m  *member
	in lke.Input
}

// frameRoom takes any message of a router: an advertisement fills a link's MTU at the most.
const frameRoom = 2048

// Run plays a run. Where a phase's limit runs out, what was done until then counts.
func Run(ctx context.Context, cfg Config) (Result, error) {
	if err := cfg.check(); err != nil {
		return Result{}, err
	}
	first, err := frames.Open(cfg.Interface)
	if err != nil {
		return Result{}, err
	}
	wires := []wire{first}
	if cfg.MoveTo != "" {
		second, err := frames.Open(cfg.MoveTo)
		if err != nil {
			first.Close()
			return Result{}, err
		}
		wires = append(wires, second)
	}
	return run(ctx, cfg, wires)
}

func run(ctx context.Context, cfg Config, wires []wire) (Result, error) {
	l := &load{
		cfg: cfg, wire: wires[0],
		byHardware: make(map[ipv6.LinkAddr]*member), byAddress: make(map[netip.Addr]*member),
		frames: make(chan received, 4096), encrypted: make(chan encrypted, 64), work: make(chan encryption, cfg.Nodes),
		failed: make(chan error, len(wires)), spare: make(chan []byte, 4096),
	}
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		for _, w := range wires {
			w.Close()
		}
		close(l.work)
		running.Wait()
	}()
	for _, w := range wires {
		running.Go(func() { l.receive(ctx, w) })
	}
	for range max(1, runtime.NumCPU()) {
		running.Go(func() { l.encrypt(ctx) })
	}
	for n := range cfg.Nodes {
		l.members = append(l.members, l.newMember(n))
	}
	return l.phases(ctx, wires)
}

// take gives octets for a frame, give takes them back.
func (l *load) take() []byte {
	select {
	case b := <-l.spare:
		return b
	default:
		return make([]byte, frameRoom)
	}
}

func (l *load) give(b []byte) {
	select {
	case l.spare <- b[:cap(b)]:
	default:
	}
}

// receive hands frames to the loop.
func (l *load) receive(ctx context.Context, w wire) {
	for {
		b := l.take()
		n, err := w.Receive(b)
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				l.failed <- err
			}
			return
		}
		select {
		case l.frames <- received{b[:n], w}:
		case <-ctx.Done():
			return
		}
	}
}

// encrypt does encryptions beside the loop.
func (l *load) encrypt(ctx context.Context) {
	for e := range l.work {
		in := lke.Input{Kind: lke.InCiphertext, Job: e.job}
		var err error
		in.Octets, err = mobilenode.Encrypt(e.spki, e.key, false)
		in.Failed = err != nil
		select {
		case l.encrypted <- encrypted{e.m, in}:
		case <-ctx.Done():
			return
		}
	}
}

// errLimit ends a phase whose time is over.
var errLimit = errors.New("time is over")

// until runs the loop until done is true, ctx ends, or at comes.
func (l *load) until(ctx context.Context, at time.Time, done func() bool) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for !done() {
		now := time.Now()
		if !now.Before(at) {
			return errLimit
		}
		for len(l.timers) > 0 && !now.Before(l.timers[0].due) {
			l.step(l.timers[0], lke.Input{Kind: lke.InTick})
		}
		wake := at
		if len(l.timers) > 0 && l.timers[0].due.Before(wake) {
			wake = l.timers[0].due
		}
		timer.Reset(time.Until(wake))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-l.failed:
			return err
		case r := <-l.frames:
			if r.from == l.wire {
				l.frame(r.octets)
			}
			l.give(r.octets)
		case e := <-l.encrypted:
			e.m.encrypting = false
			if l.ahead {
				e.m.job = &e.in
			} else {
				l.step(e.m, e.in)
			}
		case <-timer.C:
		}
	}
	return nil
}

// frame gives a frame to the member that it is for, or to those that a multicast concerns.
func (l *load) frame(octets []byte) {
	dst, src, packet, ok := frames.Split(octets)
	if !ok {
		return
	}
	var p ipv6.Packet
	if ipv6.Parse(packet, &p) != ipv6.OK {
		return
	}
	p.LinkSource = src
	in := lke.Input{Kind: lke.InPacket, Packet: &p}
	if dst.IsUnicast() {
		if m := l.byHardware[dst]; m != nil {
			l.step(m, in)
		}
		return
	}
	if p.Proto != ipv6.ProtoICMPv6 || len(p.Payload) < 24 {
		return
	}
	switch p.Payload[0] {
	case ndp.TypeRouterAdvert:
		// Who has a router already learns nothing new; thousands of them would learn nothing for long.
		for _, m := range l.members {
			if !m.heard {
				l.step(m, in)
			}
		}
	case ndp.TypeNeighborSolicit, ndp.TypeNeighborAdvert:
		if m := l.byAddress[netip.AddrFrom16([16]byte(p.Payload[8:24]))]; m != nil && m.hw != src {
			l.step(m, in)
		}
	}
}

// step gives a member one input and carries out what it answers.
func (l *load) step(m *member, in lke.Input) {
	effects := m.core.Step(time.Now(), in)
	for i := range effects {
		l.carry(m, &effects[i])
	}
	l.arm(m)
}

// arm puts the member where its next deadline belongs among the timers.
func (l *load) arm(m *member) {
	m.due = m.core.Deadline()
	switch {
	case m.due.IsZero() && m.at >= 0:
		heap.Remove(&l.timers, m.at)
	case m.due.IsZero():
	case m.at < 0:
		heap.Push(&l.timers, m)
	default:
		heap.Fix(&l.timers, m.at)
	}
}

func (l *load) carry(m *member, e *lke.Effect) {
	switch e.Kind {
	case lke.EffectSend:
		l.out = frames.Append(l.out[:0], e.LinkDst, m.hw, e.Packet)
		if err := l.wire.Send(l.out); err != nil && !errors.Is(err, os.ErrClosed) {
			select {
			case l.failed <- fmt.Errorf("node %v: %w", m.hw, err):
			default:
			}
		}
	case lke.EffectEncrypt:
		if l.deaf {
			return
		}
		select {
		case l.work <- encryption{m, e.Job, append([]byte(nil), e.PublicKey...), e.Key}:
			m.encrypting = true
		default: // more than one for each node: it will be missing
		}
	case lke.EffectConfigure:
		if e.Lifetime > 0 {
			m.heard, m.address = true, e.Home
			l.own(m, e.Home)
		}
	case lke.EffectReport:
		l.report(m, e.Event.Kind)
	}
}

func (l *load) report(m *member, kind lke.EventKind) {
	switch kind {
	case lke.EventRequested, lke.EventUpdated:
		if m.messages++; m.messages == 1 {
			m.begun = time.Now()
		}
	case lke.EventAssociated:
		m.valid = true
	case lke.EventAcknowledge, lke.EventBound:
		if l.acknowledged != nil && !m.begun.IsZero() {
			l.acknowledged(m, kind)
		}
	}
}
