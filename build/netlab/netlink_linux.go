package netlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// request sends one rtnetlink message in the namespace and waits for the kernel's acknowledgement.
func (ns *Namespace) request(typ netlink.HeaderType, flags netlink.HeaderFlags, fixed []byte, attrs func(*netlink.AttributeEncoder)) error {
	_, err := ns.execute(typ, flags|netlink.Acknowledge, fixed, attrs)
	return err
}

func (ns *Namespace) execute(typ netlink.HeaderType, flags netlink.HeaderFlags, fixed []byte, attrs func(*netlink.AttributeEncoder)) (replies []netlink.Message, err error) {
	ae := netlink.NewAttributeEncoder()
	if attrs != nil {
		attrs(ae)
	}
	encoded, err := ae.Encode()
	if err != nil {
		return nil, err
	}
	err = ns.converse(unix.NETLINK_ROUTE, func(conn *netlink.Conn) (err error) {
		replies, err = conn.Execute(netlink.Message{
			Header: netlink.Header{Type: typ, Flags: netlink.Request | flags},
			Data:   append(append([]byte(nil), fixed...), encoded...),
		})
		return err
	})
	return replies, err
}

// Request sends messages of a netlink family (unix.NETLINK_ROUTE and so on) in the namespace, one after the other on one
// socket, and waits for the kernel's acknowledgement of each. It is for what has no method of its own here.
func (ns *Namespace) Request(family int, messages ...netlink.Message) error {
	return ns.wrap("request by netlink", ns.converse(family, func(conn *netlink.Conn) error {
		for _, m := range messages {
			m.Header.Flags |= netlink.Request | netlink.Acknowledge
			if _, err := conn.Execute(m); err != nil {
				return err
			}
		}
		return nil
	}))
}

// converse gives f a netlink socket of the namespace.
func (ns *Namespace) converse(family int, f func(*netlink.Conn) error) error {
	return ns.Do(func() error {
		conn, err := netlink.Dial(family, nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		return f(conn)
	})
}

// linkHeader is struct ifinfomsg.
func linkHeader(index int, flags, change uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:8], uint32(index))
	binary.NativeEndian.PutUint32(b[8:12], flags)
	binary.NativeEndian.PutUint32(b[12:16], change)
	return b
}

// Link is what the kernel says about an interface.
type Link struct {
	Index    int
	Name     string
	Hardware [6]byte
	Flags    uint32 // IFF_UP, IFF_RUNNING, IFF_LOWER_UP ...
	Master   int
	MTU      int
}

// Link looks up an interface by name.
func (ns *Namespace) Link(name string) (Link, error) {
	replies, err := ns.execute(unix.RTM_GETLINK, 0, linkHeader(0, 0, 0), func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, name)
	})
	if err != nil {
		return Link{}, ns.wrap("find interface "+name, err)
	}
	for _, m := range replies {
		if m.Header.Type != unix.RTM_NEWLINK || len(m.Data) < unix.SizeofIfInfomsg {
			continue
		}
		l := Link{
			Index: int(binary.NativeEndian.Uint32(m.Data[4:8])),
			Flags: binary.NativeEndian.Uint32(m.Data[8:12]),
		}
		ad, err := netlink.NewAttributeDecoder(m.Data[unix.SizeofIfInfomsg:])
		if err != nil {
			return Link{}, ns.wrap("read interface "+name, err)
		}
		for ad.Next() {
			switch ad.Type() {
			case unix.IFLA_IFNAME:
				l.Name = ad.String()
			case unix.IFLA_ADDRESS:
				copy(l.Hardware[:], ad.Bytes())
			case unix.IFLA_MASTER:
				l.Master = int(ad.Uint32())
			case unix.IFLA_MTU:
				l.MTU = int(ad.Uint32())
			}
		}
		if err := ad.Err(); err != nil {
			return Link{}, ns.wrap("read interface "+name, err)
		}
		return l, nil
	}
	return Link{}, ns.wrap("find interface "+name, os.ErrNotExist)
}

func (ns *Namespace) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	// The bare errno reads better than netlink's wrapping of it.
	var op *netlink.OpError
	if errors.As(err, &op) && op.Message == "" {
		err = op.Err
	}
	return fmt.Errorf("%s: %s: %w", ns.name, what, err)
}
