package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Numbers of the kernel's interface that x/sys/unix does not name.
const (
	KindIP6Tnl = "ip6tnl" // IFLA_INFO_KIND
	KindTUN    = "tun"

	iptunLocal      = 2  // IFLA_IPTUN_LOCAL
	iptunRemote     = 3  // IFLA_IPTUN_REMOTE
	iptunTTL        = 4  // IFLA_IPTUN_TTL
	iptunEncapLimit = 6  // IFLA_IPTUN_ENCAP_LIMIT
	iptunFlags      = 8  // IFLA_IPTUN_FLAGS
	iptunProto      = 9  // IFLA_IPTUN_PROTO
	iptunExternal   = 19 // IFLA_IPTUN_COLLECT_METADATA

	tnlIgnoreEncapLimit = 0x1 // IP6_TNL_F_IGN_ENCAP_LIMIT
	tnlCopyTrafficClass = 0x2 // IP6_TNL_F_USE_ORIG_TCLASS

	encapIP6ID       = 1 // LWTUNNEL_IP6_ID
	encapIP6Dst      = 2 // LWTUNNEL_IP6_DST
	encapIP6Src      = 3 // LWTUNNEL_IP6_SRC
	encapIP6HopLimit = 4 // LWTUNNEL_IP6_HOPLIMIT
)

// Conn is a connection to rtnetlink. The socket belongs to the network namespace of the thread that dialled it.
type Conn struct {
	mu   sync.Mutex
	conn *netlink.Conn
}

// Dial connects to the network namespace of the calling thread.
func Dial() (*Conn, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	// Strict checking makes the kernel filter dumps; where it is missing (before 4.20) they are filtered here.
	_ = conn.SetOption(netlink.GetStrictCheck, true)
	_ = conn.SetOption(netlink.ExtendedAcknowledge, true)
	return &Conn{conn: conn}, nil
}

// Close ends the connection.
func (r *Conn) Close() error { return r.conn.Close() }

// do sends one request and waits for the kernel's acknowledgement or the end of its dump.
func (r *Conn) do(typ netlink.HeaderType, flags netlink.HeaderFlags, head []byte, attributes func(*netlink.AttributeEncoder)) ([]netlink.Message, error) {
	request, err := encode(typ, flags, head, attributes)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.conn.Execute(request)
}

func encode(typ netlink.HeaderType, flags netlink.HeaderFlags, head []byte, attributes func(*netlink.AttributeEncoder)) (netlink.Message, error) {
	data := head
	if attributes != nil {
		ae := netlink.NewAttributeEncoder()
		attributes(ae)
		b, err := ae.Encode()
		if err != nil {
			return netlink.Message{}, err
		}
		data = append(data, b...)
	}
	if typ != unix.RTM_GETLINK && typ != unix.RTM_GETROUTE && flags&netlink.Dump != netlink.Dump {
		flags |= netlink.Acknowledge // what asks for an answer gets that, and nothing behind it
	}
	return netlink.Message{Header: netlink.Header{Type: typ, Flags: netlink.Request | flags}, Data: data}, nil
}

// between sends one request between two calls: not at all if ready reports false, and then is called before the kernel's
// answer is read; the kernel has done by then what was asked for, or refused it.
func (r *Conn) between(request netlink.Message, ready func() bool, then func()) (done bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !ready() {
		return false, nil
	}
	sent, err := r.conn.Send(request)
	if err != nil {
		return false, err
	}
	then()
	replies, err := r.conn.Receive()
	if err == nil {
		err = netlink.Validate(sent, replies)
	}
	return err == nil, err
}

// Device is what the kernel says about a network device, as far as tunnels need it.
type Device struct {
	Index    int
	Name     string
	Alias    string
	Kind     string // of IFLA_LINKINFO: "ip6tnl", "tun", ...
	MTU      int
	Up       bool
	Loopback bool

	External      bool       // an ip6tnl in external mode
	Local, Remote netip.Addr // of a plain ip6tnl

	Stats Stats
}

// Stats is what the kernel counts on a device.
type Stats struct {
	InPackets, OutPackets, InOctets, OutOctets uint64
	InErrors, OutErrors, InDropped, OutDropped uint64
}

// Add adds o to s.
func (s *Stats) Add(o Stats) {
	s.InPackets += o.InPackets
	s.OutPackets += o.OutPackets
	s.InOctets += o.InOctets
	s.OutOctets += o.OutOctets
	s.InErrors += o.InErrors
	s.OutErrors += o.OutErrors
	s.InDropped += o.InDropped
	s.OutDropped += o.OutDropped
}

// Yield gives each count its name.
func (s Stats) Yield(yield func(name string, value uint64)) {
	yield("out_packets", s.OutPackets)
	yield("out_octets", s.OutOctets)
	yield("out_errors", s.OutErrors)
	yield("out_dropped", s.OutDropped)
	yield("in_packets", s.InPackets)
	yield("in_octets", s.InOctets)
	yield("in_errors", s.InErrors)
	yield("in_dropped", s.InDropped)
}

// parseStats reads the head of struct rtnl_link_stats64.
func parseStats(b []byte) (s Stats) {
	for _, p := range [...]*uint64{
		&s.InPackets, &s.OutPackets, &s.InOctets, &s.OutOctets, &s.InErrors, &s.OutErrors, &s.InDropped, &s.OutDropped,
	} {
		if len(b) < 8 {
			break
		}
		*p, b = binary.NativeEndian.Uint64(b), b[8:]
	}
	return s
}

const ifInfoLen = 16 // struct ifinfomsg

func ifInfo(index int, flags, change uint32) []byte {
	b := make([]byte, ifInfoLen)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], change)
	return b
}

// Devices lists all devices.
func (r *Conn) Devices() ([]Device, error) {
	replies, err := r.do(unix.RTM_GETLINK, netlink.Dump, ifInfo(0, 0, 0), nil)
	if err != nil {
		return nil, fmt.Errorf("list network devices: %w", err)
	}
	var all []Device
	for _, m := range replies {
		d, err := parseDevice(m.Data)
		if err != nil {
			return nil, fmt.Errorf("list network devices: %w", err)
		}
		all = append(all, d)
	}
	return all, nil
}

// Device looks one device up by name. Its error is os.ErrNotExist where there is none.
func (r *Conn) Device(name string) (Device, error) {
	replies, err := r.do(unix.RTM_GETLINK, 0, ifInfo(0, 0, 0), func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, name)
	})
	if errors.Is(err, unix.ENODEV) {
		return Device{}, os.ErrNotExist
	}
	if err != nil {
		return Device{}, fmt.Errorf("look up device %s: %w", name, err)
	}
	for _, m := range replies {
		if m.Header.Type == unix.RTM_NEWLINK {
			return parseDevice(m.Data)
		}
	}
	return Device{}, os.ErrNotExist
}

func parseDevice(b []byte) (Device, error) {
	if len(b) < ifInfoLen {
		return Device{}, errors.New("short answer from the kernel")
	}
	flags := binary.NativeEndian.Uint32(b[8:])
	d := Device{
		Index:    int(int32(binary.NativeEndian.Uint32(b[4:]))),
		Up:       flags&unix.IFF_UP != 0,
		Loopback: flags&unix.IFF_LOOPBACK != 0,
	}
	ad, err := netlink.NewAttributeDecoder(b[ifInfoLen:])
	if err != nil {
		return d, err
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_IFNAME:
			d.Name = ad.String()
		case unix.IFLA_IFALIAS:
			d.Alias = ad.String()
		case unix.IFLA_MTU:
			d.MTU = int(ad.Uint32())
		case unix.IFLA_STATS64:
			d.Stats = parseStats(ad.Bytes())
		case unix.IFLA_LINKINFO:
			ad.Nested(func(info *netlink.AttributeDecoder) error {
				var data []byte
				for info.Next() {
					switch info.Type() {
					case unix.IFLA_INFO_KIND:
						d.Kind = info.String()
					case unix.IFLA_INFO_DATA:
						data = info.Bytes()
					}
				}
				if d.Kind != KindIP6Tnl {
					return nil
				}
				return d.parseTunnel(data)
			})
		}
	}
	return d, ad.Err()
}

func (d *Device) parseTunnel(b []byte) error {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return err
	}
	for ad.Next() {
		switch ad.Type() {
		case iptunExternal:
			d.External = true
		case iptunLocal:
			d.Local = AddrOf(ad.Bytes())
		case iptunRemote:
			d.Remote = AddrOf(ad.Bytes())
		}
	}
	return ad.Err()
}

// AddrOf gives the IPv6 address in b, or the zero Addr.
func AddrOf(b []byte) netip.Addr {
	if len(b) != 16 {
		return netip.Addr{}
	}
	return netip.AddrFrom16([16]byte(b))
}

// Settings is what a tunnel device of ours gets.
type Settings struct {
	Alias string
	MTU   int
	Queue int // transmit queue length in packets; 0 leaves the kernel's
}

// Configure marks a device as ours, sets its MTU and brings it up, without a link-local address of its own: nobody speaks
// on a tunnel but the bindings.
func (r *Conn) Configure(index int, s Settings) error {
	_, err := r.do(unix.RTM_NEWLINK, 0, ifInfo(index, unix.IFF_UP, unix.IFF_UP), func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.IFLA_MTU, uint32(s.MTU))
		ae.String(unix.IFLA_IFALIAS, s.Alias)
		if s.Queue > 0 {
			ae.Uint32(unix.IFLA_TXQLEN, uint32(s.Queue))
		}
		encodeNoAutoAddress(ae)
	})
	if err != nil {
		return fmt.Errorf("bring the tunnel device up: %w", err)
	}
	return nil
}

func encodeNoAutoAddress(ae *netlink.AttributeEncoder) {
	ae.Nested(unix.IFLA_AF_SPEC, func(spec *netlink.AttributeEncoder) error {
		spec.Nested(unix.AF_INET6, func(inet6 *netlink.AttributeEncoder) error {
			inet6.Uint8(unix.IFLA_INET6_ADDR_GEN_MODE, 1) // IN6_ADDR_GEN_MODE_NONE
			return nil
		})
		return nil
	})
}

// AddTunnel makes an ip6tnl device: in external mode where local and remote are not valid.
func (r *Conn) AddTunnel(name string, local, remote netip.Addr) error {
	_, err := r.do(unix.RTM_NEWLINK, netlink.Create|netlink.Excl, ifInfo(0, 0, 0), func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, name)
		ae.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
			info.String(unix.IFLA_INFO_KIND, KindIP6Tnl)
			info.Nested(unix.IFLA_INFO_DATA, func(data *netlink.AttributeEncoder) error {
				encodeTunnel(data, local, remote)
				return nil
			})
			return nil
		})
	})
	return err
}

func encodeTunnel(data *netlink.AttributeEncoder, local, remote netip.Addr) {
	data.Uint8(iptunProto, unix.IPPROTO_IPV6)
	if !local.IsValid() {
		data.Bytes(iptunExternal, nil)
		return
	}
	data.Bytes(iptunLocal, local.AsSlice())
	data.Bytes(iptunRemote, remote.AsSlice())
	data.Uint8(iptunTTL, OuterHopLimit)
	data.Uint8(iptunEncapLimit, 0)
	data.Uint32(iptunFlags, tnlIgnoreEncapLimit|tnlCopyTrafficClass)
}

// DeleteDevice removes a device. That it is gone already is no error.
func (r *Conn) DeleteDevice(index int) error {
	_, err := r.do(unix.RTM_DELLINK, 0, ifInfo(index, 0, 0), nil)
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}
