// Package testrouter is an access router for tests of what is on the mobile node's side: the two cores of roamkeyd on any
// rawip.Conn, and nothing else.
package testrouter

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/roamkey/roamkey/drivers/rawip"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/advertise"
)

// Retrans is the retransmission timer that the router advertises: its duplicate address detection takes that long.
const Retrans = 40 * time.Millisecond

// Router is a router with one link.
type Router struct {
	Prefix  netip.Prefix // of the link
	Address netip.Addr   // the router's in it

	conn    rawip.Conn
	link    rawip.Link
	key     *rsa.PrivateKey
	core    *lke.Router
	speaker *advertise.Speaker
	events  chan lke.Event
	bound   chan lke.Binding
}

// New starts a router on a link of conn, whose prefix is a /64 with the router's address in it. It ends with the test.
func New(t *testing.T, conn rawip.Conn, link rawip.Link, address netip.Prefix) *Router {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: key.N.Bytes(), Exponent: key.E})
	if err != nil {
		t.Fatal(err)
	}
	r := &Router{
		Prefix: address.Masked(), Address: address.Addr(), conn: conn, link: link, key: key,
		events: make(chan lke.Event, 4096), bound: make(chan lke.Binding, 1024),
	}
	linkLocal := ipv6.LinkLocalFrom(link.Hardware)
	r.core = lke.NewRouter(lke.RouterConfig{
		Links: []lke.Link{{
			Name: link.Name, Index: link.Index, Hardware: link.Hardware, LinkLocal: linkLocal,
			Prefixes: []lke.LinkPrefix{{Prefix: r.Prefix, Router: r.Address}},
		}},
		ModulusLen: key.Size(), RetransTimer: Retrans, RequestFinished: true, Rand: rand.Reader,
	})
	cfg := advertise.DefaultConfig()
	cfg.Interface, cfg.Hardware, cfg.LinkLocal = link.Index, link.Hardware, linkLocal
	cfg.MaxInterval, cfg.MinInterval, cfg.MinDelay = 70*time.Millisecond, 30*time.Millisecond, 30*time.Millisecond
	cfg.HomeAgent, cfg.Retrans, cfg.Rand = true, Retrans, rand.Reader
	cfg.Prefixes = []advertise.Prefix{{
		Prefix: r.Prefix, OnLink: true, Autonomous: true, Router: r.Address, Valid: time.Hour, Preferred: time.Hour,
	}}
	cfg.Capability = &advertise.Capability{PublicKey: spki}
	if r.speaker, err = advertise.NewSpeaker(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return r
}

func (r *Router) run(ctx context.Context) {
	r.speak(advertise.Input{Kind: advertise.InStart})
	for {
		wait := time.Hour
		for _, at := range []time.Time{r.core.Deadline(), r.speaker.Deadline()} {
			if !at.IsZero() {
				wait = min(wait, max(time.Until(at), 0))
			}
		}
		select {
		case <-ctx.Done():
			return
		case p := <-r.conn.Packets():
			r.speak(advertise.Input{Kind: advertise.InPacket, Packet: &p.Packet})
			r.step(lke.Input{Kind: lke.InPacket, Packet: &p.Packet})
			p.Release()
		case p := <-r.conn.Urgent():
			r.step(lke.Input{Kind: lke.InPacket, Packet: &p.Packet})
			p.Release()
		case <-time.After(wait):
			r.speak(advertise.Input{Kind: advertise.InTick})
			r.step(lke.Input{Kind: lke.InTick})
		}
	}
}

func (r *Router) speak(in advertise.Input) {
	for _, e := range r.speaker.Step(time.Now(), in) {
		if e.Kind == advertise.EffectSend {
			_ = r.conn.SendLink(r.link.Index, e.LinkDst, e.Packet)
		}
	}
}

func (r *Router) step(in lke.Input) {
	for _, e := range r.core.Step(time.Now(), in) {
		switch e.Kind {
		case lke.EffectSend:
			if e.Link != 0 {
				_ = r.conn.SendLink(e.Link, e.LinkDst, e.Packet)
			} else {
				_ = r.conn.SendRouted(e.Packet)
			}
		case lke.EffectDecrypt:
			in := lke.Input{Kind: lke.InKey, Job: e.Job}
			if err := rsa.DecryptPKCS1v15SessionKey(nil, r.key, e.Ciphertext, in.Key[:]); err != nil {
				panic(err) // only a ciphertext of another length
			}
			r.step(in)
		case lke.EffectBind:
			select {
			case r.bound <- e.Binding:
			default:
			}
			r.step(lke.Input{Kind: lke.InForwarding, Home: e.Binding.Home})
		case lke.EffectWatch:
			_ = r.conn.Watch(e.Link, e.Home)
		case lke.EffectReport:
			select {
			case r.events <- e.Event:
			default:
			}
		}
	}
}

// Await waits for an event of a kind.
func (r *Router) Await(t *testing.T, kind lke.EventKind) lke.Event {
	t.Helper()
	for limit := time.After(4 * time.Second); ; {
		select {
		case e := <-r.events:
			if e.Kind == kind {
				return e
			}
		case <-limit:
			t.Fatalf("the router at %v never told of %v", r.Address, kind)
		}
	}
}

// Events gives what the router told of.
func (r *Router) Events() <-chan lke.Event { return r.events }

// Bound gives the bindings that the router put in place.
func (r *Router) Bound() <-chan lke.Binding { return r.bound }
