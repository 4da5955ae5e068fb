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

// Protocol is what a node and its routers have in common.
type Protocol string

// Protocols.
const (
	LKE         Protocol = "lke"          // Local Key Exchange; "" is the same
	HandoverKey Protocol = "handover-key" // SEND, handover keys (RFC 5269) and fast handovers (RFC 5568)
)

// Config is what a mobile node is told.
type Config struct {
	Interface string
	Protocol  Protocol

	// What follows is for HandoverKey.
	SecuredOnly bool   // routers and neighbours that do not sign are not listened to
	Anchors     string // file with the certificates (PEM) of those who say which routers there are; "": nobody is asked
	SendKey     string // file of the key that the node's addresses follow from, made if it is missing; "": one for this run
	Sec         int    // Sec of these addresses (RFC 3972): 0 or 1

	// HomeAgent and HomeAddress are both set where the node has a home agent (RFC 6275), which it then registers with first.
	HomeAgent, HomeAddress netip.Addr

	// What follows down to OAEP is for LKE, Lifetime for both.
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
	if err := c.checkProtocol(); err != nil {
		return err
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

func (c *Config) checkProtocol() error {
	switch c.Protocol {
	case "", LKE:
		if c.SecuredOnly || c.Anchors != "" || c.SendKey != "" {
			return fmt.Errorf("secured only, anchors and the SEND key mean nothing to Local Key Exchange: take protocol %s", HandoverKey)
		}
	case HandoverKey:
		if c.Plain || c.OAEP || c.MinBits != 0 && c.MinBits != ndp.MinKeyBits {
			return fmt.Errorf("plain, OAEP and the least key length are of Local Key Exchange: leave them out with protocol %s", HandoverKey)
		}
		if c.Sec < 0 || c.Sec > 1 {
			return fmt.Errorf("sec %d: 0 or 1, for 2 would take hours of computing for each key", c.Sec)
		}
		if c.Lifetime > 0xffff*time.Second {
			return fmt.Errorf("lifetime %v is too long: at most %v", c.Lifetime, 0xffff*time.Second)
		}
	default:
		return fmt.Errorf("there is no protocol %q: take %s or %s", c.Protocol, LKE, HandoverKey)
	}
	return nil
}

// secured names the links from which the kernel gets no Neighbour Discovery.
func (c *Config) secured() []string {
	if c.Protocol == HandoverKey {
		return []string{c.Interface}
	}
	return nil
}
