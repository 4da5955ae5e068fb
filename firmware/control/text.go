package control

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// columns of a serial console.
const columns = 80

// page collects the lines of a text.
type page struct{ b strings.Builder }

func (p *page) line(format string, args ...any) {
	p.b.WriteString(strings.TrimRight(printable(fmt.Sprintf(format, args...), false), " "))
	p.b.WriteByte('\n')
}

// WriteText shows a snapshot on a console of 80 columns. Counters that are zero are shown only if all.
func (s *Snapshot) WriteText(w io.Writer, all bool) error {
	var p page
	s.head(&p)
	for i := range s.Links {
		s.Links[i].text(&p)
	}
	s.nodes(&p)
	if s.Fast != nil {
		s.Fast.write(&p)
	}
	s.handovers(&p)
	s.counters(&p, all)
	s.findings(&p)
	_, err := io.WriteString(w, p.b.String())
	return err
}

func (s *Snapshot) head(p *page) {
	p.line("roamkeyd %s, process %d, up %s", s.Version, s.PID, Rough(time.Duration(s.Uptime)))
	p.line("key     RSA %d, %s", s.Key.Bits, s.Key.Fingerprint)
	if s.SEND != nil {
		s.SEND.write(p)
	}
	p.line("engine  %s, %s, queue of %d", s.Engine.Name, count(s.Engine.Workers, "worker"), s.Engine.Queue)
	p.line("tunnel  %s, device %s, MTU %d", s.Tunnel.Backend, s.Tunnel.Device, s.Tunnel.MTU)
	for _, r := range s.Tunnel.Reasons {
		p.wrap("        ", "        ", r)
	}
	if r := s.Restart; r != nil {
		pause := "forwarding did not pause"
		if r.Pause > 0 {
			pause = "forwarding paused for " + Exact(time.Duration(r.Pause))
		}
		p.line("restart took up %s and %s; %s", count(r.LBSAs, "LBSA"), count(r.Bindings, "binding"), pause)
	}
}

func (l *Link) text(p *page) {
	state := "served"
	if !l.Served {
		state = "not served"
	}
	lke := "off"
	if l.LKE {
		lke = "on"
	}
	if l.Refused != "" {
		lke = "refused"
	}
	p.line("")
	p.line("LINK %s (%s)  %s  LKE %s", l.Name, l.Device, state, lke)
	if l.Waiting != "" {
		p.wrap("  ", "  ", l.Waiting)
	}
	if l.Refused != "" {
		p.wrap("  LKE is refused: ", "  ", l.Refused)
	}
	if l.LinkLocal.IsValid() {
		p.line("  address %s", l.LinkLocal)
	}
	if l.SEND != nil {
		l.SEND.write(p)
	}
	for _, x := range l.Prefixes {
		note := "preferred " + lasting(x.Preferred) + ", valid " + lasting(x.Valid)
		if x.Stale {
			note = "withdrawn, valid " + lasting(x.Valid)
		}
		p.line("  prefix  %-30s %s", x.Prefix, note)
		if x.Router.IsValid() {
			p.line("    router  %s", x.Router)
		}
	}
	if !l.RA.On {
		p.line("  advertisements: off")
	} else {
		next := "none follows"
		if l.RA.Next >= 0 {
			next = "next in " + Rough(time.Duration(l.RA.Next))
		}
		p.line("  advertisements: %s, %d sent, %s", l.RA.Phase, l.RA.Sent, next)
	}
	for _, o := range l.RA.Others {
		p.line("  other router %s", o.Router)
		p.line("    at %s, heard %s ago", o.Hardware, Rough(time.Duration(o.Last)))
	}
}

func (s *Snapshot) nodes(p *page) {
	n := &s.LBSAs
	p.line("")
	p.line("LBSAS  %d of %d: %d valid, %d bound, %d in DAD", n.Total, n.Max, n.Valid, n.Bound, n.DAD)
	if len(n.List) > 0 {
		p.line("  %-39s %-17s %-5s %s", "home address", "node", "state", "expires")
	}
	for _, a := range n.List {
		p.line("  %-39s %-17s %-5s %s", a.Home, a.Node, a.State, Rough(time.Duration(a.Expires)))
	}
	if rest := n.Total - len(n.List); rest > 0 && len(n.List) > 0 {
		p.line("  and %d more", rest)
	}
	if n.Bound == 0 {
		return
	}
	p.line("")
	p.line("BINDINGS  %d", n.Bound)
	shown := 0
	for _, a := range n.List {
		if a.Binding == nil {
			continue
		}
		shown++
		state := "unconfirmed"
		if a.Binding.Verified {
			state = "confirmed"
		}
		p.line("  %s on link %s", a.Home, a.Link)
		p.line("    -> %-39s %-11s expires %s", a.Binding.CareOf, state, Rough(time.Duration(a.Binding.Expires)))
	}
	if rest := n.Bound - shown; rest > 0 {
		p.line("  and %d more", rest)
	}
}

func (s *Snapshot) handovers(p *page) {
	if len(s.Handovers) == 0 {
		return
	}
	p.line("")
	p.line("LAST HANDOVERS")
	for _, h := range s.Handovers {
		p.line("  %-39s %s ago", h.Home, Rough(time.Duration(h.Age)))
		end := "not confirmed"
		if h.Finished > 0 {
			end = "confirmed after " + Exact(time.Duration(h.Finished))
		}
		if h.Ended != "" {
			end += ", " + h.Ended
		}
		p.line("    -> %s", h.CareOf)
		if h.Protocol == "fmip" {
			p.line("    fast handover, forwarded within %d us%s", h.RouterUS, ended(h.Ended))
			continue
		}
		p.line("    forwarded within %d us, %s", h.RouterUS, end)
	}
}

func (s *Snapshot) counters(p *page, all bool) {
	type counter struct {
		name  string
		value uint64
	}
	titled := false
	for _, group := range sorted(s.Counters) {
		var shown []counter
		for _, name := range sorted(s.Counters[group]) {
			if v := s.Counters[group][name]; v != 0 || all {
				shown = append(shown, counter{name, v})
			}
		}
		if len(shown) == 0 {
			continue
		}
		if !titled {
			p.line("")
			p.line("COUNTERS")
			titled = true
		}
		p.line("  %s", group)
		// Two columns, read downwards; a name that is too long has a line to itself.
		const half = 37
		rows := (len(shown) + 1) / 2
		cell := func(c counter) string {
			return fmt.Sprintf("%-24s %*d", c.name, max(half-25-1, 1), c.value)
		}
		for i := range rows {
			left, right := cell(shown[i]), ""
			if i+rows < len(shown) {
				right = cell(shown[i+rows])
			}
			if len(left) > half || len(right) > half {
				p.line("    %s", left)
				if right != "" {
					p.line("    %s", right)
				}
				continue
			}
			p.line("    %-*s %s", half, left, right)
		}
	}
}

func (s *Snapshot) findings(p *page) {
	if len(s.Findings) == 0 {
		return
	}
	p.line("")
	p.line("FINDINGS")
	for _, f := range s.Findings {
		text := f.What
		if f.Link != "" {
			text = "link " + f.Link + ": " + text
		}
		if f.Fix != "" {
			text += ": " + f.Fix
		}
		p.wrap("  "+string(f.Level)+": ", "    ", text)
	}
}

// wrap breaks a text between words so that it fits a console.
func (p *page) wrap(first, next, text string) {
	for _, l := range Wrap(first, next, printable(text, false)) {
		p.line("%s", l)
	}
}

// Wrap breaks a text into lines of at most 80 columns where it has blanks. first stands before the first line, next before
// the others. A word that is too long stays whole, so that a path can be copied.
func Wrap(first, next, text string) []string {
	var lines []string
	line, empty := first, true
	for _, word := range strings.Fields(text) {
		switch {
		case empty:
			line += word
		case len(line)+1+len(word) < columns:
			line += " " + word
		default:
			lines = append(lines, line)
			line = next + word
		}
		empty = false
	}
	return append(lines, line)
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func lasting(s Seconds) string {
	if s < 0 {
		return "forever"
	}
	return Rough(time.Duration(s))
}

// Rough gives a duration to a person: its two largest units.
func Rough(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
}

// Exact gives a short duration as it was measured.
func Exact(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d us", d.Microseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
