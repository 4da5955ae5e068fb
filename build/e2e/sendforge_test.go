package e2e

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
)

// forgery is a signed message piece by piece. What is not said is right.
type forgery struct {
	from, to ipv6.LinkAddr
	src, dst netip.Addr
	msg      []byte // without options of SEND and checksum
	signer   sender
	params   *cga.Params // in the CGA option; nil: those of src
	at       time.Time
	nonce    []byte
	hash     [16]byte // in the signature option; zero: that of the key
	hopLimit uint8
	hide     []uint8 // options that are left out
	short    []uint8 // options of which all but the first 8 octets are left out
	cut      int     // octets that the signature is too short by
	wrong    bool    // a bit of the signature is another

	forged bool   // the checksum is wrong
	ready  []byte // takes the place of the signature
}

// asSolicit is a solicitation of n for the router's address, signed.
func (w *secureWorld) asSolicit(n *sendNode) *forgery {
	return w.asMessage(n, n.Home, w.global, ndp.AppendNeighborSolicit(nil, n.Home, w.global, w.global, ndp.SourceLinkOption(n.Hardware)))
}

// asProxySolicit is a request of n for a handover key, signed.
func (w *secureWorld) asProxySolicit(n *sendNode) *forgery {
	m := ndp.ProxySolicit{Identifier: 7, SourceLink: n.Hardware, Wildcard: true}
	return w.asMessage(n, n.Home, w.local, m.Append(nil, n.Home, w.local, keyRequest(0, &n.pair.PublicKey)))
}

func (w *secureWorld) asMessage(n *sendNode, src, dst netip.Addr, msg []byte) *forgery {
	f := &forgery{from: n.Hardware, to: w.access.Hardware, src: src, dst: dst, msg: msg, signer: n.sender, at: time.Now(), nonce: make([]byte, 6), hopLimit: 255}
	rand.Read(f.nonce)
	return f
}

func (f *forgery) packet() []byte {
	msg := f.msg
	add := func(typ uint8, option []byte) {
		for _, h := range f.hide {
			if h == typ {
				return
			}
		}
		for _, s := range f.short {
			if s == typ {
				option = append([]byte(nil), option[:8]...)
				option[1] = 1
			}
		}
		msg = append(msg, option...)
	}
	params := f.signer.params.In(netip.PrefixFrom(f.src, 64))
	if f.params != nil {
		params = *f.params
	}
	add(ndp.OptCGA, cga.Option(params))
	add(ndp.OptTimestamp, ndp.TimestampOption(f.at))
	add(ndp.OptNonce, ndp.NonceOption(f.nonce))
	msg[2], msg[3] = 0, 0
	signature := f.ready
	if signature == nil {
		signature = f.signer.sign(digestOf(f.src, f.dst, msg))
	}
	if f.wrong {
		signature[20] ^= 1
	}
	hash := f.hash
	if hash == [16]byte{} {
		hash = f.signer.hash()
	}
	add(ndp.OptSignature, ndp.Signature{KeyHash: hash, Octets: signature[:len(signature)-f.cut]}.Append(nil))
	ndp.FixChecksum(msg, f.src, f.dst)
	if f.forged {
		binary.BigEndian.PutUint16(msg[2:], ^binary.BigEndian.Uint16(msg[2:]))
	}
	return ipv6.Append(nil, ipv6.Header{Src: f.src, Dst: f.dst, HopLimit: f.hopLimit}, ipv6.ProtoICMPv6, msg)
}
