package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

const topology = `
   correspondent                       old router             cell 1
   2001:db8:c::2 ----- core ----+---- 2001:db8:1::/64 ----------.
                        |       |                                (node)
   home agent           |       |      new router             cell 2
   2001:db8:40::1 ------'       +---- 2001:db8:2::/64 ----------'
`

func (d *demo) headline() {
	fmt.Fprintln(d.text, "A mobile node changes routers: with Local Key Exchange (LKE), and without")
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
   old router. The node has no home agent: without LKE nobody tells anyone.
`, d.options.Rate)
	}
}

func (d *demo) title(number int, lke bool) {
	title := "Without LKE (roamkey-mn -plain): plain Mobile IPv6"
	switch {
	case lke && d.options.Home > 0:
		title = "With LKE: the old router forwards until the home agent knows"
	case lke:
		title = "With LKE: the old router forwards"
	case d.options.Home == 0:
		title = "Without LKE (roamkey-mn -plain)"
	}
	fmt.Fprintf(d.text, "\n%d. %s\n", number, title)
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
		name := "without LKE"
		if r.Options.LKE {
			name = "with LKE"
		}
		fmt.Fprintf(d.text, "   %s: %s from the last packet to the next", name, milliseconds(r.Loss.Gap))
		if r.Loss.First.IsZero() {
			fmt.Fprint(d.text, ", which never came")
		}
		fmt.Fprintln(d.text)
		for _, p := range r.Parts {
			fmt.Fprintf(d.text, "   %12s  %-9s %s\n", milliseconds(p.Took), p.Name, p.Story)
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
		{"demo.svg", "packets over time, and the messages as a ladder"},
		{"demo.pcap", "all that was sent, for Wireshark (each frame with its place)"},
		{"*.log", "what the programs said"},
	} {
		fmt.Fprintf(d.text, "   %-16s %s\n", filepath.Join(d.out, f.name), f.what)
	}
	for _, r := range d.runs {
		if r.Dropped > 0 {
			fmt.Fprintf(d.text, "   (%d frames of %s are missing in the capture)\n", r.Dropped, r.Options.Label())
		}
	}
	fmt.Fprintln(d.text)
}
