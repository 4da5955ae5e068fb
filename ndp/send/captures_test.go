package send_test

import (
	"bytes"
	"crypto/sha1"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/pcap"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
	"github.com/roamkey/roamkey/ndp/send"
)

// captured is one signed message of another implementation.
type captured struct {
	name   string
	at     time.Time
	octets []byte
}

// signedMessages gives all signed messages of the captures.
func signedMessages(t testing.TB) (all []captured) {
	t.Helper()
	for _, file := range []string{"send-ns-na.pcap", "send-ra-cps-cpa.pcap"} {
		frames, err := pcap.ReadFile("../../testdata/captures/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range frames {
			p := parse(t, f.IPv6(), ipv6.LinkAddr{})
			if !send.Owns(p) || !slices.Contains(optionTypes(t, p.Raw), ndp.OptSignature) {
				continue
			}
			name := fmt.Sprintf("%s frame %d type %d", file, i+1, p.Payload[0])
			all = append(all, captured{name, f.At, bytes.Clone(p.Raw)})
		}
	}
	// 2 DAD, 1 NS, 1 NA; 12 RA to all, NS and NA each twice, RS and its RA.
	if len(all) != 23 {
		t.Fatalf("%d signed messages in the captures, want 23", len(all))
	}
	return all
}

// capturedRouter is the router in the captures.
var capturedRouter = netip.MustParseAddr("fe80::24b2:2dba:39f8:50d6")

// hearer gives a host to hear c, its clock at the capture. Where c is an answer it has asked with that nonce. It knows the
// certification path of the router's key.
func (c *captured) hearer(t testing.TB, change ...func(*send.Config)) *node {
	t.Helper()
	l := newLab(t)
	l.wall = c.at
	p := parse(t, c.octets, ipv6.LinkAddr{})
	nonce := nonceOf(t, c.octets)
	n := l.node(otherKey(), append([]func(*send.Config){host, func(cfg *send.Config) {
		cfg.Rand = io.MultiReader(bytes.NewReader(nonce), cfg.Rand)
	}}, change...)...)
	if nonce != nil {
		switch p.Payload[0] {
		case ndp.TypeNeighborAdvert:
			n.say(solicit(n.local, p.Src))
		case ndp.TypeRouterAdvert:
			n.say(routerSolicit(n.local))
		}
	}
	params, err := cga.ParseOption(option(t, c.octets, ndp.OptCGA))
	if err != nil {
		t.Fatal(err)
	}
	if p.Src == capturedRouter {
		n.step(send.Input{Kind: send.InPath, OK: true, KeyHash: cga.KeyHash(params.PublicKey)})
	}
	return n
}

func nonceOf(t testing.TB, packet []byte) []byte {
	for _, o := range optionsOf(t, packet) {
		if o.Type == ndp.OptNonce {
			return o.Body()
		}
	}
	return nil
}

// Every signed message of the captures verifies under all rules when the clock stands at the capture.
func TestCapturesVerify(t *testing.T) {
	for _, c := range signedMessages(t) {
		t.Run(c.name, func(t *testing.T) {
			n := c.hearer(t, secured)
			got := n.secured(c.octets)
			s := got.security
			if !s.Fresh() || !s.CGA || s.Authorized != (got.packet.Src == capturedRouter) {
				t.Errorf("%+v", s)
			}
			if reply := len(nonceOf(t, c.octets)) > 0 && (got.packet.Payload[0] == ndp.TypeNeighborAdvert ||
				got.packet.Payload[0] == ndp.TypeRouterAdvert); s.Reply != reply {
				t.Errorf("reply: %v, want %v", s.Reply, reply)
			}
			if again := n.secured(c.octets); !again.security.Repeat {
				t.Error("heard once more it is no repeat")
			}
		})
	}
}

// The captures go one after the other through one host, as they went over the link: those to others, too, whose nonces
// are then strange.
func TestCapturesInOrder(t *testing.T) {
	all := signedMessages(t)
	l := newLab(t)
	n := l.node(otherKey(), func(cfg *send.Config) { cfg.Secured = true })
	start := l.now
	for _, c := range all {
		l.wall = c.at
		l.now = start.Add(c.at.Sub(all[0].at))
		p := parse(t, c.octets, ipv6.LinkAddr{})
		if nonceOf(t, c.octets) != nil && !p.Dst.IsMulticast() && p.Payload[0]%2 == 0 {
			n.drops(c.octets, "dropped_nonce")
			continue
		}
		if got := n.secured(c.octets); !got.security.Fresh() {
			t.Errorf("%s: %+v", c.name, got.security)
		}
	}
}

// No signature of the captures verifies over the checksum that was on the wire.
func TestCapturesNeedTheChecksumRule(t *testing.T) {
	for _, c := range signedMessages(t) {
		p := parse(t, c.octets, ipv6.LinkAddr{})
		o := option(t, c.octets, ndp.OptSignature)
		params, err := cga.ParseOption(option(t, c.octets, ndp.OptCGA))
		if err != nil {
			t.Fatal(err)
		}
		signature := o.Octets[20 : 20+128]
		msg := bytes.Clone(p.Payload[:o.Offset])
		if verify(params.PublicKey, sha1.Sum(signedData(p.Src, p.Dst, msg)), signature) {
			t.Errorf("%s: the checksum of the whole message was signed", c.name)
		}
		ndp.FixChecksum(msg, p.Src, p.Dst)
		if !verify(params.PublicKey, sha1.Sum(signedData(p.Src, p.Dst, msg)), signature) {
			t.Errorf("%s: the checksum of the message without signature was not signed", c.name)
		}
	}
}

// With a clock that stands elsewhere none is taken but solicitations for neighbours, which may be answered, and answers to
// our own nonces.
func TestCapturesAtAnotherTime(t *testing.T) {
	for _, off := range []time.Duration{-301 * time.Second, 301 * time.Second} {
		for _, c := range signedMessages(t) {
			n := c.hearer(t, secured)
			n.lab.wall = c.at.Add(off)
			typ := c.octets[ipv6.HeaderLen]
			switch {
			case typ == ndp.TypeNeighborSolicit:
				if got := n.secured(c.octets); !got.security.Stale || got.security.Fresh() {
					t.Errorf("%s: %+v", c.name, got.security)
				}
			case typ != ndp.TypeRouterSolicit && nonceOf(t, c.octets) != nil:
				n.secured(c.octets)
			default:
				n.drops(c.octets, "dropped_timestamp")
			}
		}
	}
}
