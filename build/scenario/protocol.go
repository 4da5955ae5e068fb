package scenario

// Protocol says how the node changes routers in a run.
type Protocol string

// Protocols, as the result lines name them.
const (
	None      Protocol = "none"       // plain Mobile IPv6: the home agent is told, after the move
	LKE       Protocol = "lke"        // and the old router, with the key of Local Key Exchange
	FMIP      Protocol = "fmip"       // a fast handover with a handover key, prepared before the node leaves
	FMIPEarly Protocol = "fmip-early" // the same, but the node leaves before it knows that all is prepared
)

// Protocols are all, in the order in which the demo shows them.
func Protocols() []Protocol { return []Protocol{None, LKE, FMIP, FMIPEarly} }

// Fast reports whether the routers prepare the move (FMIPv6), on links with SEND.
func (p Protocol) Fast() bool { return p == FMIP || p == FMIPEarly }
