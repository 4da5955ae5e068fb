package ndp

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/roamkey/roamkey/ipv6"
)

// Errors of ParseTrustAnchor and ParseCertificate.
var (
	ErrTrustAnchor     = errors.New("trust anchor option holds no name: pad length over the end of the option")
	ErrCertificate     = errors.New("certificate option holds no whole DER structure")
	ErrCertificateType = errors.New("certificate option holds another thing than an X.509v3 certificate")
)

const (
	pathSolicitOctets = 8
	pathAdvertOctets  = 12
	nameOffset        = 4
	certificateOffset = 4
	certificateX509   = 1
)

// AllComponents asks a router for its whole certification path.
const AllComponents = 65535

// Name types of trust anchors (RFC 3971 section 6.4.3, RFC 6495 section 3).
const (
	NameX501      = 1 // DER encoded X.501 name
	NameDNS       = 2 // in DNS wire format
	NameKeySHA1   = 3 // subject key identifier
	NameKeySHA224 = 4
	NameKeySHA256 = 5
	NameKeySHA384 = 6
	NameKeySHA512 = 7
)

// PathSolicit is a certification path solicitation, CPS (RFC 3971 section 6.4.1): Type 148, Code, Checksum, Identifier (2
// octets), Component (2), options.
type PathSolicit struct {
	Identifier uint16 // not 0
	Component  uint16 // of the certificate asked for, or AllComponents
	Options    Options
}

// ParsePathSolicit reads a certification path solicitation and validates it (RFC 3971 section 6.4.5).
func ParsePathSolicit(p *ipv6.Packet) (PathSolicit, Reason) {
	if reason := check(p, TypePathSolicit, pathSolicitOctets); reason != ReasonNone {
		return PathSolicit{}, reason
	}
	m := PathSolicit{
		Identifier: binary.BigEndian.Uint16(p.Payload[4:6]),
		Component:  binary.BigEndian.Uint16(p.Payload[6:8]),
		Options:    optionsOf(p.Payload, pathSolicitOctets),
	}
	switch {
	case !p.Src.IsUnspecified() && !p.Src.IsLinkLocalUnicast():
		return PathSolicit{}, ReasonSource
	case p.Dst.IsMulticast() && p.Dst != ipv6.AllRouters() && !isSolicitedNode(p.Dst):
		return PathSolicit{}, ReasonDestination
	case m.Identifier == 0:
		return PathSolicit{}, ReasonIdentifier
	}
	return m, ReasonNone
}

// Append appends the whole message to b, with its checksum under src and dst. opts are encoded options; Options is not
// looked at.
func (m PathSolicit) Append(b []byte, src, dst netip.Addr, opts ...[]byte) []byte {
	start := len(b)
	b = append(b, TypePathSolicit, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, m.Identifier)
	b = binary.BigEndian.AppendUint16(b, m.Component)
	return finish(b, start, src, dst, opts)
}

// PathAdvert is a certification path advertisement, CPA (RFC 3971 section 6.4.2): Type 149, Code, Checksum, Identifier (2
// octets), All Components (2), Component (2), Reserved (2), options.
type PathAdvert struct {
	Identifier uint16 // of the solicitation; 0 to all nodes
	All        uint16 // number of certificates in the path
	Component  uint16 // which this is: All-1 stands below the anchor, 0 is the router's own
	Options    Options
}

// ParsePathAdvert reads a certification path advertisement and validates it (RFC 3971 sections 6.4.2 and 6.4.6). It may
// have come in fragments.
func ParsePathAdvert(p *ipv6.Packet) (PathAdvert, Reason) {
	if reason := check(p, TypePathAdvert, pathAdvertOctets); reason != ReasonNone {
		return PathAdvert{}, reason
	}
	m := PathAdvert{
		Identifier: binary.BigEndian.Uint16(p.Payload[4:6]),
		All:        binary.BigEndian.Uint16(p.Payload[6:8]),
		Component:  binary.BigEndian.Uint16(p.Payload[8:10]),
		Options:    optionsOf(p.Payload, pathAdvertOctets),
	}
	toAll := p.Dst == ipv6.AllNodes()
	switch {
	case !p.Src.IsLinkLocalUnicast():
		return PathAdvert{}, ReasonSource
	case !toAll && !isSolicitedNode(p.Dst):
		return PathAdvert{}, ReasonDestination
	case toAll != (m.Identifier == 0):
		return PathAdvert{}, ReasonIdentifier
	}
	return m, ReasonNone
}

// Append appends the whole message to b, with its checksum under src and dst. opts are encoded options; Options is not
// looked at.
func (m PathAdvert) Append(b []byte, src, dst netip.Addr, opts ...[]byte) []byte {
	start := len(b)
	b = append(b, TypePathAdvert, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, m.Identifier)
	b = binary.BigEndian.AppendUint16(b, m.All)
	b = binary.BigEndian.AppendUint16(b, m.Component)
	return finish(append(b, 0, 0), start, src, dst, opts)
}

// TrustAnchor is a Trust Anchor option (RFC 3971 section 6.4.3): Type (1 octet), Length (1), Name Type (1), Pad Length
// (1), Name, padding.
type TrustAnchor struct {
	NameType uint8
	Name     []byte // after parsing it shares memory with the option
}

// Append appends the whole option to b, padded with zeros. A name of more than 2,036 octets does not fit in an option:
// then nothing is appended.
func (a TrustAnchor) Append(b []byte) []byte {
	n := nameOffset + len(a.Name)
	whole := padded(n)
	if whole > MaxOptionOctets {
		return b
	}
	end := len(b) + whole
	b = append(b, OptTrustAnchor, uint8(whole/optionUnit), a.NameType, uint8(whole-n))
	return zeros(append(b, a.Name...), end)
}

// ParseTrustAnchor reads a Trust Anchor option; the caller has compared its type. What the name says is not looked at. It
// fails with ErrTrustAnchor.
func ParseTrustAnchor(o Option) (TrustAnchor, error) {
	if len(o.Octets) < optionUnit {
		return TrustAnchor{}, ErrTrustAnchor
	}
	end := len(o.Octets) - int(o.Octets[3])
	if end <= nameOffset {
		return TrustAnchor{}, ErrTrustAnchor
	}
	return TrustAnchor{NameType: o.Octets[2], Name: o.Octets[nameOffset:end:end]}, nil
}

// CertificateOption gives an encoded Certificate option (RFC 3971 section 6.4.4): Type (1 octet), Length (1), Cert Type
// (1), Reserved (1), Certificate, padding. It gives nil if der is longer than the 2,036 octets that fit.
func CertificateOption(der []byte) []byte {
	n := padded(certificateOffset + len(der))
	if n > MaxOptionOctets {
		return nil
	}
	b := make([]byte, n)
	b[0], b[1], b[2] = OptCertificate, uint8(n/optionUnit), certificateX509
	copy(b[certificateOffset:], der)
	return b
}

// ParseCertificate gives the certificate in a Certificate option, cut by its DER length, for the option does not tell
// where it ends; the caller has compared its type. The certificate shares memory with the option. It fails with
// ErrCertificate or ErrCertificateType.
func ParseCertificate(o Option) (der []byte, err error) {
	if len(o.Octets) < optionUnit {
		return nil, ErrCertificate
	}
	if o.Octets[2] != certificateX509 {
		return nil, ErrCertificateType
	}
	rest := cryptobyte.String(o.Octets[certificateOffset:])
	var certificate cryptobyte.String
	if !rest.ReadASN1Element(&certificate, asn1.SEQUENCE) {
		return nil, ErrCertificate
	}
	return certificate, nil
}
