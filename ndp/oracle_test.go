package ndp_test

import (
	"net"
	"net/netip"
	"reflect"
	"testing"
	"time"

	oracle "github.com/mdlayher/ndp"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// marshal builds a message with the other implementation.
func marshal(t *testing.T, m oracle.Message, src, dst netip.Addr) *ipv6.Packet {
	t.Helper()
	b, err := oracle.MarshalMessageChecksum(m, src, dst)
	if err != nil {
		t.Fatal(err)
	}
	return received(t, src, dst, b)
}

// What mdlayher/ndp builds is read here.
func TestOracleBuilds(t *testing.T) {
	source := &oracle.LinkLayerAddress{Direction: oracle.Source, Addr: net.HardwareAddr(hw[:])}
	target := &oracle.LinkLayerAddress{Direction: oracle.Target, Addr: net.HardwareAddr(hw[:])}

	ns, reason := ndp.ParseNeighborSolicit(marshal(t,
		&oracle.NeighborSolicitation{TargetAddress: node, Options: []oracle.Option{source, oracle.NewNonce()}}, linkLocal, group))
	if reason != ndp.ReasonNone || ns.Target != node || ns.SourceLink != hw || len(ns.Nonce) < 6 {
		t.Errorf("neighbour solicitation: %+v, %v", ns, reason)
	}
	na, reason := ndp.ParseNeighborAdvert(marshal(t, &oracle.NeighborAdvertisement{
		Router: true, Override: true, TargetAddress: node, Options: []oracle.Option{target},
	}, node, ipv6.AllNodes()))
	if reason != ndp.ReasonNone || !na.Router || na.Solicited || !na.Override || na.Target != node || na.TargetLink != hw {
		t.Errorf("neighbour advertisement: %+v, %v", na, reason)
	}
	rs, reason := ndp.ParseRouterSolicit(marshal(t, &oracle.RouterSolicitation{Options: []oracle.Option{source}}, linkLocal, ipv6.AllRouters()))
	if reason != ndp.ReasonNone || rs.SourceLink != hw {
		t.Errorf("router solicitation: %+v, %v", rs, reason)
	}
	ra, reason := ndp.ParseRouterAdvert(marshal(t, &oracle.RouterAdvertisement{
		CurrentHopLimit: 64, ManagedConfiguration: true, OtherConfiguration: true, MobileIPv6HomeAgent: true,
		RouterLifetime: 1800 * time.Second, ReachableTime: 30 * time.Second, RetransmitTimer: time.Second,
		Options: []oracle.Option{
			source, oracle.NewMTU(1400), &oracle.RecursiveDNSServer{Lifetime: time.Hour, Servers: []netip.Addr{router}},
			&oracle.PrefixInformation{
				PrefixLength: 64, OnLink: true, AutonomousAddressConfiguration: true,
				ValidLifetime: time.Hour, PreferredLifetime: time.Minute, Prefix: netip.MustParseAddr("2001:db8:1::"),
			},
		},
	}, linkLocal, ipv6.AllNodes()))
	if reason != ndp.ReasonNone {
		t.Fatal(reason)
	}
	prefixes := ra.Prefixes()
	ra.Options = ndp.Options{}
	if want := (ndp.RouterAdvert{
		HopLimit: 64, Managed: true, Other: true, HomeAgent: true, Lifetime: 1800, Reachable: 30000, Retrans: 1000,
		SourceLink: hw, MTU: 1400,
	}); !reflect.DeepEqual(ra, want) {
		t.Errorf("router advertisement: %+v", ra)
	}
	p, _ := prefixes.Next()
	if want := (ndp.Prefix{
		Prefix: netip.MustParsePrefix("2001:db8:1::/64"), Address: netip.MustParseAddr("2001:db8:1::"),
		OnLink: true, Autonomous: true, Valid: 3600, Preferred: 60,
	}); p != want {
		t.Errorf("prefix: %+v", p)
	}
}

// What is built here mdlayher/ndp reads, and builds again the same, checksum included.
func TestOracleReads(t *testing.T) {
	nonce := ndp.NonceOption([]byte{1, 2, 3, 4, 5, 6})
	for _, tt := range []struct {
		name     string
		msg      []byte
		src, dst netip.Addr
	}{
		{"neighbour solicitation", ndp.AppendNeighborSolicit(nil, linkLocal, group, node, ndp.SourceLinkOption(hw), nonce), linkLocal, group},
		{"DAD", ndp.AppendNeighborSolicit(nil, none, group, node), none, group},
		{"neighbour advertisement", ndp.AppendNeighborAdvert(nil, node, linkLocal, ndp.FlagRouter|ndp.FlagSolicited, node, ndp.TargetLinkOption(hw)), node, linkLocal},
		{"router solicitation", ndp.AppendRouterSolicit(nil, linkLocal, ipv6.AllRouters(), ndp.SourceLinkOption(hw)), linkLocal, ipv6.AllRouters()},
	} {
		m, err := oracle.ParseMessage(tt.msg)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		same(t, tt.msg, marshal(t, m, tt.src, tt.dst).Payload)
	}
	m, err := oracle.ParseMessage(ndp.AppendNeighborAdvert(nil, node, linkLocal, ndp.FlagSolicited|ndp.FlagOverride, node))
	na, ok := m.(*oracle.NeighborAdvertisement)
	if err != nil || !ok || na.Router || !na.Solicited || !na.Override || na.TargetAddress != node {
		t.Errorf("flags: %+v, %v", m, err)
	}
}
