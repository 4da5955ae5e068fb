package e2e

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// TestSENDLink is a link on which the router signs, and tolerates who does not: what it says, who believes it, and who reaches it
// without ever having heard of SEND.
func TestSENDLink(t *testing.T) {
	t.Parallel()
	w := newSecureWorld(t, "mixed", longKeys[0]())
	host, hostAddr, hostEars := w.addKernelHost()
	mixed := w.options.Settings
	w.options.Settings = replace(w.options.Settings, "option send 'mixed'", "option send 'off'")
	w.start()
	w.awaitAdvert(0, "an advertisement without SEND", func(a advert) bool { return a.Lifetime > 0 })
	mark := w.nodes.mark()
	w.reload(mixed)
	s := w.await("two addresses made of the key", func(s control.Snapshot) bool {
		return rig.Serves(s) && slices.Contains(ownOf(s), w.local) && slices.Contains(ownOf(s), w.global) && s.Links[0].LinkLocal == w.local
	})
	if s.SEND == nil || s.SEND.Certificate == nil || !s.SEND.Certificate.Ours || s.SEND.Key.Fingerprint != control.Fingerprint(w.params.PublicKey) {
		t.Errorf("status tells of SEND %+v", s.SEND)
	}

	t.Run("addresses of the interface", func(t *testing.T) {
		w.as(t)
		for _, a := range []netip.Addr{w.local, w.global, w.former, routerAddr} {
			if got := w.addresses("br-lan"); !slices.Contains(got, a) {
				t.Errorf("br-lan has %v, not %v", got, a)
			}
		}
	})
	t.Run("advertisement", func(t *testing.T) {
		w.as(t)
		// RFC 3971 section 5.1.1: from a CGA. HK-resolution-f: the router's global address is one of the same key, too, and told.
		var signed *heard
		eventually(t, "a signed advertisement with the new address", func() bool {
			for _, h := range w.nodes.since(mark, both(icmpType(ndp.TypeRouterAdvert), func(h *heard) bool { return h.Src == w.local })) {
				m, reason := ndp.ParseRouterAdvert(&h.Packet)
				prefixes := m.Prefixes()
				p, _ := prefixes.Next()
				if reason == ndp.ReasonNone && m.Lifetime > 0 && p.RouterAddress && p.Address == w.global {
					signed = &h
				}
			}
			return signed != nil
		})
		if hash, err := audit(&signed.Packet); err != nil || hash != w.hash() {
			t.Errorf("the advertisement does not verify: %v", err)
		}
		// Hosts that know the router by its former address leave that.
		w.nodes.hear(mark, "the former address to say lifetime 0", both(icmpType(ndp.TypeRouterAdvert), func(h *heard) bool {
			m, reason := ndp.ParseRouterAdvert(&h.Packet)
			return reason == ndp.ReasonNone && h.Src == w.former && m.Lifetime == 0
		}))
	})
	t.Run("certification path", func(t *testing.T) {
		w.as(t)
		// HK-AR-10, RFC 3971 section 6.4: a node that knows the anchor alone finds the router's certificate, and believes it then.
		n := w.pathNode(keys[0](), w.anchor)
		defer n.attach(nil)
		got := n.await(0, ndp.TypeRouterAdvert, "an advertisement with a path", func(r *received) bool { return r.Secured && r.Authorized })
		if !got.Covers(lanPrefix) || got.Covers(netip.MustParsePrefix("2001:db8:2::/64")) {
			t.Errorf("the path covers %v", got.Prefixes)
		}
		if s, _ := w.status(); s.Counters["path lan"]["cps_received"] == 0 || s.Counters["path lan"]["cpa_sent"] == 0 {
			t.Errorf("counters %v", s.Counters["path lan"])
		}
	})
	t.Run("wrong anchor", func(t *testing.T) {
		w.as(t)
		// RFC 3971 section 6.4.5: an anchor that the router has not is answered with "no path"; one that only has the right name
		// gets a path that does not verify.
		for name, counter := range map[string]string{"stranger": "cpa_sent_no_path", "anchor": "cpa_sent"} {
			before, _ := w.status()
			other, _ := newAnchor(t, name, longKeys[2]())
			n := w.pathNode(keys[1](), other)
			w.await("the router to answer "+name, func(s control.Snapshot) bool { return changes(before, s)["path lan/"+counter] > 0 })
			eventually(t, "the answer to be looked at", func() bool {
				n.mu.Lock()
				defer n.mu.Unlock()
				all := counted(n.paths)
				return all["cpa_no_path"] > 0 || name == "anchor" && all["certificate_bad_key_identifier"] > 0
			})
			if got := n.since(0, ndp.TypeRouterAdvert); len(got) > 0 {
				t.Errorf("%d advertisements were believed without a path to the anchor", len(got))
			}
			n.attach(nil)
		}
	})
	t.Run("who is asked", func(t *testing.T) {
		w.as(t)
		n := w.sendNode(keys[2](), true)
		defer n.attach(nil)
		for _, target := range []netip.Addr{w.local, w.global} {
			mark := n.mark()
			n.ask(target)
			// RFC 3971 section 5.3.3: the answer has the nonce of the question.
			n.await(mark, ndp.TypeNeighborAdvert, "a signed answer", func(r *received) bool {
				m, _ := ndp.ParseNeighborAdvert(&r.Packet)
				return r.Secured && r.Reply && m.Target == target && m.Router && m.TargetLink == w.access.Hardware
			})
		}
		mark := n.mark()
		n.solicitRouter()
		n.await(mark, ndp.TypeRouterAdvert, "an advertisement for the node alone, with its nonce", func(r *received) bool {
			return r.Secured && r.Authorized && r.Reply && r.Dst == n.Local
		})
	})
	t.Run("host without SEND", func(t *testing.T) {
		w.as(t)
		eventually(t, "the host to have an address", func() bool {
			out, _ := host.Run(time.Second, "ip", "-6", "route", "show", "default")
			return out != ""
		})
		for _, to := range []netip.Addr{correspondent, w.global, routerAddr} {
			if err := ping(host, to); err != nil {
				t.Errorf("the host does not reach %v: %v", to, err)
			}
		}
		if err := ping(w.up, hostAddr); err != nil {
			t.Errorf("the correspondent does not reach the host: %v", err)
		}
		if err := ping(w.router, hostAddr); err != nil {
			t.Errorf("the router does not reach the host: %v", err)
		}
	})
	t.Run("duplicate of its address", func(t *testing.T) {
		w.as(t)
		// What says without a signature that it has the router's address changes nothing.
		msg := ndp.AppendNeighborAdvert(nil, w.global, ipv6.AllNodes(), ndp.FlagOverride, w.global, ndp.TargetLinkOption(proberHW))
		w.nodes.send(proberHW, ipv6.MulticastLinkAddr(ipv6.AllNodes()), icmp(w.global, ipv6.AllNodes(), msg))
		w.await("the conflict to be counted", func(s control.Snapshot) bool { return s.Counters["neighbor lan"]["drop_conflict_in_use"] == 1 })
		if got := w.addresses("br-lan"); !slices.Contains(got, w.global) {
			t.Errorf("br-lan has %v", got)
		}
	})
	count := auditWire(t, w.nodes, w.access.Hardware, &w.sender, lanPrefix)
	auditWire(t, hostEars, w.access.Hardware, &w.sender, lanPrefix)
	for _, typ := range []byte{ndp.TypeRouterAdvert, ndp.TypeNeighborAdvert, ndp.TypeNeighborSolicit} {
		if count[typ] == 0 {
			t.Errorf("no message of type %d was verified: %v", typ, count)
		}
	}
}

// TestSecuredOnlyHostStaysReachable: a host that takes nothing unsigned is found by the router, and found again each time that
// the entry of the neighbour table has grown old.
func TestSecuredOnlyHostStaysReachable(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"mixed", "only"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := newSecureWorld(t, mode, keys[3]())
			check(t, w.router.SetSysctl("net/ipv6/neigh/lan0/base_reachable_time_ms", "300"))
			check(t, w.router.SetSysctl("net/ipv6/neigh/lan0/delay_first_probe_time", "0"))
			w.start()
			n := w.sendNode(keys[4](), true)
			n.await(0, ndp.TypeRouterAdvert, "a secured advertisement", secured)
			p := w.peer()
			p.sendTo(n.Home, "hello")
			w.nodes.hear(0, "the datagram", both(datagramTo(n.Home, "hello"), func(h *heard) bool { return h.to == n.Hardware }))
			// 300 ms are the time for which an answer holds; after three of them without a new one nothing would come any more.
			began := time.Now()
			for i := 0; time.Since(began) < 2500*time.Millisecond; i++ {
				p.sendTo(n.Home, "again")
				time.Sleep(20 * time.Millisecond)
			}
			mark := w.nodes.mark()
			p.sendTo(n.Home, "at last")
			w.nodes.hear(mark, "the datagram", datagramTo(n.Home, "at last"))
			if got := n.answersProbes(); got < 3 {
				t.Errorf("the router asked %d times", got)
			}
			w.nodes.send(n.Hardware, w.access.Hardware, p.datagram(n.Home, "back"))
			if text, from := p.receive(time.Second); text != "back" || from != n.Home {
				t.Errorf("the correspondent has %q from %v", text, from)
			}
			s, _ := w.status()
			if l := link1(s); l.Secured != 1 || l.Peers != 1 {
				t.Errorf("status tells of %+v", l)
			}
			if got := s.Counters["neighbor lan"]["neighbours_confirmed"]; got < 3 {
				t.Errorf("the neighbour was confirmed %d times", got)
			}
			// An imposter without the key does not get the host's packets (RFC 3971 section 8).
			msg := ndp.AppendNeighborAdvert(nil, n.Home, ipv6.AllNodes(), ndp.FlagOverride, n.Home, ndp.TargetLinkOption(proberHW))
			w.nodes.send(proberHW, ipv6.MulticastLinkAddr(ipv6.AllNodes()), icmp(n.Home, ipv6.AllNodes(), msg))
			w.fence()
			mark = w.nodes.mark()
			p.sendTo(n.Home, "not to the imposter")
			if h := w.nodes.hear(mark, "the datagram", datagramTo(n.Home, "not to the imposter")); h.to != n.Hardware {
				t.Errorf("the datagram went to %v", h.to)
			}
			auditWire(t, w.nodes, w.access.Hardware, &w.sender, lanPrefix)
		})
	}
}

// ownOf are the router's own addresses that can be used, as status tells them.
func ownOf(s control.Snapshot) (all []netip.Addr) {
	for _, a := range link1(s).Addresses {
		if a.CGA && !a.Tentative {
			all = append(all, a.Addr)
		}
	}
	return all
}

// ask solicits the owner of an address, signed.
func (n *sendNode) ask(target netip.Addr) {
	dst := ipv6.SolicitedNode(target)
	msg := ndp.AppendNeighborSolicit(nil, n.Home, dst, target, ndp.SourceLinkOption(n.Hardware))
	n.say(icmp(n.Home, dst, msg), nil, ipv6.MulticastLinkAddr(dst))
}

// solicitRouter asks for an advertisement, signed.
func (n *sendNode) solicitRouter() {
	dst := ipv6.AllRouters()
	msg := ndp.AppendRouterSolicit(nil, n.Local, dst, ndp.SourceLinkOption(n.Hardware))
	n.say(icmp(n.Local, dst, msg), nil, ipv6.MulticastLinkAddr(dst))
}

// sendTo sends a datagram to the port of nodes of an address.
func (p *peer) sendTo(to netip.Addr, text string) {
	p.w.t.Helper()
	_, err := p.conn.WriteToUDPAddrPort([]byte(text), netip.AddrPortFrom(to, nodePort))
	check(p.w.t, err)
}

// counted gives the counters of a machine.
func counted(of interface{ Counters(func(string, uint64)) }) map[string]uint64 {
	all := make(map[string]uint64)
	of.Counters(func(name string, value uint64) { all[name] = value })
	return all
}
