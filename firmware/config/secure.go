package config

import (
	"net/netip"
	"slices"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// SendMode says what secure Neighbour Discovery (RFC 3971) does on a link.
type SendMode uint8

// Modes.
const (
	SendOff   SendMode = iota // Neighbour Discovery is the kernel's
	SendMixed                 // all that the router says is signed; it hears nodes without SEND, too (RFC 3971 section 8)
	SendOnly                  // what is not signed is dropped
)

func (m *SendMode) set(value string) *fault {
	var choice string
	if f := setChoice(&choice, value, "off", "mixed", "only"); f != nil {
		return f
	}
	*m = map[string]SendMode{"off": SendOff, "mixed": SendMixed, "only": SendOnly}[choice]
	return nil
}

// String gives the name that a file has for it.
func (m SendMode) String() string {
	switch m {
	case SendMixed:
		return "mixed"
	case SendOnly:
		return "only"
	}
	return "off"
}

// Send are the settings of secure Neighbour Discovery.
type Send struct {
	Key         string // path of the RSA key of which the router's addresses are made, and with which it signs
	Certificate string // path of the router's certificate, and those between it and the anchor
	Sec         uint8  // security parameter of the router's addresses
	MinBits     int    // of the keys of others
	MaxBits     int
	Delta       time.Duration // TIMESTAMP_DELTA
	Fuzz        time.Duration // TIMESTAMP_FUZZ
	Drift       int           // TIMESTAMP_DRIFT, percent
	LaxProfile  bool          // certificates by RFC 3971 alone, without the key purpose of RFC 6494
	Peers       int           // of which a link remembers timestamps and addresses
}

// Fast are the settings of handover keys and fast handovers.
type Fast struct {
	KeyLifetime       time.Duration // HK-LIFETIME
	Algorithms        []uint8       // AT values that are offered
	MaxForwarding     time.Duration // longest lifetime that a Fast Binding Update gets
	InitiateTimeout   time.Duration // to the first repetition of a Handover Initiate
	InitiateRetries   int
	ProxyLifetime     time.Duration // PROXY_ND_LIFETIME
	DADTransmits      int           // for addresses that a Handover Initiate names
	RequestsPerSecond int           // of one node: MAX_RTSOLPR_RATE
	Buffer            bool
	BufferPackets     int // for one node
	BufferOctets      int // for one node
	BufferTotal       int // octets, for all nodes
	DrainPercent      int // of the rate at which packets come
}

// Protection says what protects the messages between this router and a neighbour.
type Protection uint8

// Protections.
const (
	ProtectKey   Protection = iota // an authenticator under a key that the two share
	ProtectIPsec                   // ESP of the kernel
	Unprotected                    // nothing
)

// String gives the name that a file has for it.
func (p Protection) String() string {
	switch p {
	case ProtectIPsec:
		return "ipsec"
	case Unprotected:
		return "none"
	}
	return "key"
}

func (p *Protection) set(value string) *fault {
	var choice string
	if f := setChoice(&choice, value, "key", "ipsec", "none"); f != nil {
		return f
	}
	*p = map[string]Protection{"key": ProtectKey, "ipsec": ProtectIPsec, "none": Unprotected}[choice]
	return nil
}

// Neighbor is another access router, to which nodes of this one may move.
type Neighbor struct {
	Name         string
	Address      netip.Addr // global; zero if not known
	Prefixes     []netip.Prefix
	Hardware     ipv6.LinkAddr   // of its interface to the nodes; zero if not known
	AccessPoints []ipv6.LinkAddr // BSSIDs
	Fast         bool            // it does fast handovers with this router
	Protection   Protection
	Key          string // path of the key that the two share
	Position     Position
}

func sendTable(s *Send) table {
	const second = time.Second
	return table{
		typ: "send",
		aliases: map[string]string{"minbits": "min_bits", "maxbits": "max_bits", "cert": "certificate", "send_key": "key", "delta": "timestamp_delta",
			"fuzz": "timestamp_fuzz", "drift": "timestamp_drift"},
		fields: []field{
			{name: "key", def: "/etc/roamkey/send.key", set: func(v string) *fault { return setPath(&s.Key, v, 1024, "/etc/roamkey/send.key") }},
			{name: "certificate", def: "/etc/roamkey/send.pem", set: func(v string) *fault { return setPath(&s.Certificate, v, 1024, "/etc/roamkey/send.pem") }},
			{name: "sec", def: "1", set: func(v string) *fault { return setInt(&s.Sec, v, 0, 2, "1") }},
			{name: "min_bits", def: "1024", set: func(v string) *fault { return setInt(&s.MinBits, v, 1024, 4096, "1024") }},
			{name: "max_bits", def: "2048", set: func(v string) *fault { return setInt(&s.MaxBits, v, 1024, 4096, "2048") }},
			{name: "timestamp_delta", def: "300", set: func(v string) *fault {
				return span{least: second, most: 86400 * second, example: "300"}.set(&s.Delta, v)
			}},
			{name: "timestamp_fuzz", def: "1", set: func(v string) *fault {
				return span{least: 10 * time.Millisecond, most: 60 * second, example: "1"}.set(&s.Fuzz, v)
			}},
			{name: "timestamp_drift", def: "1", set: func(v string) *fault { return setInt(&s.Drift, v, 0, 50, "1") }},
			{name: "certificate_profile", def: "rfc6494", set: func(v string) *fault {
				var choice string
				f := setChoice(&choice, v, "rfc6494", "rfc3971")
				s.LaxProfile = choice == "rfc3971"
				return f
			}},
			{name: "peers", def: "1024", set: func(v string) *fault { return setInt(&s.Peers, v, 16, 65535, "1024") }},
		},
	}
}

func finishSend(s *Send, p *place) {
	if s.MaxBits < s.MinBits {
		p.fail("max_bits", itoa(s.MaxBits)+" is less than min_bits, "+itoa(s.MinBits), "write at least '"+itoa(s.MinBits)+"'")
	}
	if s.Fuzz > s.Delta {
		p.fail("timestamp_fuzz", FormatDuration(s.Fuzz)+" is more than timestamp_delta, "+FormatDuration(s.Delta), "write at most '"+FormatDuration(s.Delta)+"'")
	}
	if s.LaxProfile {
		p.warn("certificate_profile", "certificates are taken that do not say that they are for SEND", "leave it out when all certificates are made anew")
	}
}

func fastTable(f *Fast) table {
	const second = time.Second
	return table{
		typ:     "fmip",
		aliases: map[string]string{"algorithms": "algorithm", "drain_factor": "drain_percent", "buffer_size": "buffer_total"},
		fields: []field{
			{name: "key_lifetime", def: "43200", set: func(v string) *fault {
				return span{least: 60 * second, most: 65535 * second, whole: true, example: "43200"}.set(&f.KeyLifetime, v)
			}},
			{name: "algorithm", list: true, set: func(v string) *fault { return addAlgorithm(&f.Algorithms, v) }},
			{name: "max_forwarding", def: "60", set: func(v string) *fault {
				return span{least: second, most: 3600 * second, whole: true, example: "60"}.set(&f.MaxForwarding, v)
			}},
			{name: "initiate_timeout", def: "100ms", set: func(v string) *fault {
				return span{least: 20 * time.Millisecond, most: 5 * second, example: "100ms"}.set(&f.InitiateTimeout, v)
			}},
			{name: "initiate_retries", def: "3", set: func(v string) *fault { return setInt(&f.InitiateRetries, v, 1, 7, "3") }},
			{name: "proxy_lifetime", def: "1.5", set: func(v string) *fault {
				return span{least: 100 * time.Millisecond, most: 60 * second, example: "1.5"}.set(&f.ProxyLifetime, v)
			}},
			{name: "dad_transmits", def: "1", set: func(v string) *fault { return setInt(&f.DADTransmits, v, 0, 10, "1") }},
			{name: "requests_per_second", def: "3", set: func(v string) *fault { return setInt(&f.RequestsPerSecond, v, 1, 100, "3") }},
			{name: "buffer", def: "1", set: func(v string) *fault { return setBool(&f.Buffer, v) }},
			{name: "buffer_packets", def: "2048", set: func(v string) *fault { return setInt(&f.BufferPackets, v, 8, 65535, "2048") }},
			{name: "buffer_octets", def: "1048576", set: func(v string) *fault { return setInt(&f.BufferOctets, v, 16384, 256<<20, "1048576") }},
			{name: "buffer_total", def: "4194304", set: func(v string) *fault { return setInt(&f.BufferTotal, v, 16384, 1<<30, "4194304") }},
			{name: "drain_percent", def: "200", set: func(v string) *fault { return setInt(&f.DrainPercent, v, 100, 10000, "200") }},
		},
	}
}

// addAlgorithm takes the name of an authenticator (resolution HK-a).
func addAlgorithm(to *[]uint8, value string) *fault {
	var choice string
	if f := setChoice(&choice, value, "hmac-sha1-96", "hmac-sha256-128"); f != nil {
		return f
	}
	at := map[string]uint8{"hmac-sha1-96": 0, "hmac-sha256-128": 1}[choice]
	if slices.Contains(*to, at) {
		return &fault{quote(value) + " is there twice", "keep one of the two"}
	}
	*to = append(*to, at)
	return nil
}

func finishFast(f *Fast, p *place) {
	if len(f.Algorithms) == 0 {
		f.Algorithms = []uint8{0, 1}
	}
	if f.BufferOctets > f.BufferTotal {
		p.fail("buffer_octets", itoa(f.BufferOctets)+" is more than buffer_total, "+itoa(f.BufferTotal), "write at most '"+itoa(f.BufferTotal)+"'")
	}
	if f.DrainPercent == 100 {
		p.warn("drain_percent", "the queue of a flow that goes on at the same rate never becomes empty", "write more than '100'")
	}
}

// parseLinkAddr reads the link-layer address of one station or access point.
func parseLinkAddr(value string) (ipv6.LinkAddr, *fault) {
	const fix = "write six pairs of hexadecimal digits, such as '02:00:00:00:02:01'"
	a, err := ipv6.ParseLinkAddr(value)
	switch {
	case err != nil:
		return a, &fault{quote(value) + " is not a link-layer address", fix}
	case !a.IsUnicast():
		return a, &fault{quote(value) + " is not the address of one station", fix}
	}
	return a, nil
}

func addAccessPoint(to *[]ipv6.LinkAddr, value string) *fault {
	a, f := parseLinkAddr(value)
	if f == nil {
		f = add(to, a, maxAccessPoints)
	}
	return f
}

// maxAccessPoints is the most that one router has, on one link.
const maxAccessPoints = 32

func neighborTable(n *Neighbor) table {
	return table{
		typ:     "neighbor",
		aliases: map[string]string{"prefixes": "prefix", "ar_address": "address", "router": "address", "mac": "hardware", "bssid": "access_point", "ap": "access_point"},
		fields: []field{
			{name: "address", set: func(v string) (f *fault) {
				n.Address, f = parseGlobal(v)
				return f
			}},
			{name: "prefix", list: true, set: func(v string) *fault {
				prefix, f := parsePrefix(v, false)
				if f != nil {
					return f
				}
				n.Prefixes = append(n.Prefixes, prefix)
				return room(n.Prefixes[1:], maxPrefixes)
			}},
			{name: "hardware", set: func(v string) (f *fault) {
				n.Hardware, f = parseLinkAddr(v)
				return f
			}},
			{name: "access_point", list: true, set: func(v string) *fault { return addAccessPoint(&n.AccessPoints, v) }},
			{name: "fast", set: func(v string) *fault { return setBool(&n.Fast, v) }},
			{name: "protection", set: func(v string) *fault { return n.Protection.set(v) }},
			{name: "key", set: func(v string) *fault { return setPath(&n.Key, v, 1024, "/etc/roamkey/upstairs.key") }},
		},
	}
}

// finishNeighbor fills in what follows from other options. Fast handovers are on where all is there that they need.
func finishNeighbor(n *Neighbor, p *place) {
	if len(n.Prefixes) == 0 && !p.given("prefix") {
		p.fail("prefix", "it is not there", "write at least one prefix of the other access point, such as list prefix '2001:db8:2::/64'")
	}
	if n.Key == "" && n.Name != "" {
		n.Key = "/etc/roamkey/" + n.Name + ".key"
	}
	if !p.given("fast") {
		n.Fast = n.Address.IsValid() && len(n.AccessPoints) > 0
	}
	if !n.Fast {
		return
	}
	if !n.Address.IsValid() && !p.given("address") {
		p.fail("address", "it is not there, and fast handovers need it", "write the global address of the other router, or fast '0'")
	}
	if len(n.AccessPoints) == 0 && !p.given("access_point") {
		p.fail("access_point", "it is not there, and fast handovers need it", "write the BSSID of each access point of the other router, or fast '0'")
	}
	if n.Protection == Unprotected {
		p.warn("protection", "anyone who can send packets from "+n.Address.String()+" can have packets of nodes held and sent elsewhere",
			"write 'key' and make a key with roamkeyd keygen --neighbor "+n.Name)
	}
}

// sameNeighbor finds the neighbour that has an address already.
func sameNeighbor(neighbors []Neighbor, a netip.Addr) (Neighbor, bool) {
	for _, n := range neighbors {
		if a.IsValid() && n.Address == a {
			return n, true
		}
	}
	return Neighbor{}, false
}

// sharedPoint refuses one access point at two routers: nodes would be told of one of them only.
func sharedPoint(points []ipv6.LinkAddr, where string, taken map[ipv6.LinkAddr]string, p *place) {
	for i, a := range points {
		if other := taken[a]; other != "" {
			p.failAt("access_point", i, a.String()+" is an access point of "+other+" already", "keep one of the two")
			continue
		}
		taken[a] = where
	}
}

// finishLinkSend looks at how a link's options of SEND and fast handovers fit together.
func finishLinkSend(l *Link, p *place) {
	if !p.given("fmip") {
		l.Fast = l.Send != SendOff
	}
	switch {
	case l.Fast && l.Send == SendOff:
		p.fail("fmip", "handover keys need SEND, by which a node proves whose address it has", "set send 'mixed', or fmip '0'")
	case l.Send != SendOff && !l.RA.Enabled:
		p.fail("send", "SEND needs the router advertisements of this daemon, which it signs", "set ra '1', or send 'off'")
	}
}
