package mobilenode

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/roamkey/roamkey/drivers/forward"
	"github.com/roamkey/roamkey/drivers/station"
	"github.com/roamkey/roamkey/mipsec/lke"
)

// Line is one thing that happened to the node: what is written with Config.JSON, and what a client of the control socket
// is told.
type Line struct {
	Time   time.Time  `json:"time"`
	Event  string     `json:"event"`
	Home   netip.Addr `json:"home,omitzero"`   // the address that the event is about
	CareOf netip.Addr `json:"careof,omitzero"` // where it is now
	Router netip.Addr `json:"router,omitzero"`
	Point  string     `json:"access_point,omitempty"` // its link-layer address
	Detail string     `json:"detail,omitempty"`
}

// String is the line for people. It fits 80 columns: what is long goes to lines of its own.
func (l Line) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %-16s", l.Time.Local().Format("15:04:05.000"), l.Event)
	if l.Home.IsValid() {
		fmt.Fprintf(&b, " %v", l.Home)
	}
	if l.Detail != "" && b.Len()+1+len(l.Detail) <= 80 {
		b.WriteString(" " + l.Detail)
		l.Detail = ""
	}
	const indent = "\n                "
	if l.CareOf.IsValid() && l.CareOf != l.Home {
		fmt.Fprintf(&b, "%sat     %v", indent, l.CareOf)
	}
	if l.Router.IsValid() {
		fmt.Fprintf(&b, "%srouter %v", indent, l.Router)
	}
	if l.Point != "" {
		b.WriteString(indent + "access point " + l.Point)
	}
	if l.Detail != "" {
		b.WriteString(indent + l.Detail)
	}
	return b.String()
}

// reporter tells what happens, in the order in which it does. Only the loop uses it.
type reporter struct {
	out      io.Writer
	json     bool
	watchers map[*int]func(Line)  // by who asked
	said     map[string]time.Time // what was complained of, and when
}

// complaintGap is how often one complaint is made at the most.
const complaintGap = 10 * time.Second

func (r *reporter) write(l Line) {
	for _, w := range r.watchers {
		w(l)
	}
	if r.out == nil {
		return
	}
	if !r.json {
		fmt.Fprintln(r.out, l)
		return
	}
	if b, err := json.Marshal(l); err == nil {
		fmt.Fprintf(r.out, "%s\n", b)
	}
}

func (r *reporter) say(event, detail string) { r.sayAt(time.Now(), event, detail) }

func (r *reporter) sayAt(at time.Time, event, detail string) {
	r.write(Line{Time: at, Event: event, Detail: detail})
}

func (r *reporter) event(e lke.Event) {
	r.write(Line{
		Time: time.Now(), Event: e.Kind.String(), Home: e.Home, CareOf: e.CareOf, Router: e.Router, Detail: e.Detail,
	})
}

func (r *reporter) address(c station.Change) {
	r.write(Line{Time: c.At, Event: c.Kind.String(), Home: c.Addr})
}

func (r *reporter) tunnel(b forward.Binding) {
	r.write(Line{Time: time.Now(), Event: "tunnel-open", Home: b.Home, CareOf: b.CareOf, Router: b.Router})
}

// complain tells of what went wrong, the same thing not more often than complaintGap.
func (r *reporter) complain(what string, err error) {
	text := fmt.Sprintf("%s: %v", what, err)
	now := time.Now()
	if last, ok := r.said[text]; ok && now.Sub(last) < complaintGap {
		return
	}
	if r.said == nil || len(r.said) > 64 {
		r.said = make(map[string]time.Time)
	}
	r.said[text] = now
	r.write(Line{Time: now, Event: "error", Detail: text})
}
