package guard

import (
	"errors"
	"net/netip"
)

// ErrUnsupported is wrapped by the error of Open and OpenNode where the kernel has no nftables, or not enough of it.
var ErrUnsupported = errors.New("the kernel lacks nftables")

// Names of the tables.
const (
	Table     = "roamkey"    // of a router, family ip6
	NodeTable = "roamkey_mn" // of a mobile node, family ip6
)

// Pair is what a tunnel packet must show to be let in. Of a binding that is the source of its outer header (the care-of
// address) and that of the packet in it (the home address). Of a node that has kept its address of another router it is the
// outer source (that router) and the destination of the packet in it (the node's address).
type Pair struct{ Outer, Inner netip.Addr }

// Redirect is a redirect of the kernel's, on the link with that index, that was kept from leaving.
type Redirect struct {
	Link   int
	Packet []byte
}
