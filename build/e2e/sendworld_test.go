package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/drivers/hostnet"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/certpath"
)

func publicKey(k ndp.PublicKey) *rsa.PublicKey {
	public := &rsa.PublicKey{E: k.Exponent}
	public.N = new(big.Int).SetBytes(k.Modulus)
	return public
}

// sendPart follows the settings of a router with SEND; MODE is that of the link.
const sendPart = `
	option send 'MODE'
	option reachable_time '0.4'
	option retrans_timer '0.1'

config send 'send'
	option key 'DIR/send.key'
	option certificate 'DIR/send.pem'
	option sec '0'
`

// withSEND puts SEND on the link of the settings, and more of the link and the rest behind it.
func withSEND(mode string, link ...string) string {
	part := strings.ReplaceAll(sendPart, "MODE", mode)
	part = strings.Replace(part, "\n\nconfig send", strings.Join(append([]string{""}, link...), "\n\t")+"\n\nconfig send", 1)
	return replace(settings, "\n\nconfig lke", part+"\nconfig lke")
}

// secureWorld is a world whose router has SEND.
type secureWorld struct {
	*world
	sender                     // the router's
	prefix        netip.Prefix // of its link
	local, global netip.Addr   // its CGAs
	former        netip.Addr   // the link-local address that the kernel gave it
	anchor        certpath.Anchor
	anchorKey     *rsa.PrivateKey
}

// newSecureWorld makes the network and the router's key, address and certificate, without a daemon yet.
func newSecureWorld(t *testing.T, mode string, key *rsa.PrivateKey, link ...string) *secureWorld {
	t.Helper()
	return makeSecure(newWorld(t), mode, key, lanPrefix, link...)
}

// makeSecure gives the router of a world its key, addresses and certificate, and settings with SEND.
func makeSecure(plain *world, mode string, key *rsa.PrivateKey, prefix netip.Prefix, link ...string) *secureWorld {
	plain.t.Helper()
	w := &secureWorld{world: plain, sender: newSender(key), prefix: prefix}
	w.options.Settings = withSEND(mode, link...)
	w.former = w.access.Local
	w.local, w.global = w.in(linkLocalNet), w.in(prefix)
	w.access.Local, w.access.Addr = w.local, w.global
	w.writeIdentity(w.options.Dir, &w.sender)
	w.anchor, w.anchorKey = newAnchor(w.t, "anchor", longKeys[1]())
	w.certify(prefix)
	return w
}

// writeIdentity puts a router's key and the modifier of its addresses where the settings name them.
func (w *world) writeIdentity(dir string, s *sender) {
	w.t.Helper()
	check(w.t, engine.SaveKey(filepath.Join(dir, "send.key"), s.key))
	text := fmt.Sprintf("sec %d\nmodifier %s\n", s.sec, hex.EncodeToString(s.params.Modifier[:]))
	check(w.t, os.WriteFile(filepath.Join(dir, "send.cga"), []byte(text), 0o644))
}

func newAnchor(t *testing.T, name string, key *rsa.PrivateKey) (certpath.Anchor, *rsa.PrivateKey) {
	t.Helper()
	der, err := certpath.NewAnchor(rand.Reader, key, certpath.Request{
		Name: name, Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	})
	check(t, err)
	cert, err := certpath.ParseCertificate(der)
	check(t, err)
	return certpath.Anchor{Certificate: cert}, key
}

// certify makes the router's certificate for prefixes and puts it where the settings name it.
func (w *secureWorld) certify(prefixes ...netip.Prefix) {
	w.t.Helper()
	der, err := certpath.NewRouterCertificate(rand.Reader, w.anchor, w.anchorKey, &w.sender.key.PublicKey, certpath.Request{
		Name: "router", Prefixes: prefixes, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(30 * time.Minute),
	})
	check(w.t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.anchor.Certificate.Raw})...)
	check(w.t, os.WriteFile(filepath.Join(w.options.Dir, "send.pem"), text, 0o644))
}

// sendNode gives a node of this world that knows the router's key, and is on the wire.
func (w *secureWorld) sendNode(key *rsa.PrivateKey, only bool) *sendNode {
	w.t.Helper()
	w.numbers++
	n := newSendNode(w.t, w.numbers, key, w.prefix, only)
	n.trusted[w.hash()] = []netip.Prefix{w.prefix}
	n.attach(w.nodes)
	return n
}

// pathNode makes a node that trusts nobody but whom a path from the anchor leads to. Only then it listens: what it once found
// no path for it does not ask for again soon.
func (w *secureWorld) pathNode(key *rsa.PrivateKey, anchor certpath.Anchor) *sendNode {
	w.t.Helper()
	w.numbers++
	n := newSendNode(w.t, w.numbers, key, w.prefix, true)
	n.trusted = nil
	var err error
	n.paths, err = certpath.NewClient(certpath.ClientConfig{LinkLocal: n.Local, Anchors: []certpath.Anchor{anchor}, Rand: rand.Reader})
	check(w.t, err)
	n.attach(w.nodes)
	return n
}

// addresses gives the router's addresses on an interface.
func (w *world) addresses(device string) (all []netip.Addr) {
	w.t.Helper()
	check(w.t, w.router.Do(func() error {
		host, err := hostnet.Open()
		if err != nil {
			return err
		}
		defer host.Close()
		l, _ := host.Link(device)
		for _, a := range l.Addresses {
			all = append(all, a.Addr)
		}
		return nil
	}))
	return all
}

// discovery matches messages of Neighbour Discovery that the router says for itself: from an address of its own, or in
// duplicate address detection for one. An advertisement for another's address cannot be signed by anybody but its owner.
func (s *sender) discovery(prefixes ...netip.Prefix) func(*heard) bool {
	var own []netip.Addr
	for _, p := range append(prefixes, linkLocalNet) {
		own = append(own, s.in(p))
	}
	return func(h *heard) bool {
		if h.Proto != ipv6.ProtoICMPv6 || len(h.Payload) < 24 && (len(h.Payload) < 8 || h.Payload[0] != ndp.TypeRouterSolicit && h.Payload[0] != ndp.TypeFast && h.Payload[0] != ndp.TypeRouterAdvert) {
			return false
		}
		switch h.Payload[0] {
		case ndp.TypeNeighborSolicit:
			if h.Src.IsUnspecified() {
				return slices.Contains(own, netip.AddrFrom16([16]byte(h.Payload[8:24])))
			}
		case ndp.TypeNeighborAdvert:
			if target := netip.AddrFrom16([16]byte(h.Payload[8:24])); target != h.Src && !slices.Contains(own, target) {
				return false
			}
			if slices.Contains(own, netip.AddrFrom16([16]byte(h.Payload[8:24]))) {
				return true
			}
		case ndp.TypeRouterSolicit, ndp.TypeRouterAdvert, ndp.TypeRedirect, ndp.TypeFast:
		default:
			return false
		}
		return slices.Contains(own, h.Src)
	}
}

// auditWire verifies all that the router has said for its CGAs on a wire: each of it is signed by its key, and nothing else is
// said for them, by the kernel least of all. It gives how many messages of each type there were.
func auditWire(t *testing.T, at *station, hardware ipv6.LinkAddr, s *sender, prefixes ...netip.Prefix) map[byte]int {
	t.Helper()
	count := make(map[byte]int)
	for _, h := range at.since(0, s.discovery(prefixes...)) {
		if h.LinkSource != hardware {
			continue // a bridge brings what stations say, too
		}
		count[h.Payload[0]]++
		if hash, err := audit(&h.Packet); err != nil || hash != s.hash() {
			t.Errorf("the router says from %v to %v, key %x: %v\n%x", h.Src, h.Dst, hash, err, h.Payload)
		}
	}
	return count
}

// link1 is what status says of SEND on the link.
func link1(s control.Snapshot) *control.LinkSEND {
	if len(s.Links) == 0 || s.Links[0].SEND == nil {
		return &control.LinkSEND{}
	}
	return s.Links[0].SEND
}

// addKernelHost makes the router's link a bridge, with the stations behind one port of it and behind another a namespace that has
// nothing but its kernel. It comes before the daemon. It gives the namespace, its address, and what it hears.
func (w *secureWorld) addKernelHost() (*netlab.Namespace, netip.Addr, *station) {
	w.t.Helper()
	ns := w.namespace("host")
	check(w.t, ns.SetSysctl("net/ipv6/conf/default/accept_ra", "1"))
	check(w.t, ns.SetSysctl("net/ipv6/conf/default/addr_gen_mode", "0"))
	check(w.t, w.router.DeleteAddress("lan0", netip.PrefixFrom(routerAddr, 64)))
	check(w.t, w.router.Bridge("br-lan"))
	check(w.t, w.router.Set("/sys/class/net/br-lan/bridge/multicast_snooping", "0"))
	check(w.t, w.router.SetMaster("lan0", "br-lan"))
	check(w.t, w.lab.Veth(netlab.End{NS: w.router, Name: "lan1"}, netlab.End{NS: ns, Name: "host0"}))
	check(w.t, w.router.SetMaster("lan1", "br-lan"))
	check(w.t, w.router.AddAddress("br-lan", netip.PrefixFrom(routerAddr, 64)))
	check(w.t, w.router.AddNeighbour("br-lan", prober, proberHW))
	w.options.Settings = replace(w.options.Settings, "'lan0'", "'br-lan'")
	w.access.Hardware = w.link("br-lan").Hardware
	for _, a := range w.addresses("br-lan") {
		if a.IsLinkLocalUnicast() {
			w.former = a
		}
	}
	l, err := ns.Link("host0")
	check(w.t, err)
	return ns, ipv6.WithEUI64(lanPrefix.Addr(), l.Hardware), openStation(w.t, ns, "host0")
}

// ping sends echo requests from a namespace until one is answered.
func ping(ns *netlab.Namespace, to netip.Addr) error {
	_, err := ns.Run(5*time.Second, "ping", "-6", "-c", "1", "-w", "4", "-i", "0.2", to.String())
	return err
}
