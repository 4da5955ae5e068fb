package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/roamkey/roamkey/drivers/hostnet"
	"github.com/roamkey/roamkey/firmware/config"
	"github.com/roamkey/roamkey/ipv6"
)

// links compares each link of the settings with what the kernel has.
func (r *report) links(settings *config.Config, view hostnet.View) {
	for _, l := range settings.Links {
		host, there := view.Link(l.Device)
		if !there {
			r.error("%v: link %s: there is no network interface %s: write one of %s", l.Position, l.Name, l.Device, candidates(view))
			continue
		}
		r.device(l, host, view)
		r.addresses(l, host)
		if !view.Forwarding(l.Device) {
			r.error("link %s: the kernel does not forward IPv6 packets from %s: sysctl -w net.ipv6.conf.all.forwarding=1", l.Name, l.Device)
		}
		if l.RA.Enabled && view.AcceptRA(l.Device) {
			r.warning("link %s: %s would take addresses from other routers' advertisements: sysctl -w net.ipv6.conf.%s.accept_ra=0", l.Name, l.Device, l.Device)
		}
		if l.LKE {
			for _, f := range view.HidesDAD(l.Device) {
				r.hidden(l, f.File+" is "+f.Value+": "+f.Text, f.Fix)
			}
		}
	}
}

// candidates names the interfaces that could be meant.
func candidates(view hostnet.View) string {
	var names []string
	for _, l := range view.Links() {
		if l.Hardware.IsUnicast() && l.Master == 0 {
			names = append(names, l.Name)
		}
	}
	if len(names) == 0 {
		return "the names that ip link shows"
	}
	return strings.Join(names, ", ")
}

func (r *report) device(l config.Link, host hostnet.Link, view hostnet.View) {
	const leastMTU = 1280 // RFC 8200 section 5
	switch {
	case host.Master != 0:
		bridge := "its bridge"
		for _, other := range view.Links() {
			if other.Index == host.Master {
				bridge = other.Name
			}
		}
		r.error("%v: link %s: %s is a port of %s, above which nodes' packets are seen: write option device '%s'", l.Position, l.Name, l.Device, bridge, bridge)
	case !host.Hardware.IsUnicast():
		r.error("%v: link %s: %s has no Ethernet address: only links like Ethernet and Wi-Fi can be served", l.Position, l.Name, l.Device)
	}
	if host.MTU < leastMTU {
		r.error("link %s: the MTU of %s is %d, IPv6 needs 1280: ip link set %s mtu 1500", l.Name, l.Device, host.MTU, l.Device)
	}
	if !host.Up {
		r.warning("link %s: %s is down: ip link set %s up", l.Name, l.Device, l.Device)
	}
}

// addresses looks for what the router needs on a link: a link-local address, and a global one in a prefix that is advertised.
func (r *report) addresses(l config.Link, host hostnet.Link) {
	var own []netip.Addr
	local := false
	for _, a := range host.Addresses {
		switch {
		case a.Failed:
			r.error("link %s: somebody else has %v, too, so that the kernel does not use it: give one of the two another address", l.Name, a.Addr)
		case a.Addr.IsLinkLocalUnicast():
			local = true
		case ipv6.IsRoutableUnicast(a.Addr):
			own = append(own, a.Addr)
			if l.RA.PrefixesFromDevice && a.Prefix.Bits() != 64 && !covered(l, a.Addr) {
				r.warning("link %s: %v is not in a /64, so that its prefix is not advertised: give %s an address with /64", l.Name, a.Addr, l.Device)
			}
		}
	}
	if host.Up && !local {
		r.error("link %s: %s has no link-local address, from which everything is sent: sysctl -w net.ipv6.conf.%s.disable_ipv6=0", l.Name, l.Device, l.Device)
	}
	for _, a := range l.RA.RouterAddresses {
		if !slices.Contains(own, a) {
			r.error("%v: link %s: router_address %v is no address of %s: ip address add %v/64 dev %s", l.Position, l.Name, a, l.Device, a, l.Device)
		}
	}
	if !l.LKE {
		return
	}
	usable := slices.ContainsFunc(own, func(a netip.Addr) bool { return l.RA.PrefixesFromDevice || covered(l, a) })
	if !usable {
		r.error("link %s: %s has no global address in a prefix that is advertised, and nodes agree on keys with such an address only: give it one", l.Name, l.Device)
	}
}

// covered reports whether a listed prefix of the link holds a.
func covered(l config.Link, a netip.Addr) bool {
	return slices.ContainsFunc(l.RA.Prefixes, func(p config.Prefix) bool { return p.Prefix.Contains(a) })
}

// hidden tells of something that hides DAD (resolution w).
func (r *report) hidden(l config.Link, what, fix string) {
	if l.AllowHiddenDAD {
		r.warning("link %s: %s; allow_hidden_dad is set, so that LKE is served all the same, and any node can take another's address", l.Name, what)
		return
	}
	r.warning("link %s: %s; LKE is refused on this link: %s, or set allow_hidden_dad '1' if every node can be trusted", l.Name, what, fix)
}

// shared warns of access points that share a prefix: a move between them changes no address, so that there is nothing for
// a network layer to hand over.
func (r *report) shared(settings *config.Config, view hostnet.View) {
	for _, n := range settings.Neighbors {
		for _, l := range settings.Links {
			var mine []netip.Prefix
			for _, p := range l.RA.Prefixes {
				mine = append(mine, p.Prefix)
			}
			if host, there := view.Link(l.Device); there && l.RA.PrefixesFromDevice {
				for _, a := range host.Addresses {
					if p := a.Prefix.Masked(); ipv6.IsRoutableUnicast(a.Addr) && !slices.Contains(mine, p) {
						mine = append(mine, p)
					}
				}
			}
			for _, p := range mine {
				for _, q := range n.Prefixes {
					if !p.Overlaps(q) {
						continue
					}
					what := "neighbor " + n.Name + " and link " + l.Name + " share " + p.String()
					if p != q {
						what = q.String() + " of neighbor " + n.Name + " overlaps with " + p.String() + " of link " + l.Name
					}
					r.warning("%v: %s: a node that moves between the two keeps its address, so that there is nothing to hand over: "+
						"give each access point a prefix of its own, or bridge them without roamkeyd", n.Position, what)
				}
			}
		}
	}
}

// others tells what other programs do on a link.
func (r *report) others(l config.Link, others config.Others, running map[string]bool) {
	if l.RA.Enabled {
		speakers, err := others.AdvertiseOn(l.Device)
		for _, s := range speakers {
			if running[s.Where] {
				r.error("link %s: %v; it runs, and a link has one speaker of router advertisements only", l.Name, s)
			} else {
				r.warning("link %s: %v; it does not run now", l.Name, s)
			}
		}
		r.unread(l, err, "whether another program advertises there")
	}
	if l.LKE {
		hidden, err := others.HideDAD(l.Device)
		for _, h := range hidden {
			where := h.Position.String() + ": "
			if h.Where != "" {
				where += h.Where + ": "
			}
			r.hidden(l, where+h.What, h.Fix)
		}
		r.unread(l, err, "whether stations are hidden from each other")
	}
}

func (r *report) unread(l config.Link, err error, what string) {
	if err != nil {
		r.warning("link %s: %s is not known: %s", l.Name, what, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
}

// runningPrograms gives the names of all processes.
func runningPrograms(proc string) map[string]bool {
	running := make(map[string]bool)
	files, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "comm"))
	if err != nil {
		return running
	}
	for _, f := range files {
		if name, err := os.ReadFile(f); err == nil {
			running[strings.TrimSpace(string(name))] = true
		}
	}
	// The kernel cuts names to 15 characters.
	running["systemd-networkd"] = running["systemd-network"]
	return running
}
