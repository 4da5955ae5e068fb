package e2e

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// bad is a world with something to lose: a node with a valid association, and one whose binding stands.
type bad struct {
	*world
	victim, roamer *rig.Node
	asleep         *rig.Node // the kernel's neighbour cache has its address

	request, update, finished []byte // what the nodes have sent, to be replayed
}

func newBad(t *testing.T) *bad {
	b := &bad{world: newWorld(t)}
	// A packet can be longer than any that the daemon takes.
	check(t, b.cell.SetMTU("cell0", 9000))
	check(t, b.router.SetMTU("lan0", 9000))
	check(t, b.up.SetMTU("up0", 9000))
	check(t, b.router.SetMTU("wan0", 9000))
	b.victim, b.roamer, b.asleep = b.node(), b.node(), b.node()
	check(t, b.router.AddNeighbour("lan0", b.asleep.Home, b.asleep.Hardware))
	b.start()
	for _, n := range []*rig.Node{b.victim, b.roamer} {
		b.nodes.attach(n)
		data, err := n.Encrypt(&b.d.Key.PublicKey)
		check(t, err)
		b.request = n.KeyRequest(data)
		b.nodes.send(n.Hardware, b.access.Hardware, b.request)
		b.await("a valid association", func(s control.Snapshot) bool { return stateOf(s, n) == "valid" })
	}
	b.nodes.detach(b.roamer)
	mark := b.away.mark()
	b.update = b.roamer.Update(1000)
	b.fromAway(b.update)
	_, ack := b.acknowledgement(mark, b.roamer)
	b.finished = b.roamer.Finished(ack)
	b.fromAway(b.finished)
	b.await("a confirmed binding", func(s control.Snapshot) bool {
		a := association(s, b.roamer)
		return a.Binding != nil && a.Binding.Verified
	})
	b.nodes.detach(b.victim) // it is silent from now on
	return b
}

// draft is a packet with a mobility header that is made piece by piece.
type draft struct {
	from, to ipv6.LinkAddr
	ipv6.Header
	mh     []byte
	forged bool                // the checksum stays as it is
	bend   func([]byte) []byte // the last thing that is done to the octets
}

func (d *draft) octets() []byte {
	src, dst := d.Src, d.Dst
	if d.HomeAddress.IsValid() {
		src = d.HomeAddress
	}
	if d.RoutingHome.IsValid() {
		dst = d.RoutingHome
	}
	if !d.forged {
		mobility.FixChecksum(d.mh, src, dst)
	}
	packet := ipv6.Append(nil, d.Header, ipv6.ProtoMobility, d.mh)
	if d.bend != nil {
		packet = d.bend(packet)
	}
	return packet
}

// asRequest is a Key Exchange Request of n that lacks nothing but a key that can be decrypted.
func (b *bad) asRequest(n *rig.Node) *draft {
	return b.asRequestWith(n, b.ciphertext(), 3600)
}

func (b *bad) asRequestWith(n *rig.Node, data []byte, lifetime uint16) *draft {
	n.Seq++
	return &draft{
		from: n.Hardware, to: b.access.Hardware,
		Header: ipv6.Header{Src: n.Local, Dst: b.access.Local, TrafficClass: 0xf0, HopLimit: 255, HomeAddress: n.Home},
		mh:     mobility.KeyExchangeRequest{Seq: n.Seq, Data: data, Lifetime: lifetime}.Append(nil, mobility.DefaultCodePoints()),
	}
}

// ciphertext is below the modulus, and no encrypted key.
func (b *bad) ciphertext() []byte {
	data := make([]byte, b.d.Key.Size())
	rand.Read(data[1:])
	return data
}

// asUpdate is a Binding Update of n with what the test changes in it, signed.
func (b *bad) asUpdate(n *rig.Node, change func(*mobility.BindingUpdate)) *draft {
	m := mobility.BindingUpdate{Seq: n.Seq + 1, Flags: mobility.FlagAck | mobility.FlagHome, Lifetime: 100, HasAuth: true}
	if change != nil {
		change(&m)
	}
	d := b.fromCareOf(n, m.Append(nil))
	return d.sign(n)
}

// fromCareOf is a mobility header of n's from where it is now.
func (b *bad) fromCareOf(n *rig.Node, mh []byte) *draft {
	return &draft{
		from: b.away.wire.Hardware, to: b.wanHW,
		Header: ipv6.Header{Src: n.CareOf, Dst: routerAddr, HopLimit: 64, HomeAddress: n.Home}, mh: mh,
	}
}

// sign puts the authenticator in, which covers the addresses as they are now.
func (d *draft) sign(n *rig.Node) *draft {
	if err := mobility.SignBAD(d.mh, n.Key[:], d.Src, d.Dst); err != nil {
		panic(err) // the option is there
	}
	return d
}

// row is one way to be bad.
type row struct {
	name    string
	counter string // the one that counts each packet; empty where the kernel's filter already turns them away
	via     func(*bad) *station
	make    func(b *bad) *draft
	n       int // packets; 0: three

	// share names counters that count each packet, too: it was answered, or not because there were too many answers. answer
	// matches an answer.
	share  []string
	answer func(*heard) bool
}

func cell(b *bad) *station { return b.nodes }
func away(b *bad) *station { return b.away }

// run sends the row's packets and looks at everything that must and must not have happened.
func (r *row) run(b *bad) {
	t := b.t
	t.Helper()
	n := r.n
	if n == 0 {
		n = 3
	}
	before, _ := b.status()
	nodes, far := b.nodes.mark(), b.away.mark()
	for range n {
		d := r.make(b)
		r.via(b).send(d.from, d.to, d.octets())
	}
	b.fence()
	after := before
	counted := func(moved map[string]int64) (sum int64) {
		for _, name := range r.share {
			sum += moved[name]
		}
		return sum
	}
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		after, _ = b.status()
		moved := changes(before, after)
		if r.counter == "" || moved[r.counter] >= int64(n) && (r.share == nil || counted(moved) >= int64(n)) {
			break
		}
	}
	b.fence() // the daemon's answers, too
	moved := changes(before, after)
	answered := int64(0)
	if r.share != nil {
		answered = moved[r.share[0]]
		if sum := counted(moved); sum != int64(n) {
			t.Errorf("%v count %d of %d", r.share, sum, n)
		}
		for _, name := range r.share {
			delete(moved, name)
		}
	}
	want := map[string]int64{r.counter: int64(n)}
	if r.counter == "" {
		want = map[string]int64{}
	}
	// Exactly the counter with that name, and none beside it: engine, bindings, journal and all else are as before.
	if !maps.Equal(moved, want) {
		t.Errorf("counters moved: %v, want %v", moved, want)
	}
	if was, is := state(before), state(after); was != is {
		t.Errorf("state was\n%s\nand is\n%s", was, is)
	}
	// The kernel itself is silent, and so is the daemon but for answers that are due.
	said := append(b.nodes.since(nodes, b.answering), b.away.since(far, b.answering)...)
	said = slices.DeleteFunc(said, func(h heard) bool {
		if r.answer != nil && r.answer(&h) {
			answered--
			return true
		}
		return false
	})
	for _, h := range said {
		t.Errorf("the router says %x from %v to %v", h.Payload[:min(len(h.Payload), 24)], h.Src, h.Dst)
	}
	if answered != 0 {
		t.Errorf("%d more answers are counted than were heard", answered)
	}
}

// answering matches what may be an answer to a bad packet: errors of ICMPv6, and mobility headers, of the router itself.
func (b *bad) answering(h *heard) bool {
	itself := h.Src == routerAddr || h.Src == wanAddr || h.Src.IsLinkLocalUnicast()
	return itself && (icmpError(h) || h.Proto == ipv6.ProtoMobility)
}

// state is what a bad packet must not change, as text.
func state(s control.Snapshot) string {
	var text bytes.Buffer
	for _, a := range s.LBSAs.List {
		binding := control.Binding{}
		if a.Binding != nil {
			binding = *a.Binding
			binding.Expires = 0
		}
		a.Expires, a.Binding = 0, nil
		fmt.Fprintf(&text, "%+v %+v\n", a, binding)
	}
	for _, h := range s.Handovers {
		h.Age = 0
		fmt.Fprintf(&text, "%+v\n", h)
	}
	return text.String()
}

// TestBadInput sends what is wrong, one thing at a time, to a router that has nodes.
func TestBadInput(t *testing.T) {
	t.Parallel()
	b := newBad(t)
	// Each row differs in one thing from what is right: that is taken, and costs an RSA operation.
	t.Run("nothing wrong", func(t *testing.T) {
		b.t = t
		before, _ := b.status()
		good := b.asRequest(b.node())
		b.nodes.send(good.from, good.to, good.octets())
		b.await("the request to be taken, and its DAD to fail", func(s control.Snapshot) bool {
			moved := changes(before, s)
			return moved["lke/requests_taken"] == 1 && moved["lke/dad_unanswered"] == 1 && moved["engine/engine_submitted"] == 1
		})
	})
	groups := []struct {
		name string
		rows []row
	}{
		{"request", requestRows()}, {"addresses of requests", claimRows()}, {"headers before a request", headerRows()},
		{"neighbour discovery", neighbourRows()}, {"update", updateRows()}, {"finished", finishedRows()}, {"mobility header", strangeRows()},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			for _, r := range g.rows {
				t.Run(r.name, func(t *testing.T) {
					b.t = t
					r.run(b)
				})
			}
		})
	}
	b.t = t
}

// TestKernelAnswersWithoutTheDaemon shows that the silence above is worth something: without the daemon's table this kernel
// answers the same packets.
func TestKernelAnswersWithoutTheDaemon(t *testing.T) {
	t.Parallel()
	b := &bad{world: newWorld(t)}
	b.start()
	b.d.Kill()
	if out, err := b.router.Run(5*time.Second, built.roamkeyd, "cleanup", "-c", b.options.Dir+"/config"); err != nil {
		t.Fatal(out, err)
	}
	n := b.node()
	for name, d := range map[string]*draft{"update": b.asUpdate(n, nil), "request": b.asRequest(n)} {
		nodes, far := b.nodes.mark(), b.away.mark()
		via := b.away
		if name == "request" {
			via = b.nodes
		}
		b.nodes.attach(n) // its address has to be found for an answer
		via.send(d.from, d.to, d.octets())
		eventually(t, "the kernel's Parameter Problem for the "+name, func() bool {
			problem := icmpType(icmpParameterProblem)
			return len(b.nodes.since(nodes, problem))+len(b.away.since(far, problem)) > 0
		})
	}
}
