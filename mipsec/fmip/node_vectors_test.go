package fmip_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/fmip"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// oneKey is a handover key for one router and one home address alone.
type oneKey struct {
	router, home netip.Addr
	key          []byte
}

func (k oneKey) HandoverKey(router, home netip.Addr) ([]byte, mobility.FastMAC, bool) {
	return k.key, mobility.HMACSHA1, router == k.router && home == k.home
}

// The node's Fast Binding Update has the octets that were computed apart from this project. The vector's home and new
// addresses are no CGAs: the first is the home address of a node with a home agent, the second is given by the router.
func TestNodeUpdateVector(t *testing.T) {
	raw, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		V struct {
			PCoA, NCoA, PAR netip.Addr
			Key             string `json:"handover_key"`
			Seq             uint16
			Header          string `json:"mobility_header"`
		} `json:"fbu_predictive"`
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	v := all.V
	key, _ := hex.DecodeString(v.Key)
	want, _ := hex.DecodeString(v.Header)
	before := v.Seq - 1
	seqs := bytes.NewReader([]byte{byte(before >> 8), byte(before), 0, 1})
	n := fmip.NewNode(fmip.NodeConfig{
		Link: walkLink, Params: walkParams, Keys: oneKey{v.PAR, v.PCoA, key}, Rand: seqs,
		HomeAgent: netip.MustParseAddr("2001:db8:9::1"), HomeAddress: v.PCoA, Lifetime: 60 * time.Second,
	}) // no link-layer address: the vector's update has no option for one
	par, nar := newCell(1), newCell(2)
	par.address, nar.address = v.PAR, netip.MustParseAddr("2001:db8:3:4::1")
	hear := func(packet []byte) []fmip.NodeEffect {
		p := &ipv6.Packet{}
		if ipv6.Parse(packet, p) != ipv6.OK {
			t.Fatal("no packet")
		}
		p.Interface, p.LinkSource = walkLink, par.hw
		return n.Step(walkStart, fmip.NodeInput{Kind: fmip.InNodePacket, Packet: p, Secured: true})
	}
	n.Step(walkStart, fmip.NodeInput{Kind: fmip.InAttached})
	hear(advertPacket(par, ipv6.AllNodes(), 1800))
	n.Step(walkStart, fmip.NodeInput{Kind: fmip.InAddress, Addr: v.PCoA})
	trigger := ndp.ProxyAdvert{Code: ndp.ProxyTrigger}
	trigger.Tuples.Add(ndp.ProxyTuple{
		Code: ndp.PointNew, Point: nar.point, RouterLink: nar.hw, Router: nar.address, RouterBits: 64, CareOf: v.NCoA,
	})
	icmp := trigger.Append(nil, par.local, v.PCoA)
	for _, e := range hear(ipv6.Append(nil, ipv6.Header{Src: par.local, Dst: v.PCoA, HopLimit: 255}, ipv6.ProtoICMPv6, icmp)) {
		if e.Kind != fmip.EffectNodeSend || e.Link == 0 {
			continue
		}
		var p ipv6.Packet
		if ipv6.Parse(e.Packet, &p) != ipv6.OK {
			t.Fatal("no packet")
		}
		if !bytes.Equal(p.Payload, want) {
			t.Errorf("got  %x\nwant %x", p.Payload, want)
		}
		// HK-MN-7: the previous address is in the Home Address option, also where it is the source.
		if p.Src != v.PCoA || p.HomeAddress != v.PCoA || p.Dst != v.PAR {
			t.Errorf("from %v to %v with home address %v", p.Src, p.Dst, p.HomeAddress)
		}
		return
	}
	t.Error("no update")
}
