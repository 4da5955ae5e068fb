package daemon

import (
	"encoding/binary"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/fmip"
	"github.com/roamkey/roamkey/mipsec/handoverkey"
)

// Kinds of the journal: handover keys by the node's care-of address, and what fast handovers remember by kind and address.
const (
	kindKey  = 3
	kindFast = 4
)

// A handover key in the journal: version (1) | home (16) | algorithm (1) | length (1) | key (32) | expires (8) | key hash (16).
const keyRecordLen = 1 + 16 + 1 + 1 + handoverkey.MaxKeyLen + 8 + 16

func appendKey(b []byte, r *handoverkey.Record) []byte {
	b = append(b, recordVersion)
	b = appendAddr(b, r.Home)
	b = append(b, r.AT, byte(r.KeyLen))
	b = append(b, r.Key[:]...)
	b = binary.BigEndian.AppendUint64(b, nanos(r.Expires))
	return append(b, r.KeyHash[:]...)
}

func parseKey(b []byte) (handoverkey.Record, error) {
	if len(b) != keyRecordLen || b[0] != recordVersion {
		return handoverkey.Record{}, errRecord
	}
	f := fields(b[1:])
	r := handoverkey.Record{Home: f.addr(), AT: f.take(1)[0], KeyLen: int(f.take(1)[0])}
	r.Key = [handoverkey.MaxKeyLen]byte(f.take(handoverkey.MaxKeyLen))
	r.Expires = f.time()
	r.KeyHash = [16]byte(f.take(16))
	if !r.Home.IsValid() {
		return handoverkey.Record{}, errRecord
	}
	return r, nil
}

// saveKey writes one handover key. The octets in between are wiped.
func (d *Daemon) saveKey(r *handoverkey.Record) error {
	d.recordBuf = appendKey(d.recordBuf[:0], r)
	home := r.Home.As16()
	err := d.journal.Put(kindKey, home[:], d.recordBuf)
	clear(d.recordBuf)
	return err
}

// What fast handovers remember, without the link's name: version, kind, flags, address, node, key tag, sequence number, router,
// care-of, assigned, exit, until, lifetime, sent, received, length of the name.
const fastRecordFixed = 1 + 1 + 1 + 16 + 6 + 8 + 2 + 16 + 16 + 16 + 16 + 8 + 2 + 8 + 8 + 1

func fastKey(r *fmip.Record) []byte {
	a := r.Addr.As16()
	return append([]byte{byte(r.Kind)}, a[:]...)
}

func appendFast(b []byte, r *fmip.Record) []byte {
	var flags byte
	if r.Bound {
		flags |= flagBound
	}
	name := r.Link[:min(len(r.Link), 255)]
	b = append(b, recordVersion, byte(r.Kind), flags)
	b = appendAddr(b, r.Addr)
	b = append(b, r.Node[:]...)
	b = append(b, r.KeyTag[:]...)
	b = binary.BigEndian.AppendUint16(b, r.Seq)
	b = appendAddr(b, r.Router)
	b = appendAddr(b, r.CareOf)
	b = appendAddr(b, r.Assigned)
	b = appendAddr(b, r.Exit)
	b = binary.BigEndian.AppendUint64(b, nanos(r.Until))
	b = binary.BigEndian.AppendUint16(b, r.Lifetime)
	b = binary.BigEndian.AppendUint64(b, r.Sent)
	b = binary.BigEndian.AppendUint64(b, r.Received)
	b = append(b, byte(len(name)))
	return append(b, name...)
}

func parseFast(b []byte) (fmip.Record, error) {
	if len(b) < fastRecordFixed || b[0] != recordVersion {
		return fmip.Record{}, errRecord
	}
	f := fields(b[1:])
	r := fmip.Record{Kind: fmip.RecordKind(f.take(1)[0])}
	r.Bound = f.take(1)[0]&flagBound != 0
	r.Addr = f.addr()
	r.Node = ipv6.LinkAddr(f.take(6))
	r.KeyTag = [8]byte(f.take(8))
	r.Seq = f.uint16()
	r.Router, r.CareOf, r.Assigned, r.Exit, r.Until, r.Lifetime = f.addr(), f.addr(), f.addr(), f.addr(), f.time(), f.uint16()
	r.Sent, r.Received = binary.BigEndian.Uint64(f.take(8)), binary.BigEndian.Uint64(f.take(8))
	if n := int(f.take(1)[0]); len(f) != n || !r.Addr.IsValid() {
		return fmip.Record{}, errRecord
	}
	r.Link = string(f)
	return r, nil
}

func (d *Daemon) saveFast(r *fmip.Record) error {
	d.recordBuf = appendFast(d.recordBuf[:0], r)
	return d.journal.Put(kindFast, fastKey(r), d.recordBuf)
}
