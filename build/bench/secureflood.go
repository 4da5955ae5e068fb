package main

import (
	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/ipv6"
)

// A flood of solicitations with signatures, half of them for a neighbour and half for what is behind an access point with a
// handover key: each passes all that can be tested without RSA, and comes from an address and a station of its own. One in ten is
// signed.
const (
	secureFloodNodes = 10_000
	floodKeys        = 4
	oneSigned        = 10
)

// secureFlood makes the flood's packets beforehand, as RSA of that many nodes is not what is measured. They are good for as long as
// timestamps are, 300 s.
func (h *handover) secureFlood() (func(i int) (ipv6.LinkAddr, []byte), error) {
	keys := make([]*rig.KeyPairs, floodKeys)
	for i := range keys {
		var err error
		if keys[i], err = rig.NewKeyPairs(2048); err != nil {
			return nil, err
		}
	}
	from := make([]ipv6.LinkAddr, secureFloodNodes)
	packets := make([][]byte, secureFloodNodes)
	for i := range packets {
		m, err := rig.NewSecureNode(1<<22+i, h.par.access, keys[i%len(keys)])
		if err != nil {
			return nil, err
		}
		from[i] = m.Hardware
		signed := i/2%oneSigned == 0
		switch {
		case i%2 == 0 && signed:
			packets[i], err = m.Solicit()
		case i%2 == 0:
			packets[i], err = m.ForgedSolicit()
		case signed:
			packets[i], err = m.ProxySolicit(farPoint)
		default:
			packets[i], err = m.ForgedProxySolicit(farPoint)
		}
		if err != nil {
			return nil, err
		}
	}
	return func(i int) (ipv6.LinkAddr, []byte) {
		i %= len(packets)
		return from[i], packets[i]
	}, nil
}
