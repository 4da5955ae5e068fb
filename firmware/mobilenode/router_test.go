package mobilenode_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/roamkey/roamkey/drivers/rawip"
	"github.com/roamkey/roamkey/drivers/rawip/fake"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/advertise"
)

// network carries what is sent by the routing table between nodes and routers.
type network struct {
	mu    sync.Mutex
	hosts map[netip.Addr]func(packet []byte)
}

func (n *network) attach(addr netip.Addr, arrive func(packet []byte)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts == nil {
		n.hosts = make(map[netip.Addr]func([]byte))
	}
	n.hosts[addr] = arrive
}

func (n *network) carry(packet []byte) {
	var p ipv6.Packet
	if ipv6.Parse(packet, &p) != ipv6.OK {
		return
	}
	n.mu.Lock()
	arrive := n.hosts[p.Dst]
	n.mu.Unlock()
	if arrive != nil {
		arrive(packet)
	}
}

// accessRouter is a router with one link: the two cores and nothing else.
type accessRouter struct {
	conn    *fake.Conn
	segment *fake.Segment
	key     *rsa.PrivateKey
	prefix  netip.Prefix
	address netip.Addr // global
	core    *lke.Router
	speaker *advertise.Speaker

	events chan lke.Event
	bound  chan lke.Binding
}

const retrans = 40 * time.Millisecond

func newRouter(t *testing.T, net *network, n byte) *accessRouter {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: key.N.Bytes(), Exponent: key.E})
	if err != nil {
		t.Fatal(err)
	}
	hw := ipv6.LinkAddr{2, 0, 0, 0, 1, n}
	r := &accessRouter{
		key: key, segment: &fake.Segment{},
		prefix:  netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 7: n}), 64),
		address: netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 7: n, 15: 1}),
		events:  make(chan lke.Event, 64), bound: make(chan lke.Binding, 8),
	}
	linkLocal := ipv6.LinkLocalFrom(hw)
	r.conn = fake.New(rawip.Link{Index: 1, Name: "lan", Hardware: hw})
	r.segment.Join(r.conn, 1)
	r.conn.Routes = net.carry
	net.attach(r.address, func(packet []byte) { r.conn.Arrive(9, ipv6.LinkAddr{}, packet) })
	r.core = lke.NewRouter(lke.RouterConfig{
		Links: []lke.Link{{
			Name: "lan", Index: 1, Hardware: hw, LinkLocal: linkLocal, Prefixes: []lke.LinkPrefix{{Prefix: r.prefix, Router: r.address}},
		}},
		ModulusLen: key.Size(), RetransTimer: retrans, RequestFinished: true, Rand: rand.Reader,
	})
	cfg := advertise.DefaultConfig()
	cfg.Interface, cfg.Hardware, cfg.LinkLocal = 1, hw, linkLocal
	cfg.MaxInterval, cfg.MinInterval, cfg.MinDelay = 70*time.Millisecond, 30*time.Millisecond, 30*time.Millisecond
	cfg.HomeAgent, cfg.Retrans, cfg.Rand = true, retrans, rand.Reader
	cfg.Prefixes = []advertise.Prefix{{
		Prefix: r.prefix, OnLink: true, Autonomous: true, Router: r.address, Valid: time.Hour, Preferred: time.Hour,
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

func (r *accessRouter) run(ctx context.Context) {
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
		case p := <-r.conn.Urgent():
			r.step(lke.Input{Kind: lke.InPacket, Packet: &p.Packet})
		case <-time.After(wait):
			r.speak(advertise.Input{Kind: advertise.InTick})
			r.step(lke.Input{Kind: lke.InTick})
		}
	}
}

func (r *accessRouter) speak(in advertise.Input) {
	for _, e := range r.speaker.Step(time.Now(), in) {
		if e.Kind == advertise.EffectSend {
			_ = r.conn.SendLink(1, e.LinkDst, e.Packet)
		}
	}
}

func (r *accessRouter) step(in lke.Input) {
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
				panic(err)
			}
			r.step(in)
		case lke.EffectBind:
			select {
			case r.bound <- e.Binding:
			default:
			}
			r.step(lke.Input{Kind: lke.InForwarding, Home: e.Binding.Home})
		case lke.EffectReport:
			select {
			case r.events <- e.Event:
			default:
			}
		}
	}
}

func (r *accessRouter) await(t *testing.T, kind lke.EventKind) lke.Event {
	t.Helper()
	for limit := time.After(4 * time.Second); ; {
		select {
		case e := <-r.events:
			if e.Kind == kind {
				return e
			}
		case <-limit:
			t.Fatalf("the router at %v never told of %v", r.address, kind)
		}
	}
}
