package daemon

import (
	"time"

	"github.com/roamkey/roamkey/drivers/rawip"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp/send"
)

// packet hands one received packet to the core that it is for.
func (d *Daemon) packet(r *rawip.Received) {
	defer r.Release()
	p := &r.Packet
	switch p.Proto {
	case ipv6.ProtoICMPv6:
		d.discovery(p)
	case ipv6.ProtoMobility:
		d.received = r.At
		d.mobility(p)
		d.received = time.Time{}
	default:
		d.counters.unexpected++
	}
}

// mobility takes mobility headers. Types 8 to 10 mean different things to different protocols; a core says by cheap checks
// whether a packet is its own. What nobody owns gets the answer of RFC 6275 section 9.2, if it was for this router.
func (d *Daemon) mobility(p *ipv6.Packet) {
	if d.router.Owns(p) {
		in := lke.Input{Kind: lke.InPacket, Packet: p}
		if p.HomeAddress.IsValid() && p.Dst.IsLinkLocalUnicast() {
			in.Neighbour = d.host.Neighbour(p.Interface, p.HomeAddress)
			in.IPsec = d.host.HasSA(p.HomeAddress)
		}
		d.step(in)
		return
	}
	if d.fast.Owns(p) {
		d.fastPacket(p, &send.Security{}, false)
		return
	}
	if !d.own[p.Dst] {
		d.counters.foreign++
		return
	}
	_, fault := mobility.Check(p, supported)
	d.faults[fault]++
	if fault == mobility.FaultNone || !d.errors.Take(d.now()) {
		return
	}
	if reply := mobility.Answer(p, fault, p.Dst); reply != nil {
		if err := d.socket.SendRouted(reply); err != nil {
			d.counters.unsent++
		}
	}
}

// supported gives the least Header Len of the types that this router understands. The others are answered with a Binding
// Error, except the types that LKE shares with FMIPv6: a stray one of those is dropped in silence.
func supported(typ uint8) (uint8, bool) {
	switch typ {
	case mobility.TypeBU, mobility.TypeFBU, mobility.TypeFBack, mobility.TypeFNA:
		return mobility.MinHeaderLen(typ)
	}
	return 0, false
}

// bucket limits a rate: that of errors that are answered, as RFC 6275 section 9.3.3 and RFC 4443 section 2.4 (f) ask for,
// and that of events that are logged.
type bucket struct {
	tokens float64
	last   time.Time
	rate   float64 // a second
	burst  float64
}

// Take reports whether one more may be sent now.
func (b *bucket) Take(now time.Time) bool {
	b.tokens = min(b.burst, b.tokens+now.Sub(b.last).Seconds()*b.rate)
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
