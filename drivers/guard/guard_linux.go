package guard

import "net/netip"

// Guard is the router's table. A nil *Guard stands for a kernel that cannot have one: its methods do nothing.
type Guard struct{}

// Open makes the table, or takes over the one an earlier process left, with its pairs. The error wraps ErrUnsupported
// where the kernel has no nftables.
func Open() (*Guard, error) { return nil, ErrUnsupported }

// SetRouters says which addresses are the router's own on its served links (tunnel packets to them are checked) and what
// the served links are called (mobility headers to link-local addresses are kept from the kernel there). It replaces
// what was set before in one transaction.
func (g *Guard) SetRouters(addrs []netip.Addr, links []string) error { return nil }

// AddTunnel admits tunnel packets with this outer and inner source. To add a pair twice is no error.
func (g *Guard) AddTunnel(outer, inner netip.Addr) error { return nil }

// RemoveTunnel takes a pair back. To remove one that is not there is no error.
func (g *Guard) RemoveTunnel(outer, inner netip.Addr) error { return nil }

// Tunnels lists the pairs that are admitted.
func (g *Guard) Tunnels() []Pair { return nil }

// Present reports whether the kernel still has the whole table.
func (g *Guard) Present() bool { return false }

// Restore puts the table back as it should be. The guard does so itself when it sees that the table went away.
func (g *Guard) Restore() error { return nil }

// Counters yields what the rules dropped, and how often the table had to be restored.
func (g *Guard) Counters(yield func(name string, value uint64)) {}

// Close stops watching the table and, unless leave, removes it.
func (g *Guard) Close(leave bool) error { return nil }

// Node is the mobile node's table. A nil *Node stands for a kernel that cannot have one.
type Node struct{}

// OpenNode makes the mobile node's table: the kernel does not see solicitations from the unspecified address that carry an
// LKE authentication request (it would answer without the reply option, which voids the association), nor mobility
// headers for its own addresses.
func OpenNode() (*Node, error) { return nil, ErrUnsupported }

// Present reports whether the kernel still has the whole table.
func (n *Node) Present() bool { return false }

// Restore puts the table back. The guard does so itself when it sees that the table went away.
func (n *Node) Restore() error { return nil }

// Counters yields what the rules dropped, and how often the table had to be restored.
func (n *Node) Counters(yield func(name string, value uint64)) {}

// Close stops watching the table and, unless leave, removes it.
func (n *Node) Close(leave bool) error { return nil }

// Cleanup removes the tables that an earlier process left and says which.
func Cleanup() ([]string, error) { return nil, nil }
