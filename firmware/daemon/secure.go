package daemon

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/drivers/hold"
	"github.com/roamkey/roamkey/drivers/neighbors"
	"github.com/roamkey/roamkey/firmware/config"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/certpath"
	"github.com/roamkey/roamkey/ndp/neighbor"
	"github.com/roamkey/roamkey/ndp/send"
)

// secured is one link with SEND. The kernel takes no part in its Neighbour Discovery: what is heard and said goes through
// endpoint, and the neighbour table is that of cache.
type secured struct {
	owner    uint32 // of RSA jobs
	index    int
	taken    bool // the kernel leaves neighbours to us
	config   send.Config
	endpoint *send.Endpoint
	cache    *neighbor.Cache
	cached   neighbor.Config
	server   *certpath.Server
	served   certpath.ServerConfig

	own   map[netip.Addr]*ownAddress
	asked solicitors
}

// ownAddress is one address of ours on a link with SEND.
type ownAddress struct {
	prefix    netip.Prefix
	made      bool // it is a CGA of ours; the others are there by someone else's hand and only defended
	installed bool // the kernel was told
}

// secures reports whether the settings want SEND anywhere.
func secures(c *config.Config) bool {
	return slices.ContainsFunc(c.Links, func(l config.Link) bool { return l.Send != config.SendOff })
}

// takeIdentity reads send.key, and begins to look for a modifier where none was found before.
func (d *Daemon) takeIdentity() error {
	s := &d.config.Send
	id, err := loadIdentity(s.Key, d.config.Global.StateDir, s.Sec)
	if err != nil {
		return err
	}
	if err := engine.SeparateKeys(d.lkeKey, id.private); err != nil {
		return err
	}
	d.identity = id
	if d.operations != nil {
		d.operations.SignWith(id.private)
	}
	return nil
}

// beginSecure makes SEND possible in a daemon that began without it.
func (d *Daemon) beginSecure() {
	if d.identity != nil || !secures(d.config) {
		return
	}
	err := d.takeIdentity()
	if err == nil {
		if err = d.openSecure(); err != nil {
			d.identity = nil
		}
	}
	if err != nil {
		d.complain("begin SEND", err)
		return
	}
	d.search()
}

// search goes on with the search for a modifier as soon as there is a loop to hear of its end.
func (d *Daemon) search() {
	if d.identity == nil || d.identity.ready || d.identity.search != nil {
		return
	}
	if err := d.identity.find(d.context); err != nil {
		d.complain("make an address", err)
		return
	}
	d.log.Info("making this router's address for SEND", "sec", d.identity.sec, "attempts", d.identity.search.expected)
}

// identified takes the modifier that was found.
func (d *Daemon) identified(modifier [16]byte) {
	id := d.identity
	d.log.Info("made this router's address for SEND", "attempts", id.search.tried.Load())
	id.params.Modifier, id.ready, id.search = modifier, true, nil
	if err := id.saveModifier(d.config.Send.Key, d.config.Global.StateDir); err != nil {
		d.complain("keep what the router's addresses follow from; the next start makes others", err)
	}
	d.relink()
}

// wantedAddresses are the CGAs that this router is to have on a link, each with its prefix.
func wantedAddresses(id *identity, prefixes []netip.Prefix) []netip.Prefix {
	wanted := []netip.Prefix{netip.PrefixFrom(id.address(linkLocalPrefix()), 64)}
	for _, p := range prefixes {
		if p.Bits() == 64 {
			wanted = append(wanted, netip.PrefixFrom(id.address(p), 64))
		}
	}
	return wanted
}

// secure makes a link with SEND begin or end as its plan says: the kernel is kept out, endpoint and cache are there. It reports
// whether the set of such links changed.
func (d *Daemon) secure(l *link, p *plan) (changed bool) {
	if p.secure == nil {
		if l.secured == nil {
			return false
		}
		d.unsecure(l)
		return true
	}
	if l.secured != nil && l.secured.index != p.secure.index {
		d.unsecure(l)
		changed = true
	}
	if l.secured == nil {
		s, err := d.newSecured(l, p.secure)
		if err != nil {
			d.complain("SEND on "+l.config.Name, err)
			return changed
		}
		l.secured, changed = s, true
		d.endpoints[s.owner] = l
	}
	return changed
}

// securePlan is what a link with SEND needs to be told.
type securePlan struct {
	index     int
	hardware  ipv6.LinkAddr
	linkLocal netip.Addr // that of advertisements, a CGA
	wanted    []netip.Prefix
	others    []netip.Addr // addresses of the interface that are no CGAs of ours
	only      bool
}

func (d *Daemon) sendConfig(p *securePlan) send.Config {
	s := &d.config.Send
	return send.Config{
		Link: p.index, Identity: send.Identity{Params: d.identity.params, Sec: d.identity.sec, ModulusLen: d.identity.modulusLen},
		Secured: p.only, Router: true, MinBits: s.MinBits, MaxBits: s.MaxBits, Delta: s.Delta, Fuzz: s.Fuzz, DriftPercent: s.Drift,
		MaxPeers: s.Peers, Rand: rand.Reader,
	}
}

func cacheConfig(c *config.Link, p *securePlan, room int) neighbor.Config {
	return neighbor.Config{
		Link: p.index, Hardware: p.hardware, Router: true, Secured: p.only, DADTransmits: 1, MaxEntries: room,
		Retrans: c.RA.RetransTimer, Reachable: c.RA.ReachableTime, Rand: rand.Reader,
	}
}

func (d *Daemon) newSecured(l *link, p *securePlan) (*secured, error) {
	s := &secured{index: p.index, own: make(map[netip.Addr]*ownAddress)}
	s.config = d.sendConfig(p)
	var err error
	if s.endpoint, err = send.NewEndpoint(s.config); err != nil {
		return nil, err
	}
	s.cached = cacheConfig(&l.config, p, neighbourRoom(d.config))
	s.cache = neighbor.New(s.cached)
	s.served = d.pathConfig(p)
	if s.server, err = certpath.NewServer(s.served); err != nil {
		return nil, err
	}
	d.lastOwner++
	s.owner = d.lastOwner
	return s, nil
}

// updateSecured takes over what changed, once there are sockets: each address of ours is in use then or on its way.
func (d *Daemon) updateSecured(l *link, p *securePlan) {
	s, now := l.secured, d.now()
	if !s.taken {
		// The guard is there by now: what the kernel forgets it must not learn again.
		if err := d.neighbors.Take(p.index); err != nil {
			d.complain("SEND on "+l.config.Name, err)
			return
		}
		s.taken = true
	}
	if c := d.sendConfig(p); !reflect.DeepEqual(c, s.config) {
		if err := s.endpoint.Reconfigure(now, c); err != nil {
			d.complain("SEND on "+l.config.Name, err)
		} else {
			s.config = c
		}
	}
	if c := cacheConfig(&l.config, p, neighbourRoom(d.config)); c != s.cached {
		s.cached = c
		d.carryCache(l, s.cache.Reconfigure(now, c))
	}
	if c := d.pathConfig(p); !reflect.DeepEqual(c, s.served) {
		if err := s.server.Reconfigure(c); err != nil {
			d.complain("certificates on "+l.config.Name, err)
		} else {
			s.served = c
		}
	}
	d.ownAddresses(l, p)
}

// ownAddresses takes the addresses that the plan wants, and lets go of the others.
func (d *Daemon) ownAddresses(l *link, p *securePlan) {
	s := l.secured
	keep := make(map[netip.Addr]bool)
	for _, w := range p.wanted {
		keep[w.Addr()] = true
		if s.own[w.Addr()] == nil {
			s.own[w.Addr()] = &ownAddress{prefix: w.Masked(), made: true}
			// What the kernel has already, an earlier process of ours has made sure of.
			d.stepCache(l, neighbor.Input{Kind: neighbor.InOwn, Addr: w.Addr(), InUse: usable(l.host, w.Addr()), Attempt: int(d.identity.collisions[half(w)])})
		}
	}
	for _, a := range p.others {
		if p.only {
			break // nobody would believe what is said for them
		}
		keep[a] = true
		if s.own[a] == nil {
			s.own[a] = &ownAddress{installed: true}
			d.stepCache(l, neighbor.Input{Kind: neighbor.InOwn, Addr: a, Plain: true, InUse: true})
		}
	}
	for _, a := range slices.SortedFunc(maps.Keys(s.own), netip.Addr.Compare) {
		if o := s.own[a]; !keep[a] {
			delete(s.own, a)
			d.disown(l, a, o)
		}
	}
}

func (d *Daemon) disown(l *link, a netip.Addr, o *ownAddress) {
	d.stepCache(l, neighbor.Input{Kind: neighbor.InDisown, Addr: a})
	if o.made && o.installed {
		if err := d.neighbors.RemoveAddress(l.secured.index, a); err != nil {
			d.complain("take "+a.String()+" off "+l.config.Device, err)
		}
	}
}

// unsecure gives a link back to the kernel.
func (d *Daemon) unsecure(l *link) {
	s := l.secured
	for _, a := range slices.SortedFunc(maps.Keys(s.own), netip.Addr.Compare) {
		d.disown(l, a, s.own[a])
	}
	if err := d.neighbors.Release(s.index); err != nil {
		d.log.Debug("release", "link", l.config.Name, "err", err)
	}
	delete(d.endpoints, s.owner)
	l.secured = nil
}

// tickSecured gives the machines of a secured link their ticks.
func (d *Daemon) tickSecured(l *link, due func(time.Time) bool) {
	s := l.secured
	if due(s.endpoint.Deadline()) {
		d.stepEndpoint(l, send.Input{Kind: send.InTick})
	}
	if l.secured == s && due(s.cache.Deadline()) {
		d.stepCache(l, neighbor.Input{Kind: neighbor.InTick})
	}
	if l.secured == s && due(s.server.Deadline()) {
		d.stepPaths(l, certpath.Input{Kind: certpath.InTick})
	}
}

func (s *secured) deadline() time.Time {
	return earlier(s.server.Deadline(), earlier(s.endpoint.Deadline(), s.cache.Deadline()))
}

// stepPaths gives those who ask for certificates what they ask for.
func (d *Daemon) stepPaths(l *link, in certpath.Input) {
	in.Wall = time.Now()
	for _, e := range l.secured.server.Step(d.now(), in) {
		if e.Kind == certpath.EffectSend {
			d.sendLink(l, e.LinkDst, e.Packet)
		}
	}
}

// stepEndpoint gives the SEND endpoint of a link one input.
func (d *Daemon) stepEndpoint(l *link, in send.Input) {
	s := l.secured
	effects := s.endpoint.Step(d.now(), in)
	for i := range effects {
		e := &effects[i]
		switch e.Kind {
		case send.EffectVerify:
			d.submit(engine.Job{
				Ticket: engine.Ticket{Owner: s.owner, Job: e.Job}, Op: engine.Verify, Source: e.Source, PublicKey: e.PublicKey, Octets: e.Digest[:], Signature: e.Signature,
			})
		case send.EffectSign:
			d.submit(engine.Job{Ticket: engine.Ticket{Owner: s.owner, Job: e.Job}, Op: engine.Sign, Source: e.Source, Octets: e.Digest[:]})
		case send.EffectSend:
			d.sendLink(l, e.LinkDst, e.Packet)
		case send.EffectDeliver:
			d.deliver(l, e.Received, &e.Security)
		case send.EffectReport:
			d.log.Warn(e.Event.Kind.String(), "link", l.config.Name, "address", e.Event.Addr, "what", e.Event.Detail)
		}
	}
	s.endpoint.Recycle(effects)
}

func (d *Daemon) sendLink(l *link, dst ipv6.LinkAddr, packet []byte) {
	if err := d.socket.SendLink(l.host.Index, dst, packet); err != nil {
		d.counters.unsent++
		d.log.Debug("send", "link", l.config.Name, "err", err)
	}
}

// say sends a message of Neighbour Discovery on a link, signed where the link has SEND and the message has an address of ours to
// be signed for. answers is the nonce that it copies; source is the station that it answers, to whom its signature counts.
func (d *Daemon) say(l *link, dst ipv6.LinkAddr, packet, answers []byte, source ipv6.LinkAddr) {
	if l.secured == nil || !l.secured.signs(packet) {
		d.sendLink(l, dst, packet)
		return
	}
	d.stepEndpoint(l, send.Input{Kind: send.InSend, Octets: packet, LinkDst: dst, Answers: answers, Source: source, Wall: time.Now()})
}

// signs reports whether the source of a packet, or the target of a solicitation from ::, is a CGA of ours.
func (s *secured) signs(packet []byte) bool {
	const target = ipv6.HeaderLen + 8
	if len(packet) < ipv6.HeaderLen+8 {
		return false
	}
	addr := netip.AddrFrom16([16]byte(packet[8:24]))
	if addr.IsUnspecified() && packet[ipv6.HeaderLen] == ndp.TypeNeighborSolicit && len(packet) >= target+16 {
		addr = netip.AddrFrom16([16]byte(packet[target : target+16]))
	}
	o := s.own[addr]
	return o != nil && o.made
}

// stepCache gives the neighbour cache of a link one input.
func (d *Daemon) stepCache(l *link, in neighbor.Input) {
	effects := l.secured.cache.Step(d.now(), in)
	d.carryCache(l, effects)
}

func (d *Daemon) carryCache(l *link, effects []neighbor.Effect) {
	for i := range effects {
		e := &effects[i]
		switch e.Kind {
		case neighbor.EffectSend:
			if e.Unsigned {
				d.sendLink(l, e.LinkDst, e.Packet)
			} else {
				d.say(l, e.LinkDst, e.Packet, e.Answers, e.Source)
			}
		case neighbor.EffectWatch:
			if err := d.socket.Watch(l.secured.index, e.Addr); err != nil {
				d.complain("watch "+e.Addr.String(), err)
			}
		case neighbor.EffectUnwatch:
			if err := d.socket.Unwatch(l.secured.index, e.Addr); err != nil {
				d.log.Debug("unwatch", "address", e.Addr, "err", err)
			}
		case neighbor.EffectEntry:
			d.writeEntry(l, e)
		case neighbor.EffectAddress:
			d.addressed(l, e.Addr, e.OK)
		case neighbor.EffectReport:
			d.log.Warn(e.Event.Kind.String(), "link", l.config.Name, "address", e.Event.Addr, "node", e.Event.Neighbour.String(), "secured", e.Event.Secured)
		}
	}
}

func (d *Daemon) writeEntry(l *link, e *neighbor.Effect) {
	var err error
	if e.State == neighbor.StateFailed {
		err = d.neighbors.RemoveEntry(l.secured.index, e.Addr)
	} else {
		err = d.neighbors.SetEntry(l.secured.index, e.Addr, e.Neighbour, e.State == neighbor.StateReachable)
	}
	if err != nil {
		d.counters.unwritten++
		d.log.Debug("neighbour entry", "link", l.config.Name, "address", e.Addr, "err", err)
	}
}

// addressed takes the end of duplicate address detection of an address of ours.
func (d *Daemon) addressed(l *link, a netip.Addr, ok bool) {
	o := l.secured.own[a]
	if o == nil || !o.made {
		return
	}
	if !ok {
		// With a hash of 59 bits that is an attack, or the same key on two routers. At the second and third address only who can
		// sign for it counts (RFC 3971 section 8).
		d.complain("address of "+l.config.Name, errDuplicate(a))
		delete(l.secured.own, a)
		if d.identity.collide(o.prefix) {
			d.settles = d.now() // relink takes the next one
		}
		return
	}
	if err := d.neighbors.AddAddress(l.secured.index, netip.PrefixFrom(a, 64)); err != nil {
		d.complain("give "+l.config.Device+" the address "+a.String(), err)
		return
	}
	o.installed = true
}

// resolve passes a question of the kernel to the cache of its link.
func (d *Daemon) resolve(a neighbors.Ask) {
	if l := d.byIndex[a.Link]; l != nil && l.secured != nil {
		d.stepCache(l, neighbor.Input{Kind: neighbor.InAsk, Addr: a.Addr, Missing: a.Missing})
	}
}

// asks gives the questions of the kernel; nil where no link has SEND.
func (d *Daemon) asks() <-chan neighbors.Ask {
	if d.neighbors == nil {
		return nil
	}
	return d.neighbors.Asked()
}

// openSecure opens what links with SEND need, and fast handovers on them.
func (d *Daemon) openSecure() error {
	if d.guard == nil {
		return errors.New("SEND needs nftables, to keep the kernel's unsigned Neighbour Discovery off its links: install kmod-nft-core, or set send 'off'")
	}
	d.takeCertificates()
	// Only what is open is kept: close would take the nil pointer of a failed Open for something to be closed.
	driver, err := neighbors.Open()
	if err != nil {
		return err
	}
	d.neighbors = driver
	f := &d.config.Fast
	if !f.Buffer {
		return nil
	}
	holder, err := hold.Open(hold.Config{PacketsPerNode: f.BufferPackets, OctetsPerNode: f.BufferOctets, Octets: f.BufferTotal, DrainPercent: f.DrainPercent})
	if err != nil {
		d.found(control.Warning, fmt.Sprintf("packets of nodes on their way are lost: %v", err), "install kmod-tun, or set buffer '0'")
		return nil
	}
	d.hold = holder
	return nil
}

// dropStale takes away addresses and routes of an earlier process that nothing stands for any more: of another key, or of a link
// that has no SEND now.
func (d *Daemon) dropStale() {
	if d.neighbors == nil {
		return
	}
	owned, err := d.neighbors.Owned()
	if err != nil {
		d.complain("look for addresses of an earlier process", err)
		return
	}
	for _, o := range owned {
		var err error
		switch l := d.byIndex[o.Link]; {
		case o.Route: // of a node that was on its way; it asks again
			err = d.neighbors.RemoveRoute(o.Link, o.Addr)
		case l == nil || l.secured == nil || l.secured.own[o.Addr] == nil:
			err = d.neighbors.RemoveAddress(o.Link, o.Addr)
		}
		if err != nil {
			d.complain("take away "+o.Addr.String(), err)
		}
	}
}
