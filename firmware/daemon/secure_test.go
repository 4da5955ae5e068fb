package daemon

import (
	"bytes"
	"crypto/rand"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/drivers/guard"
	"github.com/roamkey/roamkey/drivers/neighbors"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/certpath"
	"github.com/roamkey/roamkey/ndp/cga"
	"github.com/roamkey/roamkey/ndp/send"
)

// From a key alone to advertisements from a CGA: a modifier is looked for, its addresses are looked for on the link, by signed
// solicitations (RFC 3971 section 5, table of messages: NS from ::), the kernel gets them, advertisements are signed. The link-local
// address that hosts knew says once that it is no router (RFC 4861 section 6.2.5).
func TestSENDBegins(t *testing.T) {
	t.Parallel()
	b := newSecureBench(t, secureSettings, true)
	b.await("addresses", func(s control.Snapshot) bool { return s.Links[0].Served })
	b.id.params.Modifier, b.id.ready = b.d.identity.params.Modifier, true
	host := newJudge(t)
	for _, a := range []netip.Addr{b.ll(), b.global()} {
		p := b.spoke("a solicitation for "+a.String(), icmp(ndp.TypeNeighborSolicit, from(netip.IPv6Unspecified()), about(a)))
		if s := host.hear(p); !s.Secured || !s.CGA || s.KeyHash != b.d.identity.hash {
			t.Errorf("detection of %v proves nothing: %v", a, s.Why)
		}
		if _, there := b.neighbors.Address(lanIndex, a); !there {
			t.Errorf("the kernel has no %v", a)
		}
		if !b.socket.Watches(lanIndex, a) {
			t.Errorf("solicitations for %v are not heard", a)
		}
	}
	if !b.neighbors.Taken(lanIndex) {
		t.Error("the kernel goes on with its own Neighbour Discovery")
	}
	p := b.spoke("an advertisement", icmp(ndp.TypeRouterAdvert, from(b.ll())))
	ra, reason := ndp.ParseRouterAdvert(p)
	if s := host.hear(p); !s.Secured || !s.CGA || reason != ndp.ReasonNone || ra.Lifetime == 0 {
		t.Errorf("advertisement %+v proves nothing: %v, %v", ra, s.Why, reason)
	}
	// Nobody was told of this router from its former address, so that there is nobody to tell that it is gone, but hosts from
	// before the start.
	p = b.spoke("the farewell of the former address", icmp(ndp.TypeRouterAdvert, from(formerLL)))
	if ra, _ := ndp.ParseRouterAdvert(p); ra.Lifetime != 0 {
		t.Errorf("the former address says that it is a router for %d s more", ra.Lifetime)
	}
	again, err := loadIdentity(filepath.Join(b.dir, "send.key"), b.dir, 0)
	if err != nil || !again.ready || again.address(lanPrefix) != b.global() {
		t.Errorf("the next start has other addresses, or %v", err)
	}
}

// What the kernel wants to know is asked signed, and what is answered is written for it (RFC 3971 section 5, table of messages:
// NS with nonce, NA solicited).
func TestKernelAsks(t *testing.T) {
	t.Parallel()
	b := newSecureBench(t, secureSettings, false)
	b.served()
	v := b.voice()
	if !b.neighbors.Ask(lanIndex, v.addr) {
		t.Fatal("the link is not taken")
	}
	p := b.spoke("a solicitation", icmp(ndp.TypeNeighborSolicit, about(v.addr)))
	s := v.hear(p)
	if !s.Secured || len(s.Nonce) == 0 {
		t.Fatalf("the solicitation proves nothing: %v, nonce %x", s.Why, s.Nonce)
	}
	v.say(naFrom(v.addr, p.Src, ndp.FlagSolicited|ndp.FlagOverride, v.hw), s.Nonce)
	b.await("a secured neighbour", func(s control.Snapshot) bool { return s.Links[0].SEND.Secured == 1 })
	if e, _ := b.neighbors.Entry(lanIndex, v.addr); e.Hardware != v.hw || !e.Reachable {
		t.Errorf("the kernel has %+v", e)
	}
	// What is unsecured does not change it (RFC 3971 section 8), and is an answer where nothing better is known.
	liar := ipv6.LinkAddr{2, 6, 6, 6, 6, 6}
	b.hears(liar, naFrom(v.addr, ipv6.AllNodes(), ndp.FlagOverride, liar))
	b.neighbors.Ask(lanIndex, plainAddr)
	b.spoke("a solicitation", icmp(ndp.TypeNeighborSolicit, about(plainAddr)))
	b.hears(nodeHW, naFrom(plainAddr, b.ll(), ndp.FlagSolicited|ndp.FlagOverride, nodeHW))
	b.await("an unsecured neighbour", func(s control.Snapshot) bool { return s.Links[0].SEND.Unsecured == 1 })
	if e, _ := b.neighbors.Entry(lanIndex, plainAddr); e.Hardware != nodeHW {
		t.Errorf("the kernel has %+v", e)
	}
	if e, _ := b.neighbors.Entry(lanIndex, v.addr); e.Hardware != v.hw {
		t.Errorf("an unsigned advertisement gave %v to a neighbour that had proved %v", e.Hardware, v.hw)
	}
	b.neighbors.Fail(os.ErrPermission)
	b.neighbors.Ask(lanIndex, plainAddr.Next())
	b.spoke("a solicitation", icmp(ndp.TypeNeighborSolicit, about(plainAddr.Next())))
	b.hears(nodeHW, naFrom(plainAddr.Next(), b.ll(), ndp.FlagSolicited|ndp.FlagOverride, nodeHW))
	b.awaitCounter("daemon", "neighbours_unwritten", 1)
	b.neighbors.Fail(nil)
}

// Who asks for the router's addresses gets signed answers: with the nonce of a secured solicitation, without one of an unsecured
// (RFC 3971 section 5.3.3). On a link that is secured-only the unsecured one gets none.
func TestSolicitationsAreAnswered(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"mixed", "only"} {
		b := newSecureBench(t, strings.Replace(secureSettings, "send 'mixed'", "send '"+mode+"'", 1), false)
		b.served()
		v := b.voice()
		asked := v.sign(nsTo(v.addr, b.global(), v.hw), nil)
		var q ipv6.Packet
		ipv6.Parse(asked, &q)
		m, _ := ndp.ParseNeighborSolicit(&q)
		b.hears(v.hw, asked)
		p := b.spoke("an answer", icmp(ndp.TypeNeighborAdvert, to(v.addr), about(b.global())))
		if s := v.hear(p); !s.Secured || !s.Reply || !bytes.Equal(s.Nonce, m.Nonce) {
			t.Errorf("%s: the answer proves nothing (%v), reply %v, nonce %x of %x", mode, s.Why, s.Reply, s.Nonce, m.Nonce)
		}
		b.await("a secured neighbour", func(s control.Snapshot) bool { return s.Links[0].SEND.Secured == 1 })
		if e, _ := b.neighbors.Entry(lanIndex, v.addr); e.Hardware != v.hw || e.Reachable {
			t.Errorf("%s: the kernel has %+v, want it to be confirmed", mode, e)
		}

		b.hears(nodeHW, nsTo(plainAddr, b.global(), nodeHW))
		if mode == "only" {
			b.awaitCounter("send lan", "dropped_no_signature", 1)
			if b.said(icmp(ndp.TypeNeighborAdvert, to(plainAddr))) != nil {
				t.Error("an unsecured solicitation was answered")
			}
			if _, there := b.neighbors.Entry(lanIndex, plainAddr); there {
				t.Error("an unsecured solicitation made an entry")
			}
			continue
		}
		p = b.spoke("an answer", icmp(ndp.TypeNeighborAdvert, to(plainAddr), about(b.global())))
		if s := v.hear(p); !s.Secured || len(s.Nonce) != 0 {
			t.Errorf("the answer to an unsecured solicitation proves nothing (%v), or has the nonce %x", s.Why, s.Nonce)
		}
		// The address that the interface has by somebody else's hand is defended, but nothing can prove it.
		b.hears(nodeHW, nsTo(plainAddr, router, nodeHW))
		p = b.spoke("an answer", icmp(ndp.TypeNeighborAdvert, about(router)))
		if s := v.hear(p); s.Secured {
			t.Error("the answer for an address that is no CGA is signed")
		}
	}
}

// A router solicitation is answered by an advertisement with its nonce (RFC 3971 section 5.3.3).
func TestRouterSolicitationIsAnswered(t *testing.T) {
	t.Parallel()
	b := newSecureBench(t, secureSettings, false)
	b.served()
	v := b.voice()
	asked := v.sign(local(v.addr, ipv6.AllRouters(), ndp.AppendRouterSolicit(nil, v.addr, ipv6.AllRouters(), ndp.SourceLinkOption(v.hw))), nil)
	b.hears(v.hw, asked)
	answered := func(p *ipv6.Packet) bool {
		if !icmp(ndp.TypeRouterAdvert)(p) {
			return false
		}
		s := v.hear(p)
		return s.Secured && s.Reply
	}
	if p := b.spoke("an advertisement with the nonce of the solicitation", answered); p.Dst != v.addr {
		t.Errorf("it went to %v", p.Dst)
	}
}

// CPS is answered by CPA with the router's certificate (RFC 3971 section 6.4); without one, by what says that there is none.
func TestCertificatesAreTold(t *testing.T) {
	t.Parallel()
	b := newSecureBench(t, secureSettings, false)
	b.served()
	want := b.certify(b.d.identity, time.Now())
	text, err := os.ReadFile(filepath.Join(b.dir, "send.pem"))
	if err != nil {
		t.Fatal(err)
	}
	chain, err := certpath.LoadChain(text, certpath.RFC6494)
	if err != nil {
		t.Fatal(err)
	}
	anchor := ndp.TrustAnchor{NameType: ndp.NameX501, Name: chain.AnchorName}.Append(nil)
	host := ipv6.LinkLocalFrom(peerHW)
	ask := func(id uint16) ndp.PathAdvert {
		t.Helper()
		b.hears(peerHW, local(host, ipv6.AllRouters(), ndp.PathSolicit{Identifier: id, Component: ndp.AllComponents}.Append(nil, host, ipv6.AllRouters(), anchor)))
		p := b.spoke("a certification path advertisement", icmp(ndp.TypePathAdvert, func(p *ipv6.Packet) bool {
			m, reason := ndp.ParsePathAdvert(p)
			return reason == ndp.ReasonNone && m.Identifier == id
		}))
		if p.Src != b.ll() {
			t.Errorf("it comes from %v", p.Src)
		}
		m, _ := ndp.ParsePathAdvert(p)
		return m
	}
	if m := ask(5); certificate(t, m) != nil {
		t.Errorf("a certificate out of nothing: %+v", m)
	}
	b.ask(func() { b.d.takeCertificates(); b.d.relink() })
	if m := ask(6); !bytes.Equal(certificate(t, m), want) || m.Component != 0 {
		t.Errorf("component %d of %d is not the router's certificate", m.Component, m.All)
	}
}

func certificate(t *testing.T, m ndp.PathAdvert) []byte {
	t.Helper()
	for o, ok := m.Options.Next(); ok; o, ok = m.Options.Next() {
		if o.Type == ndp.OptCertificate {
			der, err := ndp.ParseCertificate(o)
			if err != nil {
				t.Fatal(err)
			}
			return der
		}
	}
	return nil
}

// certify makes a certificate for an identity's key where the daemon looks for it, and gives it in DER.
func (b *secureBench) certify(id *identity, from time.Time) []byte {
	b.t.Helper()
	from = from.Truncate(time.Second)
	key, err := engine.GenerateKey(1024)
	if err != nil {
		b.t.Fatal(err)
	}
	r := certpath.Request{Name: "anchor", Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}, NotBefore: from.Add(-time.Hour), NotAfter: from.Add(time.Hour)}
	top, err := certpath.NewAnchor(rand.Reader, key, r)
	if err != nil {
		b.t.Fatal(err)
	}
	anchors, err := certpath.LoadAnchors(certpath.EncodePEM(top))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Name = "router"
	der, err := certpath.NewRouterCertificate(rand.Reader, anchors[0], key, &id.private.PublicKey, r)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "send.pem"), certpath.EncodePEM(der, top), 0o644); err != nil {
		b.t.Fatal(err)
	}
	return der
}

// An address that somebody else has is given up for the one with the next collision count (RFC 3972 section 4, step 8); from
// then on only who can sign for it counts (RFC 3971 section 8).
func TestDuplicateAddressTakesTheNext(t *testing.T) {
	t.Parallel()
	b := newSecureBench(t, secureSettings, true)
	second := func() netip.Addr {
		p := b.d.identity.params.In(lanPrefix)
		p.Collisions = 1
		return p.Address(0)
	}
	p := b.spoke("a solicitation", icmp(ndp.TypeNeighborSolicit, from(netip.IPv6Unspecified()), func(p *ipv6.Packet) bool {
		m, reason := ndp.ParseNeighborSolicit(p)
		return reason == ndp.ReasonNone && lanPrefix.Contains(m.Target)
	}))
	m, _ := ndp.ParseNeighborSolicit(p)
	first := m.Target
	liar := ipv6.LinkAddr{2, 6, 6, 6, 6, 6}
	b.hears(liar, naFrom(first, ipv6.AllNodes(), ndp.FlagOverride, liar))
	var next netip.Addr
	b.await("the duplicate", func(s control.Snapshot) bool { return s.Counters["neighbor lan"]["addresses_duplicate"] > 0 })
	b.ask(func() { next = second() })
	b.spoke("a solicitation for the next address", icmp(ndp.TypeNeighborSolicit, from(netip.IPv6Unspecified()), about(next)))
	b.hears(liar, naFrom(next, ipv6.AllNodes(), ndp.FlagOverride, liar))
	b.await("the next address", func(s control.Snapshot) bool {
		return slices.ContainsFunc(s.Links[0].SEND.Addresses, func(a control.OwnAddress) bool { return a.Addr == next && !a.Tentative })
	})
	if _, there := b.neighbors.Address(lanIndex, first); there {
		t.Error("the kernel has the address that is another's")
	}
	if _, there := b.neighbors.Address(lanIndex, next); !there {
		t.Error("the kernel has no address: an unsecured message took the second one, too")
	}
	var collisions uint8
	b.ask(func() { collisions = b.d.identity.collisions[lanPrefix] })
	if params := b.d.identity.params.In(lanPrefix); collisions != 1 || cga.Verify(next, func() cga.Params { params.Collisions = 1; return params }()) != nil {
		t.Errorf("collision count %d of %v", collisions, next)
	}
	// What is said from there proves it.
	v := b.voice()
	b.hears(v.hw, v.sign(nsTo(v.addr, next, v.hw), nil))
	if s := v.hear(b.spoke("an answer", icmp(ndp.TypeNeighborAdvert, to(v.addr), about(next)))); !s.Secured || !s.CGA {
		t.Errorf("the answer proves nothing: %v", s.Why)
	}
}

// SEND ends and begins with the settings, and takes its addresses with it.
func TestReloadEndsAndBeginsSEND(t *testing.T) {
	t.Parallel()
	b := newSecureBench(t, secureSettings, false)
	b.served()
	v := b.voice()
	b.neighbors.Own(neighbors.Owned{Link: lanIndex, Addr: b.global()}, 64)
	b.reconfigure("send 'mixed'", "send 'off'")
	s := b.await("the link without SEND", func(s control.Snapshot) bool { return s.Links[0].Served && s.Links[0].SEND == nil })
	if s.Links[0].LinkLocal != formerLL {
		t.Errorf("it speaks from %v", s.Links[0].LinkLocal)
	}
	if b.neighbors.Taken(lanIndex) {
		t.Error("the kernel's neighbours are still ours")
	}
	b.await("the address to be gone", func(s control.Snapshot) bool { _, there := b.neighbors.Address(lanIndex, b.global()); return !there })
	b.hush()
	if p := b.spoke("an advertisement", icmp(ndp.TypeRouterAdvert, from(formerLL))); v.hear(p).Secured {
		t.Error("it is signed")
	}
	b.neighbors.Ask(lanIndex, v.addr) // nobody is asked
	b.hush()
	b.reconfigure("send 'off'", "send 'only'")
	b.await("SEND", func(s control.Snapshot) bool {
		return s.Links[0].Served && s.Links[0].SEND != nil && s.Links[0].LinkLocal == b.ll()
	})
	if p := b.spoke("a signed advertisement", icmp(ndp.TypeRouterAdvert, from(b.ll()))); !v.hear(p).Secured {
		t.Error("it is not signed")
	}
	if !b.neighbors.Taken(lanIndex) {
		t.Error("the kernel's neighbours are not ours")
	}
	b.spoke("the farewell of the address without SEND", icmp(ndp.TypeRouterAdvert, from(formerLL), func(p *ipv6.Packet) bool {
		ra, reason := ndp.ParseRouterAdvert(p)
		return reason == ndp.ReasonNone && ra.Lifetime == 0
	}))
}

// Jobs that the queue loses are over: nothing waits for them, each is counted, and what comes later is done.
func TestLostJobs(t *testing.T) {
	t.Parallel()
	b := newSecureBench(t, secureSettings, false)
	b.served()
	v := b.voice()
	b.crypto.set(true, false)
	b.hears(v.hw, v.sign(nsTo(v.addr, b.global(), v.hw), nil))
	b.hears(nodeHW, nsTo(plainAddr, b.global(), nodeHW))
	b.await("the losses", func(s control.Snapshot) bool {
		c := s.Counters["send lan"]
		return c["dropped_queue_full"]+c["unsecured_queue_full"] > 0 && c["not_sent_queue_full"] > 0 && s.Links[0].SEND.Verifying == 0 && s.Links[0].SEND.Signing == 0
	})
	b.crypto.set(false, false)
	b.hush()
	b.hears(v.hw, v.sign(nsTo(v.addr, b.global(), v.hw), nil))
	b.spoke("an answer", icmp(ndp.TypeNeighborAdvert, to(v.addr)))
}

// A redirect of the kernel's is said signed with the target's link-layer address if that was proved, cut so that it fits with its
// signature; and not at all if it is no redirect of ours, to a host that is unknown, or one of too many (RFC 4861 section 8.2).
func TestRedirectIsMadeAnew(t *testing.T) {
	t.Parallel()
	b := newSecureBench(t, secureSettings, false)
	b.served()
	v := b.voice()
	v.say(nsTo(v.addr, b.global(), v.hw), nil)
	b.spoke("an answer", icmp(ndp.TypeNeighborAdvert, to(v.addr)))
	quoted := append([]byte{ndp.OptRedirected, 120, 0, 0, 0, 0, 0, 0}, make([]byte, 119*8)...)
	redirect := func(src, dst, target netip.Addr) guard.Redirect {
		m := ndp.AppendRedirect(nil, src, dst, target, target, ndp.TargetLinkOption(ipv6.LinkAddr{2, 6, 6, 6, 6, 6}), quoted)
		return guard.Redirect{Link: lanIndex, Packet: local(src, dst, m)}
	}
	say := func(r guard.Redirect) { b.ask(func() { b.d.redirect(r) }) }
	say(redirect(formerLL, v.addr, v.addr)) // the target is what is looked at
	p := b.spoke("a redirect", icmp(ndp.TypeRedirect))
	m, reason := ndp.ParseRedirect(p)
	if s := v.hear(p); !s.Secured || reason != ndp.ReasonNone || p.Src != b.ll() || m.TargetLink != v.hw || len(p.Raw) > leastMTU {
		t.Errorf("redirect of %d octets from %v with %v: %v, %v", len(p.Raw), p.Src, m.TargetLink, s.Why, reason)
	}
	if spare := leastMTU - len(p.Raw); spare > 24+send.Overhead(0, 0) {
		t.Errorf("%d octets of the packet are left out without need", spare)
	}
	before := b.counter("daemon", "redirects_said")
	for name, r := range map[string]guard.Redirect{
		"from nobody's address": redirect(netip.MustParseAddr("fe80::66"), v.addr, plainAddr),
		"cut off":               {Link: lanIndex, Packet: redirect(formerLL, v.addr, plainAddr).Packet[:60]},
		"an advertisement":      {Link: lanIndex, Packet: naFrom(formerLL, v.addr, 0, routerHW)},
		"empty":                 {Link: lanIndex},
	} {
		forms := b.counter("daemon", "drop_redirect_form")
		say(r)
		if b.counter("daemon", "drop_redirect_form") != forms+1 {
			t.Errorf("%s: not counted", name)
		}
	}
	unserved := b.counter("daemon", "drop_link_not_served")
	say(guard.Redirect{Link: 99, Packet: redirect(formerLL, v.addr, plainAddr).Packet})
	if b.counter("daemon", "drop_link_not_served") != unserved+1 {
		t.Error("a redirect of another link is not counted")
	}
	say(redirect(formerLL, plainAddr, v.addr))
	b.spoke("a question for who is to hear it", icmp(ndp.TypeNeighborSolicit, about(plainAddr)))
	if b.counter("daemon", "drop_redirect_unresolved") != 1 || b.counter("daemon", "redirects_said") != before {
		t.Error("a redirect to an unknown host is not counted")
	}
	for range 40 {
		say(redirect(formerLL, v.addr, plainAddr))
	}
	if n := b.counter("daemon", "drop_redirect_limited"); n < 15 || n > 25 {
		t.Errorf("of 40 redirects in a moment %d were too many", n)
	}
}

// What keeps nodes and neighbours from trusting this router makes its status unhealthy, and says what helps.
func TestFindingsOfSEND(t *testing.T) {
	t.Parallel()
	text := strings.Replace(secureSettings, "protection 'none'", "protection 'key'\n\toption key 'DIR/next.key'", 1) + `
config neighbor 'tunnelled'
	option address '2001:db8:3::1'
	option hardware '02:00:00:00:00:03'
	list access_point '02:00:00:00:aa:03'
	list prefix '2001:db8:3::/64'
	option protection 'ipsec'
`
	b := newSecureBench(t, text, false)
	b.served()
	now := time.Now()
	find := func(wall time.Time) (all []string) {
		b.ask(func() {
			for _, f := range b.d.secureFindings(wall) {
				if f.Level != control.Warning || f.Fix == "" {
					t.Errorf("finding %+v", f)
				}
				all = append(all, f.What)
			}
		})
		return all
	}
	want := func(wall time.Time, parts ...string) {
		t.Helper()
		got := find(wall)
		if len(got) != len(parts) {
			t.Errorf("findings %q, want %q", got, parts)
			return
		}
		for i := range parts {
			if !strings.Contains(got[i], parts[i]) {
				t.Errorf("finding %q, want %q", got[i], parts[i])
			}
		}
	}
	const noKey, noPolicy = "neighbor next: its key", "neighbor tunnelled: no IPsec policy"
	want(now, "there is none", noKey, noPolicy)
	if s := b.await("status", func(control.Snapshot) bool { return true }); s.Healthy() {
		t.Error("healthy all the same")
	}
	want(time.Unix(1e6, 0), "clock is not set", "there is none", noKey, noPolicy)
	other := newSecureBench(t, secureSettings, true)
	b.certify(other.id, now)
	b.ask(b.d.takeCertificates)
	want(now, "another key", noKey, noPolicy)
	b.certify(b.d.identity, now)
	b.ask(b.d.takeCertificates)
	want(now, noKey, noPolicy)
	want(now.Add(2*time.Hour), "valid no more", noKey, noPolicy)
	want(now.Add(-2*time.Hour), "not valid before", noKey, noPolicy)
	if err := engine.SaveSharedKey(filepath.Join(b.dir, "next.key"), rand.Reader); err != nil {
		t.Fatal(err)
	}
	b.host.SetCovers(b.global(), netip.MustParseAddr("2001:db8:3::1"), true)
	b.ask(b.d.takePeerKeys)
	want(now)
	if s := b.await("status", func(control.Snapshot) bool { return true }); !s.Healthy() {
		t.Errorf("not healthy: %+v", s.Findings)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "send.pem"), []byte("no certificate"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.ask(b.d.takeCertificates)
	want(now, "send.pem")
}
