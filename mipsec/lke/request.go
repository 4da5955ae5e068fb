package lke

import (
	"encoding/binary"
	"io"
	"math"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/mipsec/pacing"
)

const (
	// requestPatience is how long a decryption may take before its request is forgotten. It only bounds the table:
	// each EffectDecrypt is answered.
	requestPatience = time.Minute

	secondsPerUnit = 4    // of the lifetimes in KEAck, BU, BA and Finished
	exchangeClass  = 0xf0 // "Priority 15" of the draft's sections 3.2.1 and 3.2.2, in today's traffic class
	neighbourHops  = 255
	routedHops     = 64
)

// keyRequest is one Key Exchange Request whose key is being decrypted.
type keyRequest struct {
	job       uint64
	source    ipv6.LinkAddr
	nodeLocal netip.Addr
	seq       uint16
	lifetime  uint16 // requested, in seconds
	expires   pacing.Time
}

// keyExchange handles a Key Exchange Request. Every test stands before RSA and none of them is answered: without the key
// no answer could be authenticated, and one that is not would make the node drop its association (LKE-MN-7).
func (r *Router) keyExchange(now pacing.Time, in *Input) {
	p := in.Packet
	link := r.byIndex[p.Interface]
	req, drop := r.readRequest(link, p)
	if drop == countNone {
		drop = r.admit(now, link, in, &req)
	}
	switch {
	case drop == faultCounted:
		return
	case drop != countNone:
		r.count.add(drop)
		return
	}
	r.count.add(countRequests)
	r.limits.remember(now, stationKey{link.Index, p.LinkSource}, req.Seq, r.cfg.MaxLifetime)

	n := r.node(p.HomeAddress, link)
	n.link = link
	r.dropRequest(n)
	r.lastJob++
	n.request = &keyRequest{
		job: r.lastJob, source: p.LinkSource, nodeLocal: p.Src, seq: req.Seq, lifetime: req.Lifetime,
		expires: now.Add(requestPatience),
	}
	r.jobs[r.lastJob] = n
	r.emit(Effect{
		Kind: EffectDecrypt, Job: r.lastJob, Source: p.LinkSource, Link: link.Index,
		Ciphertext: append([]byte(nil), req.Data...),
	})
	r.report(r.event(EventRequested, n, ""))
	r.settle(n)
}

// faultCounted is a drop that was counted under the mobility header's own reason.
const faultCounted = routerCounterCount

// readRequest makes the tests of the packet itself, the cheapest first. countNone means that it passed.
func (r *Router) readRequest(link *servedLink, p *ipv6.Packet) (mobility.KeyExchangeRequest, routerCounter) {
	var none mobility.KeyExchangeRequest
	switch {
	case link == nil:
		return none, dropRequestLink
	case link.Refuse:
		return none, dropRequestRefused // resolution w
	case p.HopLimit != neighbourHops: // LKE-AR-5, as are the next two
		return none, dropRequestHopLimit
	case !p.Src.IsLinkLocalUnicast():
		return none, dropRequestSource
	case p.Dst != link.LinkLocal:
		return none, dropRequestDestination
	case p.RoutingHome.IsValid():
		return none, dropRequestRouting
	case !p.HomeAddress.IsValid():
		return none, dropRequestHome
	case !p.LinkSource.IsUnicast() || p.LinkSource == link.Hardware:
		return none, dropRequestLinkSource
	}
	h, fault := mobility.Check(p, r.minHeaderLen)
	if fault != mobility.FaultNone {
		r.count.faults[fault]++
		return none, faultCounted
	}
	req, err := mobility.ParseKeyExchangeRequest(h, r.cfg.ModulusLen, r.cfg.CodePoints)
	switch {
	case err != nil:
		return none, dropRequestMalformed
	case req.Lifetime < secondsPerUnit:
		return none, dropRequestLifetime // nothing could be granted
	}
	return req, countNone
}

// admit makes the tests that need the router's state (resolutions r and p, LKE-AR-9 to LKE-AR-11). The rate limit comes
// last: it counts only requests that passed all others, so that a spoofer does not use up a node's share.
func (r *Router) admit(now pacing.Time, link *servedLink, in *Input, req *mobility.KeyExchangeRequest) routerCounter {
	p := in.Packet
	home := p.HomeAddress
	if _, ok := link.prefixOf(home); !ok {
		return dropRequestPrefix
	}
	if r.isRouter(home) {
		return dropRequestRouter
	}
	if link.isAnycast(home) {
		return dropRequestAnycast
	}
	n := r.nodes[home]
	if n != nil && n.bound() {
		return dropRequestBound
	}
	if !in.Neighbour.IsZero() && in.Neighbour != p.LinkSource {
		return dropRequestNeighbour
	}
	if in.IPsec {
		return dropRequestIPsec
	}
	if n != nil && n.heldByOther(link, p.LinkSource) {
		return dropRequestOther
	}
	key := pairKey{stationKey{link.Index, p.LinkSource}, p.Src}
	if r.limits.replayed(now, key.stationKey, req.Seq) ||
		n != nil && n.lbsa != nil && !sequenceAfter(req.Seq, n.lbsa.requestSeq) {
		return dropRequestReplayed
	}
	if n == nil && len(r.nodes) >= r.cfg.MaxNodes {
		return dropRequestNodes
	}
	return r.limits.allow(now, key, &r.cfg)
}

// dropRequest forgets n's request. If its key comes still, it is not used.
func (r *Router) dropRequest(n *routerNode) {
	if n.request != nil {
		delete(r.jobs, n.request.job)
		n.request = nil
	}
}

// keyLost handles a decryption that a full queue dropped.
func (r *Router) keyLost(job uint64) {
	n := r.jobs[job]
	if n == nil {
		r.count.add(dropKeyUnknown)
		return
	}
	r.count.add(dropKeyLost)
	r.dropRequest(n)
	r.settle(n)
}

// keyFound goes on with the exchange that job belongs to. Whether key is the node's or 16 random octets that stand for a
// padding error cannot be seen here, and must not (LKE-AR-6): DAD will tell.
func (r *Router) keyFound(now pacing.Time, job uint64, key [KeyLen]byte) {
	n := r.jobs[job]
	if n == nil {
		r.count.add(dropKeyUnknown)
		return
	}
	r.count.add(countKeys)
	defer clear(key[:])
	req := n.request
	status, router := r.recheck(n)
	a := &association{
		key: key, router: router, nodeLocal: req.nodeLocal, source: req.source, requestSeq: req.seq,
	}
	var lifetime uint16
	if status == mobility.StatusAccepted {
		granted := min(time.Duration(req.lifetime)*time.Second, n.link.maxLifetime(&r.cfg))
		lifetime = lifetimeUnits(granted)
		a.expires = now.Add(time.Duration(lifetime) * secondsPerUnit * time.Second)
	}
	ack := r.keyAck(n, a, status, lifetime)
	r.dropRequest(n)
	if ack == nil || status != mobility.StatusAccepted {
		r.count.add(dropKeyLate)
		if ack != nil {
			r.count.add(countRefusals)
			r.send(n.link.Index, a.source, ack)
		}
		a.wipe()
		r.settle(n)
		return
	}
	r.startDAD(now, n, a, ack)
	r.settle(n)
}

// recheck makes those tests again whose outcome can have changed while RSA ran, and gives the address that the
// acknowledgement names.
func (r *Router) recheck(n *routerNode) (status uint8, router netip.Addr) {
	prefix, ok := n.link.prefixOf(n.home)
	if !ok && len(n.link.Prefixes) > 0 {
		prefix = n.link.Prefixes[0]
	}
	switch {
	case !ok || n.link.Refuse || r.isRouter(n.home) || n.bound():
		return mobility.StatusProhibited, prefix.Router
	case n.lbsa == nil && n.dad == nil && len(r.nodes) > r.cfg.MaxNodes:
		return mobility.StatusResources, prefix.Router
	}
	return mobility.StatusAccepted, prefix.Router
}

// keyAck builds the packet with the Key Exchange Acknowledgement (LKE-AR-8): between link-local addresses, with the
// care-of address in a type 2 routing header (resolution f). It is nil where the link has no address left to name.
func (r *Router) keyAck(n *routerNode, a *association, status uint8, lifetime uint16) []byte {
	if !a.router.IsValid() {
		return nil
	}
	src := n.link.LinkLocal
	mh := mobility.KeyExchangeAck{
		Status: status, Seq: a.requestSeq, Lifetime: lifetime, Router: a.router,
	}.Append(nil, r.cfg.CodePoints)
	if mobility.SignKeyExchangeAck(mh, a.key[:], src, a.nodeLocal, n.home) != nil {
		return nil
	}
	mobility.FixChecksum(mh, src, n.home)
	return ipv6.Append(nil, ipv6.Header{
		Src: src, Dst: a.nodeLocal, TrafficClass: exchangeClass, HopLimit: neighbourHops, RoutingHome: n.home,
	}, ipv6.ProtoMobility, mh)
}

// lifetimeUnits gives d in whole units of 4 seconds, as many as the 16-bit field holds.
func lifetimeUnits(d time.Duration) uint16 {
	return uint16(min(max(d, 0)/(secondsPerUnit*time.Second), math.MaxUint16))
}

// random32 gives a fresh nonce. It is false where the random source fails: then nothing that needs it may go on.
func (r *Router) random32() (uint32, bool) {
	if _, err := io.ReadFull(r.cfg.Rand, r.scratch[:]); err != nil {
		return 0, false
	}
	return binary.BigEndian.Uint32(r.scratch[:]), true
}
