package daemon

import (
	"crypto/rand"
	"crypto/rsa"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roamkey/roamkey/drivers/engine"
	forwardfake "github.com/roamkey/roamkey/drivers/forward/fake"
	holdfake "github.com/roamkey/roamkey/drivers/hold/fake"
	"github.com/roamkey/roamkey/drivers/hostnet"
	hostfake "github.com/roamkey/roamkey/drivers/hostnet/fake"
	neighborsfake "github.com/roamkey/roamkey/drivers/neighbors/fake"
	rawfake "github.com/roamkey/roamkey/drivers/rawip/fake"
	"github.com/roamkey/roamkey/firmware/config"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
	"github.com/roamkey/roamkey/ndp/send"
)

// secureSettings are those of a router with one link with SEND, beside the router that nodes move to.
const secureSettings = `
config roamkey 'global'
	option state_dir 'DIR/state'
	option control 'DIR/control'
	option lke_key 'DIR/lke.key'

config link 'lan'
	option device 'br-lan'
	option send 'mixed'
	option retrans_timer '0.1'
	option ra_max_interval '0.07'
	option ra_min_interval '0.03'
	option ra_min_delay '0.03'
	list access_point '02:00:00:00:aa:01'

config lke 'lke'
	option retrans_timer '0.1'

config send 'send'
	option key 'DIR/send.key'
	option certificate 'DIR/send.pem'
	option sec '0'
	option min_bits '1024'

config neighbor 'next'
	option address '2001:db8:2::1'
	option hardware '02:00:00:00:00:02'
	list prefix '2001:db8:2::/64'
	list access_point '02:00:00:00:aa:02'
	option protection 'none'
`

var (
	lanPrefix = netip.MustParsePrefix("2001:db8:1::/64")
	formerLL  = netip.MustParseAddr("fe80::ff:fe00:1") // of the interface, before SEND
	nextAR    = netip.MustParseAddr("2001:db8:2::1")
	nextPoint = ipv6.LinkAddr{2, 0, 0, 0, 0xaa, 2}
	peerHW    = ipv6.LinkAddr{2, 0, 0, 0, 0, 0x0a}
	plainAddr = netip.MustParseAddr("2001:db8:1::a") // of a host without SEND
)

// crypto is an engine that does real RSA, on one thread, unless a test stops it or has it lose what it is given.
type crypto struct {
	engine.Jobs // the counters
	o           engine.Operations
	results     chan engine.Result
	jobs        chan engine.Job

	mu            sync.Mutex
	losing, still bool
	lost          engine.Op // is lost even so
	loses         bool
}

// lose makes the next jobs of one kind be lost.
func (c *crypto) lose(op engine.Op) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost, c.loses = op, true
}

func newCrypto(t *testing.T, o engine.Operations) *crypto {
	c := &crypto{o: o, results: make(chan engine.Result, 4096), jobs: make(chan engine.Job, 4096)}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case j := <-c.jobs:
				for c.stands() {
					select {
					case <-done:
						return
					case <-time.After(time.Millisecond):
					}
				}
				c.results <- engine.Do(c.o, &j)
			case <-done:
				return
			}
		}
	})
	t.Cleanup(func() { close(done); wg.Wait() })
	return c
}

func (c *crypto) stands() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.still
}

func (c *crypto) set(losing, still bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.losing, c.still = losing, still
}

func (c *crypto) Submit(j engine.Job) (engine.Ticket, bool) {
	c.mu.Lock()
	losing := c.losing || c.loses && j.Op == c.lost
	c.mu.Unlock()
	if losing {
		return j.Ticket, true
	}
	j.Octets, j.PublicKey, j.Signature = slices.Clone(j.Octets), slices.Clone(j.PublicKey), slices.Clone(j.Signature)
	select {
	case c.jobs <- j:
		return engine.Ticket{}, false
	default:
		return j.Ticket, true
	}
}

func (c *crypto) Results() <-chan engine.Result        { return c.results }
func (c *crypto) Counters(func(name string, n uint64)) {}
func (c *crypto) Close()                               {}

// kernel is the neighbour table and the addresses of a kernel that shows both where the daemon looks for them.
type kernel struct {
	*neighborsfake.Neighbors
	host *hostfake.Host
}

func (k kernel) SetEntry(link int, addr netip.Addr, hw ipv6.LinkAddr, reachable bool) error {
	k.host.SetNeighbour(link, addr, hw)
	return k.Neighbors.SetEntry(link, addr, hw, reachable)
}

func (k kernel) AddAddress(link int, addr netip.Prefix) error {
	k.change(func(l *hostnet.Link) {
		l.Addresses = append(l.Addresses, hostnet.Address{Addr: addr.Addr(), Prefix: addr.Masked(), Valid: hostnet.Forever, Preferred: hostnet.Forever})
	})
	return k.Neighbors.AddAddress(link, addr)
}

func (k kernel) RemoveAddress(link int, addr netip.Addr) error {
	k.change(func(l *hostnet.Link) {
		l.Addresses = slices.DeleteFunc(l.Addresses, func(a hostnet.Address) bool { return a.Addr == addr })
	})
	return k.Neighbors.RemoveAddress(link, addr)
}

func (k kernel) change(f func(l *hostnet.Link)) {
	links := k.host.Links()
	for i := range links {
		f(&links[i])
	}
	k.host.SetLinks(links...)
}

// secureBench is a daemon with a link with SEND, over fakes but for RSA.
type secureBench struct {
	*bench
	id        *identity
	crypto    *crypto
	neighbors *neighborsfake.Neighbors
	hold      *holdfake.Holder

	mu   sync.Mutex
	sent []rawfake.Sent
}

// newSecureBench starts one. Where fresh is not set an earlier process has found the addresses already.
func newSecureBench(t *testing.T, text string, fresh bool) *secureBench {
	t.Helper()
	b := &secureBench{bench: &bench{t: t, dir: t.TempDir(), host: new(hostfake.Host), forward: new(forwardfake.Forwarder), text: text}}
	makeKeys(t, b.dir, "send.key")
	id, err := loadIdentity(filepath.Join(b.dir, "send.key"), b.dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	b.id = id
	b.host.SetLinks(lan("2001:db8:1::1/64"))
	if !fresh {
		id.params.Modifier, id.ready = [16]byte{1}, true
		if err := id.saveModifier(filepath.Join(b.dir, "send.key"), b.dir); err != nil {
			t.Fatal(err)
		}
		b.host.SetLinks(lan("2001:db8:1::1/64", id.address(linkLocalPrefix()).String()+"/64", id.address(lanPrefix).String()+"/64"))
	}
	b.neighbors, b.hold = neighborsfake.New(), holdfake.New()
	b.prepare = func() {
		d := b.d
		d.lkeKey = testKey(t)
		if err := d.takeIdentity(); err != nil {
			t.Fatal(err)
		}
		b.crypto = newCrypto(t, engine.NewSoftware(d.lkeKey, d.identity.private, engine.PKCS1v15, rand.Reader))
		d.neighbors, d.hold, d.engine = kernel{b.neighbors, b.host}, b.hold, b.crypto
		d.takeCertificates()
		conn := b.socket
		conn.Routes = nil
		gone := make(chan struct{})
		t.Cleanup(func() { close(gone) })
		go func() {
			for {
				select {
				case s := <-conn.Sent():
					b.mu.Lock()
					b.sent = append(b.sent, s)
					b.mu.Unlock()
				case <-gone:
					return
				}
			}
		}()
	}
	b.start()
	t.Cleanup(func() { b.kill() })
	return b
}

// ll and global are the router's addresses.
func (b *secureBench) ll() netip.Addr     { return b.id.address(linkLocalPrefix()) }
func (b *secureBench) global() netip.Addr { return b.id.address(lanPrefix) }

// served waits until the link is served.
func (b *secureBench) served() {
	b.t.Helper()
	b.await("the link to be served", func(s control.Snapshot) bool { return s.Links[0].Served })
}

// spoke waits for a packet that was sent, and gives it parsed, as it comes to who hears it.
func (b *secureBench) spoke(what string, ok func(p *ipv6.Packet) bool) *ipv6.Packet {
	b.t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if p := b.said(ok); p != nil {
			return p
		}
	}
	b.t.Fatalf("it never sent %s; log:\n%s", what, b.log)
	return nil
}

// said gives the first packet that was sent so far and is as ok says; nil if there is none.
func (b *secureBench) said(ok func(p *ipv6.Packet) bool) *ipv6.Packet {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.sent {
		p := &ipv6.Packet{Interface: nodeIndex, LinkSource: routerHW}
		if ipv6.Parse(s.Packet, p) == ipv6.OK && ok(p) {
			return p
		}
	}
	return nil
}

// hush forgets what was sent.
func (b *secureBench) hush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent = nil
}

// icmp chooses messages of a type.
func icmp(typ uint8, more ...func(p *ipv6.Packet) bool) func(p *ipv6.Packet) bool {
	return func(p *ipv6.Packet) bool {
		if p.Proto != ipv6.ProtoICMPv6 || len(p.Payload) == 0 || p.Payload[0] != typ {
			return false
		}
		for _, f := range more {
			if !f(p) {
				return false
			}
		}
		return true
	}
}

func from(a netip.Addr) func(p *ipv6.Packet) bool {
	return func(p *ipv6.Packet) bool { return p.Src == a }
}
func to(a netip.Addr) func(p *ipv6.Packet) bool {
	return func(p *ipv6.Packet) bool { return p.Dst == a }
}

// about chooses solicitations and advertisements by their target.
func about(a netip.Addr) func(p *ipv6.Packet) bool {
	return func(p *ipv6.Packet) bool {
		return len(p.Payload) >= 24 && netip.AddrFrom16([16]byte(p.Payload[8:24])) == a
	}
}

// reconfigure reloads with the settings changed.
func (b *secureBench) reconfigure(old, new string) {
	b.t.Helper()
	text := strings.Replace(b.text, old, new, 1)
	if text == b.text {
		b.t.Fatalf("there is no %q in the settings", old)
	}
	b.text = text
	c, problems := config.Parse("test.conf", strings.ReplaceAll(text, "DIR", b.dir))
	if len(problems) > 0 {
		b.t.Fatal(problems)
	}
	b.ask(func() { b.d.reload(c) })
}

func (b *secureBench) counter(who, name string) uint64 {
	b.t.Helper()
	var n uint64
	b.ask(func() {
		value, there := b.d.allCounters()[who][name]
		if !there {
			b.t.Errorf("there is no counter %s of %s", name, who)
		}
		n = value
	})
	return n
}

func (b *secureBench) awaitCounter(who, name string, least uint64) {
	b.t.Helper()
	b.await(name, func(s control.Snapshot) bool { return s.Counters[who][name] >= least })
}

// voice is a host with SEND: its own key and address, and what it thinks of what it hears.
type voice struct {
	*judge
	b    *secureBench
	key  *rsa.PrivateKey
	spki []byte
	hw   ipv6.LinkAddr
	addr netip.Addr // on the link's prefix
}

func (b *secureBench) voice() *voice {
	b.t.Helper()
	key, err := engine.GenerateKey(1024)
	if err != nil {
		b.t.Fatal(err)
	}
	spki, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: key.N.Bytes(), Exponent: key.E})
	if err != nil {
		b.t.Fatal(err)
	}
	params := cga.Params{Modifier: [16]byte{7}, PublicKey: spki}
	cfg := send.Config{Link: nodeIndex, Identity: send.Identity{Params: params, ModulusLen: key.Size()}, Rand: rand.Reader}
	for i := range cfg.Methods {
		cfg.Methods[i] = send.ByCGA
	}
	e, err := send.NewEndpoint(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	j := &judge{endpoint: e, verify: engine.NewSoftware(nil, key, engine.PKCS1v15, rand.Reader)}
	return &voice{judge: j, b: b, key: key, spki: spki, hw: peerHW, addr: params.In(lanPrefix).Address(0)}
}

// sign makes an unsigned message one of SEND. answers is the nonce that it copies.
func (v *voice) sign(packet, answers []byte) []byte {
	v.b.t.Helper()
	effects := v.endpoint.Step(time.Now(), send.Input{Kind: send.InSend, Octets: packet, Answers: answers, Wall: time.Now()})
	for len(effects) > 0 {
		e := effects[0]
		effects = effects[1:]
		switch e.Kind {
		case send.EffectSign:
			signature, err := v.verify.Sign(e.Digest)
			if err != nil {
				v.b.t.Fatal(err)
			}
			effects = append(effects, v.endpoint.Step(time.Now(), send.Input{Kind: send.InSigned, Job: e.Job, Signature: signature})...)
		case send.EffectSend:
			return e.Packet
		}
	}
	v.b.t.Fatal("nothing was signed")
	return nil
}

func (v *voice) say(packet, answers []byte) { v.b.hears(v.hw, v.sign(packet, answers)) }

// hears has the router hear a frame on the link.
func (b *secureBench) hears(source ipv6.LinkAddr, packet []byte) {
	b.t.Helper()
	if !b.socket.Arrive(lanIndex, source, packet) {
		b.t.Fatalf("the packet did not arrive: %x", packet)
	}
}

func local(src, dst netip.Addr, icmp []byte) []byte {
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, icmp)
}

func nsTo(src, target netip.Addr, hw ipv6.LinkAddr) []byte {
	dst := ipv6.SolicitedNode(target)
	var opts [][]byte
	if !src.IsUnspecified() {
		opts = append(opts, ndp.SourceLinkOption(hw))
	}
	return local(src, dst, ndp.AppendNeighborSolicit(nil, src, dst, target, opts...))
}

func naFrom(src, dst netip.Addr, flags ndp.NAFlags, hw ipv6.LinkAddr) []byte {
	return local(src, dst, ndp.AppendNeighborAdvert(nil, src, dst, flags, src, ndp.TargetLinkOption(hw)))
}
