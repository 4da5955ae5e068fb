package send_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// change is one octet of a signed packet to be changed.
type change struct {
	field  string
	at     int    // of the packet
	xor    byte   // how it is changed
	raw    bool   // the checksum is not put right
	result string // counter in secured-only mode; "": it is as good as before
}

// changesOf lists a change of each field of a signed message, with the reason for which it has to fail. Those that follow
// from the message's kind are given: what befalls other sources, nonces and times than those that were expected.
func changesOf(t testing.TB, packet []byte, target bool, source, nonce, seconds string) (all []change) {
	t.Helper()
	const message = ipv6.HeaderLen
	all = []change{
		{"hop limit", 7, 1, true, "nd_bad_hop_limit"},
		{"checksum", message + 2, 1, true, "nd_bad_checksum"},
		{"source", 23, 1, false, source},
		{"code", message + 1, 1, false, "nd_bad_code"},
		{"header", message + 7, 1, false, "dropped_bad_signature"},
	}
	if target {
		all = append(all, change{"destination", 39, 1, false, "nd_bad_destination"})
	} else {
		all = append(all, change{"destination", 38, 1, false, "dropped_bad_signature"})
	}
	if typ := packet[message]; typ == ndp.TypeNeighborSolicit && !target {
		all = append(all, change{"target", message + 20, 1, false, "dropped_bad_signature"})
	} else if typ == ndp.TypeNeighborAdvert {
		all = append(all, change{"target", message + 20, 1, false, "dropped_proxy"})
	} else if target {
		all = append(all, change{"target", message + 17, 1, false, "dropped_bad_cga"})
	}
	for _, o := range optionsOf(t, packet) {
		at := message + o.Offset
		switch o.Type {
		case ndp.OptCGA:
			pad := int(o.Octets[2])
			all = append(all,
				change{"CGA pad length", at + 2, 0x80, false, "dropped_malformed_cga"},
				change{"CGA reserved", at + 3, 1, false, "dropped_bad_signature"},
				change{"CGA modifier", at + 4 + 15, 1, false, "dropped_bad_cga"},
				change{"CGA prefix", at + 20 + 7, 1, false, "dropped_bad_cga"},
				change{"CGA collision count", at + 28, 1, false, "dropped_bad_cga"},
				change{"CGA collision count above 2", at + 28, 4, false, "dropped_malformed_cga"},
				change{"CGA key's DER", at + 29, 1, false, "dropped_malformed_cga"},
				change{"CGA key", at + 29 + 60, 1, false, "dropped_bad_cga"},
				change{"CGA padding", at + len(o.Octets) - pad, 1, false, "dropped_bad_signature"},
			)
		case ndp.OptTimestamp:
			all = append(all,
				change{"timestamp reserved", at + 4, 1, false, "dropped_bad_signature"},
				change{"timestamp fraction", at + 15, 1, false, "dropped_bad_signature"},
				change{"timestamp", at + 10, 1, false, seconds},
				change{"timestamp option's type", at, 0x80, false, "dropped_no_timestamp"},
			)
		case ndp.OptNonce:
			all = append(all, change{"nonce", at + 5, 1, false, nonce})
		case ndp.OptSignature:
			all = append(all,
				change{"signature option's type", at, 0x80, false, "dropped_no_signature"},
				change{"signature reserved", at + 2, 1, false, ""},
				change{"key hash", at + 4, 1, false, "dropped_key_hash"},
				change{"signature", at + 20 + 77, 1, false, "dropped_bad_signature"},
				change{"signature padding", at + 20 + 128, 1, false, ""},
			)
		case ndp.OptSourceLink, ndp.OptTargetLink:
			all = append(all, change{"link-layer address", at + 7, 1, false, "dropped_bad_signature"})
		default:
			all = append(all, change{fmt.Sprintf("option %d", o.Type), at + 7, 1, false, "dropped_bad_signature"})
		}
	}
	return all
}

// apply gives the packet with its change.
func (c *change) apply(packet []byte) []byte {
	b := bytes.Clone(packet)
	b[c.at] ^= c.xor
	if c.raw {
		return b
	}
	return recheck(b)
}

// recheck puts the ICMPv6 checksum of a packet right.
func recheck(b []byte) []byte {
	var p ipv6.Packet
	if ipv6.Parse(b, &p) == ipv6.OK {
		ndp.FixChecksum(p.Payload, p.Src, p.Dst)
	}
	return b
}

// One octet changed in any field of any signed message of the captures makes it fail, each for its own reason; what the
// signature does not cover (reserved octets of its own option, and padding) makes no difference.
func TestCapturesChanged(t *testing.T) {
	tried := 0
	for _, c := range signedMessages(t) {
		t.Run(c.name, func(t *testing.T) {
			typ, toAll := c.octets[ipv6.HeaderLen], c.octets[24] == 0xff
			dad := c.octets[8] == 0
			source, nonce, seconds := "dropped_bad_cga", "dropped_bad_signature", "dropped_timestamp"
			switch {
			case typ == ndp.TypeNeighborSolicit:
				seconds = "dropped_bad_signature" // it would be answered for all its age
			case typ == ndp.TypeNeighborAdvert:
				source, nonce, seconds = "dropped_proxy", "dropped_nonce", "dropped_bad_signature"
			case typ == ndp.TypeRouterAdvert && !toAll:
				nonce, seconds = "dropped_nonce", "dropped_bad_signature"
			}
			for _, ch := range changesOf(t, c.octets, dad, source, nonce, seconds) {
				if ch.field == "source" && (dad || typ == ndp.TypeRouterAdvert) {
					continue // in the test below
				}
				changed := ch.apply(c.octets)
				n := c.hearer(t, secured)
				// A host takes router advertisements by their certificate; what must be a CGA is tested here.
				if typ == ndp.TypeRouterAdvert {
					n = c.hearer(t, secured, byCGA)
				}
				if ch.result == "" {
					n.secured(changed)
					continue
				}
				tried++
				t.Run(ch.field, func(t *testing.T) {
					n.lab.t = t
					n.drops(changed, ch.result)
				})
			}
		})
	}
	if tried < 400 {
		t.Errorf("%d changes were tried", tried)
	}
}

// A solicitation that moves from :: to another source, or an advertisement that does, does not verify.
func TestCapturesWithAnotherSource(t *testing.T) {
	for _, c := range signedMessages(t) {
		typ := c.octets[ipv6.HeaderLen]
		if c.octets[8] != 0 && typ != ndp.TypeRouterAdvert {
			continue
		}
		moved := bytes.Clone(c.octets)
		src := otherKey().in("fe80::/64").Address(0).As16()
		copy(moved[8:24], src[:])
		c.hearer(t, secured, byCGA).drops(recheck(moved), "dropped_bad_cga")
	}
}
