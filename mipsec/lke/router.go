package lke

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// Router is the access router's side of LKE.
type Router struct {
	cfg RouterConfig
}

// NewRouter makes a router that serves what cfg says.
func NewRouter(cfg RouterConfig) *Router { return &Router{cfg: cfg} }

// Reconfigure serves what cfg says from now on. It loses no association and no binding.
func (r *Router) Reconfigure(now time.Time, cfg RouterConfig) []Effect {
	r.cfg = cfg
	return nil
}

// Restore takes up the records that an earlier run saved.
func (r *Router) Restore(now time.Time, records []Record) []Effect { return nil }

// Step handles one input that arrived at now. It returns the effects to carry out, in order; nil where there is nothing.
func (r *Router) Step(now time.Time, in Input) []Effect { return nil }

// Deadline is when Step wants an InTick next; the zero Time if never.
func (r *Router) Deadline() time.Time { return time.Time{} }

// Owns reports whether p is for this core.
func (r *Router) Owns(p *ipv6.Packet) bool { return false }

// Counters gives every counter in a stable order.
func (r *Router) Counters(yield func(name string, value uint64)) {}

// Associations gives a copy of every association, without its key.
func (r *Router) Associations(yield func(Association) bool) {}

// Bound gives the binding of home, if there is one.
func (r *Router) Bound(home netip.Addr) (Binding, bool) { return Binding{}, false }
