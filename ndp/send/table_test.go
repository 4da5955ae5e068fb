package send_test

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
	"github.com/roamkey/roamkey/ndp/send"
)

// pair is two nodes of a link: a speaks, b hears.
type pair struct {
	*lab
	a, b *node
}

func newPair(t testing.TB, change ...func(*send.Config)) pair {
	l := newLab(t)
	return pair{l, l.node(vectorKey(), change...), l.node(otherKey(), change...)}
}

// carries expects the options of SEND at the end of a packet.
func carries(t *testing.T, packet []byte, want ...uint8) {
	t.Helper()
	got := optionTypes(t, packet)
	got = slices.DeleteFunc(got, func(o uint8) bool {
		return o != ndp.OptCGA && o != ndp.OptTimestamp && o != ndp.OptNonce && o != ndp.OptSignature
	})
	if !slices.Equal(got, want) {
		t.Errorf("options %v, want %v", got, want)
	}
	if last := optionTypes(t, packet); !slices.Equal(last[len(last)-len(want):], want) {
		t.Errorf("options of SEND are not the last of %v", last)
	}
}

// signedBy expects a fresh message whose address is a CGA of the key.
func signedBy(t *testing.T, d delivery, k *rsaKey) {
	t.Helper()
	s := d.security
	if !s.Fresh() || !s.CGA || s.KeyHash != cga.KeyHash(k.spki) || !bytes.Equal(s.PublicKey, k.spki) {
		t.Errorf("%+v", s)
	}
}

// lacking takes one option of SEND out of a signed packet and has the key's owner sign what is left.
func (k *rsaKey) lacking(t testing.TB, packet []byte, typ uint8) []byte {
	return k.seal(t, without(t, packet, typ, ndp.OptSignature))
}

// The rows of the table of RFC 3971 (sections 5.1.1, 5.2.1, 5.3.3, 8), each crossed between two endpoints: what a message
// has to carry, what its CGA is held against, and what becomes of it without one of its options.
func TestTable(t *testing.T) {
	all := []uint8{ndp.OptCGA, ndp.OptTimestamp, ndp.OptNonce, ndp.OptSignature}
	noNonce := []uint8{ndp.OptCGA, ndp.OptTimestamp, ndp.OptSignature}

	t.Run("NS, src unicast", func(t *testing.T) {
		p := newPair(t)
		msg := p.a.say(solicit(p.a.local, p.b.local, ndp.SourceLinkOption(p.a.hw)))
		carries(t, msg, all...)
		d := p.b.secured(msg)
		signedBy(t, d, p.a.key)
		if !bytes.Equal(d.security.Nonce, p.a.sent[0].Nonce) || len(d.security.Nonce) != 6 {
			t.Errorf("nonce %x", d.security.Nonce)
		}
		p.b.unsecured(p.a.key.lacking(t, msg, ndp.OptCGA), send.ReasonNoCGA)
		p.b.drops(p.a.key.lacking(t, msg, ndp.OptTimestamp), "dropped_no_timestamp")
		p.b.drops(p.a.key.lacking(t, msg, ndp.OptNonce), "dropped_no_nonce")
		p.b.unsecured(without(t, msg, ndp.OptSignature), send.ReasonUnsigned)
		// The CGA is held against the source, not the target.
		foreign := solicit(p.b.global, p.a.local)
		p.b.unsecured(p.a.key.seal(t, with(t, foreign, cgaOption(p.a.key, "fe80::/64"), stampOption(p.lab),
			ndp.NonceOption(make([]byte, 6)))), send.ReasonCGA)
	})

	t.Run("NS for DAD, src ::", func(t *testing.T) {
		p := newPair(t)
		msg := p.a.say(solicit(unspecified, p.a.global))
		carries(t, msg, all...)
		signedBy(t, p.b.secured(msg), p.a.key) // against the target: there is no source
		p.b.unsecured(p.a.key.lacking(t, msg, ndp.OptCGA), send.ReasonNoCGA)
		p.b.drops(p.a.key.lacking(t, msg, ndp.OptTimestamp), "dropped_no_timestamp")
		p.b.drops(p.a.key.lacking(t, msg, ndp.OptNonce), "dropped_no_nonce")
		p.b.unsecured(without(t, msg, ndp.OptSignature), send.ReasonUnsigned)
		foreign := solicit(unspecified, p.b.global)
		p.b.unsecured(p.a.key.seal(t, with(t, foreign, cgaOption(p.a.key, "2001:db8:1:2::/64"), stampOption(p.lab),
			ndp.NonceOption(make([]byte, 6)))), send.ReasonCGA)
	})

	t.Run("NA solicited", func(t *testing.T) {
		p := newPair(t)
		asked := p.b.secured(p.a.say(solicit(p.a.local, p.b.local)))
		msg := p.b.say(advert(p.b.local, p.a.local), answering(asked.security.Nonce))
		carries(t, msg, all...)
		if !bytes.Equal(nonceOf(t, msg), asked.security.Nonce) {
			t.Errorf("nonce %x is not copied", nonceOf(t, msg))
		}
		d := p.a.secured(msg)
		signedBy(t, d, p.b.key)
		if !d.security.Reply {
			t.Error("not seen to be an answer")
		}
		p.a.unsecured(p.b.key.lacking(t, msg, ndp.OptCGA), send.ReasonNoCGA)
		p.a.drops(p.b.key.lacking(t, msg, ndp.OptTimestamp), "dropped_no_timestamp")
		p.a.unsecured(without(t, msg, ndp.OptSignature), send.ReasonUnsigned)
		// Without nonce it is as good as an unsolicited one.
		if d := p.a.secured(p.b.key.lacking(t, msg, ndp.OptNonce)); d.security.Reply {
			t.Error("without nonce it is no answer")
		}
		// One for another's address proves nothing, whoever signs it.
		other := join(p.b.local, p.a.local, ndp.AppendNeighborAdvert(nil, p.b.local, p.a.local, ndp.FlagSolicited, p.b.global))
		p.a.unsecured(p.b.key.seal(t, with(t, other, cgaOption(p.b.key, "fe80::/64"), stampOption(p.lab),
			ndp.NonceOption(asked.security.Nonce))), send.ReasonProxy)
	})

	t.Run("NA in reply to a DAD NS", func(t *testing.T) {
		p := newPair(t)
		// Both have b's address in mind; only b can prove it.
		asked := p.a.say(solicit(unspecified, p.a.global))
		nonce := p.b.secured(asked).security.Nonce
		msg := p.b.say(advert(p.b.global, ipv6.AllNodes()), answering(nonce))
		carries(t, msg, all...)
		if d := p.a.secured(msg); d.security.Reply {
			t.Error("it answers for another address than was asked for")
		}
	})

	t.Run("NA in reply to an unsecured NS", func(t *testing.T) {
		p := newPair(t)
		asked := p.b.unsecured(solicit(p.a.local, p.b.local, ndp.NonceOption([]byte("lonely"))), send.ReasonUnsigned)
		msg := p.b.say(advert(p.b.local, p.a.local), answering(asked.security.Nonce))
		carries(t, msg, noNonce...) // must not have a nonce
		d := p.a.secured(msg)
		signedBy(t, d, p.b.key)
		if d.security.Reply || d.security.Nonce != nil {
			t.Errorf("%+v", d.security)
		}
	})

	t.Run("NA unsolicited / UNA of FMIPv6", func(t *testing.T) {
		p := newPair(t)
		msg := p.a.say(advert(p.a.global, ipv6.AllNodes(), ndp.TargetLinkOption(p.a.hw)))
		carries(t, msg, noNonce...)
		signedBy(t, p.b.secured(msg), p.a.key)
		una := p.a.say(advert(p.a.global, p.b.local))
		carries(t, una, noNonce...)
		signedBy(t, p.b.secured(una), p.a.key)
		p.b.unsecured(p.a.key.lacking(t, msg, ndp.OptCGA), send.ReasonNoCGA)
		p.b.drops(p.a.key.lacking(t, msg, ndp.OptTimestamp), "dropped_no_timestamp")
		p.b.unsecured(without(t, msg, ndp.OptSignature), send.ReasonUnsigned)
	})

	t.Run("RS, src unicast", func(t *testing.T) {
		p := newPair(t)
		msg := p.a.say(routerSolicit(p.a.local))
		carries(t, msg, all...)
		signedBy(t, p.b.secured(msg), p.a.key)
		p.b.unsecured(p.a.key.lacking(t, msg, ndp.OptCGA), send.ReasonNoCGA)
		p.b.drops(p.a.key.lacking(t, msg, ndp.OptTimestamp), "dropped_no_timestamp")
		p.b.drops(p.a.key.lacking(t, msg, ndp.OptNonce), "dropped_no_nonce")
		p.b.unsecured(without(t, msg, ndp.OptSignature), send.ReasonUnsigned)
	})

	t.Run("RS, src ::", func(t *testing.T) {
		p := newPair(t, secured)
		msg := p.a.say(routerSolicit(unspecified))
		carries(t, msg, ndp.OptTimestamp, ndp.OptNonce)
		d := p.b.secured(msg) // not treated as unsecured for lacking CGA and signature
		if s := d.security; s.CGA || s.PublicKey != nil || !bytes.Equal(s.Nonce, p.a.sent[0].Nonce) {
			t.Errorf("%+v", s)
		}
		p.b.secured(without(t, msg, ndp.OptNonce))
		p.b.secured(without(t, msg, ndp.OptTimestamp))
		p.b.drops(without(t, msg, ndp.OptTimestamp, ndp.OptNonce), "dropped_no_timestamp_nor_nonce")
		// A signature there proves nothing, and what stands behind it is not seen.
		d = p.b.secured(with(t, p.a.key.seal(t, msg), ndp.SourceLinkOption(p.a.hw)))
		if d.security.PublicKey != nil {
			t.Errorf("%+v", d.security)
		}
		// The nonce is answered.
		reply := p.b.say(routerAdvert(p.b.local, ipv6.AllNodes()), answering(d.security.Nonce))
		if d := p.a.secured(reply); !d.security.Reply {
			t.Errorf("%+v", d.security)
		}
	})

	t.Run("RA in reply to RS (unicast)", func(t *testing.T) {
		p := newPair(t)
		asked := p.b.secured(p.a.say(routerSolicit(p.a.local)))
		msg := p.b.say(routerAdvert(p.b.local, p.a.local), answering(asked.security.Nonce))
		carries(t, msg, all...)
		d := p.a.secured(msg)
		signedBy(t, d, p.b.key)
		if !d.security.Reply {
			t.Error("not seen to be an answer")
		}
		p.a.unsecured(p.b.key.lacking(t, msg, ndp.OptCGA), send.ReasonNoCGA) // the method here is by CGA
		p.a.drops(p.b.key.lacking(t, msg, ndp.OptTimestamp), "dropped_no_timestamp")
		p.a.unsecured(without(t, msg, ndp.OptSignature), send.ReasonUnsigned)
		if d := p.a.secured(p.b.key.lacking(t, msg, ndp.OptNonce)); d.security.Reply {
			t.Error("without nonce it is no answer")
		}
	})

	t.Run("RA multicast", func(t *testing.T) {
		p := newPair(t)
		msg := p.a.say(routerAdvert(p.a.local, ipv6.AllNodes()))
		carries(t, msg, noNonce...)
		signedBy(t, p.b.secured(msg), p.a.key)
		// With the nonce of somebody's solicitation it goes to all the same: it is unsolicited for the others.
		asked := p.a.secured(p.b.say(routerSolicit(p.b.local)))
		both := p.a.say(routerAdvert(p.a.local, ipv6.AllNodes()), answering(asked.security.Nonce))
		carries(t, both, all...)
		if d := p.b.secured(both); !d.security.Reply {
			t.Error("not seen to be an answer")
		}
		third := p.lab.node(strangeKey())
		if d := third.secured(both); d.security.Reply {
			t.Error("a third node takes it for an answer to it")
		}
		p.b.drops(p.a.key.lacking(t, msg, ndp.OptTimestamp), "dropped_no_timestamp")
		p.b.unsecured(without(t, msg, ndp.OptSignature), send.ReasonUnsigned)
	})

	t.Run("Redirect", func(t *testing.T) {
		p := newPair(t)
		msg := p.a.say(redirect(p.a.local, p.b.local, p.a.global, p.a.global), answering(make([]byte, 6)))
		carries(t, msg, noNonce...)
		signedBy(t, p.b.secured(msg), p.a.key)
		p.b.drops(p.a.key.lacking(t, msg, ndp.OptTimestamp), "dropped_no_timestamp")
		p.b.unsecured(without(t, msg, ndp.OptSignature), send.ReasonUnsigned)
		foreign := redirect(p.b.local, p.b.local, p.a.global, p.a.global)
		p.b.unsecured(p.a.key.seal(t, with(t, foreign, cgaOption(p.a.key, "fe80::/64"), stampOption(p.lab))), send.ReasonCGA)
	})

	// HK-MN-2, HK-AR-1, HK-resolution-e: it is a solicitation to SEND
	t.Run("RtSolPr with option 27", func(t *testing.T) {
		p := newPair(t)
		request := ndp.KeyRequest{AT: 1, PublicKey: strangeKey().spki}.Append(nil)
		msg := p.a.say(proxySolicit(p.a.global, p.b.local, request))
		carries(t, msg, all...)
		d := p.b.secured(msg)
		signedBy(t, d, p.a.key)
		m, reason := ndp.ParseProxySolicit(d.packet)
		if reason != ndp.ReasonNone || !m.HasKeyRequest || !bytes.Equal(m.Nonce, p.a.sent[0].Nonce) {
			t.Errorf("%v %+v", reason, m)
		}
		// HK-AR-2: none of these is validated, so that no key follows from it. HK-resolution-d: the timestamp is needed, too.
		p.b.unsecured(p.a.key.lacking(t, msg, ndp.OptCGA), send.ReasonNoCGA)
		p.b.drops(p.a.key.lacking(t, msg, ndp.OptTimestamp), "dropped_no_timestamp")
		p.b.drops(p.a.key.lacking(t, msg, ndp.OptNonce), "dropped_no_nonce")
		p.b.unsecured(without(t, msg, ndp.OptSignature), send.ReasonUnsigned)
		if d := p.b.secured(msg); !d.security.Repeat || d.security.Fresh() {
			t.Errorf("replayed: %+v", d.security)
		}
	})

	// HK-AR-9, HK-AR-10, HK-MN-3, HK-resolution-e: it is an advertisement to SEND
	t.Run("PrRtAdv with option 28", func(t *testing.T) {
		p := newPair(t)
		asked := p.b.secured(p.a.say(proxySolicit(p.a.global, p.b.local)))
		reply := ndp.KeyReply{AT: 1, Lifetime: 43200, EncryptedKey: make([]byte, 128)}.Append(nil)
		msg := p.b.say(proxyAdvert(p.b.local, p.a.global, reply), answering(asked.security.Nonce))
		carries(t, msg, all...)
		d := p.a.secured(msg)
		signedBy(t, d, p.b.key)
		if !d.security.Reply || !bytes.Equal(d.security.Nonce, asked.security.Nonce) {
			t.Errorf("%+v", d.security)
		}
		// Another's nonce is no answer.
		p.a.drops(p.b.say(proxyAdvert(p.b.local, p.a.global, reply), answering([]byte("wrong!"))), "dropped_nonce")
		// With a key in it the CGA is held against the source even where a certification path would do.
		h := p.lab.node(strangeKey(), host)
		h.step(send.Input{Kind: send.InPath, OK: true, KeyHash: cga.KeyHash(p.b.key.spki), PublicKey: p.b.key.spki})
		unasked := p.b.say(proxyAdvert(p.b.local, h.global, reply))
		if d := h.secured(unasked); !d.security.Authorized {
			t.Errorf("%+v", d.security)
		}
		h.unsecured(p.b.key.lacking(t, unasked, ndp.OptCGA), send.ReasonNoCGA)
		nobody := netip.MustParseAddr("fe80::ff:fe00:1")
		h.unsecured(p.b.key.at(t, proxyAdvert(nobody, h.global, reply), p.wall, nil), send.ReasonCGA)
		h.secured(p.b.key.at(t, proxyAdvert(nobody, h.global), p.wall, nil))
		plain := p.b.say(proxyAdvert(p.b.local, h.global))
		if d := h.secured(p.b.key.lacking(t, plain, ndp.OptCGA)); d.security.CGA || !d.security.Authorized {
			t.Errorf("%+v", d.security)
		}
	})

	t.Run("CPS 148 / CPA 149", func(t *testing.T) {
		p := newPair(t, secured)
		for _, msg := range [][]byte{
			ndp.PathSolicit{Identifier: 5, Component: 0xffff}.Append(nil, p.a.local, ipv6.AllRouters()),
			ndp.PathAdvert{Identifier: 0, All: 1}.Append(nil, p.a.local, ipv6.AllNodes()),
		} {
			dst := ipv6.AllRouters()
			if msg[0] == ndp.TypePathAdvert {
				dst = ipv6.AllNodes()
			}
			packet := join(p.a.local, dst, msg)
			got := p.b.hear(stranger, packet)
			if len(got) != 1 || got[0].security.Secured || !bytes.Equal(got[0].packet.Raw, packet) {
				t.Errorf("not passed on: %+v", got)
			}
			// They are sent by others: an endpoint does not sign them.
			p.a.step(send.Input{Kind: send.InSend, Octets: packet})
		}
		if len(p.a.sent) != 0 || p.a.counters()["not_sent_malformed"] != 2 {
			t.Errorf("sent %d; %s", len(p.a.sent), p.a.nonzero())
		}
	})
}

// cgaOption gives the CGA option of a key under a prefix, stampOption a Timestamp option with the lab's time.
func cgaOption(k *rsaKey, prefix string) []byte { return cga.Option(k.in(prefix)) }

func stampOption(l *lab) []byte { return ndp.TimestampOption(l.wall) }

// The subtype tells RtSolPr and PrRtAdv apart: 2 is a solicitation and needs a nonce, 3 an advertisement and does not.
func TestSubtypesOfFastHandovers(t *testing.T) {
	p := newPair(t)
	options := [][]byte{cgaOption(p.a.key, "fe80::/64"), stampOption(p.lab)}
	p.b.drops(p.a.key.seal(t, with(t, proxySolicit(p.a.local, p.b.local), options...)), "dropped_no_nonce")
	p.b.secured(p.a.key.seal(t, with(t, proxyAdvert(p.a.local, p.b.local), options...)))
	other := proxySolicit(p.a.local, p.b.local)
	other[ipv6.HeaderLen+4] = 9
	p.b.unsecured(p.a.key.seal(t, with(t, recheck(other), options...)), send.ReasonUnsigned)
}

// Options may stand in any order before the signature, unknown ones among them (RFC 3971 section 5.3.4).
func TestAnyOrderOfOptions(t *testing.T) {
	p := newPair(t, secured)
	unknown := []byte{253, 1, 1, 2, 3, 4, 5, 6}
	msg := with(t, solicit(p.a.local, p.b.local), ndp.NonceOption(make([]byte, 6)), unknown, stampOption(p.lab),
		cgaOption(p.a.key, "fe80::/64"), ndp.SourceLinkOption(p.a.hw))
	signedBy(t, p.b.secured(p.a.key.seal(t, msg)), p.a.key)
}

// What stands behind the first signature is not covered by it, and nobody gets to see it (RFC 3971 section 5.2.2).
func TestOptionsBehindTheSignature(t *testing.T) {
	p := newPair(t)
	evil := ipv6.LinkAddr{2, 0xbb, 0, 0, 0, 1}
	msg := p.a.say(solicit(p.a.local, p.b.local))
	appended := with(t, msg, ndp.SourceLinkOption(evil), option(t, msg, ndp.OptSignature).Octets,
		[]byte{254, 1, 0, 0, 0, 0, 0, 0})
	for name, d := range map[string]delivery{
		"secured":   p.b.secured(appended),
		"unsecured": p.b.unsecured(without(t, appended, ndp.OptCGA), send.ReasonNoCGA),
	} {
		m, reason := ndp.ParseNeighborSolicit(d.packet)
		if reason != ndp.ReasonNone || !m.SourceLink.IsZero() {
			t.Errorf("%s: %v, link-layer address %v", name, reason, m.SourceLink)
		}
		if len(optionTypes(t, d.packet.Raw)) > 3 {
			t.Errorf("%s: delivered with options %v", name, optionTypes(t, d.packet.Raw))
		}
	}
	// A second signature first of all is the one that counts, and it is not over all that follows.
	early := with(t, solicit(p.a.local, p.b.local), option(t, msg, ndp.OptSignature).Octets, ndp.SourceLinkOption(evil),
		cgaOption(p.a.key, "fe80::/64"), stampOption(p.lab), ndp.NonceOption(make([]byte, 6)))
	p.b.drops(p.a.key.seal(t, early), "dropped_no_timestamp")
}

// Every message is sent in the order normal options, CGA, timestamp, nonce, signature; a message that has options of SEND
// already, or comes from no CGA of ours, is not sent, and that is told.
func TestNotSent(t *testing.T) {
	p := newPair(t, secured)
	foreign := netip.MustParseAddr("fe80::ff:fe00:1")
	for counter, packet := range map[string][]byte{
		"not_sent_has_options": solicit(p.a.local, p.b.local, ndp.NonceOption(make([]byte, 6))),
		"not_sent_no_cga":      routerAdvert(foreign, ipv6.AllNodes()),
		"not_sent_malformed":   append(solicit(p.a.local, p.b.local)[:60:60], 1, 2, 3),
	} {
		events := len(p.a.events)
		p.advance(time.Minute)
		p.a.step(send.Input{Kind: send.InSend, Octets: packet})
		p.a.step(send.Input{Kind: send.InSend, Octets: packet}) // told once a minute
		if p.a.counters()[counter] != 2 || len(p.a.events) != events+1 || p.a.events[events].Kind != send.EventNotSigned ||
			p.a.events[events].Link != labLink {
			t.Errorf("%s: %s %+v", counter, p.a.nonzero(), p.a.events)
		}
	}
	if len(p.a.sent) != 0 {
		t.Errorf("%d packets left", len(p.a.sent))
	}
}

// In mixed mode an address of ours that is no CGA stays usable, unsigned; that is told.
func TestUnsignedAddressInMixedMode(t *testing.T) {
	p := newPair(t)
	plain := netip.MustParseAddr("2001:db8:1:2::1")
	packet := advert(plain, p.b.local)
	got := p.a.say(packet, answering(make([]byte, 6)))
	if !bytes.Equal(got, packet) || p.a.counters()["sent_unsigned"] != 1 || len(p.a.events) != 1 ||
		p.a.events[0].Addr != plain {
		t.Errorf("%x; %s %+v", got, p.a.nonzero(), p.a.events)
	}
}

// Extension headers that do no harm stand before the message and are no part of what is signed.
func TestExtensionHeader(t *testing.T) {
	p := newPair(t, secured)
	msg := p.a.say(solicit(p.a.local, p.b.local))
	padded := slices.Concat(msg[:6], []byte{ipv6.ProtoDestination}, msg[7:40], []byte{58, 0, 1, 4, 0, 0, 0, 0}, msg[40:])
	n := len(padded) - ipv6.HeaderLen
	padded[4], padded[5] = byte(n>>8), byte(n)
	got := p.b.hear(stranger, padded)
	if len(got) != 1 || !got[0].security.Fresh() || !bytes.Equal(got[0].security.Nonce, nonceOf(t, msg)) ||
		!bytes.Equal(got[0].security.PublicKey, p.a.key.spki) {
		t.Fatalf("%+v; %s", got, p.b.nonzero())
	}
	if _, reason := ndp.ParseNeighborSolicit(got[0].packet); reason != ndp.ReasonNone {
		t.Error(reason)
	}
}

// What is said for another's address can't be proved, and leaves unsigned: a proxy's advertisement, and duplicate address
// detection for a node that comes.
func TestForOthers(t *testing.T) {
	p := newPair(t)
	proxied := netip.MustParseAddr("2001:db8:1:2::77")
	na := join(p.a.local, p.b.local, ndp.AppendNeighborAdvert(nil, p.a.local, p.b.local, ndp.FlagSolicited, proxied))
	for _, packet := range [][]byte{na, solicit(unspecified, proxied)} {
		got := p.a.say(packet)
		if !bytes.Equal(got, packet) {
			t.Errorf("sent %x", got)
		}
		p.b.unsecured(got, send.ReasonUnsigned)
	}
	if p.a.counters()["sent_for_others"] != 2 {
		t.Error(p.a.nonzero())
	}
}
