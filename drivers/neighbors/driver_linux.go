package neighbors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/ipv6"
)

var _ Driver = (*Neighbors)(nil)

// maxAsked bounds the questions that wait. The kernel repeats what is lost.
const maxAsked = 1024

// eventBuffer is the receive buffer for questions in octets: some thousand.
const eventBuffer = 1 << 20

// Neighbors is the Driver over rtnetlink.
type Neighbors struct {
	conn   *netlink.Conn // requests
	events *netlink.Conn // what the kernel asks
	asked  chan Ask
	reader sync.WaitGroup

	mu    sync.Mutex // guards what follows, and conn
	taken map[int]*taking
	added map[Owned]bool // by this process
	ended bool

	asks, askedElsewhere, asksLost, overruns        atomic.Uint64
	entriesSet, entriesRemoved, addresses, failures atomic.Uint64
}

// Open opens the driver in the network namespace of the calling thread. It needs CAP_NET_ADMIN for all that it changes.
func Open() (*Neighbors, error) {
	n := &Neighbors{asked: make(chan Ask, maxAsked), taken: make(map[int]*taking), added: make(map[Owned]bool)}
	var err error
	if n.conn, err = netlink.Dial(unix.NETLINK_ROUTE, nil); err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	if n.events, err = netlink.Dial(unix.NETLINK_ROUTE, nil); err != nil {
		n.conn.Close()
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	_ = n.events.SetReadBuffer(eventBuffer) // with less some questions come a second later
	if filter, err := bpf.Assemble(onlyQuestions()); err == nil {
		_ = n.events.SetBPF(filter) // without it they are told apart here
	}
	if err = n.events.JoinGroup(unix.RTNLGRP_NEIGH); err != nil {
		n.conn.Close()
		n.events.Close()
		return nil, fmt.Errorf("follow what the kernel asks of neighbours: %w", err)
	}
	n.reader.Go(n.listen)
	return n, nil
}

// onlyQuestions keeps the many notifications of changed entries away.
func onlyQuestions() []bpf.Instruction {
	const typeOffset = 4 // of nlmsg_type, which is in the host's order; a filter reads in that of the network
	question := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.RTM_GETNEIGH))
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: typeOffset, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(question), SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	}
}

// listen passes questions on, until the driver ends.
func (n *Neighbors) listen() {
	for {
		messages, err := n.events.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			n.overruns.Add(1)
			continue
		case err != nil:
			return // closed
		}
		for _, m := range messages {
			if m.Header.Type == unix.RTM_GETNEIGH {
				n.question(m.Data)
			}
		}
	}
}

func (n *Neighbors) question(b []byte) {
	e, ok := decodeEntry(b)
	if !ok {
		return
	}
	n.mu.Lock()
	_, ours := n.taken[e.link]
	n.mu.Unlock()
	if !ours {
		n.askedElsewhere.Add(1)
		return
	}
	n.asks.Add(1)
	select {
	case n.asked <- Ask{Link: e.link, Addr: e.addr, Missing: e.state&unix.NUD_INCOMPLETE != 0}:
	default:
		n.asksLost.Add(1)
	}
}

// Asked implements Driver.
func (n *Neighbors) Asked() <-chan Ask { return n.asked }

// request makes one change and waits for the kernel's acknowledgement. The lock is held.
func (n *Neighbors) request(typ netlink.HeaderType, flags netlink.HeaderFlags, head []byte, attrs func(*netlink.AttributeEncoder)) error {
	ae := netlink.NewAttributeEncoder()
	attrs(ae)
	b, err := ae.Encode()
	if err != nil {
		return err
	}
	_, err = n.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: typ, Flags: netlink.Request | netlink.Acknowledge | flags},
		Data:   append(head, b...),
	})
	return err
}

// dump gives the octets of each object of a kind. The lock is held.
func (n *Neighbors) dump(typ netlink.HeaderType, size int) ([][]byte, error) {
	const attempts = 3 // a change interrupts a dump; the last one has to do
	var all [][]byte
	for range attempts {
		head := make([]byte, size)
		head[0] = unix.AF_INET6
		replies, err := n.conn.Execute(netlink.Message{
			Header: netlink.Header{Type: typ, Flags: netlink.Request | netlink.Dump},
			Data:   head,
		})
		if err != nil {
			return nil, err
		}
		whole := true
		all = all[:0]
		for _, m := range replies {
			whole = whole && m.Header.Flags&netlink.DumpInterrupted == 0
			if len(m.Data) >= size && m.Data[0] == unix.AF_INET6 {
				all = append(all, m.Data)
			}
		}
		if whole {
			break
		}
	}
	return all, nil
}

// errEnded is the answer to what is asked of a driver that was closed.
var errEnded = errors.New("the driver of neighbours is closed")

// do runs f with the lock, unless the driver has ended, and counts failures.
func (n *Neighbors) do(f func() error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return errEnded
	}
	err := f()
	if err != nil {
		n.failures.Add(1)
	}
	return err
}

// Counters implements Driver.
func (n *Neighbors) Counters(yield func(name string, value uint64)) {
	yield("asked", n.asks.Load())
	yield("asked_other_link", n.askedElsewhere.Load())
	yield("drop_asked_queue_full", n.asksLost.Load())
	yield("drop_asked_overrun", n.overruns.Load())
	yield("entries_set", n.entriesSet.Load())
	yield("entries_removed", n.entriesRemoved.Load())
	yield("addresses_added", n.addresses.Load())
	yield("failures", n.failures.Load())
}

// Leave implements Driver.
func (n *Neighbors) Leave() error { return n.end(false) }

// Close implements Driver.
func (n *Neighbors) Close() error { return n.end(true) }

func (n *Neighbors) end(putBack bool) error {
	n.mu.Lock()
	if n.ended {
		n.mu.Unlock()
		return nil
	}
	n.ended = true
	var errs []error
	for link, t := range n.taken {
		if putBack {
			errs = append(errs, n.release(link, t))
		} else {
			errs = append(errs, t.settings.Forget())
		}
	}
	if putBack {
		for o := range n.added {
			errs = append(errs, n.removeOwned(o))
		}
	}
	clear(n.taken)
	n.mu.Unlock()
	errs = append(errs, n.events.Close())
	n.reader.Wait()
	return errors.Join(append(errs, n.conn.Close())...)
}

func (n *Neighbors) removeOwned(o Owned) error {
	if o.Route {
		return n.removeRoute(o.Link, o.Addr)
	}
	return n.removeAddress(o.Link, o.Addr)
}

func badAddress(addr netip.Addr) error {
	if !addr.Is6() || addr.Is4In6() || addr.IsMulticast() || addr.IsUnspecified() || addr.IsLoopback() {
		return fmt.Errorf("address %s is no unicast IPv6 address", addr)
	}
	return nil
}

func badHardware(hw ipv6.LinkAddr) error {
	if !hw.IsUnicast() {
		return fmt.Errorf("link-layer address %s is none of a station", hw)
	}
	return nil
}
