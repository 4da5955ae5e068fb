package send_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/send"
)

// failing lists messages that are not secured, each with its reason.
func failing(t *testing.T, p pair) map[send.Reason][]byte {
	t.Helper()
	good := p.a.say(solicit(p.a.local, p.b.local))
	short := with(t, without(t, good, ndp.OptSignature), func() []byte {
		o := bytes.Clone(option(t, good, ndp.OptSignature).Octets[:128])
		o[1] = 16
		return o
	}())
	badKey := bytes.Clone(p.a.key.spki)
	badKey[12] ^= 1 // of the algorithm's number
	forged := bytes.Clone(good)
	forged[len(forged)-20] ^= 1
	na := join(p.a.local, p.b.local, ndp.AppendNeighborAdvert(nil, p.a.local, p.b.local, 0, p.a.global))
	malformed := bytes.Clone(good)
	malformed[ipv6.HeaderLen+option(t, good, ndp.OptCGA).Offset+29] = 0x31
	return map[send.Reason][]byte{
		send.ReasonUnsigned:        without(t, good, ndp.OptSignature),
		send.ReasonUnmarked:        routerSolicit(unspecified),
		send.ReasonNoCGA:           p.a.key.lacking(t, good, ndp.OptCGA),
		send.ReasonProxy:           p.a.key.at(t, na, p.wall, nil),
		send.ReasonCGAFormat:       recheck(malformed),
		send.ReasonKey:             bySize(t, p, &rsaKey{spki: badKey}),
		send.ReasonKeySmall:        bySize(t, p, publicOnly(t, 1023)),
		send.ReasonKeyLarge:        bySize(t, p, publicOnly(t, 2049)),
		send.ReasonCGA:             p.a.key.at(t, solicit(p.b.global, p.a.local), p.wall, make([]byte, 6)),
		send.ReasonSignatureLength: short,
		send.ReasonSignature:       recheck(forged),
	}
}

// bySize makes a solicitation from the CGA of a key that nobody can sign with.
func bySize(t *testing.T, p pair, k *rsaKey) []byte {
	t.Helper()
	ns := solicit(k.in("fe80::/64").Address(0), p.b.local)
	return k.seal(t, with(t, ns, cgaOption(k, "fe80::/64"), stampOption(p.lab), ndp.NonceOption(make([]byte, 6))))
}

// On a link of mixed mode what is not secured is delivered as that, with its reason (RFC 3971 section 8).
func TestMixedMode(t *testing.T) {
	p := newPair(t)
	for why, msg := range failing(t, p) {
		t.Run(why.String(), func(t *testing.T) {
			p.b.lab.t = t
			p.b.unsecured(msg, why)
		})
	}
}

// On a link that is secured-only it is dropped, with its reason.
func TestSecuredOnly(t *testing.T) {
	p := newPair(t, secured)
	for why, msg := range failing(t, p) {
		t.Run(why.String(), func(t *testing.T) {
			p.b.lab.t = t
			p.b.drops(msg, "dropped_"+why.String())
		})
	}
	if p.b.end.Peers() != 0 {
		t.Error("something is remembered of them")
	}
}

// Sizes of keys: from MinBits to MaxBits, however far away.
func TestKeySizes(t *testing.T) {
	for _, c := range []struct {
		bits int
		want string
	}{
		{512, "dropped_key_too_small"}, {1023, "dropped_key_too_small"}, {1024, "dropped_bad_signature"},
		{2048, "dropped_signature_length"}, {2049, "dropped_key_too_large"}, {4096, "dropped_key_too_large"},
		{4097, "dropped_key_too_large"}, {8192, "dropped_key_too_large"},
	} {
		p := newPair(t, secured)
		p.b.drops(bySize(t, p, publicOnly(t, c.bits)), c.want)
	}
	p := newPair(t, secured, func(cfg *send.Config) { cfg.MinBits = 2048 })
	p.b.drops(p.a.key.at(t, solicit(p.a.local, p.b.local), p.wall, make([]byte, 6)), "dropped_key_too_small")
}

// What is delivered as unsecured at once is the caller's own packet, not a copy.
func TestUnsecuredIsNotCopied(t *testing.T) {
	p := newPair(t)
	packet := parse(t, solicit(p.a.local, p.b.local), stranger)
	effects := p.b.end.Step(p.now, send.Input{Kind: send.InReceived, Packet: packet, Wall: p.wall})
	if len(effects) != 1 || effects[0].Received != packet {
		t.Errorf("%+v", effects)
	}
}

// What had to wait is a copy: the caller uses the memory again while RSA runs.
func TestWaitingIsCopied(t *testing.T) {
	p := newPair(t)
	msg := p.a.say(solicit(p.a.local, p.b.local, ndp.SourceLinkOption(p.a.hw)))
	whole := bytes.Clone(msg)
	p.b.hold = true
	p.b.hear(stranger, msg)
	clear(msg)
	p.b.work()
	got := p.b.delivered[0]
	if !got.security.Fresh() || !bytes.Equal(got.security.Nonce, nonceOf(t, whole)) ||
		!bytes.Equal(got.security.PublicKey, p.a.key.spki) {
		t.Errorf("%+v", got.security)
	}
	m, reason := ndp.ParseNeighborSolicit(got.packet)
	if reason != ndp.ReasonNone || m.SourceLink != p.a.hw || got.packet.LinkSource != stranger {
		t.Errorf("%v %+v", reason, m)
	}
}

// Form is tested first: nothing of these reaches RSA.
func TestForm(t *testing.T) {
	p := newPair(t)
	good := p.a.say(solicit(p.a.local, p.b.local))
	hops := bytes.Clone(good)
	hops[7] = 64
	code := bytes.Clone(good)
	code[ipv6.HeaderLen+1] = 1
	target := bytes.Clone(good)
	target[ipv6.HeaderLen+8] = 0xff
	zero := with(t, good, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // behind the signature
	checksum := bytes.Clone(good)
	checksum[len(checksum)-1] ^= 1
	fragment := slices.Concat(good[:6], []byte{ipv6.ProtoFragment}, good[7:40], []byte{58, 0, 0, 0, 1, 2, 3, 4}, good[40:])
	fragment[4], fragment[5] = byte((len(fragment)-40)>>8), byte(len(fragment)-40)
	home := ipv6.Append(nil, ipv6.Header{Src: p.a.local, Dst: p.b.local, HopLimit: 255, HomeAddress: p.a.global}, 58, good[40:])
	for counter, packet := range map[string][]byte{
		"nd_bad_hop_limit":    hops,
		"nd_bad_code":         recheck(code),
		"nd_bad_target":       recheck(target),
		"nd_bad_option":       zero,
		"nd_bad_checksum":     checksum,
		"nd_fragment":         fragment,
		"nd_extension_header": home,
		"nd_other_type":       join(p.a.local, p.b.local, []byte{128, 0, 0, 0, 0, 0, 0, 0}),
		"nd_bad_length":       join(p.a.local, p.b.local, []byte{135, 0, 0, 0, 0, 0, 0, 0}),
		"nd_bad_source":       routerAdvert(p.a.global, ipv6.AllNodes()),
		"nd_bad_destination":  join(unspecified, p.b.local, solicit(unspecified, p.b.local)[40:]),
	} {
		p.b.drops(packet, counter)
	}
	// Options of SEND that can't be read, in a signed message.
	for name, o := range map[string][]byte{
		"timestamp of 8 octets":    {ndp.OptTimestamp, 1, 0, 0, 0, 0, 0, 0},
		"nonce of 38 octets":       ndp.NonceOption(make([]byte, 38)),
		"signature without octets": {ndp.OptSignature, 1, 0, 0, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p.b.lab.t = t
			p.b.drops(p.a.key.seal(t, with(t, solicit(p.a.local, p.b.local), o)), "dropped_malformed_option")
		})
	}
	if n := p.b.counters()["verify_jobs"]; n != 0 {
		t.Errorf("%d RSA operations", n)
	}
}

// One's own link only.
func TestOtherLink(t *testing.T) {
	p := newPair(t)
	packet := parse(t, solicit(p.a.local, p.b.local), stranger)
	packet.Interface++
	if effects := p.b.end.Step(p.now, send.Input{Kind: send.InReceived, Packet: packet, Wall: p.wall}); effects != nil ||
		p.b.counters()["dropped_other_link"] != 1 {
		t.Errorf("%v", effects)
	}
	if send.Owns(parse(t, join(p.a.local, p.b.local, []byte{128, 0, 0, 0}), stranger)) || !send.Owns(packet) {
		t.Error("Owns")
	}
}

// A foreign key in the CGA option, with the owner's key hash or its own, is not the owner's.
func TestForeignKey(t *testing.T) {
	p := newPair(t)
	c := strangeKey()
	ns := with(t, solicit(p.a.local, p.b.local), cgaOption(p.a.key, "fe80::/64"), stampOption(p.lab),
		ndp.NonceOption(make([]byte, 6)))
	p.b.drops(c.seal(t, ns), "dropped_key_hash")
	// The stranger's signature under the owner's key hash.
	msg := c.seal(t, ns)
	hash := option(t, p.a.key.seal(t, ns), ndp.OptSignature).Octets[4:20]
	copy(msg[ipv6.HeaderLen+option(t, msg, ndp.OptSignature).Offset+4:], hash)
	p.b.unsecured(recheck(msg), send.ReasonSignature)
	p.b.unsecured(c.seal(t, with(t, solicit(p.a.local, p.b.local), cgaOption(c, "fe80::/64"), stampOption(p.lab),
		ndp.NonceOption(make([]byte, 6)))), send.ReasonCGA)
}
