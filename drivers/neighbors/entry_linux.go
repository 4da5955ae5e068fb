package neighbors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/ipv6"
)

// entry is one entry of the neighbour table.
type entry struct {
	link  int
	addr  netip.Addr
	hw    ipv6.LinkAddr
	state uint16
	flags uint8
}

func decodeEntry(b []byte) (entry, bool) {
	if len(b) < unix.SizeofNdMsg || b[0] != unix.AF_INET6 {
		return entry{}, false
	}
	e := entry{
		link:  int(int32(binary.NativeEndian.Uint32(b[4:8]))),
		state: binary.NativeEndian.Uint16(b[8:10]),
		flags: b[10],
	}
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofNdMsg:])
	if err != nil {
		return entry{}, false
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.NDA_DST:
			e.addr, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.NDA_LLADDR:
			if len(ad.Bytes()) == len(e.hw) {
				copy(e.hw[:], ad.Bytes())
			}
		}
	}
	return e, ad.Err() == nil && e.addr.Is6()
}

// entryHead is struct ndmsg.
func entryHead(link int, state uint16) []byte {
	b := make([]byte, unix.SizeofNdMsg)
	b[0] = unix.AF_INET6
	binary.NativeEndian.PutUint32(b[4:8], uint32(link))
	binary.NativeEndian.PutUint16(b[8:10], state)
	return b
}

// SetEntry implements Driver. The entry is an ordinary one, which the kernel ages, asks for again while it is used, and
// collects when it is not: one marked as learned elsewhere (NTF_EXT_LEARNED) would never be collected.
func (n *Neighbors) SetEntry(link int, addr netip.Addr, hw ipv6.LinkAddr, reachable bool) error {
	if err := errors.Join(badAddress(addr), badHardware(hw)); err != nil {
		return fmt.Errorf("enter a neighbour: %w", err)
	}
	state := uint16(unix.NUD_STALE)
	if reachable {
		state = unix.NUD_REACHABLE
	}
	return n.do(func() error {
		err := n.request(unix.RTM_NEWNEIGH, netlink.Create|netlink.Replace, entryHead(link, state), func(ae *netlink.AttributeEncoder) {
			ae.Bytes(unix.NDA_DST, addr.AsSlice())
			ae.Bytes(unix.NDA_LLADDR, hw[:])
		})
		if err != nil {
			return fmt.Errorf("enter neighbour %v: %w", addr, err)
		}
		n.entriesSet.Add(1)
		return nil
	})
}

// RemoveEntry implements Driver.
func (n *Neighbors) RemoveEntry(link int, addr netip.Addr) error {
	if err := badAddress(addr); err != nil {
		return fmt.Errorf("remove a neighbour: %w", err)
	}
	return n.do(func() error { return n.removeEntry(link, addr) })
}

func (n *Neighbors) removeEntry(link int, addr netip.Addr) error {
	err := n.request(unix.RTM_DELNEIGH, 0, entryHead(link, 0), func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.NDA_DST, addr.AsSlice())
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove neighbour %v: %w", addr, err)
	}
	n.entriesRemoved.Add(1)
	return nil
}

// forget removes what the kernel has learned of a link's neighbours: not what an administrator has entered for good.
func (n *Neighbors) forget(link int) error {
	all, err := n.dump(unix.RTM_GETNEIGH, unix.SizeofNdMsg)
	if err != nil {
		return fmt.Errorf("list neighbours: %w", err)
	}
	var errs []error
	for _, b := range all {
		e, ok := decodeEntry(b)
		if ok && e.link == link && e.state&(unix.NUD_PERMANENT|unix.NUD_NOARP) == 0 && e.flags&unix.NTF_PROXY == 0 {
			errs = append(errs, n.removeEntry(link, e.addr))
		}
	}
	return errors.Join(errs...)
}
