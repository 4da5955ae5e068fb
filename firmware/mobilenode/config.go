package mobilenode

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/roamkey/roamkey/drivers/forward"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// Config is what a mobile node is told.
type Config struct {
	Interface string

	// HomeAgent and HomeAddress are both set where the node has a home agent (RFC 6275), which it then registers with first.
	HomeAgent, HomeAddress netip.Addr

	Plain    bool          // no Local Key Exchange, with any router
	Lifetime time.Duration // asked for, for keys and bindings; 0: the most there is
	MinBits  int           // least RSA key accepted of a router; 0: 1024
	OAEP     bool          // encrypt keys as OAEP says: routers have to be told, too
	Tunnel   forward.Backend
	Control  string // path of the control socket; "": ControlPath(Interface)

	CodePoints   mobility.CodePoints // zero: the draft's
	NDCodePoints ndp.CodePoints      // zero: the draft's

	Events io.Writer // takes what happens, a line each; nil: nobody wants to know
	JSON   bool      // the lines are JSON objects
}

// authRequest is the number of the option that asks for an authenticated defence of the node's address.
func (c *Config) authRequest() uint8 {
	if n := c.NDCodePoints.AuthRequest; n != 0 {
		return n
	}
	return ndp.DefaultCodePoints().AuthRequest
}

// ControlPath is where the control socket of the mobile node on an interface is, unless it is told another place.
func ControlPath(name string) string {
	return filepath.Join("/var/run/roamkey", "mn-"+name+".sock")
}

// check fills in what is left out and tells what makes no sense.
func (c *Config) check() error {
	if c.Interface == "" {
		return errors.New("no interface: say which one the node attaches by")
	}
	if c.HomeAgent.IsValid() != c.HomeAddress.IsValid() {
		return errors.New("a home agent needs a home address, and a home address a home agent")
	}
	for _, a := range []netip.Addr{c.HomeAgent, c.HomeAddress} {
		if a.IsValid() && !ipv6.IsRoutableUnicast(a) {
			return fmt.Errorf("%v can be neither home agent nor home address: a global IPv6 address is needed", a)
		}
	}
	if c.Lifetime < 0 || c.Lifetime > 0 && c.Lifetime < 4*time.Second {
		return fmt.Errorf("lifetime %v is too short: at least 4s, the unit of the protocol", c.Lifetime)
	}
	if c.MinBits != 0 && (c.MinBits < ndp.MinKeyBits || c.MinBits > ndp.MaxKeyBits) {
		return fmt.Errorf("least key length %d is out of range: %d to %d bits", c.MinBits, ndp.MinKeyBits, ndp.MaxKeyBits)
	}
	if c.Control == "" {
		c.Control = ControlPath(c.Interface)
	}
	return nil
}

// minBits is what the core is told. No router has a key that long: with Plain none counts as one that speaks LKE, and the
// node does what it does where there is none (LKE-MN-1).
func (c *Config) minBits() int {
	if c.Plain {
		return ndp.MaxKeyBits + 1
	}
	return c.MinBits
}
