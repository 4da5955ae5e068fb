package mobilenode_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roamkey/roamkey/drivers/forward"
	tunnelfake "github.com/roamkey/roamkey/drivers/forward/fake"
	"github.com/roamkey/roamkey/drivers/rawip"
	"github.com/roamkey/roamkey/drivers/rawip/fake"
	"github.com/roamkey/roamkey/drivers/station"
	stationfake "github.com/roamkey/roamkey/drivers/station/fake"
	"github.com/roamkey/roamkey/firmware/mobilenode"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
)

var nodeHW = ipv6.LinkAddr{2, 0, 0, 0, 0, 9}

// host is a mobile node on fakes.
type host struct {
	conn    *fake.Conn
	station *stationfake.Station
	tunnel  *tunnelfake.Node
	segment *fake.Segment
	net     *network
	lines   chan mobilenode.Line
	control string
	stop    func() error
}

// lineWriter takes JSON lines apart.
type lineWriter chan mobilenode.Line

func (w lineWriter) Write(b []byte) (int, error) {
	var l mobilenode.Line
	if err := json.Unmarshal(b, &l); err != nil {
		return 0, err
	}
	select {
	case w <- l:
	default:
	}
	return len(b), nil
}

func newHost(t *testing.T, net *network, change func(*mobilenode.Config)) *host {
	t.Helper()
	h := &host{
		conn:    fake.New(rawip.Link{Index: 3, Name: "wlan0", Hardware: nodeHW}),
		station: stationfake.New(station.Link{Index: 3, Name: "wlan0", Hardware: nodeHW, MTU: 1500, LinkLocal: ipv6.LinkLocalFrom(nodeHW)}),
		tunnel:  &tunnelfake.Node{},
		net:     net, lines: make(chan mobilenode.Line, 256),
		control: filepath.Join(t.TempDir(), "mn.sock"),
	}
	h.conn.Routes = net.carry
	cfg := mobilenode.Config{Interface: "wlan0", Control: h.control, Events: lineWriter(h.lines), JSON: true}
	if change != nil {
		change(&cfg)
	}
	n, err := mobilenode.New(cfg, mobilenode.Parts{Conn: h.conn, Station: h.station, Tunnel: h.tunnel})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	h.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = h.stop() })
	return h
}

// plug puts the host on a router's link; its carrier goes and comes.
func (h *host) plug(r *accessRouter) {
	if h.segment != nil {
		h.segment.Leave(h.conn, 3)
		h.station.SetUp(false)
	}
	h.segment = r.segment
	r.segment.Join(h.conn, 3)
	h.net.attach(h.careOf(r), func(packet []byte) { h.conn.Arrive(3, ipv6.LinkAddr{}, packet) })
	h.station.SetUp(true)
}

func (h *host) careOf(r *accessRouter) netip.Addr { return ipv6.WithEUI64(r.Prefix.Addr(), nodeHW) }

func (h *host) await(t *testing.T, event string) mobilenode.Line {
	t.Helper()
	for limit := time.After(4 * time.Second); ; {
		select {
		case l := <-h.lines:
			if l.Event == event {
				return l
			}
			if l.Event == "error" {
				t.Fatalf("while waiting for %s: %s", event, l.Detail)
			}
		case <-limit:
			t.Fatalf("the node never told of %s", event)
		}
	}
}

// The whole way: attach, key, move, binding update, tunnel.
func TestANodeIsFollowedByItsTraffic(t *testing.T) {
	var internet network
	par, nar := newRouter(t, &internet, 1), newRouter(t, &internet, 2)
	h := newHost(t, &internet, nil)
	h.plug(par)
	par.Await(t, lke.EventAssociated)
	h.await(t, "lbsa-valid")
	if got, want := h.station.Addresses(), []netip.Addr{h.careOf(par)}; !slices.Equal(got, want) {
		t.Fatalf("addresses %v, want %v", got, want)
	}

	h.plug(nar)
	for _, event := range []string{"link-down", "link-up", "router-found", "address-ready", "binding-update", "tunnel-open", "bound", "finished"} {
		h.await(t, event)
	}
	want := lke.Binding{Home: h.careOf(par), Router: par.Address, CareOf: h.careOf(nar), Link: 1}
	if got := <-par.Bound(); got != want {
		t.Errorf("the old router bound %+v, want %+v", got, want)
	}
	ends := h.tunnel.Bindings()
	if len(ends) != 1 || ends[0] != (forward.Binding{Home: want.Home, Router: want.Router, CareOf: want.CareOf, Link: 3}) {
		t.Errorf("the node's ends of tunnels are %+v", ends)
	}
	if got, want := h.station.Addresses(), []netip.Addr{h.careOf(nar)}; !slices.Equal(got, want) {
		t.Errorf("addresses %v, want %v", got, want)
	}
	par.Await(t, lke.EventFinished)
	nar.Await(t, lke.EventAssociated) // and it is ready for the next move

	status, err := mobilenode.Request(t.Context(), h.control, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, k := range status.Keys {
		states = append(states, k.State)
	}
	if !status.KeyExchange || status.CareOf != h.careOf(nar) || len(states) != 2 || states[0] != "bound" {
		t.Errorf("status %+v", status)
	}
	if text := status.String(); strings.Count(text, "key with") != 2 || longest(text) > 80 {
		t.Errorf("status text:\n%s", text)
	}

	if err := h.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if !h.station.Closed() {
		t.Error("the interface was not put back")
	}
	if _, err := os.Stat(h.control); err == nil {
		t.Error("the control socket is still there")
	}
}

func longest(text string) int {
	n := 0
	for line := range strings.Lines(text) {
		n = max(n, len(strings.TrimRight(line, "\n")))
	}
	return n
}

// A radio that roams without losing its carrier has to be told of.
func TestAMoveThatTheLinkDoesNotShow(t *testing.T) {
	var internet network
	par, nar := newRouter(t, &internet, 1), newRouter(t, &internet, 2)
	h := newHost(t, &internet, nil)
	h.plug(par)
	h.await(t, "lbsa-valid")
	h.segment.Leave(h.conn, 3)
	nar.segment.Join(h.conn, 3)
	internet.attach(h.careOf(nar), func(packet []byte) { h.conn.Arrive(3, ipv6.LinkAddr{}, packet) })

	var told []string
	status, err := mobilenode.Request(t.Context(), h.control, true, func(l mobilenode.Line) { told = append(told, l.Event) })
	if err != nil {
		t.Fatal(err)
	}
	if status.CareOf != h.careOf(nar) || !slices.Contains(told, "bound") || !slices.Contains(told, "router-found") {
		t.Errorf("told %v, status %+v", told, status)
	}
	if len(h.tunnel.Bindings()) != 1 {
		t.Error("no tunnel")
	}
}

// With Plain no router counts as one that speaks LKE (LKE-MN-1): the node has its address and nothing follows it.
func TestAPlainNodeAgreesOnNoKey(t *testing.T) {
	var internet network
	par := newRouter(t, &internet, 1)
	h := newHost(t, &internet, func(c *mobilenode.Config) { c.Plain = true })
	h.plug(par)
	if l := h.await(t, "router-found"); !strings.Contains(l.Detail, "does not speak LKE") {
		t.Errorf("router found: %s", l.Detail)
	}
	h.await(t, "address-ready")
	status, err := mobilenode.Request(t.Context(), h.control, false, nil)
	if err != nil || status.KeyExchange || len(status.Keys) != 0 || !status.Usable {
		t.Errorf("%v, status %+v", err, status)
	}
	select {
	case e := <-par.Events():
		t.Errorf("the router was asked: %v", e.Kind)
	default:
	}
}

func TestOneNodeAnInterface(t *testing.T) {
	var internet network
	h := newHost(t, &internet, nil)
	_, err := mobilenode.New(mobilenode.Config{Interface: "wlan0", Control: h.control}, mobilenode.Parts{
		Conn: fake.New(), Station: stationfake.New(station.Link{Index: 3, Name: "wlan0", Hardware: nodeHW}), Tunnel: &tunnelfake.Node{},
	})
	if err == nil || !strings.Contains(err.Error(), "stop it first") {
		t.Errorf("a second node: %v", err)
	}
}

// What is left of a killed node's socket does not keep the next one away.
func TestAStaleSocketIsReplaced(t *testing.T) {
	var internet network
	path := filepath.Join(t.TempDir(), "mn.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	h := newHost(t, &internet, func(c *mobilenode.Config) { c.Control = path })
	if _, err := mobilenode.Request(t.Context(), path, false, nil); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v; want mode 0600", info, err)
	}
	_ = h
}

func TestSettingsThatMakeNoSense(t *testing.T) {
	home, agent := netip.MustParseAddr("2001:db8:40::9"), netip.MustParseAddr("2001:db8:40::1")
	for name, c := range map[string]mobilenode.Config{
		"no interface":    {},
		"agent alone":     {Interface: "wlan0", HomeAgent: agent},
		"home alone":      {Interface: "wlan0", HomeAddress: home},
		"link-local home": {Interface: "wlan0", HomeAgent: agent, HomeAddress: netip.MustParseAddr("fe80::1")},
		"short lifetime":  {Interface: "wlan0", Lifetime: time.Second},
		"short key":       {Interface: "wlan0", MinBits: 512},
		"long key":        {Interface: "wlan0", MinBits: 8192},
	} {
		c.Control = filepath.Join(t.TempDir(), "mn.sock")
		_, err := mobilenode.New(c, mobilenode.Parts{
			Conn: fake.New(), Station: stationfake.New(station.Link{Index: 3, Hardware: nodeHW}), Tunnel: &tunnelfake.Node{},
		})
		if err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// Lines for people fit a console of 80 columns, with the longest addresses there are.
func TestLinesFitTheConsole(t *testing.T) {
	long := netip.MustParseAddr("2001:db8:1111:2222:3333:4444:5555:6666")
	l := mobilenode.Line{
		Time: time.Now(), Event: "address-duplicate", Home: long, CareOf: netip.MustParseAddr("2001:db8::1"), Router: long,
		Detail: "another node has the care-of address",
	}
	if text := l.String(); longest(text) > 80 || !strings.Contains(text, l.Detail) {
		t.Errorf("%d columns:\n%s", longest(text), text)
	}
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(mobilenode.Line{Event: "link-up"}); err != nil || strings.Contains(b.String(), "home") {
		t.Errorf("an absent address is written: %s", b.String())
	}
}

// An optimistic address that turns out to be another node's is given up (RFC 4429 section 3.3), with what was agreed on for it.
func TestADuplicateIsGivenUp(t *testing.T) {
	var internet network
	par := newRouter(t, &internet, 1)
	h := newHost(t, &internet, nil)
	h.plug(par)
	h.await(t, "lbsa-valid")
	h.station.FindDuplicate(h.careOf(par))
	if l := h.await(t, "address-duplicate"); l.Home != h.careOf(par) {
		t.Errorf("the duplicate is %v", l.Home)
	}
	h.await(t, "lbsa-lost")
	status, err := mobilenode.Request(t.Context(), h.control, false, nil)
	if err != nil || status.Usable || len(status.Keys) != 0 {
		t.Errorf("%v, status %+v", err, status)
	}
}
