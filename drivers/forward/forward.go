package forward

import (
	"net/netip"

	"github.com/roamkey/roamkey/drivers/guard"
	"github.com/roamkey/roamkey/drivers/rtnl"
)

// Marks of what this package installs.
const (
	RouteProtocol = rtnl.Protocol // "protocol" of each route and rule (rtm_protocol)
	RouteMetric   = rtnl.Metric   // metric of each route, so that it replaces nobody else's
	Alias         = "roamkey"     // ifalias of the router's devices
	NodeAlias     = "roamkey-mn"  // ifalias of the mobile node's devices
	DefaultDevice = "rktun0"      // the router's tunnel device
	DefaultNode   = "rkmn0"       // the mobile node's tunnel device
)

// Backend names a way to forward.
type Backend string

// Backends. Auto and Kernel are only asked for; External, Plain and TUN are also what one gets.
const (
	Auto     Backend = "auto"     // External, else Plain, else TUN
	Kernel   Backend = "kernel"   // External, else Plain
	External Backend = "external" // one ip6tnl device in external mode; needs the guard
	Plain    Backend = "plain"    // one ip6tnl device for each pair of router and care-of address
	TUN      Backend = "tun"      // a TUN device and this process
)

// Binding is one home address that is forwarded. On the router Home is the node's address on the served link Link (its
// previous care-of address), Router the router's own global address, CareOf where the node is now. The node uses the
// same struct for its end of the tunnel. Adopt leaves Link zero: the kernel does not know it.
//
// Of a node that keeps its address of another router (Serve) Home is that address, Router our own global address, CareOf the
// other router's, and Link the served link that the node is on; Adopt sets Served then, and Link.
type Binding struct {
	Home, Router, CareOf netip.Addr
	Link                 int
	Served               bool
}

// Config is what a router's forwarding needs.
type Config struct {
	Backend Backend // "" is Auto
	Device  string  // name of the tunnel device; "" is DefaultDevice. Plain counts on from it (rktun1, ...)
	MTU     int     // tunnel MTU; 0: that of the path to each care-of address less the tunnel header, at least 1280
}

// Info says what forwards, for status and check.
type Info struct {
	Backend Backend  // External, Plain or TUN
	Device  string   // the tunnel device
	MTU     int      // of the tunnel device
	Serves  bool     // Serve works: the kernel has policy routing
	Reasons []string // why a better backend is not used, or what does not work, a sentence each
}

// Forwarder forwards home addresses. Its methods may be called from any goroutine.
type Forwarder interface {
	// Bind makes b.Home be forwarded to b.CareOf, in place of an older binding of Home. It returns when that is so.
	Bind(b Binding) error
	// Unbind ends the forwarding of home. To end one that is not there is no error.
	Unbind(home netip.Addr) error
	// Serve is the new router's part for a node that keeps its previous care-of address b.Home (RFC 5568 section 6.2.1.2,
	// HAck code 3): what b.CareOf, the previous router, tunnels to b.Router for Home is taken out of the tunnel, and what comes
	// from Home by the link b.Link goes back to the previous router through the tunnel, for from here it would be
	// topologically wrong. It replaces what was served for Home before. The host route that leads packets for Home to the
	// link is not its business; where there is none, they end here, and do not go back to where they came from.
	Serve(b Binding) error
	// Unserve ends that. To end one that is not there is no error.
	Unserve(home netip.Addr) error
	// Adopt lists the bindings that an earlier process left forwarding; they count as bound, or served, from then on.
	Adopt() ([]Binding, error)
	// Keep ends the forwarding of all homes but these, and of those served, too.
	Keep(homes []netip.Addr) error
	// Describe says what forwards.
	Describe() Info
	// Counters yields packets and drops by reason. Kernel backends yield what the kernel counts on the device.
	Counters(yield func(name string, value uint64))
	// Close ends all forwarding; with leave it leaves the kernel's tunnels as they are, for the next process to adopt.
	Close(leave bool) error
}

// NodeConfig is what a mobile node's end of the tunnels needs.
type NodeConfig struct {
	Backend Backend // Auto, Kernel (which is Plain) or TUN; "" is Auto
	Device  string  // name of the tunnel device; "" is DefaultNode
	MTU     int     // tunnel MTU; 0: that of the path less the tunnel header, at least 1280

	// Guard holds the kernel's tunnel devices to the home addresses, and keeps the kernel from answering tunnel packets.
	// Auto uses Plain only with it.
	Guard *guard.Node
}

// NodeTunnel is a mobile node's end of the tunnels from the routers it left.
type NodeTunnel interface {
	// Bind accepts packets for b.Home that b.Router tunnels to b.CareOf, keeps Home as an address of the tunnel device
	// (deprecated, so that no new connection starts from it), and tunnels what is sent from Home back to b.Router. It
	// replaces an older binding of Home.
	Bind(b Binding) error
	// Expect has packets taken for b.Home that b.Router tunnels to b.CareOf already, while all else stays as Bind said: the
	// router is being told of that address, and what it sends there may be faster than its answer. It replaces what was
	// expected before, and does nothing where Home is not bound. Bind goes on taking what is under way to the address
	// before.
	Expect(b Binding) error
	// Unbind takes Home off the tunnel device.
	Unbind(home netip.Addr) error
	// Describe says what forwards.
	Describe() Info
	// Counters yields packets and drops by reason.
	Counters(yield func(name string, value uint64))
	// Close ends all bindings and removes the device.
	Close() error
}
