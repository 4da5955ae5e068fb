package certpath_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/certpath"
)

// flood sends false certificates of the anchor's name, one in each message, each another one, from one sender.
func flood(t testing.TB, c *certpath.Client, id uint16, sender byte, n int) {
	t.Helper()
	forged := node{newAnchor(t, "anchor").cert, keyOf(t, "impostor")}.issue(t, "router", lan).cert.Raw
	for i := range n {
		changed := bytes.Clone(forged)
		changed[len(changed)-1], changed[len(changed)-2], changed[len(changed)-3] = byte(i), byte(i>>8), sender
		dst := ipv6.SolicitedNode(hostAddr)
		if id == 0 {
			dst = ipv6.AllNodes()
		}
		p := cpa(t, dst, ndp.PathAdvert{Identifier: id, All: 1}, changed)
		p.LinkSource = ipv6.LinkAddr{2, 9, 9, 9, 9, sender}
		if effects := c.Step(start, heard(p)); effects != nil {
			t.Fatalf("%+v", effects)
		}
	}
}

// One sender has every certificate of a path looked at and no more, so that another's are, too.
func TestClientSharesBetweenSenders(t *testing.T) {
	anchor := newAnchor(t, "anchor")
	router := anchor.issue(t, "router", lan)
	c := newClient(t, certpath.ClientConfig{Anchors: anchor.anchors()})
	id := begin(t, c, hashOf(t, router))
	flood(t, c, id, 1, 1000)
	if n := counter(c, "certificate_bad_signature"); n != certpath.MaxCertificates {
		t.Errorf("%d signatures were verified for one sender", n)
	}
	_, paths := split(t, c.Step(start, heard(cpa(t, ipv6.SolicitedNode(hostAddr), ndp.PathAdvert{Identifier: id, All: 1}, router.cert.Raw))))
	if len(paths) != 1 || !paths[0].OK {
		t.Errorf("%v", paths)
	}
}

// RFC 3971 section 6.4.6: answers that name our solicitation are preferred. Those to all nodes leave them half of the work.
func TestClientPrefersItsIdentifier(t *testing.T) {
	anchor := newAnchor(t, "anchor")
	router := anchor.issue(t, "router", lan)
	c := newClient(t, certpath.ClientConfig{Anchors: anchor.anchors()})
	id := begin(t, c, hashOf(t, router))
	for sender := range byte(8) {
		flood(t, c, 0, sender, 20)
	}
	if n := counter(c, "certificate_bad_signature"); n != certpath.MaxCertificates {
		t.Errorf("%d signatures were verified for messages to all nodes", n)
	}
	_, paths := split(t, c.Step(start, heard(cpa(t, ipv6.SolicitedNode(hostAddr), ndp.PathAdvert{Identifier: id, All: 1}, router.cert.Raw))))
	if len(paths) != 1 || !paths[0].OK {
		t.Errorf("%v", paths)
	}
}

// A packet is the client's during Step only.
func TestClientKeepsNoPacket(t *testing.T) {
	anchor, path := three(t)
	c := newClient(t, certpath.ClientConfig{Anchors: anchor.anchors()})
	id := begin(t, c, hashOf(t, path[2]))
	var paths []certpath.Effect
	for _, i := range []int{2, 0, 1} {
		p := cpa(t, ipv6.SolicitedNode(hostAddr), ndp.PathAdvert{Identifier: id, All: 3, Component: uint16(2 - i)}, path[i].cert.Raw)
		_, found := split(t, c.Step(start, heard(p)))
		paths = append(paths, found...)
		clear(p.Raw)
	}
	if len(paths) != 1 || !paths[0].OK || !bytes.Equal(paths[0].SPKI, spki(t, &path[2].key.PublicKey)) {
		t.Errorf("%+v", paths)
	}
}

// What came of a path is forgotten when it is whole, also while other keys are looked for.
func TestClientForgetsWholePaths(t *testing.T) {
	anchor, path := three(t)
	c := newClient(t, certpath.ClientConfig{Anchors: anchor.anchors()})
	begin(t, c, [16]byte{1})
	id := begin(t, c, hashOf(t, path[2]))
	for i, n := range path {
		if c.Gatherings() != min(i, 1) {
			t.Errorf("%d gatherings after %d certificates", c.Gatherings(), i)
		}
		c.Step(start, heard(cpa(t, ipv6.SolicitedNode(hostAddr), ndp.PathAdvert{Identifier: id, All: 3, Component: uint16(2 - i)}, n.cert.Raw)))
	}
	if c.Gatherings() != 0 || c.Deadline().IsZero() {
		t.Errorf("%d gatherings in the end", c.Gatherings())
	}
}

// Of one router so many certificates wait as a path can have; the oldest gives way. Of routers with something verified so many
// are gathered as there is room for; one more is refused, while one without gives way.
func TestClientGatheringBounds(t *testing.T) {
	anchor, path := three(t)
	stray := newAnchor(t, "other")
	c := newClient(t, certpath.ClientConfig{Anchors: anchor.anchors(), VerifyRate: 1000})
	id := begin(t, c, hashOf(t, path[2]))
	now := start
	send := func(last byte, number uint16, der []byte) {
		now = now.Add(50 * time.Millisecond)
		m := ndp.PathAdvert{Identifier: id, All: 3, Component: number}
		p := cpa(t, ipv6.SolicitedNode(hostAddr), m, der)
		p.LinkSource = ipv6.LinkAddr{2, 0, 0, 0, 0, last}
		c.Step(now, heard(p))
	}
	one := stray.issue(t, "router", lan).cert.Raw
	for i := range 25 {
		changed := bytes.Clone(one)
		changed[len(changed)-1] = byte(i)
		now = now.Add(500 * time.Millisecond) // so that the sender may go on
		send(200, 1, changed)
	}
	if c.Octets() != certpath.MaxCertificates*len(one) || counter(c, "certificates_waiting_full") != 15 {
		t.Errorf("%d octets wait, %d gave way", c.Octets(), counter(c, "certificates_waiting_full"))
	}
	for i := range byte(8) {
		send(i, 2, path[0].cert.Raw)
	}
	if c.Gatherings() != 8 || c.Octets() != 0 || counter(c, "path_gatherings_full") != 1 {
		t.Errorf("%d gatherings, %d octets wait", c.Gatherings(), c.Octets())
	}
	send(8, 2, path[0].cert.Raw)
	if c.Gatherings() != 8 || counter(c, "path_gatherings_full") != 2 {
		t.Errorf("%d gatherings", c.Gatherings())
	}
}

// An identifier is random, not 0, and not one that is in use.
func TestClientIdentifiers(t *testing.T) {
	c := newClient(t, certpath.ClientConfig{
		Anchors: newAnchor(t, "anchor").anchors(), Rand: bytes.NewReader([]byte{0, 0, 0xab, 0xcd, 0xab, 0xcd, 0, 5}),
	})
	if id := begin(t, c, [16]byte{1}); id != 0xabcd {
		t.Errorf("%#x", id)
	}
	if id := begin(t, c, [16]byte{2}); id != 5 {
		t.Errorf("%#x", id)
	}
}
