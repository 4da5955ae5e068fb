package certpath_test

import (
	"bytes"
	"crypto/x509"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/certpath"
)

const link = 3

var (
	routerAddr = netip.MustParseAddr("fe80::1:2")
	hostAddr   = netip.MustParseAddr("fe80::aa:bbcc")
	routerHW   = ipv6.LinkAddr{2, 0, 0, 0, 1, 2}
	hostHW     = ipv6.LinkAddr{2, 0, 0, 0, 0, 9}
	start      = time.Unix(1000, 0)
)

// packet gives a message as it is received.
func packet(t testing.TB, src, dst netip.Addr, hw ipv6.LinkAddr, msg []byte) *ipv6.Packet {
	t.Helper()
	return received(t, ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg), hw)
}

func received(t testing.TB, raw []byte, hw ipv6.LinkAddr) *ipv6.Packet {
	t.Helper()
	p := &ipv6.Packet{Interface: link, LinkSource: hw}
	if problem := ipv6.Parse(bytes.Clone(raw), p); problem != ipv6.OK {
		t.Fatal(problem)
	}
	return p
}

func x501(n node) []byte {
	return ndp.TrustAnchor{NameType: ndp.NameX501, Name: n.cert.RawSubject}.Append(nil)
}

func chainOf(t testing.TB, nodes ...node) certpath.Chain {
	t.Helper()
	chain, err := certpath.LoadChain(pemOf(nodes...), certpath.RFC6494)
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

func newServer(t testing.TB, cfg certpath.ServerConfig) *certpath.Server {
	t.Helper()
	cfg.Link, cfg.LinkLocal = link, routerAddr
	s, err := certpath.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// advert is one advertisement that a server sent.
type advert struct {
	dst     netip.Addr
	hw      ipv6.LinkAddr
	id      uint16
	all     uint16
	number  uint16
	certs   [][]byte
	anchors []ndp.TrustAnchor
}

func adverts(t testing.TB, effects []certpath.Effect) []advert {
	t.Helper()
	var all []advert
	for _, e := range effects {
		if e.Kind != certpath.EffectSend || e.Link != link {
			t.Fatalf("%+v", e)
		}
		if len(e.Packet) > 1500 {
			t.Errorf("a packet of %d octets", len(e.Packet))
		}
		p := received(t, e.Packet, routerHW)
		m, reason := ndp.ParsePathAdvert(p)
		if reason != ndp.ReasonNone || p.HopLimit != 255 || p.Src != routerAddr {
			t.Fatalf("%v from %v with hop limit %d", reason, p.Src, p.HopLimit)
		}
		a := advert{dst: p.Dst, hw: e.LinkDst, id: m.Identifier, all: m.All, number: m.Component}
		for o, ok := m.Options.Next(); ok; o, ok = m.Options.Next() {
			switch o.Type {
			case ndp.OptCertificate:
				der, err := ndp.ParseCertificate(o)
				if err != nil {
					t.Fatal(err)
				}
				a.certs = append(a.certs, der)
			case ndp.OptTrustAnchor:
				name, err := ndp.ParseTrustAnchor(o)
				if err != nil {
					t.Fatal(err)
				}
				a.anchors = append(a.anchors, name)
			}
		}
		all = append(all, a)
	}
	return all
}

func solicit(t testing.TB, src netip.Addr, component uint16, options ...[]byte) certpath.Input {
	t.Helper()
	msg := ndp.PathSolicit{Identifier: 77, Component: component}.Append(nil, src, ipv6.AllRouters(), options...)
	return certpath.Input{Kind: certpath.InPacket, Packet: packet(t, src, ipv6.AllRouters(), hostHW, msg)}
}

func counter(c interface {
	Counters(yield func(name string, value uint64))
}, name string,
) uint64 {
	found := ^uint64(0)
	c.Counters(func(n string, v uint64) {
		if n == name {
			found = v
		}
	})
	return found
}

// three gives a path of three and its anchor.
func three(t testing.TB) (anchor node, path []node) {
	anchor = newAnchor(t, "anchor")
	isp := anchor.issue(t, "isp", site, authority)
	branch := isp.issue(t, "branch", site, authority)
	return anchor, []node{isp, branch, branch.issue(t, "router", lan)}
}

// RFC 3971 sections 6.4.2 and 6.4.5: one certificate in each message, that below the anchor first with the highest component, the
// anchor's name in the first; to the solicited-node address of who asked; the anchor itself is not sent.
func TestServerSendsPath(t *testing.T) {
	anchor, path := three(t)
	s := newServer(t, certpath.ServerConfig{Chains: []certpath.Chain{chainOf(t, append(path, anchor)...)}})
	got := adverts(t, s.Step(start, solicit(t, hostAddr, ndp.AllComponents, x501(anchor))))
	if len(got) != 3 {
		t.Fatalf("%d advertisements", len(got))
	}
	for i, a := range got {
		if a.dst != ipv6.SolicitedNode(hostAddr) || a.hw != (ipv6.LinkAddr{0x33, 0x33, 0xff, 0xaa, 0xbb, 0xcc}) || a.id != 77 {
			t.Errorf("%d: to %v at %v with identifier %d", i, a.dst, a.hw, a.id)
		}
		if a.all != 3 || int(a.number) != 2-i || len(a.certs) != 1 || !bytes.Equal(a.certs[0], path[i].cert.Raw) {
			t.Errorf("%d: component %d of %d", i, a.number, a.all)
		}
		if want := i == 0; want != (len(a.anchors) == 1 && bytes.Equal(a.anchors[0].Name, anchor.cert.RawSubject)) {
			t.Errorf("%d: %d anchors", i, len(a.anchors))
		}
	}
}

// A solicitation from :: is answered to all nodes, with identifier 0.
func TestServerAnswersUnspecified(t *testing.T) {
	anchor, path := three(t)
	s := newServer(t, certpath.ServerConfig{Chains: []certpath.Chain{chainOf(t, append(path, anchor)...)}})
	got := adverts(t, s.Step(start, solicit(t, netip.IPv6Unspecified(), ndp.AllComponents, x501(anchor))))
	if len(got) != 3 || got[0].dst != ipv6.AllNodes() || got[0].id != 0 || got[0].hw != (ipv6.LinkAddr{0x33, 0x33, 0, 0, 0, 1}) {
		t.Errorf("%+v", got)
	}
}

// A component that is asked for by itself comes alone; one that there is not does not.
func TestServerSendsComponent(t *testing.T) {
	anchor, path := three(t)
	s := newServer(t, certpath.ServerConfig{Chains: []certpath.Chain{chainOf(t, append(path, anchor)...)}})
	for component := range uint16(3) {
		got := adverts(t, s.Step(start, solicit(t, hostAddr, component, x501(anchor))))
		if len(got) != 1 || got[0].number != component || got[0].all != 3 || !bytes.Equal(got[0].certs[0], path[2-component].cert.Raw) ||
			len(got[0].anchors) != map[bool]int{true: 1}[component == 2] {
			t.Errorf("component %d: %+v", component, got)
		}
	}
	if got := s.Step(start, solicit(t, hostAddr, 3, x501(anchor))); got != nil || counter(s, "cps_no_such_component") != 1 {
		t.Errorf("a fourth of three: %v", got)
	}
}

// Without a path the answer has no certificate and names the anchors again.
func TestServerWithoutPath(t *testing.T) {
	anchor, path := three(t)
	s := newServer(t, certpath.ServerConfig{Chains: []certpath.Chain{chainOf(t, append(path, anchor)...)}})
	other := newAnchor(t, "other")
	fqdn := ndp.TrustAnchor{NameType: ndp.NameDNS, Name: []byte("\x05other\x00")}.Append(nil)
	got := adverts(t, s.Step(start, solicit(t, hostAddr, ndp.AllComponents, x501(other), fqdn)))
	if len(got) != 1 || got[0].certs != nil || got[0].all != 0 || got[0].number != 0 || got[0].id != 77 || len(got[0].anchors) != 2 ||
		!bytes.Equal(got[0].anchors[0].Name, other.cert.RawSubject) || got[0].anchors[1].NameType != ndp.NameDNS {
		t.Errorf("%+v", got)
	}
	if counter(s, "cpa_sent_no_path") != 1 {
		t.Error("not counted")
	}
}

// Any of the anchors that are named will do, the first that there is a path for; those that lead to it are echoed.
func TestServerChoosesAnchor(t *testing.T) {
	anchor, path := three(t)
	second, other := newAnchor(t, "second"), newAnchor(t, "other")
	direct := second.issue(t, "router", lan)
	s := newServer(t, certpath.ServerConfig{Chains: []certpath.Chain{chainOf(t, append(path, anchor)...), chainOf(t, direct, second)}})
	id := ndp.TrustAnchor{NameType: ndp.NameKeySHA1, Name: second.cert.SubjectKeyId}.Append(nil)
	got := adverts(t, s.Step(start, solicit(t, hostAddr, ndp.AllComponents, x501(other), id, x501(anchor))))
	if len(got) != 1 || !bytes.Equal(got[0].certs[0], direct.cert.Raw) || len(got[0].anchors) != 1 || got[0].anchors[0].NameType != ndp.NameKeySHA1 {
		t.Errorf("%+v", got)
	}
}

// What is not a valid solicitation is dropped in silence, each under its reason (section 6.4.5), and costs no memory.
func TestServerDrops(t *testing.T) {
	anchor, path := three(t)
	s := newServer(t, certpath.ServerConfig{Chains: []certpath.Chain{chainOf(t, append(path, anchor)...)}})
	good := func(options ...[]byte) *ipv6.Packet {
		return solicit(t, hostAddr, ndp.AllComponents, options...).Packet
	}
	change := func(f func(p *ipv6.Packet)) *ipv6.Packet { p := good(x501(anchor)); f(p); return p }
	sum := func(p *ipv6.Packet) { ndp.FixChecksum(p.Payload, p.Src, p.Dst) }
	for _, tt := range []struct {
		name    string
		p       *ipv6.Packet
		counter string
	}{
		{"hop limit 254", change(func(p *ipv6.Packet) { p.HopLimit = 254 }), "cps_bad_hop_limit"},
		{"code 1", change(func(p *ipv6.Packet) { p.Payload[1] = 1; sum(p) }), "cps_bad_code"},
		{"checksum", change(func(p *ipv6.Packet) { p.Payload[7] ^= 1 }), "cps_bad_checksum"},
		{"identifier 0", change(func(p *ipv6.Packet) { p.Payload[4], p.Payload[5] = 0, 0; sum(p) }), "cps_bad_identifier"},
		{"global source", change(func(p *ipv6.Packet) { p.Src = netip.MustParseAddr("2001:db8::9"); sum(p) }), "cps_bad_source"},
		{"to all nodes", change(func(p *ipv6.Packet) { p.Dst = ipv6.AllNodes(); sum(p) }), "cps_bad_destination"},
		{"to another's group", change(func(p *ipv6.Packet) { p.Dst = ipv6.SolicitedNode(hostAddr); sum(p) }), "cps_other_node"},
		{"in a fragment", change(func(p *ipv6.Packet) { p.Fragmented = true }), "cps_fragment"},
		{"option of length 0", change(func(p *ipv6.Packet) { p.Payload[9] = 0; sum(p) }), "cps_bad_option"},
		{"another link", change(func(p *ipv6.Packet) { p.Interface++ }), "cps_other_link"},
		{"another message", packet(t, hostAddr, ipv6.AllRouters(), hostHW, ndp.AppendRouterSolicit(nil, hostAddr, ipv6.AllRouters())), "cps_other_type"},
		{"no anchor", good(), "cps_no_anchor"},
		{"only an unknown option", good([]byte{200, 1, 0, 0, 0, 0, 0, 0}), "cps_no_anchor"},
		{"anchor without a name", good([]byte{ndp.OptTrustAnchor, 1, ndp.NameX501, 4, 0, 0, 0, 0}), "cps_bad_anchor"},
		{"first anchor by its key", good(ndp.TrustAnchor{NameType: ndp.NameKeySHA1, Name: anchor.cert.SubjectKeyId}.Append(nil), x501(anchor)), "cps_first_anchor_not_x501"},
	} {
		before := counter(s, tt.counter)
		in := certpath.Input{Kind: certpath.InPacket, Packet: tt.p}
		if effects := s.Step(start, in); effects != nil {
			t.Errorf("%s: answered", tt.name)
		}
		if counter(s, tt.counter) != before+1 {
			t.Errorf("%s: not counted as %s", tt.name, tt.counter)
		}
		if allocs := testing.AllocsPerRun(5, func() { s.Step(start, in) }); allocs != 0 {
			t.Errorf("%s: %v allocations", tt.name, allocs)
		}
	}
	// Unknown options beside it are passed over.
	if effects := s.Step(start, certpath.Input{Kind: certpath.InPacket, Packet: good([]byte{200, 1, 0, 0, 0, 0, 0, 0}, x501(anchor))}); len(effects) != 3 {
		t.Errorf("with an unknown option: %d answers", len(effects))
	}
}

// MAX_CPA_RATE: over ten a second all further askers are answered together, to all nodes, and no more is sent in all.
func TestServerUnderLoad(t *testing.T) {
	anchor := newAnchor(t, "anchor")
	s := newServer(t, certpath.ServerConfig{Chains: []certpath.Chain{chainOf(t, anchor.issue(t, "router", lan), anchor)}})
	var alone, toAll int
	count := func(effects []certpath.Effect) {
		for _, a := range adverts(t, effects) {
			if a.dst == ipv6.AllNodes() {
				toAll++
				if a.id != 0 || len(a.certs) != 1 || len(a.anchors) != 1 {
					t.Errorf("%+v", a)
				}
			} else {
				alone++
			}
		}
	}
	for i := range 1000 {
		src := netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 14: byte(i >> 8), 15: byte(i)})
		count(s.Step(start.Add(time.Duration(i)*time.Millisecond), solicit(t, src, ndp.AllComponents, x501(anchor))))
	}
	if alone != certpath.DefaultMaxRate || toAll < 8 || toAll > certpath.DefaultMaxRate {
		t.Errorf("in one second %d answers to one and %d to all", alone, toAll)
	}
	if counter(s, "cps_over_rate") != 1000-uint64(alone) || counter(s, "cpa_answers_to_all_nodes") != uint64(toAll) {
		t.Error("not counted")
	}
	// The last askers get theirs at the deadline, and then there is none.
	due := s.Deadline()
	if due.IsZero() || due.After(start.Add(1200*time.Millisecond)) {
		t.Fatalf("deadline %v", due.Sub(start))
	}
	before := toAll
	count(s.Step(due, certpath.Input{Kind: certpath.InTick}))
	if toAll != before+1 || !s.Deadline().IsZero() {
		t.Errorf("%d at the deadline, then %v", toAll-before, s.Deadline())
	}
	// Where there is no path, nobody but the asker would want to know.
	for range 20 {
		s.Step(due, solicit(t, hostAddr, ndp.AllComponents, x501(newAnchor(t, "other"))))
	}
	if counter(s, "cps_over_rate_no_path") == 0 || !s.Deadline().IsZero() {
		t.Error("a path that there is not was put off")
	}
}

// RFC 6980: a certificate that would have to be sent in fragments is refused when the server is set up.
func TestServerRefusesLongCertificates(t *testing.T) {
	anchor := newAnchor(t, "anchor")
	long := anchor.issue(t, "router", lan, func(c *x509.Certificate) { c.Subject.Organization = []string{strings.Repeat("x", 1100)} })
	chain := chainOf(t, long, anchor)
	_, err := certpath.NewServer(certpath.ServerConfig{Link: link, LinkLocal: routerAddr, Chains: []certpath.Chain{chain}})
	if err == nil || !strings.Contains(err.Error(), "does not fit") {
		t.Errorf("%v", err)
	}
	if _, err := certpath.NewServer(certpath.ServerConfig{Link: link, LinkLocal: routerAddr, Chains: []certpath.Chain{chain}, MTU: 9000}); err != nil {
		t.Errorf("with a larger MTU: %v", err)
	}
	if _, err := certpath.NewServer(certpath.ServerConfig{Link: link, LinkLocal: netip.MustParseAddr("2001:db8::1")}); err == nil {
		t.Error("a global address was taken")
	}
	if _, err := certpath.NewServer(certpath.ServerConfig{Link: link, LinkLocal: routerAddr, Chains: make([]certpath.Chain, 1)}); err == nil {
		t.Error("an empty path was taken")
	}
	// What the asker says cannot make the answer longer than the link lets.
	s := newServer(t, certpath.ServerConfig{Chains: []certpath.Chain{chainOf(t, anchor.issue(t, "router", lan), anchor)}})
	huge := ndp.TrustAnchor{NameType: ndp.NameX501, Name: bytes.Repeat([]byte{7}, 1300)}.Append(nil)
	for _, options := range [][][]byte{{x501(anchor), huge, huge}, {huge, huge}} {
		if got := adverts(t, s.Step(start, solicit(t, hostAddr, ndp.AllComponents, options...))); len(got) != 1 || len(got[0].anchors) != 1 {
			t.Errorf("%+v", got)
		}
	}
	var silent certpath.Server
	if err := silent.Reconfigure(certpath.ServerConfig{Link: link}); err != nil {
		t.Fatal(err)
	}
	if effects := silent.Step(start, solicit(t, hostAddr, ndp.AllComponents, x501(anchor))); effects != nil || counter(&silent, "cps_no_own_address") != 1 {
		t.Error("answered without an address")
	}
}

// The captured solicitation of another implementation is answered as its router answered it, octet for octet.
func TestServerAnswersLikeCapturedRouter(t *testing.T) {
	solicits, _ := captured(t, ndp.TypePathSolicit)
	answers, _ := captured(t, ndp.TypePathAdvert)
	cert, _ := capturedCertificate(t)
	chain, err := certpath.LoadChain(certpath.EncodePEM(cert, capturedAnchor(t)[0].Certificate.Raw), certpath.RFC3971)
	if err != nil {
		t.Fatal(err)
	}
	s, err := certpath.NewServer(certpath.ServerConfig{LinkLocal: answers[0].Src, Chains: []certpath.Chain{chain}})
	if err != nil {
		t.Fatal(err)
	}
	effects := s.Step(start, certpath.Input{Kind: certpath.InPacket, Packet: solicits[0]})
	if len(effects) != 1 {
		t.Fatalf("%d answers", len(effects))
	}
	var p ipv6.Packet
	if ipv6.Parse(effects[0].Packet, &p) != ipv6.OK || p.Dst != answers[0].Dst || !bytes.Equal(p.Payload, answers[0].Payload) {
		t.Errorf("got  %x\nwant %x", p.Payload, answers[0].Payload)
	}
}
