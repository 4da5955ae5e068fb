package ladder

import (
	"fmt"
	"strings"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// Message is one packet that was sent.
type Message struct {
	Number   int // 0, 1, ... in the order of sending
	At       time.Duration
	From, To string // names of stations; "*" for all of a link
	Link     string // "" between routers
	Name     string
	Packet   *ipv6.Packet
}

// Names of messages.
const (
	RouterSolicitation  = "Router Solicitation"
	RouterAdvertisement = "Router Advertisement"
	RouterAdvertLKE     = "Router Advertisement with LKE extension"
	KeyExchangeRequest  = "Key Exchange Request"
	KeyExchangeAck      = "Key Exchange Acknowledgement"
	DADSolicitation     = "DAD Neighbor Solicitation"
	DADRequest          = "DAD Neighbor Solicitation with request"
	DADReply            = "Multicast DAD Neighbor Advertisement"
	NeighborSolicit     = "Neighbor Solicitation"
	NeighborAdvert      = "Neighbor Advertisement"
	BindingUpdate       = "Binding Update"
	BindingAck          = "Binding Acknowledgement"
	BindingError        = "Binding Acknowledgement with error"
	Finished            = "Finished"
	Other               = "Data"
)

// NameOf names a message by what it says.
func NameOf(p *ipv6.Packet) string {
	switch {
	case p.Proto == ipv6.ProtoMobility && len(p.Payload) > 6:
		switch p.Payload[2] {
		case 8:
			return KeyExchangeRequest
		case 9:
			return KeyExchangeAck
		case 10:
			return Finished
		case mobility.TypeBU:
			return BindingUpdate
		case mobility.TypeBA:
			if p.Payload[6] >= mobility.StatusUnspecified {
				return BindingError
			}
			return BindingAck
		}
	case p.Proto == ipv6.ProtoICMPv6 && len(p.Payload) >= 8:
		switch p.Payload[0] {
		case ndp.TypeRouterSolicit:
			return RouterSolicitation
		case ndp.TypeRouterAdvert:
			if hasOption(p.Payload, 16, 6) {
				return RouterAdvertLKE
			}
			return RouterAdvertisement
		case ndp.TypeNeighborSolicit:
			switch {
			case hasOption(p.Payload, 24, 7):
				return DADRequest
			case p.Src.IsUnspecified():
				return DADSolicitation
			}
			return NeighborSolicit
		case ndp.TypeNeighborAdvert:
			if hasOption(p.Payload, 24, 8) {
				return DADReply
			}
			return NeighborAdvert
		}
	}
	return Other
}

func hasOption(msg []byte, offset int, typ uint8) bool {
	options := ndp.OptionsAt(msg, offset)
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if o.Type == typ && len(o.Octets) > 8 {
			return true
		}
	}
	return false
}

// String is one rung: who sent what to whom.
func (m Message) String() string { return fmt.Sprintf("%s -> %s: %s", m.From, m.To, m.Name) }

// Draw draws the last messages as a ladder of at most 80 columns.
func Draw(messages []Message, last int) string {
	if len(messages) > last {
		messages = messages[len(messages)-last:]
	}
	var names []string
	column := map[string]int{}
	for _, m := range messages {
		for _, name := range []string{m.From, m.To} {
			if _, known := column[name]; !known && name != "*" {
				column[name] = len(names)
				names = append(names, name)
			}
		}
	}
	const left, width = 10, 9
	var b strings.Builder
	fmt.Fprintf(&b, "%*s", left, "")
	for _, name := range names {
		fmt.Fprintf(&b, "%-*.*s", width, width-1, name)
	}
	b.WriteByte('\n')
	for _, m := range messages {
		line := []byte(strings.Repeat(strings.Repeat(" ", width), len(names)))
		for i := range names {
			line[i*width] = '|'
		}
		from, to := column[m.From]*width, 0
		if m.To == "*" {
			line[from] = '*' // to the whole link
			to = from
		} else {
			to = column[m.To] * width
		}
		for i := min(from, to) + 1; i < max(from, to); i++ {
			line[i] = '-'
		}
		switch {
		case to > from:
			line[to-1] = '>'
		case to < from:
			line[to+1] = '<'
		}
		fmt.Fprintf(&b, "%9.3f %s%s\n", m.At.Seconds(), line, m.Name)
	}
	return b.String()
}
