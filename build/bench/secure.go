package main

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
)

// secureSettings go on with the link of settings, for SEND and fast handovers.
const secureSettings = `	option send 'mixed'
	option fmip '1'
	list access_point 'POINT'

config send 'send'
	option key 'DIR/send.key'
	option certificate 'DIR/send.pem'
	option sec '0'
`

const neighborSettings = `
config neighbor '%[1]s'
	option address '%[2]v'
	option hardware '%[3]v'
	list access_point '%[4]v'
	list prefix '%[5]v'
	option protection 'key'
	option key '%[6]s'
`

// beside is another router, as one is told of it.
type beside struct {
	name     string
	addr     netip.Addr
	hardware ipv6.LinkAddr
	point    ipv6.LinkAddr
	prefix   netip.Prefix
	key      []byte // the key of the pair
}

// secure is one run of roamkeyd with SEND and fast handovers on lan0, with an RSA key of 2048 bits to sign with.
type secure struct {
	*daemon
	ns       *netlab.Namespace
	dir      string
	settings string
	access   rig.Router // its CGAs on lan0
}

// startSecure starts roamkeyd on lan0 of a namespace, and waits until it has its addresses there. more goes on with the settings;
// before stands before the program on its command line.
func (n *network) startSecure(ns *netlab.Namespace, binary string, point ipv6.LinkAddr, prefix netip.Prefix, more string, before ...string) (*secure, error) {
	dir, err := os.MkdirTemp(n.dir, "secure-")
	if err != nil {
		return nil, err
	}
	key, err := engine.GenerateKey(2048)
	if err != nil {
		return nil, err
	}
	if err := engine.SaveKey(filepath.Join(dir, "send.key"), key); err != nil {
		return nil, err
	}
	s := &secure{ns: ns, dir: dir, settings: settings + strings.Replace(secureSettings, "POINT", point.String(), 1) + more}
	o := rig.Options{Path: binary, Dir: dir, Bits: 1024, Settings: s.settings, Before: before}
	d, err := rig.Start(ns, o)
	if err != nil {
		return nil, err
	}
	s.daemon = &daemon{d}
	lan, err := ns.Link("lan0")
	if err == nil {
		s.access.Hardware = lan.Hardware
		_, err = d.Await(20*time.Second, "serving lan0 with addresses of its key", func(c control.Snapshot) bool {
			s.access.Addr, s.access.Local = ownCGA(c, prefix), ownCGA(c, linkLocal)
			return rig.Serves(c) && s.access.Addr.IsValid() && s.access.Local.IsValid()
		})
	}
	if err != nil {
		d.Kill()
		return nil, err
	}
	return s, nil
}

var linkLocal = netip.MustParsePrefix("fe80::/64")

// ownCGA is the address in a prefix that the daemon has made of its key, once nobody else was found to have it.
func ownCGA(c control.Snapshot, prefix netip.Prefix) netip.Addr {
	for _, l := range c.Links {
		if l.SEND == nil {
			continue
		}
		for _, a := range l.SEND.Addresses {
			if a.CGA && !a.Tentative && prefix.Contains(a.Addr) {
				return a.Addr
			}
		}
	}
	return netip.Addr{}
}

// introduce tells the daemon of other routers, which it takes up without a restart.
func (s *secure) introduce(others ...beside) error {
	for _, o := range others {
		path := filepath.Join(s.dir, o.name+".key")
		if err := os.WriteFile(path, hex.AppendEncode(nil, o.key), 0o600); err != nil {
			return err
		}
		s.settings += fmt.Sprintf(neighborSettings, o.name, o.addr, o.hardware, o.point, o.prefix, path)
	}
	if err := s.Configure(s.settings); err != nil {
		return err
	}
	if err := s.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	_, err := s.Await(5*time.Second, "taking other routers for neighbours", func(c control.Snapshot) bool {
		if c.Fast == nil || len(c.Fast.Neighbors) != len(others) {
			return false
		}
		for _, n := range c.Fast.Neighbors {
			if !n.Fast || n.Problem != "" {
				return false
			}
		}
		return true
	})
	return err
}

// askEvery is the time between two requests for a handover key: a router answers a hundred a second.
const askEvery = time.Second / 90

// grant gets handover keys for nodes: each asks again until it has one.
func (n *network) grant(all []*rig.SecureNode, limit time.Duration) error {
	byHome := make(map[netip.Addr]*rig.SecureNode, len(all))
	for _, m := range all {
		byHome[m.Home] = m
	}
	if err := n.nodes.Only(ipv6.ProtoICMPv6); err != nil {
		return err
	}
	defer n.nodes.All()
	buf := make([]byte, 2048)
	var p ipv6.Packet
	granted, next := 0, time.Now()
	for i, end := 0, time.Now().Add(limit); granted < len(all); {
		if time.Now().After(end) {
			return fmt.Errorf("%d of %d nodes got a handover key in %v", granted, len(all), limit)
		}
		if !time.Now().Before(next) {
			for all[i%len(all)].Key != nil {
				i++
			}
			m := all[i%len(all)]
			i++
			request, err := m.ProxySolicit(farPoint)
			if err != nil {
				return err
			}
			if err := n.nodes.Send(m.Hardware, m.Router.Hardware, request); err != nil {
				return err
			}
			next = time.Now().Add(askEvery)
		}
		if _, ok := n.nodes.Receive(buf, next, &p); !ok {
			continue
		}
		if m := byHome[p.Dst]; m != nil && m.Key == nil {
			ok, err := m.TakeKey(&p)
			if err != nil {
				return err
			}
			if ok {
				granted++
			}
		}
	}
	return nil
}

// secureNodes makes nodes with SEND on a router's link. first numbers them, so that none occurs twice in a run.
func secureNodes(first, count int, r rig.Router, keys ...*rig.KeyPairs) ([]*rig.SecureNode, error) {
	all := make([]*rig.SecureNode, count)
	for i := range all {
		var err error
		if all[i], err = rig.NewSecureNode(first+i, r, keys[i%len(keys)]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// operations is how many RSA operations the daemon has done.
func (s *secure) operations() (sum uint64) {
	c, err := s.Status()
	if err != nil {
		return 0
	}
	for _, name := range []string{"engine_signed", "engine_verified", "engine_encrypted", "engine_failed"} {
		sum += c.Counters["engine"][name]
	}
	return sum
}
