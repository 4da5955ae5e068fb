package daemon

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	enginefake "github.com/roamkey/roamkey/drivers/engine/fake"
	"github.com/roamkey/roamkey/drivers/forward"
	forwardfake "github.com/roamkey/roamkey/drivers/forward/fake"
	"github.com/roamkey/roamkey/drivers/hostnet"
	hostfake "github.com/roamkey/roamkey/drivers/hostnet/fake"
	"github.com/roamkey/roamkey/drivers/rawip"
	rawfake "github.com/roamkey/roamkey/drivers/rawip/fake"
	"github.com/roamkey/roamkey/firmware/config"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/firmware/journal"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

const (
	lanIndex  = 7
	nodeIndex = 3
)

var (
	routerHW = ipv6.LinkAddr{2, 0, 0, 0, 0, 1}
	nodeHW   = ipv6.LinkAddr{2, 0, 0, 0, 0, 9}
	router   = netip.MustParseAddr("2001:db8:1::1")
	careOf   = netip.MustParseAddr("2001:db8:2::9")
)

// bench is a daemon over fakes, with a mobile node on its one link.
type bench struct {
	t       *testing.T
	dir     string
	d       *Daemon
	host    *hostfake.Host
	socket  *rawfake.Conn
	forward *forwardfake.Forwarder
	engine  *enginefake.Engine
	log     *strings.Builder

	text    string // the settings; empty: those below
	prepare func() // what else a daemon gets before it begins; nil: nothing

	segment rawfake.Segment
	end     context.CancelFunc
	ended   chan error

	station *station
}

const settings = `
config roamkey 'global'
	option state_dir 'DIR/state'
	option control 'DIR/control'
	option lke_key 'DIR/lke.key'

config link 'lan'
	option device 'br-lan'
	option ra_max_interval '0.07'
	option ra_min_interval '0.03'
	option ra_min_delay '0.03'

config lke 'lke'
	option retrans_timer '0.1'
	option request_interval '1'
`

func lan(addrs ...string) hostnet.Link {
	l := hostnet.Link{Index: lanIndex, Name: "br-lan", Hardware: routerHW, MTU: 1500, Up: true}
	for _, a := range append([]string{"fe80::ff:fe00:1/64"}, addrs...) {
		p := netip.MustParsePrefix(a)
		l.Addresses = append(l.Addresses, hostnet.Address{Addr: p.Addr(), Prefix: p.Masked(), Valid: hostnet.Forever, Preferred: hostnet.Forever})
	}
	return l
}

func testKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	text, err := os.ReadFile("../../testdata/vectors-key1024.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*rsa.PrivateKey)
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, dir: t.TempDir(), host: new(hostfake.Host), forward: new(forwardfake.Forwarder)}
	b.host.SetLinks(lan("2001:db8:1::1/64"))
	b.start()
	t.Cleanup(func() { b.kill() })
	return b
}

// start starts a daemon on what the last one left in the state directory and in the forwarder.
func (b *bench) start() {
	b.t.Helper()
	text := b.text
	if text == "" {
		text = settings
	}
	c, problems := config.Parse("test.conf", strings.ReplaceAll(text, "DIR", b.dir))
	if len(problems) > 0 {
		b.t.Fatal(problems)
	}
	b.log = new(strings.Builder)
	logger := slog.New(slog.NewTextHandler(&lockedWriter{w: b.log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	b.d = newDaemon(Options{Config: c, ConfigPath: filepath.Join(b.dir, "config"), Log: logger, Version: "test", Etc: filepath.Join(b.dir, "etc")})
	b.socket = rawfake.New()
	b.engine = enginefake.New()
	b.d.host, b.d.socket, b.d.forward, b.d.engine = b.host, b.socket, b.forward, b.engine
	if err := os.MkdirAll(c.Global.StateDir, 0o700); err != nil {
		b.t.Fatal(err)
	}
	if err := b.d.listen(); err != nil {
		b.t.Fatal(err)
	}
	if b.prepare != nil {
		b.prepare()
	}
	if err := b.d.begin(&testKey(b.t).PublicKey); err != nil {
		b.t.Fatal(err)
	}
	b.segment.Join(b.socket, lanIndex)
	ctx, cancel := context.WithCancel(context.Background())
	b.end, b.ended = cancel, make(chan error, 1)
	go func() { b.ended <- b.d.loop(ctx) }()
	go b.d.control.Serve(ctx)
}

// kill ends the loop as kill -9 does: nothing is closed in order.
func (b *bench) kill() {
	b.end()
	<-b.ended
	b.d.control.Close()
	b.segment.Leave(b.socket, lanIndex)
}

// await polls the daemon's own loop until ok holds.
func (b *bench) await(what string, ok func(s control.Snapshot) bool) control.Snapshot {
	b.t.Helper()
	var s control.Snapshot
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		err := b.d.ask(ctx, func() { s = b.d.snapshot() })
		cancel()
		if err != nil {
			b.t.Fatal(err)
		}
		if ok(s) {
			return s
		}
	}
	b.t.Fatalf("waited in vain for: %s\nLBSAs %+v\ncounters %v\nlog:\n%s", what, s.LBSAs, s.Counters["lke"], b.log)
	return s
}

// station is a mobile node on the segment: the node's core and real RSA.
type station struct {
	b      *bench
	conn   *rawfake.Conn
	node   *lke.Node
	coa    netip.Addr
	done   chan struct{}
	inputs chan lke.Input
	wg     sync.WaitGroup
}

func (b *bench) attach() *station {
	conn := rawfake.New(rawip.Link{Index: nodeIndex, Name: "wlan0", Hardware: nodeHW})
	b.segment.Join(conn, nodeIndex)
	s := &station{b: b, conn: conn, done: make(chan struct{}), inputs: make(chan lke.Input, 64)}
	s.node = lke.NewNode(lke.NodeConfig{
		Link: nodeIndex, Hardware: nodeHW, LinkLocal: ipv6.LinkLocalFrom(nodeHW), Lifetime: time.Hour, MinBits: 1024,
		CodePoints: mobility.DefaultCodePoints(), NDCodePoints: ndp.DefaultCodePoints(), Rand: rand.Reader,
	})
	s.inputs <- lke.Input{Kind: lke.InAttached}
	s.wg.Go(s.run)
	b.station = s
	b.t.Cleanup(s.stop)
	return s
}

func (s *station) stop() {
	select {
	case <-s.done:
	default:
		close(s.done)
	}
	s.wg.Wait()
}

func (s *station) run() {
	for {
		var timer <-chan time.Time
		if at := s.node.Deadline(); !at.IsZero() {
			timer = time.After(time.Until(at))
		}
		select {
		case in := <-s.inputs:
			s.step(in)
		case r := <-s.conn.Packets():
			s.step(lke.Input{Kind: lke.InPacket, Packet: &r.Packet})
			r.Release()
		case r := <-s.conn.Urgent():
			s.step(lke.Input{Kind: lke.InPacket, Packet: &r.Packet})
			r.Release()
		case <-timer:
			s.step(lke.Input{Kind: lke.InTick})
		case <-s.done:
			return
		}
	}
}

func (s *station) step(in lke.Input) {
	for _, e := range s.node.Step(time.Now(), in) {
		switch e.Kind {
		case lke.EffectSend:
			if e.Link != 0 {
				s.conn.SendLink(e.Link, e.LinkDst, e.Packet)
			} else {
				s.b.socket.Arrive(99, ipv6.LinkAddr{}, e.Packet) // by an uplink of the router
			}
		case lke.EffectEncrypt:
			key, _, err := ndp.ParseSPKI(e.PublicKey)
			if err != nil {
				s.b.t.Error(err)
			}
			_ = key
			c := append([]byte(nil), e.Key[:]...)
			c = append(c, make([]byte, len(key.Modulus)-len(c))...)
			s.inputs <- lke.Input{Kind: lke.InCiphertext, Job: e.Job, Octets: c} // as the fake decrypter reads it
		case lke.EffectConfigure:
			s.coa = e.Home
			s.inputs <- lke.Input{Kind: lke.InAddress, Home: e.Home}
		}
	}
}

// decrypt completes queued RSA jobs until the daemon says that ok.
func (b *bench) decrypt() {
	for range 2000 {
		if b.engine.Complete(enginefake.Operations{}) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	b.t.Fatalf("no RSA job came; log:\n%s", b.log)
}

func valid(s control.Snapshot) bool { return s.LBSAs.Valid == 1 }

// associate lets a node attach and waits for its association.
func (b *bench) associate() {
	b.t.Helper()
	b.attach()
	b.decrypt()
	b.await("a valid association", valid)
}

// update is a Binding Update of the node's from its new link, made by hand so that tests can vary it.
func (b *bench) update(seq, lifetime uint16) []byte {
	b.t.Helper()
	home := b.home()
	var key [lke.KeyLen]byte
	b.ask(func() {
		_, entries, _, err := journalOf(b.d)
		if err != nil {
			b.t.Error(err)
		}
		for _, e := range entries {
			if r, err := parseRecord(e.Value); e.Kind == kindLKE && err == nil {
				key = r.Key
			}
		}
	})
	mh := mobility.BindingUpdate{Seq: seq, Flags: mobility.FlagAck | mobility.FlagHome, Lifetime: lifetime, HasAuth: true}.Append(nil)
	if err := mobility.SignBAD(mh, key[:], careOf, router); err != nil {
		b.t.Fatal(err)
	}
	mobility.FixChecksum(mh, home, router)
	return ipv6.Append(nil, ipv6.Header{Src: careOf, Dst: router, HopLimit: 64, HomeAddress: home}, ipv6.ProtoMobility, mh)
}

func (b *bench) home() (home netip.Addr) {
	b.ask(func() {
		b.d.router.Associations(func(a lke.Association) bool { home = a.Home; return false })
	})
	return home
}

func (b *bench) ask(f func()) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := b.d.ask(ctx, f); err != nil {
		b.t.Fatal(err)
	}
}

type lockedWriter struct {
	mu sync.Mutex
	w  *strings.Builder
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func TestFromKeyRequestToForwarding(t *testing.T) {
	b := newBench(t)
	b.associate()
	if !b.socket.Watches(lanIndex, b.home()) {
		t.Error("solicitations for the node's address are not watched")
	}
	b.socket.Arrive(99, ipv6.LinkAddr{}, b.update(1, 100))
	s := b.await("a binding", func(s control.Snapshot) bool { return s.LBSAs.Bound == 1 })
	want := forward.Binding{Home: b.home(), Router: router, CareOf: careOf, Link: lanIndex}
	if got, ok := b.forward.Bound(b.home()); !ok || got != want {
		t.Fatalf("forwarding %+v, want %+v", got, want)
	}
	if len(s.Handovers) != 1 || s.Handovers[0].RouterUS <= 0 || s.Handovers[0].CareOf != careOf {
		t.Fatalf("handovers: %+v", s.Handovers)
	}
}

// With the kernel's tunnels a crash loses nothing: the next process has the association, its sequence number, the binding.
func TestCrashLosesNothing(t *testing.T) {
	b := newBench(t)
	b.associate()
	b.socket.Arrive(99, ipv6.LinkAddr{}, b.update(5, 1000))
	b.await("a binding", func(s control.Snapshot) bool { return s.LBSAs.Bound == 1 })
	replayed := b.update(5, 1000)
	home := b.home()
	b.kill()
	b.forward.Left = b.forward.Bindings()
	b.start()
	s := b.await("the binding after the restart", func(s control.Snapshot) bool { return s.LBSAs.Bound == 1 })
	if s.Restart == nil || s.Restart.LBSAs != 1 || s.Restart.Bindings != 1 || s.Restart.Pause != 0 {
		t.Fatalf("restart: %+v", s.Restart)
	}
	if got, ok := b.forward.Bound(home); !ok || got.CareOf != careOf {
		t.Fatalf("forwarding after the restart: %+v", got)
	}
	b.socket.Arrive(99, ipv6.LinkAddr{}, replayed) // LKE-resolution-t
	b.await("the replay's refusal", func(s control.Snapshot) bool { return len(s.Handovers) == 0 && refused(s) })
	b.socket.Arrive(99, ipv6.LinkAddr{}, b.update(6, 0))
	b.await("the deregistration", valid)
	if _, ok := b.forward.Bound(home); ok {
		t.Fatal("forwarded after the deregistration")
	}
}

func refused(s control.Snapshot) bool {
	for name, n := range s.Counters["lke"] {
		if strings.Contains(name, "sequence") && n > 0 {
			return true
		}
	}
	return false
}

// What forwards without a record to back it is removed at the next start.
func TestTunnelWithoutRecordIsRemoved(t *testing.T) {
	b := newBench(t)
	b.kill()
	stray := forward.Binding{Home: netip.MustParseAddr("2001:db8:1::dead"), Router: router, CareOf: careOf}
	b.forward.Left = []forward.Binding{stray}
	b.start()
	b.await("the daemon", func(control.Snapshot) bool { return true })
	if got := b.forward.Bindings(); len(got) != 0 {
		t.Fatalf("still forwarding %v", got)
	}
}

func TestFailedForwardingIsToldToTheNode(t *testing.T) {
	b := newBench(t)
	b.associate()
	b.forward.Fail = func(forward.Binding) error { return errors.New("no memory") }
	update := b.update(1, 100)
	b.socket.Arrive(99, ipv6.LinkAddr{}, update)
	for {
		select {
		case sent := <-b.socket.Sent():
			var p ipv6.Packet
			if sent.Link != 0 || ipv6.Parse(sent.Packet, &p) != ipv6.OK || p.Proto != ipv6.ProtoMobility {
				continue
			}
			h, err := mobility.ParseHeader(p.Payload)
			if err != nil {
				t.Fatal(err)
			}
			ack, err := mobility.ParseBindingAck(h, mobility.DefaultCodePoints())
			if err != nil || ack.Status != mobility.StatusResources {
				t.Fatalf("acknowledgement %+v, %v", ack, err)
			}
			return
		case <-time.After(5 * time.Second):
			t.Fatal("no acknowledgement")
		}
	}
}

// A reply leaves only after its record is written.
func TestNothingIsAnsweredWithoutAJournal(t *testing.T) {
	b := newBench(t)
	b.associate()
	update := b.update(1, 100)
	b.ask(func() { b.d.journal.Close() })
	b.socket.Arrive(99, ipv6.LinkAddr{}, update)
	b.await("the failed write", func(s control.Snapshot) bool { return s.Counters["daemon"]["steps_unsaved"] > 0 })
	if got := b.forward.Bindings(); len(got) != 0 {
		t.Fatalf("forwarding %v though nothing was written", got)
	}
}

func TestReloadKeepsBindings(t *testing.T) {
	b := newBench(t)
	b.associate()
	b.socket.Arrive(99, ipv6.LinkAddr{}, b.update(1, 1000))
	b.await("a binding", func(s control.Snapshot) bool { return s.LBSAs.Bound == 1 })
	c, problems := config.Parse("test.conf", strings.ReplaceAll(settings, "DIR", b.dir)+"\toption max_lifetime '3600'\n")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	b.ask(func() { b.d.reload(c) })
	if s := b.await("the binding", func(s control.Snapshot) bool { return s.LBSAs.Bound == 1 }); !s.Links[0].Served {
		t.Fatalf("link after the reload: %+v", s.Links[0])
	}
	if _, ok := b.forward.Bound(b.home()); !ok {
		t.Fatal("not forwarded after the reload")
	}
}

func TestLinkThatComesAndGoes(t *testing.T) {
	b := newBench(t)
	b.associate()
	b.host.SetLinks()
	s := b.await("the link to be gone", func(s control.Snapshot) bool { return !s.Links[0].Served })
	if !strings.Contains(s.Links[0].Waiting, "no interface br-lan") || s.LBSAs.Total != 1 {
		t.Fatalf("%+v, %d associations", s.Links[0], s.LBSAs.Total)
	}
	again := lan("2001:db8:1::1/64")
	again.Index++ // a new interface of that name
	b.host.SetLinks(again)
	b.await("the link to be back", func(s control.Snapshot) bool { return s.Links[0].Served && s.LBSAs.Valid == 1 })
}

// LKE-resolution-w: where DAD is hidden nobody gets a key, unless the operator says so.
func TestHiddenDADRefusesKeys(t *testing.T) {
	b := newBench(t)
	b.host.SetFindings("br-lan", hostnet.Finding{Link: "br-lan", Port: "wlan0", File: "/sys/class/net/wlan0/brport/isolated", Value: "1", Text: "port wlan0 is isolated", Fix: "set isolate '0'"})
	b.ask(b.d.relink)
	s := b.await("the finding", func(s control.Snapshot) bool { return s.Links[0].Refused != "" })
	if len(s.Findings) == 0 || !strings.Contains(s.Findings[0].What, "isolated") || s.Healthy() {
		t.Fatalf("findings %+v", s.Findings)
	}
	b.attach()
	deadline := time.Now().Add(300 * time.Millisecond)
	for time.Now().Before(deadline) {
		if len(b.engine.Jobs()) > 0 {
			t.Fatal("a key request reached RSA on a link that hides DAD")
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.ask(func() { b.d.links[0].config.AllowHiddenDAD = true; b.d.relink() })
	b.await("the override", func(s control.Snapshot) bool { return s.Links[0].Refused == "" })
}

// Client isolation of an access point shows up nowhere in the kernel (LKE-resolution-w).
func TestClientIsolationRefusesKeys(t *testing.T) {
	b := newBench(t)
	dir := filepath.Join(b.dir, "etc", "hostapd")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "wlan0.conf"), []byte("interface=wlan0\nbridge=br-lan\nap_isolate=1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.ask(func() { b.d.accessPoints = nil; b.d.relink() })
	s := b.await("the refusal", func(s control.Snapshot) bool { return s.Links[0].Refused != "" })
	if len(s.Findings) != 1 || !strings.Contains(s.Findings[0].What, "ap_isolate") || !strings.Contains(s.Findings[0].What, "wlan0.conf:3") {
		t.Fatalf("findings %+v", s.Findings)
	}
}

// Settings that cannot be read are no licence (LKE-resolution-w): status says so.
func TestUnreadableAccessPointIsReported(t *testing.T) {
	b := newBench(t)
	// A directory in the file's place cannot be read by root either.
	if err := os.MkdirAll(filepath.Join(b.dir, "etc", "config", "wireless"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.ask(func() { b.d.accessPoints = nil; b.d.relink() })
	s := b.await("the finding", func(s control.Snapshot) bool { return len(s.Findings) == 1 })
	if f := s.Findings[0]; f.Level != control.Warning || !strings.Contains(f.What, "wireless") || s.Healthy() {
		t.Fatalf("finding %+v", f)
	}
}

// What the kernel knows of an address keeps strangers from a key for it, before RSA.
func TestKernelsWordBeforeRSA(t *testing.T) {
	home := ipv6.WithEUI64(router, nodeHW)
	for _, c := range []struct {
		requirement, counter string
		set                  func(h *hostfake.Host)
	}{
		{"LKE-AR-10", "request_has_ipsec", func(h *hostfake.Host) { h.SetSA(home, true) }},
		{"LKE-resolution-r", "request_neighbour_mismatch", func(h *hostfake.Host) { h.SetNeighbour(lanIndex, home, ipv6.LinkAddr{2, 9, 9, 9, 9, 9}) }},
	} {
		t.Run(c.requirement, func(t *testing.T) {
			b := newBench(t)
			c.set(b.host)
			b.attach()
			s := b.await("the refusal", func(s control.Snapshot) bool { return s.Counters["lke"][c.counter] > 0 })
			if n := len(b.engine.Jobs()); n != 0 || s.LBSAs.Total != 0 {
				t.Errorf("%d RSA jobs, %d associations", n, s.LBSAs.Total)
			}
		})
	}
}

// LKE-AR-3, LKE-AR-8: no key lives longer than the advertisements of its link say.
func TestKeysEndWithTheLinksLifetime(t *testing.T) {
	b := newBench(t)
	b.associate()
	b.ask(func() {
		b.d.links[0].config.KeyLifetime = 100 * time.Second
		b.d.linked = false
		b.d.relink()
	})
	b.station.stop()
	b.ask(func() { b.d.router = lke.NewRouter(b.d.routerConfig()) }) // the node begins anew
	b.attach()
	b.decrypt()
	s := b.await("an association", valid)
	if rest := time.Duration(s.LBSAs.List[0].Expires); rest > 100*time.Second || rest < 50*time.Second {
		t.Fatalf("it lives %v more, the link says 100 s", rest)
	}
}

func TestNoKeyInLogOrStatus(t *testing.T) {
	b := newBench(t)
	b.associate()
	b.update(1, 100)
	var record lke.Record
	b.ask(func() {
		_, entries, _, _ := journalOf(b.d)
		record, _ = parseRecord(entries[len(entries)-1].Value)
	})
	s := b.await("status", func(control.Snapshot) bool { return true })
	var text strings.Builder
	if err := s.WriteText(&text, true); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{string(record.Key[:]), hexOf(record.Key[:])} {
		if strings.Contains(text.String(), key) || strings.Contains(b.log.String(), key) {
			t.Fatal("a key stands in the status or the log")
		}
	}
}

// journalOf reads the journal as the next process would.
func journalOf(d *Daemon) (*journal.Journal, []journal.Entry, int64, error) {
	boot, err := bootID()
	if err != nil {
		return nil, nil, 0, err
	}
	j, entries, dropped, err := journal.Open(d.config.Global.StateDir, boot)
	if err == nil {
		j.Close()
	}
	return j, entries, dropped, err
}

func hexOf(b []byte) string { return fmt.Sprintf("%x", b) }
