package main

import (
	"crypto/rsa"
	"net/netip"

	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/ipv6"
)

// node is one mobile node.
type node struct {
	*rig.Node
	request []byte // made beforehand, as its RSA is not what is measured
}

// nodes makes nodes with their key requests, encrypted for key. first numbers them, so that none occurs twice in a run.
func nodes(first, count int, key *rsa.PublicKey, n *network) ([]*node, error) {
	all := make([]*node, count)
	for i := range all {
		m := newNode(first+i, n)
		data, err := m.Encrypt(key)
		if err != nil {
			return nil, err
		}
		m.request = m.KeyRequest(data)
		all[i] = m
	}
	return all, nil
}

func newNode(number int, n *network) *node {
	m := &node{Node: rig.NewNode(number, n.access)}
	m.CareOf = ipv6.WithEUI64(netip.MustParseAddr("2001:db8:c::"), m.Hardware)
	return m
}
