package guard

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/ipv6"
)

// Node is the mobile node's table. A nil *Node stands for a kernel that cannot have one.
type Node struct {
	t              *table
	devices, homes *set // guarded by t.mu
	secured        *set // does not change
	reasons        []string
}

// OpenNode makes the mobile node's table: the kernel does not see solicitations from the unspecified address that carry an
// LKE authentication request (it would answer without the reply option, which voids the association), nor mobility
// headers for its own addresses. authRequest is the number of the option of that request, 7 in the draft.
//
// secured names the links with SEND: all Neighbour Discovery that arrives there, router advertisements too, is kept from
// the kernel.
func OpenNode(authRequest uint8, secured ...string) (*Node, error) {
	names, err := nameElements(secured)
	if err != nil {
		return nil, err
	}
	c, err := dialNFT()
	if err != nil {
		return nil, err
	}
	if _, err := c.exists(NodeTable); err != nil {
		c.Close()
		return nil, err
	}
	n := &Node{
		devices: newSet("devices", typeName, unix.IFNAMSIZ),
		homes:   newSet("homes", typeHome, unix.IFNAMSIZ+16),
		secured: newSet("secured", typeName, unix.IFNAMSIZ),
	}
	n.secured.elements = names
	n.t = &table{name: NodeTable, nft: c, sets: []*set{n.devices, n.homes, n.secured}}
	n.reasons, err = n.t.makeBest(features{secPath: true}, func(f features) []rule {
		mobility := []rule{{name: "mobility_header", about: "read from packet sockets", match: f.mobility()}}
		return sequence(mobility, solicitationRules(authRequest), securedRules(n.secured.name, ofNodes),
			homeRules(n.devices.name, n.homes.name), silenceRules(""))
	})
	if err != nil {
		c.Close()
		return nil, err
	}
	n.t.watch()
	return n, nil
}

const (
	solicitationLen = 24 // of a solicitation before its options (RFC 4861 section 4.3)

	optionAuthenticationLen = 6 // of the LKE DAD Authentication Request, in units of 8 octets
	optionNonce             = 14
)

// solicitationRules drop solicitations of Duplicate Address Detection that ask for authentication. The option is looked
// for as the first one, and behind a nonce (RFC 7527) or two of them.
func solicitationRules(authRequest uint8) []rule {
	var unspecified [16]byte
	icmp := func(offset uint32, octets ...byte) []expression {
		return []expression{
			payload(first, unix.NFT_PAYLOAD_TRANSPORT_HEADER, offset, uint32(len(octets))), is(octets...),
		}
	}
	match := sequence(
		[]expression{address(first, headerSource), is(unspecified[:]...)},
		protocol(ipv6.ProtoICMPv6), icmp(0, neighbourSolicitation),
	)
	var all []rule
	for before := range uint32(3) {
		at := uint32(solicitationLen)
		this := slices.Clone(match)
		for range before {
			this = append(this, icmp(at, optionNonce, 1)...)
			at += 8
		}
		all = append(all, rule{
			name: "authenticated_solicitation", about: "answered by the mobile node itself",
			match: append(this, icmp(at, authRequest, optionAuthenticationLen)...),
		})
	}
	return all
}

// homeRules hold the kernel's tunnel devices to the home addresses that are reached through them: such a device takes
// whatever its far end, or somebody who gives himself out as that, puts into a tunnel packet.
func homeRules(devices, homes string) []rule {
	return []rule{{
		name: "tunnel_destination", about: "no home address of this tunnel",
		match: []expression{
			meta(unix.NFT_META_IIFNAME), in(devices), address(second, headerDestination), notIn(homes),
		},
	}}
}

// AddHome admits packets for home from the tunnel device of that name, and from then on no others but those of further
// calls.
func (n *Node) AddHome(device string, home netip.Addr) error {
	return n.setHome(device, home, true)
}

// RemoveHome takes that back. With its last home a device takes nothing more.
func (n *Node) RemoveHome(device string, home netip.Addr) error {
	return n.setHome(device, home, false)
}

func (n *Node) setHome(device string, home netip.Addr, on bool) error {
	if n == nil {
		return nil
	}
	if device == "" || len(device) >= unix.IFNAMSIZ || !ipv6.IsRoutableUnicast(home) {
		return fmt.Errorf("home address %s of device %q: neither can be so", home, device)
	}
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, device)
	pair := string(append(bytes.Clone(name), home.AsSlice()...))
	n.t.mu.Lock()
	defer n.t.mu.Unlock()
	if n.homes.elements[pair] == on {
		return nil
	}
	if !on {
		delete(n.homes.elements, pair)
		return n.t.change(func(tx *transaction) {
			n.homes.change(tx, NodeTable, unix.NFT_MSG_DELSETELEM, []string{pair})
		})
	}
	n.devices.elements[string(name)], n.homes.elements[pair] = true, true
	return n.t.change(func(tx *transaction) {
		n.devices.change(tx, NodeTable, unix.NFT_MSG_NEWSETELEM, []string{string(name)})
		n.homes.change(tx, NodeTable, unix.NFT_MSG_NEWSETELEM, []string{pair})
	})
}

// Reasons says what the kernel lacks and what that means, a sentence each.
func (n *Node) Reasons() []string {
	if n == nil {
		return nil
	}
	return slices.Clone(n.reasons)
}

// Present reports whether the kernel still has the whole table.
func (n *Node) Present() bool { return n != nil && n.t.present() }

// Restore puts the table back. The guard does so itself when it sees that the table went away.
func (n *Node) Restore() error {
	if n == nil {
		return nil
	}
	return n.t.restore()
}

// Counters yields what the rules dropped, and how often the table had to be restored.
func (n *Node) Counters(yield func(name string, value uint64)) {
	if n != nil {
		n.t.counters(yield)
	}
}

// Close stops watching the table and, unless leave, removes it.
func (n *Node) Close(leave bool) error {
	if n == nil {
		return nil
	}
	return n.t.close(leave)
}

// Cleanup removes the router's table that an earlier process left and says so. That the kernel has no nftables is no
// error.
func Cleanup() ([]string, error) { return cleanup(Table) }

// CleanupNode removes the mobile node's table.
func CleanupNode() ([]string, error) { return cleanup(NodeTable) }

func cleanup(name string) ([]string, error) {
	c, err := dialNFT()
	if errors.Is(err, ErrUnsupported) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	there, err := c.exists(name)
	if errors.Is(err, ErrUnsupported) {
		return nil, nil
	}
	if err != nil || !there {
		return nil, err
	}
	if err := c.remove(name); err != nil {
		return nil, err
	}
	return []string{fmt.Sprintf("nftables table ip6 %s", name)}, nil
}
