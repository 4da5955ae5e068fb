package daemon

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/drivers/frames"
	"github.com/roamkey/roamkey/firmware/config"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
	"github.com/roamkey/roamkey/ndp/send"
)

const redirectSettings = `
config roamkey 'global'
	option state_dir 'DIR/state'
	option control 'DIR/control'
	option lke_key 'DIR/lke.key'

config link 'lan'
	option device 'br-lan'
	option send 'mixed'
	option lke '0'
	option retrans_timer '0.1'

config send 'send'
	option key 'DIR/send.key'
	option sec '0'
	option min_bits '1024'
`

func makeKeys(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		key, err := engine.GenerateKey(1024)
		if err != nil {
			t.Fatal(err)
		}
		if err := engine.SaveKey(filepath.Join(dir, name), key); err != nil {
			t.Fatal(err)
		}
	}
}

// runReal runs a daemon over real drivers in a namespace. It gives the way to ask it.
func runReal(t *testing.T, ns *netlab.Namespace, dir, settings string) func() control.Snapshot {
	t.Helper()
	c, problems := config.Parse("test.conf", strings.ReplaceAll(settings, "DIR", dir))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := newDaemon(Options{Config: c, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Version: "test", Etc: filepath.Join(dir, "etc")})
	d.context = ctx
	opened, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		// The namespace's own thread is for others meanwhile; this one ends with what runs on it.
		runtime.LockOSThread()
		err := unix.Setns(ns.FD(), unix.CLONE_NEWNET)
		if err == nil {
			err = os.MkdirAll(c.Global.StateDir, 0o700)
		}
		if err == nil {
			err = d.listen()
		}
		if err == nil {
			err = d.open()
		}
		opened <- err
		if err == nil {
			err = d.loop(ctx)
		}
		ended <- errors.Join(err, d.close(StopForRestart))
	}()
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		d.control.Close()
	})
	return func() (s control.Snapshot) {
		ctx, cancel := context.WithTimeout(ctx, netlabtest.Patience)
		defer cancel()
		if err := d.ask(ctx, func() { s = d.snapshot() }); err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// judge is a host that checks what it hears as RFC 3971 says, by the address alone.
type judge struct {
	endpoint *send.Endpoint
	verify   engine.Operations
}

func newJudge(t *testing.T) *judge {
	t.Helper()
	cfg := send.Config{Rand: rand.Reader}
	for i := range cfg.Methods {
		cfg.Methods[i] = send.ByCGA
	}
	e, err := send.NewEndpoint(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &judge{endpoint: e, verify: engine.NewSoftware(nil, nil, engine.PKCS1v15, rand.Reader)}
}

// hear gives what a packet proves.
func (j *judge) hear(p *ipv6.Packet) (s send.Security) {
	effects := j.endpoint.Step(time.Now(), send.Input{Kind: send.InReceived, Packet: p, Wall: time.Now()})
	for len(effects) > 0 {
		e := effects[0]
		effects = effects[1:]
		switch e.Kind {
		case send.EffectVerify:
			ok := j.verify.Verify(e.PublicKey, e.Digest, e.Signature)
			effects = append(effects, j.endpoint.Step(time.Now(), send.Input{Kind: send.InVerified, Job: e.Job, OK: ok})...)
		case send.EffectDeliver:
			s = e.Security
		}
	}
	return s
}

// Redirects on a link with SEND (RFC 3971 section 5, table of messages: Redirect; RFC 4861 section 8.2): a host that
// sends by way of the router what its neighbour could have directly gets the kernel's redirect, signed, from the address that
// it knows the router by. None leaves unsigned.
func TestRedirectsAreSigned(t *testing.T) {
	t.Parallel()
	lab, ns := netlabtest.New(t, "router", "left", "right")
	router, left, right := ns[0], ns[1], ns[2]
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(router.Bridge("br-lan"))
	for i, host := range []*netlab.Namespace{left, right} {
		port := []string{"left0", "right0"}[i]
		must(lab.Veth(netlab.End{NS: host, Name: "h0"}, netlab.End{NS: router, Name: port}))
		must(router.SetMaster(port, "br-lan"))
		must(host.AddAddress("h0", netip.MustParsePrefix([]string{"2001:db8:1::a/64", "2001:db8:1::b/64"}[i])))
	}
	must(router.SetUp("br-lan"))
	must(router.AddAddress("br-lan", netip.MustParsePrefix("2001:db8:1::1/64")))
	must(router.AddAddress("br-lan", netip.MustParsePrefix("fe80::1/64")))
	must(router.SetSysctl("net/ipv6/conf/all/forwarding", "1"))
	from, to := netip.MustParseAddr("2001:db8:1::a"), netip.MustParseAddr("2001:db8:1::b")

	dir := t.TempDir()
	makeKeys(t, dir, "lke.key", "send.key")
	snapshot := runReal(t, router, dir, redirectSettings)
	netlabtest.Await(t, "the link is served", func() bool { return snapshot().Links[0].Served })

	heard := netlabtest.Capture(t, left)
	hw, err := left.Link("h0")
	must(err)
	bridge, err := router.Link("br-lan")
	must(err)
	datagram := make([]byte, 8+400)
	binary.BigEndian.PutUint16(datagram[2:], 9)
	binary.BigEndian.PutUint16(datagram[4:], uint16(len(datagram)))
	binary.BigEndian.PutUint16(datagram[6:], ipv6.Checksum(from, to, 17, datagram))
	sent := ipv6.Append(nil, ipv6.Header{Src: from, Dst: to, HopLimit: 64}, 17, datagram)

	host := newJudge(t)
	served := snapshot().Links[0].LinkLocal
	for end := time.Now().Add(2 * netlabtest.Patience); ; {
		if time.Now().After(end) {
			s := snapshot()
			t.Fatalf("no redirect came; daemon %v\nguard %v\nfindings %v", s.Counters["daemon"], s.Counters["guard"], s.Findings)
		}
		must(left.SendFrame("h0", frames.Append(nil, bridge.Hardware, hw.Hardware, sent)))
		raw, err := heard.Next(100 * time.Millisecond)
		must(err)
		p := ipv6.Packet{LinkSource: bridge.Hardware}
		if raw == nil || ipv6.Parse(raw, &p) != ipv6.OK || p.Proto != ipv6.ProtoICMPv6 || p.Payload[0] != ndp.TypeRedirect {
			continue
		}
		s := host.hear(&p)
		if !s.Secured || !s.CGA {
			t.Fatalf("a redirect arrived that proves nothing (%v): %x", s.Why, raw)
		}
		m, reason := ndp.ParseRedirect(&p)
		if reason != ndp.ReasonNone || m.Target != to || m.Destination != to || p.Dst != from {
			t.Fatalf("redirect to %v: %v by way of %v, %v", p.Dst, m.Destination, m.Target, reason)
		}
		if p.Src != served || cga.Sec(p.Src) != 0 || p.Src == netip.MustParseAddr("fe80::1") {
			t.Errorf("it comes from %v, advertisements from %v", p.Src, served)
		}
		if !m.TargetLink.IsZero() {
			t.Errorf("it signs %v, which nobody has proved", m.TargetLink)
		}
		if len(raw) > leastMTU || !bytes.Contains(raw, sent[8:400]) {
			t.Errorf("%d octets, and the packet is not among them: %x", len(raw), raw)
		}
		break
	}
	s := snapshot()
	if s.Counters["guard"]["secured_unsigned_redirect"] == 0 || s.Counters["daemon"]["redirects_said"] == 0 {
		t.Errorf("guard %v\ndaemon %v", s.Counters["guard"], s.Counters["daemon"])
	}
}
