package conntrack

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/drivers/rtnl"
)

// Numbers of ctnetlink (linux/netfilter/nfnetlink_conntrack.h).
const (
	ctGet    = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1
	ctDelete = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2

	ctGetStats = unix.NFNL_SUBSYS_CTNETLINK<<8 | 5

	ctGlobalEntries = 1 // of ctGetStats

	ctTupleOrig  = 1
	ctTupleReply = 2
	ctID         = 12
	ctZone       = 18

	ctTupleIP = 1
	ctSrc6    = 3
	ctDst6    = 4
)

// Table deletes the connection tracking entries of addresses whose way changed. A flow that was handed to a flow table
// or to hardware goes the old way as long as its entry is there, whatever the routes say. It works in the background:
// a full table takes longer to read than a binding may take.
type Table struct {
	conn  *netlink.Conn
	stats *statistics

	mu      sync.Mutex
	idle    *sync.Cond
	pending map[netip.Addr]bool
	working bool
	closed  bool
	end     chan struct{} // closed with closed
	wg      sync.WaitGroup

	deleted, failed atomic.Uint64
}

// Open gives nil where the kernel tracks no connections, so that there is nothing to delete.
func Open() (*Table, error) {
	// Asking ctnetlink would load the module and switch tracking on.
	if _, err := os.Stat("/proc/sys/net/netfilter/nf_conntrack_max"); err != nil {
		return nil, nil
	}
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open nfnetlink: %w", err)
	}
	stats, err := openStatistics()
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("open nfnetlink: %w", err)
	}
	c := &Table{conn: conn, stats: stats, pending: make(map[netip.Addr]bool), end: make(chan struct{})}
	c.idle = sync.NewCond(&c.mu)
	// A first look also tells whether the kernel has ctnetlink at all.
	if _, err := c.list(); err != nil {
		conn.Close()
		stats.Close()
		return nil, fmt.Errorf("list tracked connections: %w (offloaded flows may outlive a handover; the module "+
			"nf_conntrack_netlink is needed)", err)
	}
	c.wg.Add(1)
	go c.run()
	return c, nil
}

// Forget has the entries of an address deleted soon. It is safe on a nil Table.
func (c *Table) Forget(address netip.Addr) {
	if c == nil {
		return
	}
	c.mu.Lock()
	if !c.closed {
		c.pending[address] = true
	}
	c.mu.Unlock()
	c.idle.Broadcast()
}

// Wait returns when nothing is pending any more.
func (c *Table) Wait() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for (len(c.pending) > 0 || c.working) && !c.closed {
		c.idle.Wait()
	}
}

// Close drops what is pending.
func (c *Table) Close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	close(c.end)
	c.idle.Broadcast()
	c.wg.Wait()
	c.stats.Close()
	c.conn.Close()
}

func (c *Table) run() {
	defer c.wg.Done()
	for {
		c.mu.Lock()
		c.working = false
		c.idle.Broadcast()
		for len(c.pending) == 0 && !c.closed {
			c.idle.Wait()
		}
		if c.closed {
			c.mu.Unlock()
			return
		}
		moved := c.pending
		c.pending, c.working = make(map[netip.Addr]bool), true
		c.mu.Unlock()
		start := time.Now()
		// A table without entries need not be read: it is the same one for all namespaces, and large.
		if c.stats.entries() > 0 {
			c.delete(moved)
		}
		c.rest(time.Since(start))
	}
}

// Reading the whole table keeps a processor for as long as it takes, and handovers come in bursts: what comes meanwhile
// waits, so that this takes one part in restFactor of one processor at the most. The first of a burst does not wait.
const (
	restFactor = 20
	longestNap = time.Second
)

// rest waits after a pass that took so long, or until Close.
func (c *Table) rest(took time.Duration) {
	nap := time.NewTimer(min(restFactor*took, longestNap))
	defer nap.Stop()
	select {
	case <-nap.C:
	case <-c.end:
	}
}

// statistics asks ctnetlink how many connections the network namespace tracks. /proc would show the namespace of whatever
// thread looks. The answer says that more follows and nothing does, so that this takes a socket of its own.
type statistics struct{ fd int }

func openStatistics() (*statistics, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &statistics{fd}, nil
}

// entries gives that number. Where the kernel does not say, it is taken to be one.
func (s *statistics) entries() uint32 {
	const headerLen = 16 // struct nlmsghdr
	request := binary.NativeEndian.AppendUint32(nil, headerLen+4)
	request = binary.NativeEndian.AppendUint16(request, ctGetStats)
	request = binary.NativeEndian.AppendUint16(request, unix.NLM_F_REQUEST)
	request = append(request, make([]byte, 8)...) // sequence and port: the kernel knows whom to answer
	request = append(request, nfGenMsg()...)
	if err := unix.Sendto(s.fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 1
	}
	reply := make([]byte, 512)
	n, _, err := unix.Recvfrom(s.fd, reply, 0)
	if err != nil || n < headerLen+4 || binary.NativeEndian.Uint16(reply[4:]) != ctGetStats {
		return 1
	}
	ad, err := netlink.NewAttributeDecoder(reply[headerLen+4 : n])
	if err != nil {
		return 1
	}
	ad.ByteOrder = binary.BigEndian
	entries := uint32(1)
	for ad.Next() {
		if ad.Type() == ctGlobalEntries {
			entries = ad.Uint32()
		}
	}
	return entries
}

func (s *statistics) Close() { unix.Close(s.fd) }

// Entries gives how many connections the network namespace tracks, one where the kernel does not say.
func (c *Table) Entries() uint32 { return c.stats.entries() }

// delete goes once through the table and deletes what has one of the moved addresses at an end.
func (c *Table) delete(moved map[netip.Addr]bool) {
	all, err := c.list()
	if err != nil {
		c.failed.Add(1)
		return
	}
	for _, t := range all {
		if !moved[t.ends[0]] && !moved[t.ends[1]] && !moved[t.ends[2]] && !moved[t.ends[3]] {
			continue
		}
		if err := c.deleteOne(t); err != nil && err != unix.ENOENT {
			c.failed.Add(1)
			continue
		}
		c.deleted.Add(1)
	}
}

// tracked is one entry of the kernel's table.
type tracked struct {
	ends [4]netip.Addr // source and destination of the original direction, then of the reply
	orig []byte        // the original tuple as the kernel gave it
	id   []byte
	zone []byte
}

// nfGenMsg is struct nfgenmsg for IPv6.
func nfGenMsg() []byte { return []byte{unix.AF_INET6, unix.NFNETLINK_V0, 0, 0} }

func (c *Table) list() ([]tracked, error) {
	replies, err := c.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: ctGet, Flags: netlink.Request | netlink.Dump},
		Data:   nfGenMsg(),
	})
	if err != nil {
		return nil, err
	}
	all := make([]tracked, 0, len(replies))
	for _, m := range replies {
		if len(m.Data) < 4 || m.Data[0] != unix.AF_INET6 {
			continue
		}
		t, err := parseTracked(m.Data[4:])
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

func parseTracked(b []byte) (tracked, error) {
	var t tracked
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return t, err
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		switch ad.Type() {
		case ctTupleOrig:
			t.orig = ad.Bytes()
			ad.Nested(func(tuple *netlink.AttributeDecoder) error { return parseTuple(tuple, t.ends[0:2]) })
		case ctTupleReply:
			ad.Nested(func(tuple *netlink.AttributeDecoder) error { return parseTuple(tuple, t.ends[2:4]) })
		case ctID:
			t.id = ad.Bytes()
		case ctZone:
			t.zone = ad.Bytes()
		}
	}
	return t, ad.Err()
}

func parseTuple(tuple *netlink.AttributeDecoder, ends []netip.Addr) error {
	for tuple.Next() {
		if tuple.Type() != ctTupleIP {
			continue
		}
		tuple.Nested(func(ip *netlink.AttributeDecoder) error {
			for ip.Next() {
				switch ip.Type() {
				case ctSrc6:
					ends[0] = rtnl.AddrOf(ip.Bytes())
				case ctDst6:
					ends[1] = rtnl.AddrOf(ip.Bytes())
				}
			}
			return nil
		})
	}
	return nil
}

func (c *Table) deleteOne(t tracked) error {
	ae := netlink.NewAttributeEncoder()
	ae.Bytes(unix.NLA_F_NESTED|ctTupleOrig, t.orig)
	if t.id != nil {
		ae.Bytes(ctID, t.id)
	}
	if t.zone != nil {
		ae.Bytes(ctZone, t.zone)
	}
	b, err := ae.Encode()
	if err != nil {
		return err
	}
	_, err = c.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: ctDelete, Flags: netlink.Request | netlink.Acknowledge},
		Data:   append(nfGenMsg(), b...),
	})
	return err
}

// Counters yields how many entries were deleted, and how often that failed.
func (c *Table) Counters(yield func(name string, value uint64)) {
	if c == nil {
		return
	}
	yield("conntrack_deleted", c.deleted.Load())
	yield("conntrack_failed", c.failed.Load())
}
