package nodeload

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// MaxNodes bounds the number of nodes: three octets of a link-layer address tell them apart.
const MaxNodes = 1 << 20

// Config says what to play.
type Config struct {
	Interface string // of the first link
	MoveTo    string // of the second link; "": the nodes stay
	Nodes     int
	Window    int           // how many key exchanges, or binding updates, are under way at one time
	Limit     time.Duration // how long each phase may take
	Seed      uint16        // part of the nodes' link-layer addresses, so that two runs on one link do not collide

	CodePoints   mobility.CodePoints // zero: the draft's
	NDCodePoints ndp.CodePoints      // zero: the draft's

	Progress func(Progress) // is told about each second; nil: nobody is
}

func (c *Config) check() error {
	switch {
	case c.Interface == "":
		return errors.New("no interface: say which one the nodes attach by")
	case c.MoveTo == c.Interface:
		return errors.New("the nodes cannot move to the interface that they are on")
	case c.Nodes < 1 || c.Nodes > MaxNodes:
		return fmt.Errorf("%d nodes cannot be played: 1 to %d", c.Nodes, MaxNodes)
	case c.Window < 1:
		return fmt.Errorf("a window of %d lets nothing out: at least 1", c.Window)
	case c.Limit <= 0:
		return fmt.Errorf("a limit of %v leaves no time", c.Limit)
	}
	return nil
}

// Progress is how far a phase is.
type Progress struct {
	Phase    string // "attach", "encrypt", "key exchange", "duplicate address detection", "move", "binding update"
	Done, Of int
	Rate     float64 // of the last second, each second
}

// Phase is the outcome of one kind of exchange.
type Phase struct {
	Of        int             // how many were to be done
	Latencies []time.Duration // of those that were done, in order of length: first message sent to answer taken
	Late      int             // of these, those that needed a second message
	Took      time.Duration   // from the first message to the last answer
}

// Done is how many were done.
func (p Phase) Done() int { return len(p.Latencies) }

// Rate is how many were done in a second.
func (p Phase) Rate() float64 {
	if p.Took <= 0 {
		return 0
	}
	return float64(p.Done()) / p.Took.Seconds()
}

// Percentile gives the latency that a share of all did not exceed; 100 is the longest. It is zero if nothing was done.
func (p Phase) Percentile(percent float64) time.Duration {
	if len(p.Latencies) == 0 {
		return 0
	}
	i := int(percent/100*float64(len(p.Latencies))+0.999999) - 1
	return p.Latencies[min(max(i, 0), len(p.Latencies)-1)]
}

func (p *Phase) add(d time.Duration) {
	i, _ := slices.BinarySearch(p.Latencies, d)
	p.Latencies = slices.Insert(p.Latencies, i, d)
}

// Result is what a run gave.
type Result struct {
	Attached int   // nodes that have an address
	Exchange Phase // key exchanges: KEReq to KEAck
	Valid    int   // nodes whose association the router must hold for valid: it asked, they answered, nobody objected
	Moved    int   // nodes that have an address on the second link
	Update   Phase // binding updates: BU to BA
}
