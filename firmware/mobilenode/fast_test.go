package mobilenode_test

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/drivers/forward"
	tunnelfake "github.com/roamkey/roamkey/drivers/forward/fake"
	neighborsfake "github.com/roamkey/roamkey/drivers/neighbors/fake"
	"github.com/roamkey/roamkey/drivers/rawip"
	"github.com/roamkey/roamkey/drivers/rawip/fake"
	"github.com/roamkey/roamkey/drivers/station"
	stationfake "github.com/roamkey/roamkey/drivers/station/fake"
	"github.com/roamkey/roamkey/firmware/mobilenode"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
)

// secureHost is a mobile node with SEND on fakes.
type secureHost struct {
	host
	neighbors *neighborsfake.Neighbors
	params    cga.Params
}

// newSecureHost starts a node whose key, a short one for the tests' sake, is in a file.
func newSecureHost(t *testing.T, net *network, change func(*mobilenode.Config)) *secureHost {
	t.Helper()
	dir := t.TempDir()
	key := testKey(t)
	path := filepath.Join(dir, "send.key")
	if err := engine.SaveKey(path, key); err != nil {
		t.Fatal(err)
	}
	h := &secureHost{
		host: host{
			conn:    fake.New(rawip.Link{Index: 3, Name: "wlan0", Hardware: nodeHW}),
			station: stationfake.New(station.Link{Index: 3, Name: "wlan0", Hardware: nodeHW, MTU: 1500}),
			tunnel:  &tunnelfake.Node{},
			net:     net, lines: make(chan mobilenode.Line, 256),
			control: filepath.Join(dir, "mn.sock"),
		},
		neighbors: neighborsfake.New(),
		params:    cga.Params{PublicKey: spkiOf(t, key), Modifier: cga.KeyHash(spkiOf(t, key))},
	}
	h.conn.Routes = net.carry
	cfg := mobilenode.Config{
		Interface: "wlan0", Control: h.control, Events: lineWriter(h.lines), JSON: true,
		Protocol: mobilenode.HandoverKey, SendKey: path,
	}
	if change != nil {
		change(&cfg)
	}
	n, err := mobilenode.New(cfg, mobilenode.Parts{Conn: h.conn, Station: h.station, Tunnel: h.tunnel, Neighbors: h.neighbors})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	h.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = h.stop() })
	return h
}

func (h *secureHost) careOf(r *secureRouter) netip.Addr { return h.params.In(r.prefix).Address(0) }

// plug puts the host on a router's link; its carrier goes and comes.
func (h *secureHost) plug(r *secureRouter) {
	if h.segment != nil {
		h.segment.Leave(h.conn, 3)
		h.station.SetUp(false)
	}
	h.segment = r.segment
	r.segment.Join(h.conn, 3)
	h.net.attach(h.careOf(r), func(packet []byte) {
		// The router of the link forwards it, in a frame of its own.
		if h.segment == r.segment {
			h.conn.Arrive(3, r.link.Hardware, packet)
		}
	})
	h.station.SetUp(true)
}

func anchorFile(t *testing.T, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "anchor.pem")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// The whole way with signatures and certificates, against the machines of the router: the router's certificate is fetched
// and verified (HK-MN-3), the handover key comes encrypted under a key pair of its own (HK-MN-1, HK-MN-4), the move is
// prepared, and on the new link nothing but the announcement is needed.
func TestASecuredMoveIsPrepared(t *testing.T) {
	var internet network
	par, nar, anchor := newSecureRouters(t, &internet)
	h := newSecureHost(t, &internet, func(c *mobilenode.Config) {
		c.Anchors, c.SecuredOnly = anchorFile(t, anchor), true
	})
	h.plug(par)
	h.await(t, "router-certified")
	if l := h.await(t, "router-found"); l.Router != par.address {
		t.Errorf("router %v, want %v", l.Router, par.address)
	}
	if l := h.await(t, "address-ready"); l.Home != h.careOf(par) {
		t.Errorf("address %v, want %v", l.Home, h.careOf(par))
	}
	if l := h.await(t, "handover-key"); l.Home != h.careOf(par) || l.Router != par.address {
		t.Errorf("key of %v for %v", l.Router, l.Home)
	}
	var told []string
	status, err := mobilenode.Prepare(t.Context(), h.control, nar.point, func(l mobilenode.Line) { told = append(told, l.Event) })
	if err != nil {
		t.Fatalf("%v, told %v", err, told)
	}
	if status.Prepared != "ready" || status.Next != h.careOf(nar) || !slices.Contains(told, "fast-update") || told[len(told)-1] != "fast-ack" {
		t.Errorf("told %v, status %+v", told, status)
	}
	if got := par.forwards(h.careOf(par)); got != h.careOf(nar) {
		t.Errorf("the old router forwards to %v, want %v", got, h.careOf(nar))
	}

	h.plug(nar)
	for _, event := range []string{"link-down", "link-up", "tunnel-open", "fast-bound", "address-ready"} {
		h.await(t, event)
	}
	h.await(t, "handover-key")
	want := forward.Binding{Home: h.careOf(par), Router: par.address, CareOf: h.careOf(nar), Link: 3}
	if ends := h.tunnel.Bindings(); len(ends) != 1 || ends[0] != want {
		t.Errorf("the node's ends of tunnels are %+v", ends)
	}
	if _, there := h.neighbors.Address(3, h.careOf(nar)); !there {
		t.Error("the new address is not on the interface")
	}
	if _, there := h.neighbors.Address(3, h.careOf(par)); there {
		t.Error("the old address is still on the interface")
	}
	if h.station.Router() != nar.local {
		t.Errorf("default router %v, want %v", h.station.Router(), nar.local)
	}
	status, err = mobilenode.Request(t.Context(), h.control, false, nil)
	if err != nil || !status.Secured || !status.HandoverKey || len(status.Keys) != 2 || status.Protocol != mobilenode.HandoverKey {
		t.Errorf("%v, status %+v", err, status)
	}
	if status.Counters["fast_updates_sent"] != 1 {
		t.Errorf("%d updates", status.Counters["fast_updates_sent"])
	}
	if text := status.String(); !strings.Contains(text, "gave a handover key") || longest(text) > 80 {
		t.Errorf("status text:\n%s", text)
	}
	if err := h.stop(); err != nil {
		t.Error(err)
	}
	if !h.neighbors.Closed() {
		t.Error("the neighbour table was not put back")
	}
}

// The announcement is told of when it has left, with its signature.
func TestTheAnnouncementIsSigned(t *testing.T) {
	var internet network
	par, nar, _ := newSecureRouters(t, &internet)
	h := newSecureHost(t, &internet, nil)
	h.plug(par)
	h.await(t, "handover-key")
	if _, err := mobilenode.Prepare(t.Context(), h.control, nar.point, nil); err != nil {
		t.Fatal(err)
	}
	for drained := false; !drained; {
		select {
		case <-h.conn.Sent():
		default:
			drained = true
		}
	}
	h.plug(nar)
	if l := h.await(t, "announced"); l.CareOf != h.careOf(nar) {
		t.Errorf("announced %v", l.CareOf)
	}
	for {
		select {
		case s := <-h.conn.Sent():
			var p ipv6.Packet
			if ipv6.Parse(s.Packet, &p) != ipv6.OK || p.Proto != ipv6.ProtoICMPv6 || p.Payload[0] != 136 {
				continue
			}
			if p.Src != h.careOf(nar) || p.Dst != ipv6.AllNodes() || p.Payload[4] != 0 || len(p.Payload) < 300 {
				t.Errorf("from %v to %v, flags %#x, %d octets", p.Src, p.Dst, p.Payload[4], len(p.Payload))
			}
			return
		default:
			t.Fatal("the announcement has not left")
		}
	}
}

// Nothing was prepared: the update goes from the new link.
func TestASecuredMoveWithoutNotice(t *testing.T) {
	var internet network
	par, nar, anchor := newSecureRouters(t, &internet)
	h := newSecureHost(t, &internet, func(c *mobilenode.Config) { c.Anchors = anchorFile(t, anchor) })
	h.plug(par)
	h.await(t, "handover-key")
	h.segment.Leave(h.conn, 3)
	h.segment = nar.segment
	nar.segment.Join(h.conn, 3)
	internet.attach(h.careOf(nar), func(packet []byte) { h.conn.Arrive(3, nar.link.Hardware, packet) })
	var told []string
	status, err := mobilenode.Request(t.Context(), h.control, true, func(l mobilenode.Line) { told = append(told, l.Event) })
	if err != nil || status.CareOf != h.careOf(nar) || !slices.Contains(told, "fast-bound") {
		t.Errorf("%v, told %v, status %+v", err, told, status)
	}
	if got := par.forwards(h.careOf(par)); got != h.careOf(nar) {
		t.Errorf("the old router forwards to %v, want %v", got, h.careOf(nar))
	}
}

// A node that leaves before the acknowledgement has come sends the update again: the move is not as smooth, but its traffic
// follows, and who asked for it is told so.
func TestASecuredMoveTooEarly(t *testing.T) {
	var internet network
	par, nar, _ := newSecureRouters(t, &internet)
	par.segment.Drop = func(_, dst ipv6.LinkAddr, packet []byte) bool {
		var p ipv6.Packet
		return dst == nodeHW && ipv6.Parse(packet, &p) == ipv6.OK && p.Proto == ipv6.ProtoMobility // no acknowledgement there
	}
	h := newSecureHost(t, &internet, nil)
	h.plug(par)
	h.await(t, "handover-key")
	var told []string
	status, err := mobilenode.Prepare(t.Context(), h.control, nar.point, func(l mobilenode.Line) {
		if told = append(told, l.Event); l.Event == "fast-update" && len(told) < 4 {
			h.plug(nar)
		}
	})
	if err != nil || slices.Contains(told, "fast-ack") || !slices.Contains(told, "fast-bound") || status.CareOf != h.careOf(nar) {
		t.Errorf("%v, told %v, status %+v", err, told, status)
	}
	if got := par.forwards(h.careOf(par)); got != h.careOf(nar) {
		t.Errorf("the old router forwards to %v, want %v", got, h.careOf(nar))
	}
}

// What cannot be prepared is said: an access point that nobody knows, one on the same link, a node that is nowhere.
func TestWhatCannotBePrepared(t *testing.T) {
	var internet network
	par, _, _ := newSecureRouters(t, &internet)
	h := newSecureHost(t, &internet, nil)
	prepare := func(point ipv6.LinkAddr) string {
		if _, err := mobilenode.Prepare(t.Context(), h.control, point, nil); err != nil {
			return err.Error()
		}
		return ""
	}
	if text := prepare(par.point); !strings.Contains(text, "no address of a router") {
		t.Errorf("without a link: %q", text)
	}
	h.plug(par)
	h.await(t, "handover-key")
	if text := prepare(ipv6.LinkAddr{2, 1, 2, 3, 4, 5}); !strings.Contains(text, "does not know this access point") {
		t.Errorf("an unknown access point: %q", text)
	}
	if text := prepare(par.point); !strings.Contains(text, "on the same link") {
		t.Errorf("the own access point: %q", text)
	}
	var net2 network
	plain := newHost(t, &net2, nil)
	if _, err := mobilenode.Prepare(t.Context(), plain.control, par.point, nil); err == nil || !strings.Contains(err.Error(), "handover-key") {
		t.Errorf("Local Key Exchange: %v", err)
	}
}

// A secured-only node does not use a router that does not sign, nor one that no anchor has certified; a mixed one uses it as
// long as there is no other, and asks it for no key.
func TestWhichRoutersAreUsed(t *testing.T) {
	var internet, other network
	par, _, _ := newSecureRouters(t, &internet)
	_, _, strangers := newSecureRouters(t, &other)

	strict := newSecureHost(t, &internet, func(c *mobilenode.Config) {
		c.Anchors, c.SecuredOnly = anchorFile(t, strangers), true
	})
	strict.plug(par)
	h := newSecureHost(t, &internet, nil)
	par.mu.Lock()
	par.unsaid = true
	par.mu.Unlock()
	h.segment = par.segment
	h.plug(par)
	if l := h.await(t, "warning"); !strings.Contains(l.Detail, "rogue") {
		t.Errorf("warning %q", l.Detail)
	}
	if l := h.await(t, "router-found"); !strings.Contains(l.Detail, "does not sign") {
		t.Errorf("router found: %s", l.Detail)
	}
	h.await(t, "address-ready")
	status, err := mobilenode.Request(t.Context(), h.control, false, nil)
	if err != nil || status.Secured || status.HandoverKey || len(status.Keys) != 0 {
		t.Errorf("%v, status %+v", err, status)
	}
	for deadline := time.Now().Add(3 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		// It has heard the router, and asked for its certificates.
		status, err = mobilenode.Request(t.Context(), strict.control, false, nil)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%v, status %+v", err, status)
		}
		if status.Counters["cps_sent"] > 0 {
			break
		}
	}
	if status.CareOf.IsValid() {
		t.Errorf("an uncertified router is used: %v, %+v", err, status)
	}
}

// The kernel's questions are answered from what is known with signatures.
func TestTheKernelIsAnswered(t *testing.T) {
	var internet network
	par, _, _ := newSecureRouters(t, &internet)
	h := newSecureHost(t, &internet, nil)
	_ = h.neighbors.Take(3)
	h.plug(par)
	h.await(t, "handover-key")
	deadline := time.Now().Add(3 * time.Second)
	for {
		if e, ok := h.neighbors.Entry(3, par.local); ok && e.Hardware == par.link.Hardware {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the router is not among the kernel's neighbours")
		}
		time.Sleep(5 * time.Millisecond)
	}
	stranger := netip.MustParseAddr("2001:db8:0:1::77")
	h.neighbors.Ask(3, stranger)
	for limit := time.After(3 * time.Second); ; {
		select {
		case s := <-h.conn.Sent():
			var p ipv6.Packet
			if ipv6.Parse(s.Packet, &p) == ipv6.OK && p.Proto == ipv6.ProtoICMPv6 && p.Payload[0] == 135 && p.Dst == ipv6.SolicitedNode(stranger) {
				if len(p.Payload) < 300 {
					t.Error("the solicitation is not signed")
				}
				return
			}
		case <-limit:
			t.Fatal("nobody was asked")
		}
	}
}

// The key file is made where it is missing, for its owner alone, and gives the same addresses again.
func TestSendKeyIsMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "send.key")
	var addrs []netip.Addr
	for range 2 {
		var internet network
		par, _, _ := newSecureRouters(t, &internet)
		h := newSecureHost(t, &internet, func(c *mobilenode.Config) { c.SendKey, c.Sec = path, 1 })
		h.plug(par)
		l := h.await(t, "address-ready")
		addrs = append(addrs, l.Home)
		if cga.Sec(l.Home) != 1 {
			t.Errorf("%v has Sec %d", l.Home, cga.Sec(l.Home))
		}
		_ = h.stop()
	}
	if addrs[0] != addrs[1] {
		t.Errorf("addresses %v", addrs)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = mobilenode.New(mobilenode.Config{
		Interface: "wlan0", Control: filepath.Join(t.TempDir(), "mn.sock"), Protocol: mobilenode.HandoverKey, SendKey: path,
	}, mobilenode.Parts{
		Conn: fake.New(), Station: stationfake.New(station.Link{Index: 3, Hardware: nodeHW}), Tunnel: &tunnelfake.Node{},
		Neighbors: neighborsfake.New(),
	})
	if err == nil || !strings.Contains(err.Error(), "others can read") {
		t.Errorf("a key that others can read: %v", err)
	}
}

// sent waits for a packet of Neighbour Discovery of that type which fits.
func (h *secureHost) sent(limit time.Duration, typ byte, fits func(p *ipv6.Packet) bool) bool {
	for end := time.After(limit); ; {
		select {
		case s := <-h.conn.Sent():
			var p ipv6.Packet
			if ipv6.Parse(s.Packet, &p) == ipv6.OK && p.Proto == ipv6.ProtoICMPv6 && p.Payload[0] == typ && fits(&p) {
				return true
			}
		case <-end:
			return false
		}
	}
}

// In mixed mode who does not sign is answered, with a signature (RFC 3971 section 8); a secured-only node says nothing to
// them.
func TestWhoDoesNotSignIsAnswered(t *testing.T) {
	for _, only := range []bool{false, true} {
		var internet network
		par, _, _ := newSecureRouters(t, &internet)
		h := newSecureHost(t, &internet, func(c *mobilenode.Config) { c.SecuredOnly = only })
		h.plug(par)
		h.await(t, "handover-key")
		home, stranger := h.careOf(par), netip.MustParseAddr("2001:db8:0:1::77")
		hw := ipv6.LinkAddr{2, 0, 0, 0, 7, 7}
		msg := ndp.AppendNeighborSolicit(nil, stranger, ipv6.SolicitedNode(home), home, ndp.SourceLinkOption(hw))
		packet := ipv6.Append(nil, ipv6.Header{Src: stranger, Dst: ipv6.SolicitedNode(home), HopLimit: 255}, ipv6.ProtoICMPv6, msg)
		limit := 3 * time.Second
		if only {
			limit = 200 * time.Millisecond // nothing is to come
		}
		h.conn.Arrive(3, hw, packet)
		answered := h.sent(limit, ndp.TypeNeighborAdvert, func(p *ipv6.Packet) bool { return p.Dst == stranger && len(p.Payload) > 300 })
		if answered == only {
			t.Errorf("secured only: %v, answered: %v", only, answered)
		}
	}
}

// On each link duplicates of the addresses are looked for anew, those of the interface, too.
func TestAddressesAreLookedForOnEachLink(t *testing.T) {
	var internet network
	par, nar, _ := newSecureRouters(t, &internet)
	h := newSecureHost(t, &internet, nil)
	local := h.params.In(netip.MustParsePrefix("fe80::/64")).Address(0)
	of := func(target netip.Addr) func(p *ipv6.Packet) bool {
		return func(p *ipv6.Packet) bool {
			return p.Src.IsUnspecified() && netip.AddrFrom16([16]byte(p.Payload[8:24])) == target
		}
	}
	h.plug(par)
	if !h.sent(3*time.Second, ndp.TypeNeighborSolicit, of(local)) {
		t.Error("not on the first link")
	}
	h.await(t, "handover-key")
	h.plug(nar)
	h.await(t, "fast-bound")
	if !h.sent(3*time.Second, ndp.TypeNeighborSolicit, of(local)) {
		t.Error("not on the second link")
	}
}

// A key is asked for from the node's CGA, with all options of SEND (HK-MN-2), and with a key pair of its own that is as long
// as the one that signs (HK-MN-1).
func TestHowAKeyIsAskedFor(t *testing.T) {
	var internet network
	par, _, _ := newSecureRouters(t, &internet)
	h := newSecureHost(t, &internet, nil)
	h.plug(par)
	var asked []byte
	if !h.sent(3*time.Second, ndp.TypeFast, func(p *ipv6.Packet) bool {
		if p.Src != h.careOf(par) || p.Dst != par.local {
			t.Errorf("HK-MN-2: from %v to %v", p.Src, p.Dst)
		}
		asked = slices.Clone(p.Payload)
		return true
	}) {
		t.Fatal("no key was asked for")
	}
	options := ndp.OptionsAt(asked, 8)
	var types []uint8
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		types = append(types, o.Type)
		if o.Type != ndp.OptKeyRequest {
			continue
		}
		request, err := ndp.ParseKeyRequest(o)
		if err != nil || request.AT != 1 {
			t.Fatalf("%v, AT %d", err, request.AT)
		}
		if bytes.Equal(request.PublicKey, h.params.PublicKey) || len(request.PublicKey) != len(h.params.PublicKey) {
			t.Error("HK-MN-1: the key of the CGA, or one of another length")
		}
	}
	for _, typ := range []uint8{ndp.OptLinkLayer, ndp.OptKeyRequest, ndp.OptCGA, ndp.OptTimestamp, ndp.OptNonce, ndp.OptSignature} {
		if !slices.Contains(types, typ) {
			t.Errorf("HK-MN-2: option %d is missing: %v", typ, types)
		}
	}
}
