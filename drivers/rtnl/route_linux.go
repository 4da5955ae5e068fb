package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Route is one of our routes: to a home address through a tunnel device, or a mobile node's default into one.
type Route struct {
	Dst    netip.Prefix
	Device int    // index
	Table  int    // 0: main
	Metric uint32 // 0: that of this package

	// Unreachable routes have no device: what they lead away is answered with Destination Unreachable.
	Unreachable bool

	Protocol uint8 // who made it, in a list; what SetRoute makes is ours

	// Encapsulation of external mode: outer source and destination. Not valid: none.
	EncapSrc, EncapDst netip.Addr
}

const rtMsgLen = 12 // struct rtmsg

func rtMsg(dst netip.Prefix, table int, protocol, scope, typ uint8) []byte {
	b := make([]byte, rtMsgLen)
	b[0] = unix.AF_INET6
	b[1] = uint8(max(dst.Bits(), 0))
	if table == 0 {
		table = unix.RT_TABLE_MAIN
	}
	if table < 256 {
		b[4] = uint8(table)
	}
	b[5], b[6], b[7] = protocol, scope, typ
	return b
}

func (rt Route) encode(ae *netlink.AttributeEncoder) {
	if rt.Dst.Bits() > 0 {
		ae.Bytes(unix.RTA_DST, rt.Dst.Addr().AsSlice())
	}
	metric := rt.Metric
	if metric == 0 {
		metric = Metric
	}
	ae.Uint32(unix.RTA_PRIORITY, metric)
	if !rt.Unreachable {
		ae.Uint32(unix.RTA_OIF, uint32(rt.Device))
	}
	if rt.Table >= 256 {
		ae.Uint32(unix.RTA_TABLE, uint32(rt.Table))
	}
	if !rt.EncapDst.IsValid() {
		return
	}
	ae.Uint16(unix.RTA_ENCAP_TYPE, unix.LWTUNNEL_ENCAP_IP6)
	ae.Nested(unix.RTA_ENCAP, func(encap *netlink.AttributeEncoder) error {
		encap.Uint64(encapIP6ID, 0)
		encap.Bytes(encapIP6Dst, rt.EncapDst.AsSlice())
		encap.Bytes(encapIP6Src, rt.EncapSrc.AsSlice())
		encap.Uint8(encapIP6HopLimit, OuterHopLimit)
		return nil
	})
}

// SetRoute adds rt, or puts it in the place of the route of ours with the same destination.
func (r *Conn) SetRoute(rt Route) error {
	typ := uint8(unix.RTN_UNICAST)
	if rt.Unreachable {
		typ = unix.RTN_UNREACHABLE
	}
	_, err := r.do(unix.RTM_NEWROUTE, netlink.Create|netlink.Replace,
		rtMsg(rt.Dst, rt.Table, Protocol, unix.RT_SCOPE_UNIVERSE, typ), rt.encode)
	if err != nil {
		return fmt.Errorf("route to %s: %w", rt.Dst, err)
	}
	return nil
}

// DeleteRoute removes rt. That it is gone already is no error.
func (r *Conn) DeleteRoute(rt Route) error {
	rt.EncapDst = netip.Addr{}
	_, err := r.do(unix.RTM_DELROUTE, 0, rtMsg(rt.Dst, rt.Table, Protocol, unix.RT_SCOPE_NOWHERE, 0), rt.encode)
	return explainDelete(rt, err)
}

// DeleteRouteWhen removes rt right after ready has reported true, and calls then right after that, before anything else:
// for who has to do so at the one moment. It reports whether rt was removed.
func (r *Conn) DeleteRouteWhen(rt Route, ready func() bool, then func()) (bool, error) {
	rt.EncapDst = netip.Addr{}
	request, err := encode(unix.RTM_DELROUTE, 0, rtMsg(rt.Dst, rt.Table, Protocol, unix.RT_SCOPE_NOWHERE, 0), rt.encode)
	if err != nil {
		return false, err
	}
	done, err := r.between(request, ready, then)
	if err != nil {
		err = explainDelete(rt, err)
		done = err == nil
	}
	return done, err
}

func explainDelete(rt Route, err error) error {
	if err == nil || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return fmt.Errorf("remove route to %s: %w", rt.Dst, err)
}

// Routes lists the IPv6 routes that bear our protocol number.
func (r *Conn) Routes() ([]Route, error) { return r.RoutesOf(Protocol) }

// RoutesOf lists the IPv6 routes that bear a protocol number; 0 lists all.
func (r *Conn) RoutesOf(protocol uint8) ([]Route, error) {
	head := make([]byte, rtMsgLen)
	head[0], head[5] = unix.AF_INET6, protocol
	replies, err := r.do(unix.RTM_GETROUTE, netlink.Dump, head, nil)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var all []Route
	for _, m := range replies {
		if len(m.Data) < rtMsgLen || m.Data[0] != unix.AF_INET6 || protocol != 0 && m.Data[5] != protocol {
			continue
		}
		rt, err := parseRoute(m.Data)
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		all = append(all, rt)
	}
	return all, nil
}

func parseRoute(b []byte) (Route, error) {
	rt := Route{Table: int(b[4]), Protocol: b[5], Unreachable: b[7] == unix.RTN_UNREACHABLE}
	dst := netip.IPv6Unspecified()
	ad, err := netlink.NewAttributeDecoder(b[rtMsgLen:])
	if err != nil {
		return rt, err
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.RTA_DST:
			dst = AddrOf(ad.Bytes())
		case unix.RTA_OIF:
			if !rt.Unreachable { // the kernel says that they lead to the loopback device
				rt.Device = int(ad.Uint32())
			}
		case unix.RTA_PRIORITY:
			if metric := ad.Uint32(); metric != Metric {
				rt.Metric = metric
			}
		case unix.RTA_TABLE:
			rt.Table = int(ad.Uint32())
		case unix.RTA_ENCAP:
			ad.Nested(func(encap *netlink.AttributeDecoder) error {
				for encap.Next() {
					switch encap.Type() {
					case encapIP6Dst:
						rt.EncapDst = AddrOf(encap.Bytes())
					case encapIP6Src:
						rt.EncapSrc = AddrOf(encap.Bytes())
					}
				}
				return nil
			})
		}
	}
	rt.Dst = netip.PrefixFrom(dst, int(b[1]))
	return rt, ad.Err()
}

const ifAddrMsgLen = 8 // struct ifaddrmsg

// AddAddress gives a device the address home/128, usable at once and deprecated: what runs from it goes on, nothing new
// starts from it (RFC 4862 section 5.5.4).
func (r *Conn) AddAddress(index int, home netip.Addr) error {
	head := ifAddrMsg(index)
	head[2] = unix.IFA_F_NODAD
	_, err := r.do(unix.RTM_NEWADDR, netlink.Create|netlink.Replace, head, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFA_ADDRESS, home.AsSlice())
		ae.Bytes(unix.IFA_LOCAL, home.AsSlice())
		info := make([]byte, 16) // struct ifa_cacheinfo: preferred, valid, and two that the kernel writes
		binary.NativeEndian.PutUint32(info[4:], 0xffffffff)
		ae.Bytes(unix.IFA_CACHEINFO, info)
		ae.Uint32(unix.IFA_FLAGS, unix.IFA_F_NODAD)
	})
	if err != nil {
		return fmt.Errorf("give the tunnel device the address %s: %w", home, err)
	}
	// The kernel acknowledges before it has done everything: a worker makes the address receive.
	for end := time.Now().Add(addressTimeout); ; time.Sleep(100 * time.Microsecond) {
		local, err := r.IsLocal(index, home)
		if local || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("address %s of the tunnel device does not become usable", home)
		}
	}
}

const addressTimeout = time.Second

// IsLocal reports whether packets for an address that come in by a device are received.
func (r *Conn) IsLocal(device int, address netip.Addr) (bool, error) {
	head := make([]byte, rtMsgLen)
	head[0], head[1] = unix.AF_INET6, 128
	replies, err := r.do(unix.RTM_GETROUTE, 0, head, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.RTA_DST, address.AsSlice())
		ae.Uint32(unix.RTA_IIF, uint32(device))
	})
	if err != nil {
		return false, fmt.Errorf("look up the route to %s: %w", address, err)
	}
	return len(replies) > 0 && len(replies[0].Data) >= rtMsgLen && replies[0].Data[7] == unix.RTN_LOCAL, nil
}

// DeleteAddress takes home off a device. That it is gone already is no error.
func (r *Conn) DeleteAddress(index int, home netip.Addr) error {
	_, err := r.do(unix.RTM_DELADDR, 0, ifAddrMsg(index), func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFA_ADDRESS, home.AsSlice())
		ae.Bytes(unix.IFA_LOCAL, home.AsSlice())
	})
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

func ifAddrMsg(index int) []byte {
	b := make([]byte, ifAddrMsgLen)
	b[0], b[1] = unix.AF_INET6, 128
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	return b
}

// Rule is one of our routing rules. On a mobile node it sends what comes from a home address to the routing table of its
// tunnel; on a router one does so with what a node sends that has kept its address of another router, and without a guard
// such rules hold a tunnel device to its home addresses.
type Rule struct {
	From, To netip.Addr // not valid: any
	Device   string     // where packets come from; "": anywhere
	Not      bool       // the rule is for all packets but those
	Table    int        // 0: drop
	Priority uint32
}

const (
	fibRuleHdrLen = 12 // struct fib_rule_hdr

	// Priorities: our rules stand after that of the local table (0) and before that of main (32766).
	HoldPriority = 8100 // leads to what is held back, before all other ways
	RulePriority = 8200
	DropPriority = 8201
)

func (ru Rule) head() []byte {
	b := make([]byte, fibRuleHdrLen)
	b[0] = unix.AF_INET6
	if ru.From.IsValid() {
		b[2] = 128
	}
	if ru.To.IsValid() {
		b[1] = 128
	}
	if ru.Table < 256 {
		b[4] = uint8(ru.Table)
	}
	if ru.Not {
		binary.NativeEndian.PutUint32(b[8:], unix.FIB_RULE_INVERT)
	}
	b[7] = unix.FR_ACT_TO_TBL
	if ru.Table == 0 {
		b[7] = unix.FR_ACT_BLACKHOLE
	}
	return b
}

func (ru Rule) encode(ae *netlink.AttributeEncoder) {
	if ru.From.IsValid() {
		ae.Bytes(unix.FRA_SRC, ru.From.AsSlice())
	}
	if ru.To.IsValid() {
		ae.Bytes(unix.FRA_DST, ru.To.AsSlice())
	}
	if ru.Device != "" {
		ae.String(unix.FRA_IIFNAME, ru.Device)
	}
	if ru.Table != 0 {
		ae.Uint32(unix.FRA_TABLE, uint32(ru.Table))
	}
	ae.Uint32(unix.FRA_PRIORITY, ru.Priority)
	ae.Uint8(unix.FRA_PROTOCOL, Protocol)
}

// AddRule adds ru. That it is there already is no error.
func (r *Conn) AddRule(ru Rule) error {
	_, err := r.do(unix.RTM_NEWRULE, netlink.Create|netlink.Excl, ru.head(), ru.encode)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("routing rule: %w", err)
	}
	return nil
}

// DeleteRule removes ru. That it is gone already is no error.
func (r *Conn) DeleteRule(ru Rule) error {
	_, err := r.do(unix.RTM_DELRULE, 0, ru.head(), ru.encode)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return fmt.Errorf("remove routing rule: %w", err)
}

// Rules lists the rules that bear our protocol number.
func (r *Conn) Rules() ([]Rule, error) {
	head := make([]byte, fibRuleHdrLen)
	head[0] = unix.AF_INET6
	replies, err := r.do(unix.RTM_GETRULE, netlink.Dump, head, nil)
	if err != nil {
		return nil, fmt.Errorf("list routing rules: %w", err)
	}
	var all []Rule
	for _, m := range replies {
		if len(m.Data) < fibRuleHdrLen || m.Data[0] != unix.AF_INET6 {
			continue
		}
		ru, ours, err := parseRule(m.Data)
		if err != nil {
			return nil, fmt.Errorf("list routing rules: %w", err)
		}
		if ours {
			all = append(all, ru)
		}
	}
	return all, nil
}

func parseRule(b []byte) (ru Rule, ours bool, err error) {
	ru.Table = int(b[4])
	ru.Not = binary.NativeEndian.Uint32(b[8:])&unix.FIB_RULE_INVERT != 0
	ad, err := netlink.NewAttributeDecoder(b[fibRuleHdrLen:])
	if err != nil {
		return ru, false, err
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.FRA_SRC:
			ru.From = AddrOf(ad.Bytes())
		case unix.FRA_DST:
			ru.To = AddrOf(ad.Bytes())
		case unix.FRA_IIFNAME:
			ru.Device = ad.String()
		case unix.FRA_TABLE:
			ru.Table = int(ad.Uint32())
		case unix.FRA_PRIORITY:
			ru.Priority = ad.Uint32()
		case unix.FRA_PROTOCOL:
			ours = ad.Uint8() == Protocol
		}
	}
	if b[7] == unix.FR_ACT_BLACKHOLE {
		ru.Table = 0
	}
	return ru, ours, ad.Err()
}

// String describes the rule as `ip -6 rule` would.
func (ru Rule) String() string {
	s := "routing rule"
	if ru.Not {
		s += " not"
	}
	if ru.From.IsValid() {
		s += " from " + ru.From.String()
	}
	if ru.To.IsValid() {
		s += " to " + ru.To.String()
	}
	if ru.Device != "" {
		s += " iif " + ru.Device
	}
	if ru.Table == 0 || ru.Table == unix.RT_TABLE_UNSPEC {
		return s + " blackhole"
	}
	return fmt.Sprintf("%s lookup %d", s, ru.Table)
}
