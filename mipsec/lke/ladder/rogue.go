package ladder

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
)

// rogue is an intruder that speaks LKE as well as any node, for an address that it chooses: it cares for no duplicate.
type rogue struct {
	t       testing.TB
	w       World
	station Station
	node    *lke.Node
	router  ipv6.LinkAddr
	careOf  netip.Addr
	// bend changes a packet before it is sent; nil for one that is not sent.
	bend func(packet []byte) []byte
}

// newRogue puts a rogue on a link that wants the address with that lower half.
func newRogue(t testing.TB, w World, link string, number uint16, id uint64) *rogue {
	t.Helper()
	r := &rogue{t: t, w: w, station: w.(Hostile).Intruder("EVE", link, number)}
	r.node = lke.NewNode(lke.NodeConfig{
		Link: nodeIf, Hardware: r.station.Hardware(), InterfaceID: id, Lifetime: time.Hour, Rand: rand.Reader,
	})
	r.station.Hear(func(p *ipv6.Packet) {
		received := *p
		received.Interface = nodeIf
		r.step(lke.Input{Kind: lke.InPacket, Packet: &received})
	})
	r.step(lke.Input{Kind: lke.InAttached})
	return r
}

func (r *rogue) step(in lke.Input) {
	r.t.Helper()
	for _, e := range r.node.Step(r.w.Now(), in) {
		switch e.Kind {
		case lke.EffectSend:
			packet := e.Packet
			if r.bend != nil {
				packet = r.bend(packet)
			}
			if packet != nil {
				r.station.Send(r.station.Hardware(), e.LinkDst, packet)
			}
		case lke.EffectConfigure:
			r.careOf, r.router = e.Home, e.LinkDst
			r.step(lke.Input{Kind: lke.InAddress, Home: e.Home})
		case lke.EffectEncrypt:
			public, err := x509.ParsePKIXPublicKey(e.PublicKey)
			if err != nil {
				r.t.Fatal(err)
			}
			// The draft's RSA encryption is PKCS #1 v1.5 (LKE-resolution-a).
			octets, err := rsa.EncryptPKCS1v15(rand.Reader, public.(*rsa.PublicKey), e.Key[:])
			r.step(lke.Input{Kind: lke.InCiphertext, Job: e.Job, Octets: octets, Failed: err != nil})
		}
	}
}

// run lets d go by, for the rogue, too.
func (r *rogue) run(d time.Duration) {
	r.t.Helper()
	for end := r.w.Now().Add(d); r.w.Now().Before(end); {
		r.w.Run(10 * time.Millisecond)
		if at := r.node.Deadline(); !at.IsZero() && !at.After(r.w.Now()) {
			r.step(lke.Input{Kind: lke.InTick})
		}
	}
}

// move takes the rogue to another link.
func (r *rogue) move(link string) {
	r.station.Move(link)
	r.step(lke.Input{Kind: lke.InAttached})
}
