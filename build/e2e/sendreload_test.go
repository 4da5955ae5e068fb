package e2e

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ndp"
)

// kernelState is all of the router's kernel that SEND has a hand in, as text by name.
func (w *world) kernelState() map[string]string {
	w.t.Helper()
	all := make(map[string]string)
	for _, name := range []string{
		"net/ipv6/neigh/lan0/app_solicit", "net/ipv6/neigh/lan0/ucast_solicit", "net/ipv6/neigh/lan0/mcast_solicit",
		"net/ipv6/conf/lan0/dad_transmits", "net/ipv6/conf/lan0/ndisc_notify", "net/ipv6/conf/lan0/suppress_frag_ndisc",
		"net/ipv6/conf/lan0/accept_redirects", "net/ipv6/conf/all/forwarding",
	} {
		value, err := w.router.Sysctl(name)
		check(w.t, err)
		all[name] = strings.TrimSpace(value)
	}
	for name, args := range map[string][]string{
		"addresses":  {"-6", "-o", "addr", "show", "dev", "lan0"},
		"rules":      {"-6", "rule", "show"},
		"routes":     {"-6", "route", "show", "table", "all"},
		"neighbours": {"-6", "neigh", "show", "dev", "lan0", "nud", "permanent"},
	} {
		out, err := w.router.Run(2*time.Second, "ip", args...)
		check(w.t, err)
		var lines []string
		for line := range strings.Lines(out) {
			// What counts down, and what the kernel has of its own for the device of the daemon, says nothing.
			line, _, _ = strings.Cut(strings.TrimSpace(line), " valid_lft")
			if !strings.Contains(line, "rktun0") && !strings.Contains(line, "rkhold0") && !strings.HasPrefix(line, "multicast") {
				lines = append(lines, line)
			}
		}
		slices.Sort(lines)
		all[name] = strings.Join(lines, "\n")
	}
	out, err := w.router.Run(2*time.Second, "nft", "-s", "list", "ruleset")
	check(w.t, err)
	all["nft"] = out
	return all
}

// differ lists what is not as it was.
func differ(was, is map[string]string) (all []string) {
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if was[name] != is[name] {
			all = append(all, fmt.Sprintf("%s was\n%s\nand is\n%s", name, was[name], is[name]))
		}
	}
	return all
}

// getsBack waits until the kernel has what it had.
func (w *world) getsBack(was map[string]string) {
	w.t.Helper()
	var left []string
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if left = differ(was, w.kernelState()); len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			w.t.Fatal(strings.Join(left, "\n"))
		}
	}
}

// TestSENDComesAndGoes puts SEND on a link of a daemon that runs, and takes it away: the kernel has all that it had, and hosts
// are told each time whom to ask.
func TestSENDComesAndGoes(t *testing.T) {
	t.Parallel()
	w := newSecureWorld(t, "mixed", keys[0]())
	w.withFar("none")
	mixed := w.options.Settings
	off := replace(mixed, "option send 'mixed'", "option send 'off'")
	w.options.Settings = off
	w.start()
	w.awaitAdvert(0, "an advertisement without SEND", func(a advert) bool { return a.Lifetime > 0 })
	was := w.kernelState()
	n := w.sendNode(keys[4](), false)
	n.pair = keys[5]()
	for range 2 {
		mark, far := n.mark(), w.nodes.mark()
		w.reload(mixed)
		w.await("the addresses of the key", func(s control.Snapshot) bool {
			return rig.Serves(s) && slices.Contains(ownOf(s), w.local) && slices.Contains(ownOf(s), w.global)
		})
		n.await(mark, ndp.TypeRouterAdvert, "a secured advertisement", secured)
		n.askKey(w.fastRouter(), 0, n.pair)
		if got := differ(was, w.kernelState()); len(got) < 3 {
			t.Errorf("with SEND only this differs: %v", got)
		}
		if got := w.nodes.since(far, fromWith(w.former, 0)); len(got) == 0 {
			t.Error("the former address did not say that it is no router's any more")
		}

		far = w.nodes.mark()
		w.reload(off)
		w.await("no SEND", func(s control.Snapshot) bool {
			return rig.Serves(s) && s.Links[0].SEND == nil && s.Links[0].LinkLocal == w.former
		})
		// Hosts leave the address that is gone, and hear of the other.
		w.nodes.hear(far, "the address of SEND to say lifetime 0", fromWith(w.local, 0))
		eventually(t, "an advertisement of the first address", func() bool {
			return len(w.nodes.since(far, func(h *heard) bool {
				return h.Src == w.former && !fromWith(w.former, 0)(h) && icmpType(ndp.TypeRouterAdvert)(h)
			})) > 0
		})
		w.getsBack(was)
		// What is signed means nothing any more, and what is not is taken by the kernel again.
		before := w.snapshot()
		w.nodes.send(n.Hardware, w.access.Hardware, n.seal(proxySolicit(n.Home, n.Hardware, w.fastRouter(), nil)))
		w.moved(before, "an RtSolPr that nobody expects", map[string]int64{"daemon/drop_unexpected": 1})
		mark = n.mark()
		n.ask(routerAddr)
		n.await(mark, ndp.TypeNeighborAdvert, "the kernel's answer", func(r *received) bool {
			m, _ := ndp.ParseNeighborAdvert(&r.Packet)
			return m.Target == routerAddr && !r.Secured
		})
	}
	// A link that the settings name no more is given back as well, after it has said goodbye, signed.
	w.reload(mixed)
	w.await("the addresses of the key", func(s control.Snapshot) bool { return rig.Serves(s) && slices.Contains(ownOf(s), w.global) })
	mark, far := n.mark(), w.nodes.mark()
	w.reload(replace(mixed, "'lan0'", "'lan9'"))
	n.await(mark, ndp.TypeRouterAdvert, "a signed final advertisement", func(r *received) bool {
		m, _ := ndp.ParseRouterAdvert(&r.Packet)
		return r.Secured && m.Lifetime == 0
	})
	delete(was, "nft") // the link is none of the daemon's any more
	w.getsBack(was)
	if out := w.kernelState()["nft"]; strings.Contains(out, `"lan0"`) {
		t.Errorf("of the link there is left\n%s", out)
	}
	for _, h := range w.nodes.since(far, w.discovery(lanPrefix)) {
		if _, err := audit(&h.Packet); err != nil {
			t.Errorf("it says from %v: %v", h.Src, err)
		}
	}
	check(t, w.d.Stop(5*time.Second))
	if got := w.installed(); len(got) > 0 {
		t.Errorf("after the stop there is still %v", got)
	}
}

// fromWith matches advertisements from an address with a router lifetime.
func fromWith(src netip.Addr, lifetime uint16) func(*heard) bool {
	return both(icmpType(ndp.TypeRouterAdvert), func(h *heard) bool {
		m, reason := ndp.ParseRouterAdvert(&h.Packet)
		return h.Src == src && reason == ndp.ReasonNone && m.Lifetime == lifetime
	})
}

// TestStopWithSEND: a stop, and a cleanup after a crash, leave nothing of SEND and of fast handovers in the kernel; a restart in
// between finds all of it.
func TestStopWithSEND(t *testing.T) {
	t.Parallel()
	for _, crash := range []bool{false, true} {
		t.Run(map[bool]string{false: "stop", true: "cleanup after a crash"}[crash], func(t *testing.T) {
			t.Parallel()
			w := newSecureWorld(t, "only", keys[0]())
			w.withFar("none")
			was := w.kernelState()
			w.start()
			n := w.sendNode(keys[4](), true)
			n.pair = keys[5]()
			r := w.fastRouter()
			n.askKey(r, 0, n.pair)
			n.attach(nil)
			mark := w.away.mark()
			careOf := n.in(farNet)
			w.fromAway(n.update(r, careOf, careOf, 60).packet())
			n.fastAck(w.away, mark, careOf, careOf, r)
			if got := differ(was, w.kernelState()); len(got) < 4 {
				t.Errorf("with SEND only this differs: %v", got)
			}
			far := w.nodes.mark()
			if crash {
				w.d.Kill()
				if got := w.addresses("lan0"); !slices.Contains(got, w.global) {
					t.Errorf("the crash took %v away", w.global)
				}
				out, err := w.router.Run(5*time.Second, built.roamkeyd, "cleanup", "-c", w.options.Dir+"/config")
				check(t, err)
				for _, what := range []string{w.global.String(), w.local.String(), "table"} {
					if !strings.Contains(out, what) {
						t.Errorf("cleanup does not tell of %s: %s", what, out)
					}
				}
			} else {
				check(t, w.d.Stop(5*time.Second))
				// RFC 4861 section 6.2.5, and nothing unsigned: who takes signed messages alone hears it, too.
				if got := w.nodes.since(far, fromWith(w.local, 0)); len(got) == 0 {
					t.Error("no final advertisement")
				}
				auditWire(t, w.nodes, w.access.Hardware, &w.sender, lanPrefix)
			}
			for _, d := range differ(was, w.kernelState()) {
				t.Error(d)
			}
			// The addresses are the same at the next start.
			s := w.start()
			if !slices.Contains(ownOf(s), w.global) {
				t.Errorf("status tells of %+v", link1(s))
			}
		})
	}
}
