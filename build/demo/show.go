package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/roamkey/roamkey/build/scenario"
)

const topology = `
   correspondent                       old router             cell 1
   2001:db8:c::2 ----- core ----+---- 2001:db8:1::/64 ----------.
                        |       |                                (node)
   home agent           |       |      new router             cell 2
   2001:db8:40::1 ------'       +---- 2001:db8:2::/64 ----------'
`

func (d *demo) headline() {
	fmt.Fprintf(d.text, "A mobile node changes routers, in %s ways\n", []string{"no", "one", "two", "three", "four"}[min(len(d.moves), 4)])
	drawn := topology
	if d.options.Home == 0 {
		var kept []string
		for _, line := range strings.Split(topology, "\n") {
			line = strings.Replace(line, "   home agent           |       |", "                                |", 1)
			line = strings.Replace(line, "   2001:db8:40::1 ------'       +", "                                +", 1)
			line = strings.Replace(line, "                        |       |  ", "                                |  ", 1)
			kept = append(kept, line)
		}
		drawn = strings.Join(kept, "\n")
	}
	fmt.Fprint(d.text, drawn)
	fmt.Fprint(d.text, `
   Each is a network namespace of this kernel. The routers run roamkeyd, the
   node roamkey-mn. The node moves from cell 1 to cell 2 while packets come;
`)
	fmt.Fprintf(d.text, "   its radio is off for %v between them.\n", d.options.Radio)
	if d.options.Home > 0 {
		fmt.Fprintf(d.text, `   The correspondent sends %d packets a second to the node's home address;
   the home agent, %v away, tunnels them to where it knows the node to be.
`, d.options.Rate, d.options.Home)
	} else {
		fmt.Fprintf(d.text, `   The correspondent sends %d packets a second to the node's address at the
   old router. The node has no home agent: in plain Mobile IPv6 nobody tells
   anyone.
`, d.options.Rate)
	}
	if d.options.Apart > 0 {
		fmt.Fprintf(d.text, "   The two routers are %v apart.\n", d.options.Apart)
	}
}

// names are what the moves are called in words, and what happens in each.
var names = map[scenario.Protocol]struct{ name, story string }{
	scenario.None:      {"Plain Mobile IPv6", "the home agent is told, after the move"},
	scenario.LKE:       {"Local Key Exchange", "the old router is told after the move, and forwards"},
	scenario.FMIP:      {"Fast handover", "the routers prepare the move, and keep what comes meanwhile"},
	scenario.FMIPEarly: {"Fast handover, left too early", "the node is gone before all is prepared"},
}

func (d *demo) title(number int, protocol scenario.Protocol) {
	fmt.Fprintf(d.text, "\n%d. %s: %s\n", number, names[protocol].name, names[protocol].story)
}

// timeline shows what happened, a line each; the times are those since the link went down.
func (d *demo) timeline(r played) {
	fmt.Fprintln(d.text)
	for _, s := range r.Steps {
		who := s.From
		if s.To != "" {
			who += " > " + s.To
		}
		line := fmt.Sprintf("%+9.1f ms  %-18s %-12s %s", float64(s.At.Sub(r.Down))/float64(time.Millisecond), who, s.What, s.Detail)
		fmt.Fprintln(d.text, strings.TrimRight(line, " "))
	}
}

// compare shows where the gap went in each run.
func (d *demo) compare() {
	fmt.Fprintln(d.text, "\nWhere the gap went")
	for _, r := range d.runs {
		fmt.Fprintf(d.text, "   %s: %s without a packet", names[r.Options.Protocol].name, milliseconds(r.Loss.Gap))
		if r.Loss.First.IsZero() {
			fmt.Fprint(d.text, ", which never came")
		}
		fmt.Fprintln(d.text)
		for _, p := range r.Parts {
			fmt.Fprintf(d.text, "   %12s  %-9s %s\n", milliseconds(p.Took), p.Name, p.Story)
		}
		if q := r.Queue; len(q.Packets) > 0 {
			fmt.Fprintf(d.text, "   the new router kept %d packets, %d at a time; the last one left %s\n   after the link was up\n",
				len(q.Packets), q.Most, milliseconds(q.Empty.Sub(r.Up)))
		}
		if n := r.Result.Reordered; n > 0 && r.Options.Protocol != scenario.FMIPEarly {
			fmt.Fprintf(d.text, "   %d packets came after later ones, by another way\n", n)
		}
		if r.Options.Protocol == scenario.FMIPEarly && r.InFlight > 0 {
			fmt.Fprintf(d.text, "   the old router had sent %d packets into the empty cell; %d were lost, and %d\n   came later, out of order\n",
				r.InFlight, r.Loss.Lost, r.Result.Reordered)
		}
	}
	last := d.runs[len(d.runs)-1]
	fmt.Fprintf(d.text, "   tunnel, old router: %s", backends[last.Tunnel.Backend])
	fmt.Fprintln(d.text)
}

var backends = map[string]string{
	"external": "the kernel's ip6tnl, one device for all",
	"plain":    "the kernel's ip6tnl, a device for each node",
	"tun":      "roamkeyd itself (TUN: the kernel has no ip6_tunnel)",
}

func milliseconds(t time.Duration) string {
	return fmt.Sprintf("%.2f ms", float64(t)/float64(time.Millisecond))
}

func (d *demo) files() {
	fmt.Fprintln(d.text)
	for _, f := range []struct{ name, what string }{
		{"demo.svg", "packets over time"},
		{"messages.svg", "the messages as ladders"},
		{"demo.pcap", "all that was sent, for Wireshark (each frame with its place)"},
		{"*.log", "what the programs said"},
	} {
		fmt.Fprintf(d.text, "   %-16s %s\n", filepath.Join(d.out, f.name), f.what)
	}
	for _, r := range d.runs {
		if r.Dropped > 0 {
			fmt.Fprintf(d.text, "   (%d frames of %s are missing in the capture)\n", r.Dropped, r.Options.Protocol)
		}
	}
	fmt.Fprintln(d.text)
}
