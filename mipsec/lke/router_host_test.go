package lke_test

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// labHost is a mobile node as the router sees it: it only builds packets.
type labHost struct {
	lab    *routerLab
	link   int
	hw     ipv6.LinkAddr
	local  netip.Addr
	home   netip.Addr
	router netip.Addr
	careOf netip.Addr
	key    [lke.KeyLen]byte
	seq    uint16 // of the next request
	bu     uint16 // of the next update
	ask    uint16 // lifetime of a request, in seconds
}

// host gives the n-th station of lan0.
func (l *routerLab) host(n int) *labHost {
	hw := ipv6.LinkAddr{2, 0, 0, 1, byte(n >> 8), byte(n)}
	h := &labHost{
		lab: l, link: labLink, hw: hw, local: ipv6.LinkLocalFrom(hw),
		home: ipv6.WithEUI64(netip.MustParseAddr("2001:db8:1::"), hw), router: labRouter, careOf: labCareOf,
		seq: 7, bu: 0x1234, ask: 3600,
	}
	for i := range h.key {
		h.key[i] = 0xa0 + byte(i) + byte(n)<<4
	}
	return h
}

// labChange changes the headers of a packet before it is built.
type labChange func(*ipv6.Header)

// request builds the next Key Exchange Request.
func (h *labHost) request(change ...labChange) *ipv6.Packet {
	mh := mobility.KeyExchangeRequest{
		Seq: h.seq, Data: bytes.Repeat([]byte{0x5a}, labModulus), Lifetime: h.ask,
	}.Append(nil, mobility.DefaultCodePoints())
	h.seq++
	return h.mobility(mh, ipv6.Header{
		Src: h.local, Dst: h.linkLocal(), HopLimit: 255, TrafficClass: 0xf0, HomeAddress: h.home,
	}, change...)
}

func (h *labHost) linkLocal() netip.Addr { return h.lab.cfg.Links[h.link-1].LinkLocal }

// mobility builds a packet around mh, with the checksum that its addresses ask for.
func (h *labHost) mobility(mh []byte, header ipv6.Header, change ...labChange) *ipv6.Packet {
	h.lab.t.Helper()
	for _, f := range change {
		f(&header)
	}
	src, dst := header.Src, header.Dst
	if header.HomeAddress.IsValid() {
		src = header.HomeAddress
	}
	if header.RoutingHome.IsValid() {
		dst = header.RoutingHome
	}
	mobility.FixChecksum(mh, src, dst)
	return h.from(h.link, ipv6.Append(nil, header, ipv6.ProtoMobility, mh))
}

// from parses raw as a packet of this host that was received on interface link.
func (h *labHost) from(link int, raw []byte) *ipv6.Packet {
	h.lab.t.Helper()
	p := labParse(h.lab.t, raw)
	p.Interface, p.LinkSource = link, h.hw
	return p
}

// exchange gives the router a request that must be taken, and its key; it returns what decrypted returns.
func (h *labHost) exchange(req *ipv6.Packet) (ack, solicit []byte) {
	h.lab.t.Helper()
	effects := h.lab.router.Step(h.lab.now, lke.Input{Kind: lke.InPacket, Packet: req})
	job := labJob(effects)
	h.lab.carryOut(effects)
	if job == 0 {
		h.lab.t.Fatalf("the request was not taken: %v", h.lab.counters())
	}
	return h.decrypted(job)
}

// decrypted gives the router the key of job and returns the acknowledgement and the solicitation that it sends.
func (h *labHost) decrypted(job uint64) (ack, solicit []byte) {
	h.lab.t.Helper()
	effects := h.lab.router.Step(h.lab.now, lke.Input{Kind: lke.InKey, Job: job, Key: h.key})
	h.lab.carryOut(effects)
	for _, e := range effects {
		if e.Kind != lke.EffectSend {
			continue
		}
		if labParse(h.lab.t, e.Packet).Proto == ipv6.ProtoMobility {
			ack = e.Packet
		} else {
			solicit = e.Packet
		}
	}
	return ack, solicit
}

func labJob(effects []lke.Effect) uint64 {
	for _, e := range effects {
		if e.Kind == lke.EffectDecrypt {
			return e.Job
		}
	}
	return 0
}

// labAdvert is what an answer to the router's solicitation can get wrong.
type labAdvert struct {
	src, dst  netip.Addr
	router    netip.Addr
	nonce     uint32
	key       [lke.KeyLen]byte
	noReply   bool   // leave option 8 out
	flipMAC   bool   // after signing
	after     []byte // options behind option 8
	hw        ipv6.LinkAddr
	solicited ndp.NAFlags
}

// advert builds the multicast advertisement that answers solicit.
func (h *labHost) advert(solicit []byte, change ...func(*labAdvert)) *ipv6.Packet {
	h.lab.t.Helper()
	s := labParse(h.lab.t, solicit)
	m, reason := ndp.ParseNeighborSolicit(s)
	if reason != ndp.ReasonNone {
		h.lab.t.Fatalf("solicitation: %v", reason)
	}
	o, _ := m.Options.Next()
	auth, err := ndp.ParseDADAuth(o)
	if err != nil || o.Type != ndp.DefaultCodePoints().AuthRequest {
		h.lab.t.Fatalf("option %d of the solicitation: %v", o.Type, err)
	}
	a := labAdvert{src: h.home, dst: ipv6.AllNodes(), router: auth.Router, nonce: auth.Nonce, key: h.key, hw: h.hw}
	for _, f := range change {
		f(&a)
	}
	opts := [][]byte{ndp.TargetLinkOption(h.hw)}
	if !a.noReply {
		opts = append(opts, ndp.DADAuth{Nonce: a.nonce, Router: a.router}.Append(nil, ndp.DefaultCodePoints().AuthReply))
	}
	if a.after != nil {
		opts = append(opts, a.after)
	}
	msg := ndp.AppendNeighborAdvert(nil, a.src, a.dst, ndp.FlagOverride|a.solicited, h.home, opts...)
	if !a.noReply {
		if err := ndp.SignDADAuth(msg, a.key[:], a.src, a.dst, 24+8); err != nil {
			h.lab.t.Fatal(err)
		}
		if a.flipMAC {
			msg[24+8+24] ^= 1
			ndp.FixChecksum(msg, a.src, a.dst)
		}
	}
	p := h.from(h.link, ipv6.Append(nil, ipv6.Header{Src: a.src, Dst: a.dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg))
	p.LinkSource = a.hw
	return p
}

// detection builds a solicitation for home from source ::, as a station sends it that wants the address.
func (h *labHost) detection(home netip.Addr) *ipv6.Packet {
	src, dst := netip.IPv6Unspecified(), ipv6.SolicitedNode(home)
	msg := ndp.AppendNeighborSolicit(nil, src, dst, home)
	return h.from(h.link, ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg))
}

// resolution builds a solicitation for home by which a station asks for its link-layer address.
func (h *labHost) resolution(home netip.Addr) *ipv6.Packet {
	src, dst := h.home, ipv6.SolicitedNode(home)
	msg := ndp.AppendNeighborSolicit(nil, src, dst, home, ndp.SourceLinkOption(h.hw))
	return h.from(h.link, ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg))
}

// attach runs the whole exchange until the association is valid.
func (h *labHost) attach() {
	h.lab.t.Helper()
	_, solicit := h.exchange(h.request())
	if got := h.lab.receive(h.advert(solicit)); got != nil {
		h.lab.t.Fatalf("the advertisement was answered: %v", got)
	}
	h.lab.advance(time.Second)
	if got := h.lab.association(h.home).State; got != "valid" {
		h.lab.t.Fatalf("association is %q, want valid; %v", got, h.lab.counters())
	}
}

// labUpdate is what a binding update can get wrong.
type labUpdate struct {
	mobility.BindingUpdate
	src, dst, home netip.Addr
	key            [lke.KeyLen]byte
	link           int
	flipMAC        bool
	change         labChange
}

// update builds the next binding update from the care-of address.
func (h *labHost) update(change ...func(*labUpdate)) *ipv6.Packet {
	h.lab.t.Helper()
	u := labUpdate{
		BindingUpdate: mobility.BindingUpdate{
			Seq: h.bu, Flags: mobility.FlagAck | mobility.FlagHome, Lifetime: 100, HasAuth: true,
		},
		src: h.careOf, dst: h.router, home: h.home, key: h.key, link: labUplink,
	}
	h.bu++
	for _, f := range change {
		f(&u)
	}
	mh := u.Append(nil)
	if u.HasAuth {
		if err := mobility.SignBAD(mh, u.key[:], u.src, u.dst); err != nil {
			h.lab.t.Fatal(err)
		}
		if u.flipMAC {
			mh[len(mh)-1] ^= 1
		}
	}
	header := ipv6.Header{Src: u.src, Dst: u.dst, HopLimit: 61, HomeAddress: u.home}
	if u.change != nil {
		u.change(&header)
	}
	p := h.mobility(mh, header)
	p.Interface = u.link
	return p
}

// bind runs an update until its address is forwarded, and gives the acknowledgement.
func (h *labHost) bind(change ...func(*labUpdate)) (ack []byte) {
	h.lab.t.Helper()
	p := h.update(change...)
	effects := h.lab.router.Step(h.lab.now, lke.Input{Kind: lke.InPacket, Packet: p})
	l := h.lab
	for len(effects) > 0 {
		next := []lke.Effect(nil)
		for _, e := range effects {
			if e.Kind == lke.EffectSend && e.Link == 0 {
				ack = e.Packet
			}
			if e.Kind == lke.EffectBind {
				l.bound[e.Home] = e.Binding
				next = append(next, l.router.Step(l.now, lke.Input{Kind: lke.InForwarding, Home: e.Home})...)
			}
		}
		hold := l.holdForwarding
		l.holdForwarding = true
		l.carryOut(effects)
		l.holdForwarding = hold
		effects = next
	}
	if _, ok := l.router.Bound(h.home); !ok {
		l.t.Fatalf("not bound; %v", l.counters())
	}
	return ack
}

// labFinished is what a Finished message can get wrong.
type labFinished struct {
	mobility.Finished
	src, dst, home netip.Addr
	key            [lke.KeyLen]byte
	flipMAC        bool
	padded         bool // the authenticator is not the last thing
}

// finished answers the acknowledgement ack.
func (h *labHost) finished(ack []byte, change ...func(*labFinished)) *ipv6.Packet {
	h.lab.t.Helper()
	p := labParse(h.lab.t, ack)
	mh, err := mobility.ParseHeader(p.Payload)
	if err != nil {
		h.lab.t.Fatal(err)
	}
	m, err := mobility.ParseBindingAck(mh, mobility.DefaultCodePoints())
	if err != nil {
		h.lab.t.Fatal(err)
	}
	f := labFinished{
		Finished: mobility.Finished{Seq: m.Seq, Lifetime: m.Lifetime, Nonce: m.FinishedNonce, HasAuth: true},
		src:      p.Dst, dst: p.Src, home: p.RoutingHome, key: h.key,
	}
	for _, c := range change {
		c(&f)
	}
	b := f.Append(nil, mobility.DefaultCodePoints())
	if f.HasAuth {
		if err := mobility.SignBAD(b, f.key[:], f.src, f.dst); err != nil {
			h.lab.t.Fatal(err)
		}
		if f.flipMAC {
			b[len(b)-1] ^= 1
		}
		if f.padded {
			copy(b[16:30], b[18:])
			b[30], b[31] = 0, 0
		}
	}
	out := h.mobility(b, ipv6.Header{Src: f.src, Dst: f.dst, HopLimit: 61, HomeAddress: f.home})
	out.Interface = labUplink
	return out
}
