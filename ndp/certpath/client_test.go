package certpath_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/certpath"
	"github.com/roamkey/roamkey/ndp/cga"
)

func newClient(t testing.TB, cfg certpath.ClientConfig) *certpath.Client {
	t.Helper()
	cfg.Link = link
	if !cfg.LinkLocal.IsValid() {
		cfg.LinkLocal = hostAddr
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.NewChaCha8([32]byte{1})
	}
	c, err := certpath.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func hashOf(t testing.TB, n node) [16]byte { return cga.KeyHash(spki(t, &n.key.PublicKey)) }

func want(hash [16]byte) certpath.Input {
	return certpath.Input{Kind: certpath.InWanted, KeyHash: hash, Router: routerAddr, Wall: wall}
}

func heard(p *ipv6.Packet) certpath.Input {
	return certpath.Input{Kind: certpath.InPacket, Packet: p, Wall: wall}
}

// split gives the solicitations and the answers among effects.
func split(t testing.TB, effects []certpath.Effect) (solicits []*ipv6.Packet, paths []certpath.Effect) {
	t.Helper()
	for _, e := range effects {
		switch e.Kind {
		case certpath.EffectSend:
			p := received(t, e.Packet, hostHW)
			if _, reason := ndp.ParsePathSolicit(p); reason != ndp.ReasonNone || p.HopLimit != 255 {
				t.Fatalf("a solicitation that is not valid: %v", reason)
			}
			if p.Dst.IsMulticast() && e.LinkDst != ipv6.MulticastLinkAddr(p.Dst) {
				t.Errorf("%v at %v", p.Dst, e.LinkDst)
			}
			solicits = append(solicits, p)
		case certpath.EffectPath:
			paths = append(paths, e)
		}
	}
	return solicits, paths
}

// network crosses a client and servers in memory, on virtual time.
type network struct {
	t       testing.TB
	client  *certpath.Client
	servers []*certpath.Server
	now     time.Time
	lose    func(p *ipv6.Packet) bool // advertisements that do not arrive
	asked   []uint16                  // components of the solicitations that were sent
	at      []time.Duration
	paths   []certpath.Effect
}

func (n *network) step(in certpath.Input) {
	solicits, paths := split(n.t, n.client.Step(n.now, in))
	n.paths = append(n.paths, paths...)
	for _, p := range solicits {
		m, _ := ndp.ParsePathSolicit(p)
		n.asked, n.at = append(n.asked, m.Component), append(n.at, n.now.Sub(start))
		for i, s := range n.servers {
			for _, e := range s.Step(n.now, certpath.Input{Kind: certpath.InPacket, Packet: p}) {
				answer := received(n.t, e.Packet, ipv6.LinkAddr{2, 0, 0, 0, 1, byte(i)})
				if n.lose == nil || !n.lose(answer) {
					n.step(heard(answer))
				}
			}
		}
	}
}

// run goes from deadline to deadline until there is none.
func (n *network) run() {
	for range 100 {
		due := n.client.Deadline()
		if due.IsZero() {
			return
		}
		if due.After(n.now) {
			n.now = due
		}
		n.step(certpath.Input{Kind: certpath.InTick, Wall: wall})
	}
	n.t.Fatal("it never ends")
}

// RFC 3971 section 6.4.6: an unknown key is asked for, its path verified, told, and kept.
func TestClientFindsPath(t *testing.T) {
	anchor, path := three(t)
	s := newServer(t, certpath.ServerConfig{Chains: []certpath.Chain{chainOf(t, append(path, anchor)...)}})
	n := &network{t: t, client: newClient(t, certpath.ClientConfig{Anchors: anchor.anchors()}), servers: []*certpath.Server{s}, now: start}
	hash := hashOf(t, path[2])
	n.step(want(hash))
	if len(n.paths) != 1 || !slices.Equal(n.asked, []uint16{ndp.AllComponents}) {
		t.Fatalf("asked %v, found %d", n.asked, len(n.paths))
	}
	e := n.paths[0]
	if !e.OK || e.KeyHash != hash || !samePrefixes(e.Prefixes, "2001:db8:1:1::/64") || !bytes.Equal(e.SPKI, spki(t, &path[2].key.PublicKey)) ||
		e.Purposes != certpath.PurposeRouter || !e.Until.Equal(path[2].cert.NotAfter) {
		t.Errorf("%+v", e)
	}
	if !n.client.Deadline().IsZero() {
		t.Error("it still waits for something")
	}
	// From the cache; nobody is asked while the path is valid.
	n.step(want(hash))
	if len(n.paths) != 2 || !n.paths[1].OK || len(n.asked) != 1 || counter(n.client, "path_cache_hits") != 1 {
		t.Errorf("asked %v", n.asked)
	}
	late := want(hash)
	late.Wall = path[2].cert.NotAfter.Add(time.Second)
	n.step(late)
	if len(n.asked) != 2 || counter(n.client, "path_cache_outdated") != 1 {
		t.Error("an expired path was used")
	}
	known := 0
	n.client.Paths(func(*certpath.Path) bool { known++; return true })
	if known != 1 { // the answer came at a time when it is valid
		t.Errorf("%d paths are known", known)
	}
}

// The anchors are named as section 6.4.3 has it, from our address or from ::, to all routers or to the one that is known.
func TestClientSolicits(t *testing.T) {
	anchor, other := newAnchor(t, "anchor"), newAnchor(t, "other")
	c := newClient(t, certpath.ClientConfig{Anchors: append(anchor.anchors(), other.anchors()...)})
	solicits, _ := split(t, c.Step(start, want([16]byte{1})))
	m, _ := ndp.ParsePathSolicit(solicits[0])
	var names [][]byte
	for o, ok := m.Options.Next(); ok; o, ok = m.Options.Next() {
		names = append(names, o.Octets)
	}
	if solicits[0].Src != hostAddr || solicits[0].Dst != ipv6.AllRouters() || m.Identifier == 0 || m.Component != ndp.AllComponents ||
		len(names) != 2 || !bytes.Equal(names[0], x501(anchor)) || !bytes.Equal(names[1], x501(other)) {
		t.Errorf("%v to %v: %+v, %x", solicits[0].Src, solicits[0].Dst, m, names)
	}
	c.SetSource(netip.Addr{})
	in := want([16]byte{2})
	in.RouterLink = routerHW
	effects := c.Step(start, in)
	solicits, _ = split(t, effects)
	if solicits[0].Src != netip.IPv6Unspecified() || solicits[0].Dst != routerAddr || effects[0].LinkDst != routerHW {
		t.Errorf("%v to %v at %v", solicits[0].Src, solicits[0].Dst, effects[0].LinkDst)
	}
	if solicits, _ = split(t, c.Step(start.Add(time.Second), certpath.Input{})); len(solicits) != 2 || solicits[1].Dst != ipv6.AllRouters() {
		t.Error("a router that does not answer is asked alone again")
	}
}

// CPS_RETRY, CPS_RETRY_MAX: after 1, 3, 7 seconds once more, given up after 15, and not tried again for a while.
func TestClientRetries(t *testing.T) {
	anchor := newAnchor(t, "anchor")
	n := &network{t: t, client: newClient(t, certpath.ClientConfig{Anchors: anchor.anchors()}), now: start}
	n.step(want([16]byte{1}))
	n.step(want([16]byte{1})) // a second message with that key begins nothing anew
	n.run()
	if !slices.Equal(n.at, []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second}) {
		t.Errorf("asked at %v", n.at)
	}
	if len(n.paths) != 1 || n.paths[0].OK || n.paths[0].KeyHash != [16]byte{1} || n.now != start.Add(certpath.RetryMax) {
		t.Errorf("%v at %v", n.paths, n.now.Sub(start))
	}
	n.step(want([16]byte{1}))
	if len(n.paths) != 2 || n.paths[1].OK || len(n.at) != 4 || counter(n.client, "path_cache_hits_absent") != 1 {
		t.Error("what is known to be absent was looked for")
	}
	n.now = n.now.Add(certpath.DefaultAbsent)
	n.step(want([16]byte{1}))
	if len(n.at) != 5 {
		t.Error("it was never looked for again")
	}
}

// A caller that ticks late sends one solicitation, not all that it missed.
func TestClientTicksLate(t *testing.T) {
	c := newClient(t, certpath.ClientConfig{Anchors: newAnchor(t, "anchor").anchors()})
	c.Step(start, want([16]byte{1}))
	if solicits, _ := split(t, c.Step(start.Add(10*time.Second), certpath.Input{})); len(solicits) != 1 {
		t.Errorf("%d at once", len(solicits))
	}
}

// "No path" ends it sooner, and not at once: anybody can say so.
func TestClientNoPath(t *testing.T) {
	anchor, path := three(t)
	s := newServer(t, certpath.ServerConfig{})
	n := &network{t: t, client: newClient(t, certpath.ClientConfig{Anchors: anchor.anchors()}), servers: []*certpath.Server{s}, now: start}
	n.step(want(hashOf(t, path[2])))
	n.run()
	if took := n.now.Sub(start); took < 3*time.Second || took > 4*time.Second || len(n.paths) != 1 || n.paths[0].OK || len(n.at) != 3 {
		t.Errorf("after %v: %v", took, n.paths)
	}
	// The right router's answer beside the false one counts.
	good := newServer(t, certpath.ServerConfig{Chains: []certpath.Chain{chainOf(t, append(path, anchor)...)}})
	n = &network{t: t, client: newClient(t, certpath.ClientConfig{Anchors: anchor.anchors()}), servers: []*certpath.Server{s, good}, now: start}
	n.step(want(hashOf(t, path[2])))
	if len(n.paths) != 1 || !n.paths[0].OK {
		t.Errorf("%v", n.paths)
	}
}

// CPS_RETRY_FRAGMENTS: of a path that came in part what is missing is asked for by itself, the topmost first, and the next as
// soon as that has come.
func TestClientAsksForComponents(t *testing.T) {
	anchor, path := three(t)
	s := newServer(t, certpath.ServerConfig{Chains: []certpath.Chain{chainOf(t, append(path, anchor)...)}})
	n := &network{t: t, client: newClient(t, certpath.ClientConfig{Anchors: anchor.anchors()}), servers: []*certpath.Server{s}, now: start}
	n.lose = func(p *ipv6.Packet) bool { // only the topmost comes, until something is asked for by itself
		m, _ := ndp.ParsePathAdvert(p)
		return n.asked[len(n.asked)-1] == ndp.AllComponents && m.Component != 2
	}
	n.step(want(hashOf(t, path[2])))
	n.run()
	if !slices.Equal(n.asked, []uint16{ndp.AllComponents, ndp.AllComponents, 1, 0}) || n.at[2] != 2*time.Second || n.at[3] != 2*time.Second {
		t.Errorf("asked for %v at %v", n.asked, n.at)
	}
	if len(n.paths) != 1 || !n.paths[0].OK {
		t.Errorf("%v", n.paths)
	}
}

// A component that never comes: asked for with growing intervals, and all is forgotten at the end.
func TestClientPathThatNeverEnds(t *testing.T) {
	anchor, path := three(t)
	s := newServer(t, certpath.ServerConfig{Chains: []certpath.Chain{chainOf(t, append(path, anchor)...)}})
	n := &network{t: t, client: newClient(t, certpath.ClientConfig{Anchors: anchor.anchors()}), servers: []*certpath.Server{s}, now: start}
	n.lose = func(p *ipv6.Packet) bool { m, _ := ndp.ParsePathAdvert(p); return m.Component == 0 }
	n.step(want(hashOf(t, path[2])))
	n.run()
	var singles []time.Duration
	for i, component := range n.asked {
		if component == 0 {
			singles = append(singles, n.at[i])
		}
	}
	if !slices.Equal(singles, []time.Duration{2 * time.Second, 3 * time.Second, 5 * time.Second, 9 * time.Second}) {
		t.Errorf("the last one was asked for at %v", singles)
	}
	if len(n.paths) != 1 || n.paths[0].OK || n.now.Sub(start) != certpath.RetryMax {
		t.Errorf("%v after %v", n.paths, n.now.Sub(start))
	}
}

// cpa gives an advertisement as it comes from a router.
func cpa(t testing.TB, dst netip.Addr, m ndp.PathAdvert, certificates ...[]byte) *ipv6.Packet {
	t.Helper()
	var options [][]byte
	for _, der := range certificates {
		options = append(options, ndp.CertificateOption(der))
	}
	return packet(t, routerAddr, dst, routerHW, m.Append(nil, routerAddr, dst, options...))
}

// begin makes a client look for a key and gives the identifier of its solicitation.
func begin(t testing.TB, c *certpath.Client, hash [16]byte) uint16 {
	t.Helper()
	solicits, _ := split(t, c.Step(start, want(hash)))
	m, _ := ndp.ParsePathSolicit(solicits[0])
	return m.Identifier
}

// Certificates in any order, one or several in a message, to the group or to all nodes with identifier 0, make a path.
func TestClientOrders(t *testing.T) {
	anchor, path := three(t)
	group := ipv6.SolicitedNode(hostAddr)
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {1, 0, 2}, {2, 0, 1}, {0, 2, 1}, {2, 2, 1, 1, 0}} {
		for _, toAll := range []bool{false, true} {
			c := newClient(t, certpath.ClientConfig{Anchors: anchor.anchors()})
			id := begin(t, c, hashOf(t, path[2]))
			var found []certpath.Effect
			for _, i := range order {
				m, dst := ndp.PathAdvert{Identifier: id, All: 3, Component: uint16(2 - i)}, group
				if toAll {
					m.Identifier, dst = 0, ipv6.AllNodes()
				}
				_, paths := split(t, c.Step(start, heard(cpa(t, dst, m, path[i].cert.Raw))))
				found = append(found, paths...)
			}
			if len(found) != 1 || !found[0].OK {
				t.Errorf("in the order %v: %v", order, found)
			}
			if !c.Deadline().IsZero() {
				t.Errorf("in the order %v: not done", order)
			}
		}
	}
	c := newClient(t, certpath.ClientConfig{Anchors: anchor.anchors()})
	id := begin(t, c, hashOf(t, path[2]))
	_, paths := split(t, c.Step(start, heard(cpa(t, group, ndp.PathAdvert{Identifier: id, All: 3}, der(path...)...))))
	if len(paths) != 1 || !paths[0].OK {
		t.Errorf("all in one message: %v", paths)
	}
	// A router that sends the anchor, too.
	c = newClient(t, certpath.ClientConfig{Anchors: anchor.anchors()})
	id = begin(t, c, hashOf(t, path[2]))
	_, paths = split(t, c.Step(start, heard(cpa(t, group, ndp.PathAdvert{Identifier: id, All: 4}, der(anchor, path[0], path[1], path[2])...))))
	if len(paths) != 1 || !paths[0].OK {
		t.Errorf("with the anchor: %v", paths)
	}
}

// Two paths of one length, sent to all nodes at once, do not get in each other's way.
func TestClientTwoPathsOfOneRouter(t *testing.T) {
	a, b := newAnchor(t, "anchor"), newAnchor(t, "second")
	above, other := a.issue(t, "isp", site, authority), b.issue(t, "branch", site, authority)
	first, second := above.issue(t, "router", lan), other.issue(t, "router", lan)
	for _, anchors := range [][]certpath.Anchor{a.anchors(), b.anchors(), append(a.anchors(), b.anchors()...)} {
		c := newClient(t, certpath.ClientConfig{Anchors: anchors})
		begin(t, c, hashOf(t, first))
		var found []certpath.Effect
		for i, n := range []node{other, above, second, first} {
			_, paths := split(t, c.Step(start, heard(cpa(t, ipv6.AllNodes(), ndp.PathAdvert{All: 2, Component: uint16(1 - i/2)}, n.cert.Raw))))
			found = append(found, paths...)
		}
		if len(found) != 1 || !found[0].OK {
			t.Errorf("%v", found)
		}
	}
}

// What does not verify is counted for the right reason, is not kept, and does not keep the right path from being found.
func TestClientRefuses(t *testing.T) {
	anchor, path := three(t)
	router := path[2]
	impostor := node{path[1].cert, keyOf(t, "impostor")}
	other := newAnchor(t, "other")
	group := ipv6.SolicitedNode(hostAddr)
	expired := path[1].issue(t, "router", prefixes("2001:db8:2::/64"))
	for _, tt := range []struct {
		name    string
		m       ndp.PathAdvert // without identifier
		certs   [][]byte
		counter string
	}{
		{"another anchor", ndp.PathAdvert{All: 1}, der(other.issue(t, "router", lan)), "certificate_of_other_anchor"},
		{"a false signature", ndp.PathAdvert{All: 3}, der(path[0], path[1], impostor.issue(t, "router", lan)), "certificate_bad_signature"},
		{"a wrong prefix", ndp.PathAdvert{All: 3}, der(path[0], path[1], expired), "certificate_foreign_addresses"},
		{"components exchanged", ndp.PathAdvert{All: 3}, der(path[0], path[2], path[1]), ""},
		{"garbage", ndp.PathAdvert{All: 1}, [][]byte{{0x30, 3, 2, 1, 1}}, "certificate_malformed"},
		{"more than a path has", ndp.PathAdvert{All: 65535, Component: 65534}, der(path[0]), "path_too_long"},
		{"component over all", ndp.PathAdvert{All: 3, Component: 3}, der(path[0]), "cpa_bad_component"},
		{"more certificates than components", ndp.PathAdvert{All: 2}, der(path...), "cpa_bad_component"},
		{"a loop", ndp.PathAdvert{All: 10, Component: 1}, loop(t, anchor, 9), ""},
	} {
		c := newClient(t, certpath.ClientConfig{Anchors: anchor.anchors()})
		id := begin(t, c, hashOf(t, router))
		tt.m.Identifier = id
		for i, cert := range tt.certs { // one message each, or else what is too long for one
			m := tt.m
			if len(tt.certs) <= 3 && tt.name != "a loop" {
				if effects := c.Step(start, heard(cpa(t, group, m, tt.certs...))); effects != nil {
					t.Errorf("%s: %+v", tt.name, effects)
				}
				break
			}
			m.Component += uint16(len(tt.certs) - 1 - i)
			if effects := c.Step(start, heard(cpa(t, group, m, cert))); effects != nil {
				t.Errorf("%s: %+v", tt.name, effects)
			}
		}
		if tt.counter != "" && counter(c, tt.counter) != 1 {
			t.Errorf("%s: not counted as %s", tt.name, tt.counter)
		}
		_, paths := split(t, c.Step(start.Add(5*time.Second), heard(cpa(t, group, ndp.PathAdvert{Identifier: id, All: 3}, der(path...)...))))
		if len(paths) != 1 || !paths[0].OK {
			t.Errorf("%s: then the right path is not found", tt.name)
		}
	}
}

// loop gives so many certificates of two authorities that issue each other, below the anchor.
func loop(t testing.TB, anchor node, length int) [][]byte {
	t.Helper()
	last := anchor.issue(t, "isp", site, authority)
	all := der(last)
	for i := 1; i < length; i++ {
		last = last.issue(t, []string{"isp", "branch"}[i%2], site, authority)
		all = append(all, last.cert.Raw)
	}
	return all
}

// Messages that are not valid, or that nobody asked for, are dropped at once (section 6.4.6), and cost no memory.
func TestClientDrops(t *testing.T) {
	anchor, path := three(t)
	c := newClient(t, certpath.ClientConfig{Anchors: anchor.anchors()})
	cert := path[0].cert.Raw
	group := ipv6.SolicitedNode(hostAddr)
	unasked := heard(cpa(t, group, ndp.PathAdvert{Identifier: 9, All: 3, Component: 2}, cert))
	drop := func(name string, in certpath.Input, as string) {
		t.Helper()
		before := counter(c, as)
		if effects := c.Step(start, in); effects != nil || counter(c, as) != before+1 {
			t.Errorf("%s: %v, not counted as %s", name, effects, as)
		}
		if allocs := testing.AllocsPerRun(5, func() { c.Step(start, in) }); allocs != 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
	drop("when nothing is looked for", unasked, "cpa_unasked")
	id := begin(t, c, hashOf(t, path[2]))
	good := func(f func(p *ipv6.Packet)) certpath.Input {
		p := cpa(t, group, ndp.PathAdvert{Identifier: id, All: 3, Component: 2}, cert)
		f(p)
		return heard(p)
	}
	sum := func(p *ipv6.Packet) { ndp.FixChecksum(p.Payload, p.Src, p.Dst) }
	drop("another identifier", heard(cpa(t, group, ndp.PathAdvert{Identifier: id + 1, All: 3, Component: 2}, cert)), "cpa_other_identifier")
	drop("to another node", heard(cpa(t, ipv6.SolicitedNode(routerAddr), ndp.PathAdvert{Identifier: id, All: 3, Component: 2}, cert)), "cpa_other_node")
	drop("identifier 0 to one", heard(cpa(t, group, ndp.PathAdvert{All: 3, Component: 2}, cert)), "cpa_bad_identifier")
	drop("an identifier to all", heard(cpa(t, ipv6.AllNodes(), ndp.PathAdvert{Identifier: id, All: 3, Component: 2}, cert)), "cpa_bad_identifier")
	drop("hop limit", good(func(p *ipv6.Packet) { p.HopLimit = 64 }), "cpa_bad_hop_limit")
	drop("checksum", good(func(p *ipv6.Packet) { p.Payload[20] ^= 1 }), "cpa_bad_checksum")
	drop("code", good(func(p *ipv6.Packet) { p.Payload[1] = 1; sum(p) }), "cpa_bad_code")
	drop("global source", good(func(p *ipv6.Packet) { p.Src = netip.MustParseAddr("2001:db8::1"); sum(p) }), "cpa_bad_source")
	drop("another link", good(func(p *ipv6.Packet) { p.Interface++ }), "cpa_other_link")
	if effects := c.Step(start, good(func(p *ipv6.Packet) {})); effects != nil || counter(c, "certificates_verified") != 1 {
		t.Error("the good one was not taken")
	}
	drop("the same once more", good(func(p *ipv6.Packet) {}), "certificates_repeated")
}

// A flood of keys, of certificates, of senders: all that it fills is bounded, and counted.
func TestClientUnderFlood(t *testing.T) {
	anchor, path := three(t)
	c := newClient(t, certpath.ClientConfig{Anchors: anchor.anchors(), MaxOctets: 8192})
	refused := 0
	for i := range 1000 {
		solicits, paths := split(t, c.Step(start, want([16]byte{0: 7, 14: byte(i >> 8), 15: byte(i)})))
		refused += len(paths)
		if i >= certpath.DefaultMaxDiscoveries && len(solicits) != 0 {
			t.Fatal("solicitations without a bound")
		}
	}
	if refused != 1000-certpath.DefaultMaxDiscoveries || counter(c, "path_discoveries_full") != uint64(refused) {
		t.Errorf("%d refused", refused)
	}
	// Certificates that cannot be verified yet, from many senders.
	stray := newAnchor(t, "other").issue(t, "router", lan).cert.Raw
	for i := range 5000 {
		m := ndp.PathAdvert{All: 9, Component: uint16(i % 8)}
		changed := bytes.Clone(stray)
		changed[len(changed)-1], changed[len(changed)-2] = byte(i), byte(i>>8)
		p := cpa(t, ipv6.AllNodes(), m, changed)
		p.LinkSource = ipv6.LinkAddr{2, 1, 0, 0, byte(i >> 8), byte(i)}
		c.Step(start.Add(time.Duration(i)*time.Millisecond), heard(p))
	}
	looked := counter(c, "certificates_waiting")
	if looked > 2*certpath.MaxCertificates+5*certpath.DefaultVerifyRate || counter(c, "certificates_limited") == 0 || c.Octets() > 8192 || c.Gatherings() > 8 {
		t.Errorf("%d looked at, %d octets kept, %d gatherings", looked, c.Octets(), c.Gatherings())
	}
	// Meanwhile the right path, which nobody looks for as there are too many others, is found and kept.
	s := newServer(t, certpath.ServerConfig{Chains: []certpath.Chain{chainOf(t, append(path, anchor)...)}})
	n := &network{t: t, client: c, servers: []*certpath.Server{s}, now: start.Add(5 * time.Second)}
	n.run()
	n.paths = nil
	n.step(want(hashOf(t, path[2])))
	if len(n.paths) != 1 || !n.paths[0].OK || counter(c, "paths_found_unasked") != 1 {
		t.Errorf("%+v", n.paths)
	}
	if c.Octets() != 0 || c.Gatherings() != 0 {
		t.Errorf("left over: %d octets, %d gatherings", c.Octets(), c.Gatherings())
	}
}

// The caches have their bound: the path that was used longest ago gives way, and so does the oldest "none".
func TestClientCacheBound(t *testing.T) {
	anchor := newAnchor(t, "anchor")
	c := newClient(t, certpath.ClientConfig{Anchors: anchor.anchors(), MaxPaths: 2, VerifyRate: 100})
	now := start
	for i, name := range []string{"r0", "router", "branch"} {
		r := anchor.issue(t, name, lan)
		solicits, _ := split(t, c.Step(now, want(hashOf(t, r))))
		m, _ := ndp.ParsePathSolicit(solicits[0])
		if _, paths := split(t, c.Step(now, heard(cpa(t, ipv6.SolicitedNode(hostAddr), ndp.PathAdvert{Identifier: m.Identifier, All: 1}, r.cert.Raw)))); len(paths) != 1 {
			t.Fatalf("%s: %v", name, paths)
		}
		now = now.Add(time.Second)
		if i == 1 { // the first one is used again, so that the second goes
			c.Step(now, want(hashOf(t, node{key: keyOf(t, "r0")})))
		}
	}
	for name, cached := range map[string]bool{"r0": true, "branch": true, "router": false} {
		hits := counter(c, "path_cache_hits")
		c.Step(now, want(hashOf(t, node{key: keyOf(t, name)})))
		if (counter(c, "path_cache_hits") > hits) != cached {
			t.Errorf("%s is in the cache: %v", name, !cached)
		}
	}
	if counter(c, "path_cache_evicted") != 1 {
		t.Error("not counted")
	}
	n := &network{t: t, client: newClient(t, certpath.ClientConfig{Anchors: anchor.anchors(), MaxPaths: 2}), now: start}
	for i := range byte(4) {
		n.step(want([16]byte{i}))
		n.run()
	}
	if n.client.Absent() != 2 {
		t.Errorf("%d keys are known to have no path", n.client.Absent())
	}
}

func TestClientConfiguration(t *testing.T) {
	if _, err := certpath.NewClient(certpath.ClientConfig{}); err == nil {
		t.Error("a client without anchors")
	}
	// The anchor of the capture has no key usage and SHA-1, which an anchor may; strict paths begin at it, too.
	if _, err := certpath.NewClient(certpath.ClientConfig{Anchors: capturedAnchor(t)}); err != nil {
		t.Error(err)
	}
	anchor := newAnchor(t, "anchor")
	heir := anchor.issue(t, "heir", nil, authority)
	if _, err := certpath.NewClient(certpath.ClientConfig{Anchors: heir.anchors()}); !errors.Is(err, certpath.ReasonNoAddresses) {
		t.Errorf("an anchor that inherits: %v", err)
	}
	c := newClient(t, certpath.ClientConfig{Anchors: anchor.anchors(), Rand: bytes.NewReader(nil)})
	if solicits, paths := split(t, c.Step(start, want([16]byte{1}))); len(solicits) != 0 || len(paths) != 1 || paths[0].OK || counter(c, "path_no_randomness") != 1 {
		t.Error("looked for without a random identifier")
	}
}

// Other anchors: what was found under the old ones is forgotten.
func TestClientReconfigure(t *testing.T) {
	anchor, path := three(t)
	s := newServer(t, certpath.ServerConfig{Chains: []certpath.Chain{chainOf(t, append(path, anchor)...)}})
	cfg := certpath.ClientConfig{Link: link, LinkLocal: hostAddr, Anchors: anchor.anchors(), Rand: rand.NewChaCha8([32]byte{2})}
	n := &network{t: t, client: newClient(t, cfg), servers: []*certpath.Server{s}, now: start}
	n.step(want(hashOf(t, path[2])))
	cfg.Anchors = newAnchor(t, "other").anchors()
	if err := n.client.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	n.step(want(hashOf(t, path[2])))
	n.run()
	if len(n.paths) != 2 || n.paths[1].OK {
		t.Errorf("%+v", n.paths)
	}
}

// Each counter has a name of its own.
func TestCounterNames(t *testing.T) {
	c := newClient(t, certpath.ClientConfig{Anchors: newAnchor(t, "anchor").anchors()})
	seen := map[string]bool{}
	for _, counters := range []func(func(string, uint64)){c.Counters, newServer(t, certpath.ServerConfig{}).Counters} {
		counters(func(name string, _ uint64) {
			if seen[name] || name == "" {
				t.Errorf("counter %q", name)
			}
			seen[name] = true
		})
	}
}
