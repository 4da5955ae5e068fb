package hold

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/drivers/conntrack/conntracktest"
	"github.com/roamkey/roamkey/drivers/rtnl"
	"github.com/roamkey/roamkey/ipv6"
)

// A flow goes on while its packets are held, drained, and sent directly again: none is lost, doubled, or out of its place.
func TestNoPacketIsLostOrReordered(t *testing.T) {
	for _, c := range []struct{ perSecond, rounds, percent int }{{1000, 5, 200}, {3000, 5, 300}} {
		t.Run(fmt.Sprint(c.perSecond), func(t *testing.T) {
			n := newNetwork(t)
			h := n.open(Config{PacketsPerNode: 2000, OctetsPerNode: 4 << 20, DrainPercent: c.percent})
			n.explain(h)
			r, s := n.receive(node), n.packets(node, 200)
			stop := s.flow(c.perSecond)
			r.await(10)
			for range c.rounds {
				before := netlabtest.Counter(t, h, "held")
				n.must(h.Hold(node, false))
				netlabtest.Await(t, "packets are held", func() bool {
					return netlabtest.Counter(t, h, "held")-before >= uint64(c.perSecond/25)
				})
				n.must(h.Drain(node))
				n.drained(h, node)
				at := r.count() // the flow goes its usual way for a while
				r.await(at + 10)
			}
			r.orderly(int(stop()))
			if drained := netlabtest.Counter(t, h, "drained"); drained >= uint64(r.count()) {
				t.Errorf("%d of %d packets were drained: none went its usual way", drained, r.count())
			}
		})
	}
}

// RFC 5568 section 4.5 has the queue sent at the rate at which packets arrive: that of a flow that goes on does not get
// shorter, and what arrives queues behind.
func TestDrainFactor(t *testing.T) {
	for _, percent := range []int{100, 200} {
		t.Run(fmt.Sprint(percent), func(t *testing.T) {
			n := newNetwork(t)
			h := n.open(Config{PacketsPerNode: 1000, OctetsPerNode: 4 << 20, DrainPercent: percent})
			n.explain(h)
			r, s := n.receive(node), n.packets(node, 200)
			n.must(h.Hold(node, false))
			stop := s.flow(1000)
			netlabtest.Await(t, "100 packets are kept", func() bool {
				s, _ := h.status(node)
				return s.Packets >= 100
			})
			if r.count() != 0 {
				t.Fatalf("%d packets arrived that are held", r.count())
			}
			n.must(h.Drain(node))
			if percent > 100 {
				n.drained(h, node)
				r.orderly(int(stop()))
				return
			}
			r.await(400)
			if s, _ := h.status(node); s.Packets < 50 || !s.Draining {
				t.Errorf("400 packets later %d are kept of 100: %+v", s.Packets, s)
			}
			sent := stop()
			n.drained(h, node) // nothing arrives: the queue empties
			r.orderly(int(sent))
		})
	}
}

// arriving captures what arrives at mn.
func (n *network) arriving() func(text string) []byte {
	n.t.Helper()
	c := netlabtest.Capture(n.t, n.mn)
	return func(text string) []byte {
		n.t.Helper()
		for end := time.Now().Add(netlabtest.Patience); ; {
			p, err := c.Next(time.Until(end))
			n.must(err)
			if p == nil {
				n.t.Fatalf("%q did not arrive", text)
			}
			if strings.HasSuffix(string(p), text) && p[6] == 17 {
				return p
			}
		}
	}
}

func udp(src, dst netip.Addr, hopLimit uint8, text string) []byte {
	b := make([]byte, 8, 8+len(text))
	binary.BigEndian.PutUint16(b[0:], 4000)
	binary.BigEndian.PutUint16(b[2:], port)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(text)))
	b = append(b, text...)
	binary.BigEndian.PutUint16(b[6:], ipv6.Checksum(src, dst, 17, b))
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: hopLimit}, 17, b)
}

// What was held leaves as if it had passed this router once; a packet that may go no further is answered and not held; and one
// of the router's own leaves with the hop limit it has.
func TestHeldPacketsPassOneRouter(t *testing.T) {
	n := newNetwork(t)
	h := n.open(Config{})
	n.receive(node)
	next, back := n.arriving(), netlabtest.Capture(t, n.cn)
	n.must(n.cn.Inject(udp(peer, node, 64, "direct"), ""))
	if p := next("direct"); p[7] != 63 {
		t.Fatalf("hop limit %d", p[7])
	}
	n.must(h.Hold(node, false))
	n.must(n.cn.Inject(udp(peer, node, 64, "held"), ""))
	n.must(n.cn.Inject(udp(peer, node, 2, "near its end"), ""))
	n.must(n.ar.Inject(udp(router, node, 64, "of the router"), ""))
	n.kept(h, node, 3)
	n.must(n.cn.Inject(udp(peer, node, 1, "at its end"), ""))
	for end := time.Now().Add(netlabtest.Patience); ; {
		p, err := back.Next(time.Until(end))
		n.must(err)
		if p == nil {
			t.Fatal("no Time Exceeded arrived")
		}
		if p[6] == ipv6.ProtoICMPv6 && p[40] == 3 {
			break
		}
	}
	n.must(h.Drain(node))
	for _, want := range []struct {
		text  string
		limit uint8
	}{{"held", 63}, {"near its end", 1}, {"of the router", 64}} {
		if p := next(want.text); p[7] != want.limit {
			t.Errorf("%q has hop limit %d, want %d", want.text, p[7], want.limit)
		}
	}
	n.drained(h, node)
	if got := netlabtest.Counter(t, h, "held"); got != 3 {
		t.Errorf("%d packets were held", got)
	}
}

// What is drained goes by the routes of that moment: into the tunnel that the node has by then.
func TestDrainedPacketsTakeTheNewWay(t *testing.T) {
	n := newNetwork(t)
	h := n.open(Config{})
	r, s := n.receive(node), n.packets(node, 300)
	n.must(h.Hold(node, false))
	s.send(20)
	n.kept(h, node, 20)
	n.must(n.mn.SetDown("wl0"))
	n.must(n.mn.AddAddress("wl1", netip.PrefixFrom(node, 128)))
	n.must(n.ar.AddRoute(netip.PrefixFrom(node, 128), newHome, "lan1"))
	n.must(n.mn.AddRoute(netip.PrefixFrom(netip.IPv6Unspecified(), 0), netip.MustParseAddr("2001:db8:2::1"), "wl1"))
	n.must(h.Drain(node))
	n.drained(h, node)
	r.orderly(20)
}

// Whether a packet is too big is for the way that it takes in the end, and its source hears of it.
func TestTooBig(t *testing.T) {
	n := newNetwork(t)
	h := n.open(Config{})
	r, s := n.receive(node), n.packets(node, 1400)
	back := netlabtest.Capture(t, n.cn)
	n.must(h.Hold(node, false))
	s.send(1)
	n.kept(h, node, 1)
	n.must(n.ar.SetMTU("lan0", 1300))
	n.must(h.Drain(node))
	for end := time.Now().Add(netlabtest.Patience); ; {
		p, err := back.Next(time.Until(end))
		n.must(err)
		if p == nil {
			t.Fatal("no Packet Too Big arrived")
		}
		if p[6] == ipv6.ProtoICMPv6 && p[40] == 2 {
			if mtu := binary.BigEndian.Uint32(p[44:]); mtu != 1300 {
				t.Errorf("MTU %d", mtu)
			}
			break
		}
	}
	if r.count() != 0 {
		t.Error("the packet arrived all the same")
	}
}

func TestCopiesArriveAtOnce(t *testing.T) {
	n := newNetwork(t)
	h := n.open(Config{})
	r, s := n.receive(node), n.packets(node, 300)
	n.must(h.Hold(node, true))
	s.send(30)
	r.orderly(30)
	n.kept(h, node, 30)
	n.must(h.Drain(node))
	n.drained(h, node)
	r.await(60)
	if got := r.numbers(); !slices.Equal(got, append(upTo(0, 30), upTo(0, 30)...)) {
		t.Errorf("arrived: %v", got)
	}
}

func TestTwoHolds(t *testing.T) {
	n := newNetwork(t)
	h := n.open(Config{})
	r, s := n.receive(node), n.packets(node, 300)
	rTwo, sTwo := n.receive(nodeTwo), n.packets(nodeTwo, 300)
	n.must(h.Hold(node, false))
	n.must(h.Hold(nodeTwo, false))
	s.send(20)
	sTwo.send(30)
	n.kept(h, node, 20)
	n.kept(h, nodeTwo, 30)
	n.must(h.Drain(nodeTwo))
	n.drained(h, nodeTwo)
	rTwo.orderly(30)
	if r.count() != 0 {
		t.Error("packets of the other arrived, too")
	}
	n.must(h.Discard(node))
	s.send(1)
	r.await(1)
	if got := r.numbers(); !slices.Equal(got, []uint32{20}) {
		t.Errorf("after a discard arrived: %v", got)
	}
	if got := netlabtest.Counter(t, h, "discarded"); got != 20 {
		t.Errorf("discarded = %d", got)
	}
	n.must(h.Discard(node))
	select {
	case a := <-h.Drained():
		t.Errorf("told that %s is drained", a)
	case <-time.After(5 * time.Millisecond):
	}
	n.must(h.Drain(node)) // nothing is held: it is drained
	n.drained(h, node)
	n.must(h.Drain(node))
	n.must(h.Hold(node, false)) // who was not told yet is not told of the hold before
	select {
	case a := <-h.Drained():
		t.Errorf("told that %s is drained, which is held", a)
	case <-time.After(5 * time.Millisecond):
	}
}

// A hold does not end while a packet stands in the device that nobody has read.
func TestAHoldEndsWhenTheDeviceIsEmpty(t *testing.T) {
	n := newNetwork(t)
	h := n.open(Config{})
	r, s := n.receive(node), n.packets(node, 300)
	n.must(h.Hold(node, false))
	s.send(20)
	n.kept(h, node, 20)
	n.must(h.Drain(node))
	h.mu.Lock()
	held := h.buffer.holds[node]
	h.buffer.emit(held, held.queue.n)
	held.empty = 1           // long ago: there is no more waiting for a quiet moment
	held.pace.next = 1 << 60 // and nothing is due
	s.send(3)
	time.Sleep(2 * time.Millisecond) // they are in the device: the reader waits for the lock
	h.finish(held)
	if held.state != draining || held.queue.n != 3 {
		t.Errorf("state %d, %d packets queued", held.state, held.queue.n)
	}
	held.pace.next = 0
	h.buffer.schedule(held, 0)
	h.alarm()
	h.mu.Unlock()
	n.drained(h, node)
	r.orderly(23)
}

func TestAThousandHolds(t *testing.T) {
	n := newNetwork(t)
	h := n.open(Config{Octets: 1 << 24})
	n.must(n.ar.AddRoute(netip.MustParsePrefix("2001:db8:99::/64"), node, "lan0"))
	const many = 1000
	address := func(i int) netip.Addr {
		b := netip.MustParseAddr("2001:db8:99::").As16()
		b[14], b[15] = byte(i>>8), byte(i)
		return netip.AddrFrom16(b)
	}
	begin := time.Now()
	for i := 1; i <= many; i++ {
		n.must(h.Hold(address(i), false))
	}
	each := time.Since(begin) / many
	s := n.packets(node, 100)
	for i := 1; i <= many; i++ {
		s.dst.Addr = address(i).As16()
		s.send(2)
		if i%100 == 0 {
			netlabtest.Await(t, "the packets are held", func() bool { return netlabtest.Counter(t, h, "held") == uint64(2*i) })
		}
	}
	for i := 1; i <= many; i++ {
		n.must(h.Drain(address(i)))
	}
	told := make(map[netip.Addr]bool)
	for len(told) < many {
		select {
		case a := <-h.Drained():
			told[a] = true
		case <-time.After(netlabtest.Patience):
			t.Fatalf("%d of %d were drained", len(told), many)
		}
	}
	if got := netlabtest.Counter(t, h, "drained"); got != 2*many {
		t.Errorf("drained = %d", got)
	}
	t.Logf("%v for each hold", each)
}

// marks lists what the driver has in ar: its device, rules and routes.
func (n *network) marks() (all []string) {
	n.t.Helper()
	n.must(n.ar.Do(func() error {
		nl, err := rtnl.Dial()
		if err != nil {
			return err
		}
		defer nl.Close()
		devices, err := nl.Devices()
		for _, d := range devices {
			if d.Alias == rtnl.HoldAlias {
				all = append(all, "device "+d.Name)
			}
		}
		n.must(err)
		rules, err := nl.Rules()
		for _, ru := range rules {
			all = append(all, ru.String())
		}
		n.must(err)
		routes, err := nl.Routes()
		for _, rt := range routes {
			all = append(all, fmt.Sprintf("route to %s in table %d", rt.Dst.Addr(), rt.Table))
		}
		return err
	}))
	return all
}

var (
	markDevice = "device rkhold0"
	markRule   = "routing rule not iif rkhold0 lookup 8282"
	markRoute  = "route to " + node.String() + " in table 8282"
)

func (n *network) marked(want ...string) {
	n.t.Helper()
	if got := n.marks(); !slices.Equal(got, want) {
		n.t.Errorf("there is %q, want %q", got, want)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	n := newNetwork(t)
	h := n.open(Config{})
	n.marked(markDevice, markRule)
	n.must(h.Hold(node, false))
	n.marked(markDevice, markRule, markRoute)
	r, s := n.receive(node), n.packets(node, 100)
	s.send(5)
	n.kept(h, node, 5)
	// Another process is not let in, and takes nothing away.
	err := n.ar.Do(func() error {
		_, err := Open(Config{})
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("a second one: %v", err)
	}
	n.marked(markDevice, markRule, markRoute)
	n.must(h.Close())
	n.marked()
	s.send(1)
	r.await(1)
	if got := r.numbers(); !slices.Equal(got, []uint32{5}) {
		t.Errorf("arrived: %v", got)
	}
	n.must(h.Close())
	for what, err := range map[string]error{"hold": h.Hold(node, false), "drain": h.Drain(node), "discard": h.Discard(node)} {
		if err == nil {
			t.Errorf("%s when closed is taken", what)
		}
	}
	netlabtest.Counter(t, h, "held")
}

func TestARemovedDevice(t *testing.T) {
	n := newNetwork(t)
	h := n.open(Config{})
	n.must(h.Hold(node, false))
	n.must(n.ar.DeleteLink(DefaultDevice))
	netlabtest.Await(t, "it sees that the device is gone", func() bool { return h.Hold(node, false) == errGone })
	r, s := n.receive(node), n.packets(node, 100)
	s.send(1)
	r.await(1)
	n.must(h.Drain(node))
	n.drained(h, node)
	n.must(h.Close())
	n.marked()
}

const crashEnv = "HOLD_TEST_CRASH"

// crash holds an address until it is killed.
func crash() int {
	h, err := Open(Config{})
	if err == nil {
		err = h.Hold(node, false)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("holds")
	select {}
}

// A process that is killed leaves a routing rule, which leads nowhere: packets go their usual way. Open and Cleanup remove it.
func TestACrashBlocksNothing(t *testing.T) {
	n := newNetwork(t)
	r, s := n.receive(node), n.packets(node, 100)
	die := func() {
		t.Helper()
		var c *exec.Cmd
		n.must(n.ar.Do(func() error {
			c = exec.Command("/proc/self/exe")
			c.Env = append(os.Environ(), crashEnv+"=1")
			out, err := c.StdoutPipe()
			if err != nil {
				return err
			}
			if err := c.Start(); err != nil {
				return err
			}
			b := make([]byte, 200)
			l, _ := out.Read(b)
			if string(b[:l]) != "holds\n" {
				return fmt.Errorf("the process said %q", b[:l])
			}
			return nil
		}))
		n.marked(markDevice, markRule, markRoute)
		before := r.count()
		s.send(1)
		time.Sleep(5 * time.Millisecond)
		if r.count() != before {
			t.Error("it holds nothing")
		}
		n.must(c.Process.Kill())
		_ = c.Wait()
		netlabtest.Await(t, "the device is gone", func() bool { return len(n.marks()) == 1 })
		n.marked(markRule)
		s.send(3)
		r.await(before + 3)
	}
	die()
	h := n.open(Config{Device: "rkhold7"})
	n.marked("device rkhold7", "routing rule not iif rkhold7 lookup 8282")
	n.must(h.Close())
	n.marked()
	die()
	// What a mobile node's or a router's own tunnels would have is not ours to remove.
	others := rtnl.Rule{From: node, Table: 8200, Priority: rtnl.RulePriority}
	other := func(do func(*rtnl.Conn, rtnl.Rule) error) {
		n.must(n.ar.Do(func() error {
			nl, err := rtnl.Dial()
			if err != nil {
				return err
			}
			defer nl.Close()
			return do(nl, others)
		}))
	}
	other((*rtnl.Conn).AddRule)
	var removed []string
	n.must(n.ar.Do(func() (err error) {
		removed, err = Cleanup()
		return err
	}))
	if !slices.Equal(removed, []string{markRule}) {
		t.Errorf("removed %q", removed)
	}
	n.marked(others.String())
	other((*rtnl.Conn).DeleteRule)
}

// TestFlowsComeAndGo: an entry of connection tracking would hold a flow on the way it was handed to hardware for.
func TestFlowsComeAndGo(t *testing.T) {
	n := newNetwork(t)
	h := n.open(Config{})
	if h.ct == nil {
		t.Skip("this kernel tracks no connections")
	}
	track := func() { n.must(n.ar.Do(func() error { return conntracktest.Track(peer, node, 4000) })) }
	deleted := func(want uint64) {
		t.Helper()
		h.ct.Wait()
		if got := netlabtest.Counter(t, h, "conntrack_deleted"); got != want {
			t.Errorf("conntrack_deleted = %d, want %d", got, want)
		}
	}
	track()
	n.must(h.Hold(node, false))
	deleted(1)
	track()
	n.must(h.Drain(node))
	n.drained(h, node)
	deleted(2)
	track()
	n.must(h.Hold(node, false))
	deleted(3)
	track()
	n.must(h.Discard(node))
	deleted(4)
}

func TestBoundsInTheKernelsWay(t *testing.T) {
	n := newNetwork(t)
	h := n.open(Config{PacketsPerNode: 10})
	r, s := n.receive(node), n.packets(node, 1400)
	n.must(h.Hold(node, false))
	s.send(25)
	n.kept(h, node, 10)
	netlabtest.Await(t, "15 are dropped", func() bool { return netlabtest.Counter(t, h, "dropped_node_packets") == 15 })
	if s, _ := h.status(node); s.Octets != 14000 || s.Dropped != 15 || s.Since.IsZero() {
		t.Errorf("status %+v", s)
	}
	n.must(h.Drain(node))
	n.drained(h, node)
	r.orderly(10)
}

// What the kernel says on any new device, it does not say on this one: the device is for held packets.
func TestTheDeviceIsSilent(t *testing.T) {
	n := newNetwork(t)
	n.open(Config{})
	for _, c := range []struct{ name, want string }{{"accept_ra", "0"}, {"forwarding", "1"}, {"addr_gen_mode", "1"}} {
		if got, err := n.ar.Sysctl("net/ipv6/conf/rkhold0/" + c.name); err != nil || strings.TrimSpace(got) != c.want {
			t.Errorf("%s is %q, %v", c.name, got, err)
		}
	}
}

// TestFrozenPacketsWait: what was copied stays while more packets go their usual way, and is sent when it is asked for, or not
// at all.
func TestFrozenPacketsWait(t *testing.T) {
	for _, wanted := range []bool{true, false} {
		n := newNetwork(t)
		h := n.open(Config{})
		r, s := n.receive(node), n.packets(node, 300)
		n.must(h.Hold(node, true))
		s.send(20)
		r.orderly(20)
		n.must(h.Freeze(node))
		n.must(h.Freeze(node))
		s.send(10)
		r.orderly(30)
		n.kept(h, node, 20)
		if !wanted {
			n.must(h.Discard(node))
			n.kept(h, node, 0)
			s.send(1)
			r.orderly(31)
			continue
		}
		n.must(h.Drain(node))
		n.drained(h, node)
		r.await(50)
		if got := r.numbers(); !slices.Equal(got, append(upTo(0, 30), upTo(0, 20)...)) {
			t.Errorf("arrived: %v", got)
		}
		// A hold after that is a new one.
		n.must(h.Hold(node, false))
		s.send(5)
		n.kept(h, node, 5)
	}
}
