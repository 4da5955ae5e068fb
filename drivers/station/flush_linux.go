package station

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// flushLearned removes what the kernel learned from router advertisements on the interface before, and what an earlier
// run left: default routes that would lead to the last link's router, and addresses of its prefix. On the way it finds the
// link-local address.
func (s *Station) flushLearned() error {
	err := s.dump(unix.RTM_GETROUTE, make([]byte, unix.SizeofRtMsg), func(b []byte) error {
		if len(b) < unix.SizeofRtMsg || b[0] != unix.AF_INET6 {
			return nil
		}
		if protocol := b[5]; protocol != unix.RTPROT_RA && protocol != RouteProtocol {
			return nil
		}
		index := 0
		ad, err := netlink.NewAttributeDecoder(b[unix.SizeofRtMsg:])
		if err != nil {
			return nil // not a message that we understand: leave its route alone
		}
		for ad.Next() {
			if ad.Type() == unix.RTA_OIF {
				index = int(ad.Uint32())
			}
		}
		if ad.Err() != nil || index != s.link.Index {
			return nil
		}
		return s.remove(unix.RTM_DELROUTE, b)
	})
	if err != nil {
		return fmt.Errorf("flush learned routes of %s: %w", s.link.Name, err)
	}
	err = s.dump(unix.RTM_GETADDR, make([]byte, unix.SizeofIfAddrmsg), func(b []byte) error {
		a, ok := decodeAddress(b)
		if !ok || a.index != s.link.Index {
			return nil
		}
		s.noteLinkLocal(a)
		if a.addr.IsLinkLocalUnicast() || a.flags&unix.IFA_F_PERMANENT != 0 {
			return nil
		}
		return s.remove(unix.RTM_DELADDR, b)
	})
	if err != nil {
		return fmt.Errorf("flush learned addresses of %s: %w", s.link.Name, err)
	}
	return nil
}

// dump calls f with each object that the kernel has of a kind.
func (s *Station) dump(typ netlink.HeaderType, fixed []byte, f func([]byte) error) error {
	fixed[0] = unix.AF_INET6
	replies, err := s.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: typ, Flags: netlink.Request | netlink.Dump},
		Data:   fixed,
	})
	if err != nil {
		return err
	}
	for _, m := range replies {
		if err := f(m.Data); err != nil {
			return err
		}
	}
	return nil
}

// remove deletes an object by what the kernel said of it.
func (s *Station) remove(typ netlink.HeaderType, described []byte) error {
	b := append([]byte(nil), described...)
	if typ == unix.RTM_DELROUTE {
		binary.NativeEndian.PutUint32(b[8:12], 0) // flags that only describe, as "this link is down"
	}
	_, err := s.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: typ, Flags: netlink.Request | netlink.Acknowledge},
		Data:   b,
	})
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil
	}
	return err
}
