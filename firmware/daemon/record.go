package daemon

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
)

// kindLKE is the journal's kind of LKE associations; the key of an entry is the home address.
const kindLKE = 1

// recordVersion stands first in each value: a daemon that was upgraded in place drops what it cannot read.
const recordVersion = 1

const (
	flagUpdated = 1 << iota
	flagBound
	flagVerified
)

// Fixed part of a record in octets: version, flags, home, router, node, node's link-local, key, request sequence, update
// sequence, expiry, care-of, bound until, seconds granted, length of the link's name, length of the advertisement.
const recordFixed = 1 + 1 + 16 + 16 + 6 + 16 + lke.KeyLen + 2 + 2 + 8 + 16 + 8 + 4 + 1 + 2

var errRecord = errors.New("record of another version, or malformed")

// appendRecord appends the journal's form of r to b. All integers are in network order, times in nanoseconds since boot.
func appendRecord(b []byte, r *lke.Record) []byte {
	var flags byte
	if r.Updated {
		flags |= flagUpdated
	}
	if r.Bound {
		flags |= flagBound
	}
	if r.Verified {
		flags |= flagVerified
	}
	name := r.Link[:min(len(r.Link), 255)]
	b = append(b, recordVersion, flags)
	b = appendAddr(b, r.Home)
	b = appendAddr(b, r.Router)
	b = append(b, r.Node[:]...)
	b = appendAddr(b, r.NodeLocal)
	b = append(b, r.Key[:]...)
	b = binary.BigEndian.AppendUint16(b, r.RequestSeq)
	b = binary.BigEndian.AppendUint16(b, r.UpdateSeq)
	b = binary.BigEndian.AppendUint64(b, nanos(r.Expires))
	b = appendAddr(b, r.CareOf)
	b = binary.BigEndian.AppendUint64(b, nanos(r.BoundUntil))
	b = binary.BigEndian.AppendUint32(b, r.BoundSeconds)
	b = append(b, byte(len(name)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Advert)))
	b = append(b, name...)
	return append(b, r.Advert...)
}

// parseRecord reads what appendRecord wrote.
func parseRecord(b []byte) (lke.Record, error) {
	if len(b) < recordFixed || b[0] != recordVersion {
		return lke.Record{}, errRecord
	}
	f := fields(b[1:])
	flags := f.take(1)[0]
	r := lke.Record{
		Updated: flags&flagUpdated != 0, Bound: flags&flagBound != 0, Verified: flags&flagVerified != 0,
		Home: f.addr(), Router: f.addr(), Node: ipv6.LinkAddr(f.take(6)), NodeLocal: f.addr(), Key: [lke.KeyLen]byte(f.take(lke.KeyLen)),
		RequestSeq: f.uint16(), UpdateSeq: f.uint16(), Expires: f.time(), CareOf: f.addr(), BoundUntil: f.time(),
		BoundSeconds: binary.BigEndian.Uint32(f.take(4)),
	}
	name, advert := int(f.take(1)[0]), int(f.uint16())
	if len(f) != name+advert || !r.Home.IsValid() || !r.Router.IsValid() {
		return lke.Record{}, errRecord
	}
	r.Link = string(f.take(name))
	if advert > 0 {
		r.Advert = append([]byte(nil), f...)
	}
	return r, nil
}

// appendAddr writes the unspecified address for an address that is not there.
func appendAddr(b []byte, a netip.Addr) []byte {
	if !a.IsValid() {
		a = netip.IPv6Unspecified()
	}
	octets := a.As16()
	return append(b, octets[:]...)
}

func nanos(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixNano())
}

// fields hands out the parts of a record whose length was checked.
type fields []byte

func (f *fields) take(n int) []byte {
	head := (*f)[:n]
	*f = (*f)[n:]
	return head
}

func (f *fields) uint16() uint16 { return binary.BigEndian.Uint16(f.take(2)) }

func (f *fields) addr() netip.Addr {
	a := netip.AddrFrom16([16]byte(f.take(16)))
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

func (f *fields) time() time.Time {
	n := binary.BigEndian.Uint64(f.take(8))
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(n))
}
