package mobility

import (
	"encoding/binary"
	"net/netip"
)

// AddressList is a list of IPv6 addresses as it stands in a message: 16 octets each.
type AddressList []byte

// Len is the number of addresses.
func (l AddressList) Len() int { return len(l) / 16 }

// At gives address i, from 0 to Len()-1.
func (l AddressList) At(i int) netip.Addr { return netip.AddrFrom16([16]byte(l[16*i : 16*i+16])) }

// Add gives the list with addr at its end.
func (l AddressList) Add(addr netip.Addr) AddressList { return appendAddr(l, addr) }

// HomeAgentSwitch is RFC 5142's Home Agent Switch message (section 4).
type HomeAgentSwitch struct {
	Addresses     AddressList // of other home agents; after parsing it shares memory with the header
	RefreshAdvice uint16      // units of 4 seconds; 0 if there is no such option
}

// Append appends the whole mobility header to b, with a checksum of zero. More than 127 addresses do not fit in a
// mobility header: then nothing is appended.
func (m HomeAgentSwitch) Append(b []byte) []byte {
	start := len(b)
	if m.Addresses.Len() > (maxHeaderOctets-unit)/16 {
		return b
	}
	b = append(begin(b, TypeHomeAgentSwitch), uint8(m.Addresses.Len()), 0)
	b = append(b, m.Addresses[:16*m.Addresses.Len()]...)
	if m.RefreshAdvice != 0 {
		b = append(b, OptRefreshAdvice, 2)
		b = binary.BigEndian.AppendUint16(b, m.RefreshAdvice)
	}
	return finish(b, start, 0)
}

// ParseHomeAgentSwitch reads a Home Agent Switch message. It fails with ErrType, ErrLength or ErrOption.
func ParseHomeAgentSwitch(h Header) (HomeAgentSwitch, error) {
	if h.Type != TypeHomeAgentSwitch {
		return HomeAgentSwitch{}, ErrType
	}
	if len(h.Octets) < unit {
		return HomeAgentSwitch{}, ErrLength
	}
	end := unit + 16*int(h.Octets[6])
	options, err := walkable(h, end)
	if err != nil {
		return HomeAgentSwitch{}, err
	}
	m := HomeAgentSwitch{Addresses: AddressList(h.Octets[unit:end:end])}
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if o.Type != OptRefreshAdvice {
			continue
		}
		if len(o.Data) != 2 {
			return HomeAgentSwitch{}, ErrOption
		}
		m.RefreshAdvice = binary.BigEndian.Uint16(o.Data)
	}
	return m, nil
}

// Heartbeat is RFC 5847's Heartbeat message (section 3.3), by which two agents watch each other.
type Heartbeat struct {
	Unsolicited    bool // U: a response that nobody asked for, sent after a restart
	Response       bool // R
	Seq            uint32
	HasRestarts    bool   // there is a Restart Counter option
	RestartCounter uint32 // of that option
}

const (
	heartbeatUnsolicited = 0x02
	heartbeatResponse    = 0x01
)

// Append appends the whole mobility header to b, with a checksum of zero.
func (m Heartbeat) Append(b []byte) []byte {
	start := len(b)
	var flags uint8
	if m.Unsolicited {
		flags |= heartbeatUnsolicited
	}
	if m.Response {
		flags |= heartbeatResponse
	}
	b = append(begin(b, TypeHeartbeat), 0, flags)
	b = binary.BigEndian.AppendUint32(b, m.Seq)
	if m.HasRestarts {
		b = align(b, start, 6) // 4n+2
		b = append(b, OptRestartCounter, 4)
		b = binary.BigEndian.AppendUint32(b, m.RestartCounter)
	}
	return finish(b, start, 1)
}

// ParseHeartbeat reads a Heartbeat message. It fails with ErrType, ErrLength or ErrOption.
func ParseHeartbeat(h Header) (Heartbeat, error) {
	if h.Type != TypeHeartbeat {
		return Heartbeat{}, ErrType
	}
	options, err := walkable(h, 12)
	if err != nil {
		return Heartbeat{}, err
	}
	m := Heartbeat{
		Unsolicited: h.Octets[7]&heartbeatUnsolicited != 0,
		Response:    h.Octets[7]&heartbeatResponse != 0,
		Seq:         binary.BigEndian.Uint32(h.Octets[8:12]),
	}
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if o.Type != OptRestartCounter {
			continue
		}
		if len(o.Data) != 4 {
			return Heartbeat{}, ErrOption
		}
		m.HasRestarts = true
		m.RestartCounter = binary.BigEndian.Uint32(o.Data)
	}
	return m, nil
}

// Experimental is a message of the type that RFC 5096 sets aside for experiments; what is in it is for its users to say.
type Experimental struct {
	Data []byte // from octet 6 of the header to its end, padding included; after parsing it shares memory with the header
}

// Append appends the whole mobility header to b, with a checksum of zero. Data that does not fill up a multiple of 8 octets
// is followed by padding options. Data of more than 2,042 octets does not fit: then nothing is appended.
func (m Experimental) Append(b []byte) []byte {
	start := len(b)
	return finish(append(begin(b, TypeExperimental), m.Data...), start, 0)
}

// ParseExperimental reads a message of the experimental type. It fails with ErrType or ErrLength.
func ParseExperimental(h Header) (Experimental, error) {
	if h.Type != TypeExperimental {
		return Experimental{}, ErrType
	}
	if len(h.Octets) < unit {
		return Experimental{}, ErrLength
	}
	return Experimental{Data: h.Octets[headOctets:]}, nil
}
