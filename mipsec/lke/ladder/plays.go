package ladder

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// Maker makes the world of a topology.
type Maker func(t testing.TB, top Topology) World

// Names of the stations of most plays.
const (
	mn    = "MN"
	par   = "PAR"
	nar   = "NAR"
	third = "THIRD"
)

// threeLinks are a previous, a new and a third access router, all with LKE.
func threeLinks() []Link {
	return []Link{
		{Name: par, Number: 1, KeyExchange: true, Finished: true},
		{Name: nar, Number: 2, KeyExchange: true, Finished: true},
		{Name: third, Number: 3, KeyExchange: true, Finished: true},
	}
}

func roaming() Topology {
	return Topology{Links: threeLinks(), Nodes: []Node{{Name: mn, Number: 10}}}
}

// attach moves a node to a link and waits until it has an address there.
func attach(t testing.TB, w World, node, link string) netip.Addr {
	t.Helper()
	number := numberOf(link)
	w.Move(node, link)
	await(t, w, time.Minute, node+" has an address on "+link, func() bool {
		s := w.Node(node)
		return s.Usable && Prefix(number).Contains(s.CareOf)
	})
	return w.Node(node).CareOf
}

func numberOf(link string) byte {
	for _, l := range threeLinks() {
		if l.Name == link {
			return l.Number
		}
	}
	return 0
}

// associate waits until node and router of link both have a valid association for home.
func associate(t testing.TB, w World, node, link string, home netip.Addr, limit time.Duration) {
	t.Helper()
	await(t, w, limit, node+" and "+link+" have a valid association", func() bool {
		a, ok := association(w, link, home)
		b, known := nodeAssociation(w, node, home)
		return ok && known && a.State == "valid" && b.State == "valid"
	})
}

// bound waits until the router of link forwards home to careOf, has proof of it, and the node has its end of the tunnel.
func bound(t testing.TB, w World, node, link string, home, careOf netip.Addr, limit time.Duration) {
	t.Helper()
	await(t, w, limit, link+" forwards "+home.String()+" to "+careOf.String(), func() bool {
		a, ok := association(w, link, home)
		b, known := nodeAssociation(w, node, home)
		return ok && known && a.State == "bound" && a.CareOf == careOf && a.Verified && b.State == "bound" && b.CareOf == careOf
	})
	if got := w.Reaches(home); got != node {
		t.Errorf("LKE-AR-26: a packet to %v reaches %q, want %q", home, got, node)
	}
}

// rungs are messages of the figure, without those that this play does not look at.
func rungs(messages []Message, without ...string) (lines []string) {
	for _, m := range messages {
		if !slices.Contains(without, m.Name) {
			if m.Name == RouterAdvertisement || m.Name == RouterAdvertLKE {
				m.To = "*" // a router may tell the node alone that has asked (RFC 4861 section 6.2.6)
			}
			lines = append(lines, m.String())
		}
	}
	return lines
}

// Figure is the draft's figure 2.1: local key exchange between a mobile node and an access router, and the handover to
// another router.
func Figure(t *testing.T, make Maker) {
	top := roaming()
	top.HomeAgent = true
	top.Links[1].KeyExchange = false // "with or without LKE extension"
	w := make(t, top)

	pcoa := attach(t, w, mn, par)
	await(t, w, 3*time.Second, "the home agent has the care-of address", func() bool { return w.Node(mn).HomeBound })
	if got := w.Reaches(HomeAddress(10)); got != mn {
		t.Errorf("data traffic to the home address reaches %q, want %q", got, mn)
	}
	associate(t, w, mn, par, pcoa, 3*time.Second)
	w.Run(time.Second)
	t.Log("\n" + Draw(w.Transcript(), 40))
	want := []string{
		"PAR -> *: Router Advertisement with LKE extension",
		"MN -> HA: Binding Update", // LKE-MN-2
		"HA -> MN: Binding Acknowledgement",
		"MN -> PAR: Key Exchange Request",
		"PAR -> MN: Key Exchange Acknowledgement",          // LKE-AR-8
		"PAR -> *: DAD Neighbor Solicitation with request", // LKE-AR-12
		"MN -> *: Multicast DAD Neighbor Advertisement",    // LKE-MN-8
		"MN -> *: Multicast DAD Neighbor Advertisement",    // the same once more
	}
	first := w.Transcript()
	if got := rungs(first, RouterSolicitation, DADSolicitation); !slices.Equal(got, want) {
		t.Errorf("figure 2.1, exchange:\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	checkExchange(t, first)

	ncoa := attach(t, w, mn, nar)
	bound(t, w, mn, par, pcoa, ncoa, 3*time.Second)
	w.Run(time.Second)
	second := w.Transcript()[len(first):]
	t.Log("\n" + Draw(second, 40))
	want = []string{
		"NAR -> *: Router Advertisement",
		"MN -> PAR: Binding Update", // LKE-MN-11
		"MN -> HA: Binding Update",
		"PAR -> MN: Binding Acknowledgement", // LKE-AR-20, LKE-AR-22
		"PAR -> *: Neighbor Advertisement",   // it has the address now; no DAD: LKE-AR-23
		"HA -> MN: Binding Acknowledgement",
		"MN -> PAR: Finished", // LKE-MN-12, LKE-AR-25
	}
	got := rungs(second, RouterSolicitation, DADSolicitation)
	slices.Sort(got[3:])
	slices.Sort(want[3:])
	if !slices.Equal(got, want) {
		t.Errorf("figure 2.1, handover:\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	for _, m := range second {
		if m.From == par && (m.Name == DADRequest || m.Name == DADSolicitation) {
			t.Errorf("LKE-AR-23: %v", m)
		}
	}
	if got := w.Reaches(HomeAddress(10)); got != mn {
		t.Errorf("data traffic to the home address reaches %q, want %q", got, mn)
	}
}

// atOnce is what a busy machine may take between two packets that it sends in one go.
const atOnce = 20 * time.Millisecond

// checkExchange looks into the packets of an exchange.
func checkExchange(t testing.TB, messages []Message) {
	t.Helper()
	var request *ipv6.Packet
	for i, m := range messages {
		switch m.Name {
		case KeyExchangeRequest, KeyExchangeAck:
			if m.Packet.HopLimit != 255 || m.Packet.TrafficClass != 0xf0 || !m.Packet.Src.IsLinkLocalUnicast() ||
				!m.Packet.Dst.IsLinkLocalUnicast() {
				t.Errorf("LKE-AR-5, LKE-MN-4: %v is %+v", m, m.Packet)
			}
			if m.Name == KeyExchangeRequest {
				request = m.Packet
				continue
			}
			if m.Packet.RoutingHome != request.HomeAddress || m.Packet.Dst != request.Src {
				t.Errorf("LKE-AR-8, LKE-resolution-f: %+v in answer to %+v", m.Packet, request)
			}
			if i+1 == len(messages) || messages[i+1].Name != DADRequest || messages[i+1].At-m.At > atOnce {
				t.Error("LKE-AR-12: duplicate address detection does not follow at once")
			}
		}
	}
	if request == nil {
		t.Fatal("there is no request")
	}
}

// Defended is what follows the exchange in the draft: another station's duplicate address detection gets the cached
// advertisement, and the address is not taken from the node.
func Defended(t *testing.T, make Maker) {
	w := make(t, Topology{
		Links: threeLinks(),
		Nodes: []Node{{Name: mn, Number: 10, InterfaceID: 0xabcd}, {Name: "TWIN", Number: 11, InterfaceID: 0xabcd}},
	})
	addr := attach(t, w, mn, par)
	associate(t, w, mn, par, addr, 3*time.Second)
	var cached []byte
	for _, m := range w.Transcript() {
		if m.Name == DADReply {
			cached = m.Packet.Raw
		}
	}
	before := len(w.Transcript())
	w.Move("TWIN", par)
	w.Run(span(w, 10*time.Second, 3*time.Second))
	replayed := 0
	for _, m := range w.Transcript()[before:] {
		if m.Name == DADReply && m.From == par {
			replayed++
			if m.To != "*" || string(m.Packet.Raw) != string(cached) {
				t.Errorf("LKE-AR-17: %v is not the cached advertisement, unchanged", m)
			}
		}
	}
	if replayed == 0 {
		t.Errorf("LKE-AR-17: no cached advertisement was replayed\n%s", Draw(w.Transcript(), 40))
	}
	if s := w.Node("TWIN"); s.CareOf.IsValid() {
		t.Errorf("the twin has the address, too: %+v", s)
	}
	if a, ok := association(w, par, addr); !ok || a.State != "valid" || a.Node != Hardware(10) {
		t.Errorf("the association is %+v", a)
	}
	if got := w.Reaches(addr); got != mn {
		t.Errorf("the address reaches %q", got)
	}

	// After a binding update the router defends it itself (LKE-AR-18: the cached advertisement is gone).
	ncoa := attach(t, w, mn, nar)
	bound(t, w, mn, par, addr, ncoa, 3*time.Second)
	before = len(w.Transcript())
	w.Move("TWIN", third)
	w.Run(span(w, 5*time.Second, 3*time.Second))
	w.Move("TWIN", par)
	w.Run(span(w, 10*time.Second, 3*time.Second))
	for _, m := range w.Transcript()[before:] {
		if m.Name == DADReply && m.Packet.Src == addr {
			t.Errorf("LKE-AR-18: %v after the binding update", m)
		}
	}
	if got := w.Reaches(addr); got != mn {
		t.Errorf("the bound address reaches %q", got)
	}
}

// Roam takes a node from link to link and back: each address that it had stays reachable.
func Roam(t *testing.T, make Maker) {
	w := make(t, roaming())
	first := attach(t, w, mn, par)
	associate(t, w, mn, par, first, 3*time.Second)

	second := attach(t, w, mn, nar)
	bound(t, w, mn, par, first, second, 3*time.Second)
	associate(t, w, mn, nar, second, 5*time.Second)

	here := attach(t, w, mn, third)
	bound(t, w, mn, par, first, here, 3*time.Second)
	bound(t, w, mn, nar, second, here, 3*time.Second)
	associate(t, w, mn, third, here, 5*time.Second)

	before := len(w.Transcript())
	back := attach(t, w, mn, par)
	if back != first {
		t.Fatalf("address %v back on the first link, want %v", back, first)
	}
	await(t, w, 5*time.Second, "the first address is deregistered", func() bool {
		a, ok := association(w, par, first)
		b, known := nodeAssociation(w, mn, first)
		return ok && known && a.State == "valid" && b.State == "valid"
	})
	bound(t, w, mn, nar, second, first, 5*time.Second)
	bound(t, w, mn, third, here, first, 5*time.Second)
	for _, addr := range []netip.Addr{first, second, here} {
		if got := w.Reaches(addr); got != mn {
			t.Errorf("%v reaches %q, want the node", addr, got)
		}
	}
	for _, m := range w.Transcript()[before:] {
		if m.Name == KeyExchangeRequest {
			t.Errorf("LKE-resolution-p: %v for an address whose association lives", m)
		}
	}
	w.Run(span(w, 30*time.Second, 4*time.Second))
	if a, ok := association(w, par, first); !ok || a.State != "valid" {
		t.Errorf("the association after the return is %+v", a)
	}

	// And away once more: the association that was kept is good for the next handover.
	again := attach(t, w, mn, nar)
	if again != second {
		t.Fatalf("address %v back on the second link, want %v", again, second)
	}
	bound(t, w, mn, par, first, second, 3*time.Second)
	bound(t, w, mn, third, here, second, 3*time.Second)
}

// Hasty moves a node before the router's duplicate address detection is over. The router knows no association yet when the
// first binding update comes and refuses it (LKE-AR-27); a later one is taken.
func Hasty(t *testing.T, make Maker) {
	w := make(t, roaming())
	pcoa := attach(t, w, mn, par)
	await(t, w, 3*time.Second, "the node has answered", func() bool {
		a, known := nodeAssociation(w, mn, pcoa)
		return known && a.State == "dad"
	})
	ncoa := attach(t, w, mn, nar)
	bound(t, w, mn, par, pcoa, ncoa, 5*time.Second)
	refused := 0
	for _, m := range w.Transcript() {
		if m.Name == BindingError {
			refused++
		}
	}
	if refused == 0 {
		t.Error("LKE-AR-27: no binding update was refused: the node was not hasty")
	}
}

// Renewed keeps a node on one link for several lifetimes: there is a valid association at each moment (LKE-MN-10).
func Renewed(t *testing.T, make Maker) {
	w := make(t, roaming())
	addr := attach(t, w, mn, par)
	associate(t, w, mn, par, addr, 3*time.Second)
	first, _ := association(w, par, addr)
	for range 130 {
		w.Run(time.Minute)
		if a, ok := association(w, par, addr); !ok || a.State != "valid" || !a.Expires.After(w.Now()) {
			t.Fatalf("LKE-MN-10: association %+v at %v", a, w.Now())
		}
	}
	last, _ := association(w, par, addr)
	if !last.Expires.After(first.Expires.Add(time.Hour)) {
		t.Errorf("LKE-MN-10: expires at %v, at first %v", last.Expires, first.Expires)
	}
	// Off the link it is not renewed and ends (LKE-AR-27).
	ncoa := attach(t, w, mn, nar)
	bound(t, w, mn, par, addr, ncoa, 3*time.Second)
	w.Run(2 * time.Hour)
	if a, ok := association(w, par, addr); ok {
		t.Errorf("LKE-AR-27: %+v outlived its lifetime", a)
	}
	if got := w.Reaches(addr); got != "" {
		t.Errorf("the expired address still reaches %q", got)
	}
}

// Crowd attaches many nodes at once and moves all of them at once: every one gets its association and its binding.
func Crowd(t *testing.T, make Maker, nodes int) {
	top := Topology{Links: threeLinks()}
	top.Links[1].KeyExchange = false
	for i := range nodes {
		top.Nodes = append(top.Nodes, Node{Name: "N" + string(rune('0'+i/100)) + string(rune('0'+i/10%10)) + string(rune('0'+i%10)), Number: uint16(100 + i)})
	}
	w := make(t, top)
	for _, n := range top.Nodes {
		w.Move(n.Name, par)
	}
	count := func(state string) (c int) {
		for _, a := range w.Router(par) {
			if a.State == state && (state != "bound" || a.Verified) {
				c++
			}
		}
		return c
	}
	await(t, w, time.Minute, "all associations are valid", func() bool { return count("valid") == nodes })
	w.Run(5 * time.Second)
	homes := map[string]netip.Addr{}
	for _, n := range top.Nodes {
		homes[n.Name] = w.Node(n.Name).CareOf
		w.Move(n.Name, nar)
	}
	await(t, w, 10*time.Second, "all addresses are forwarded", func() bool { return count("bound") == nodes })
	for _, n := range top.Nodes {
		if got := w.Reaches(homes[n.Name]); got != n.Name {
			t.Errorf("%v reaches %q, want %q", homes[n.Name], got, n.Name)
		}
	}
}
