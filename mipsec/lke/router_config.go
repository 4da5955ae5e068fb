package lke

import (
	"io"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// RouterConfig says what a Router serves and within which limits. A zero value of a limit stands for its default; false
// for RequestFinished is taken as it is.
type RouterConfig struct {
	Links []Link

	ModulusLen  int           // octets of the RSA modulus: Key Exchange Data has exactly this length
	MaxLifetime time.Duration // of an association, as the advertisement's option 6 says it (7200 s)
	MaxNodes    int           // home addresses with an association or an exchange at one time (1024)

	RequestInterval   time.Duration // least time between two requests of one station that reach RSA (3 s)
	RequestBackoffMax time.Duration // to which the interval doubles while no association becomes valid (48 s)

	DADTransmits int           // DupAddrDetectTransmits (1)
	RetransTimer time.Duration // between them, and after the last (1 s)

	RequestFinished bool          // ask for the Finished message (resolution u: yes)
	FinishedTimeout time.Duration // a binding ends without it after this time (3 s)
	MaxBinding      time.Duration // longest lifetime of a binding; the association's rest bounds it, too (MaxLifetime)

	CodePoints   mobility.CodePoints
	NDCodePoints ndp.CodePoints

	// Rand is the source of nonces. It must be a cryptographic one.
	Rand io.Reader
}

// Link is one link that is served.
type Link struct {
	Name      string // names the link across restarts, where indexes change
	Index     int
	Hardware  ipv6.LinkAddr
	LinkLocal netip.Addr // the router's link-local address on it, that of its advertisements
	Prefixes  []LinkPrefix

	// Routers are further addresses that are a router's or are proxied here: no node may claim them.
	Routers []netip.Addr

	// Refuse turns key exchanges down on this link: DAD, their only proof, does not reach every station (resolution w).
	Refuse bool
}

// LinkPrefix is one prefix that is advertised on a link, with the router's own global address in it.
type LinkPrefix struct {
	Prefix netip.Prefix
	Router netip.Addr
}

// Association is what can be told of one association: everything but its key.
type Association struct {
	Home       netip.Addr
	Router     netip.Addr
	Link       string
	Node       ipv6.LinkAddr
	State      string // "dad": not valid yet, "valid", or "bound": its home address is forwarded
	Expires    time.Time
	CareOf     netip.Addr // when bound
	BoundUntil time.Time  // when bound
	Verified   bool       // the node has been reached at CareOf: its Finished message came
	UpdateSeq  uint16     // of the last accepted Binding Update
}
