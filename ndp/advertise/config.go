package advertise

import (
	"io"
	"math"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// Special values of durations in a Config.
const (
	// Default stands for the default of a lifetime for which zero means something.
	Default time.Duration = -1
	// Infinite is the lifetime without end, sent as all ones.
	Infinite time.Duration = math.MaxInt64
)

// Defaults and limits of RFC 4861 sections 6.2.1 and 10 and of RFC 6275 sections 7.5 and 13.
const (
	DefaultMaxInterval    = 600 * time.Second
	DefaultMinDelay       = 3 * time.Second // MIN_DELAY_BETWEEN_RAS
	DefaultValid          = 2592000 * time.Second
	DefaultPreferred      = 604800 * time.Second
	DefaultHopLimit       = 64
	LeastMaxInterval      = 70 * time.Millisecond
	LeastMinInterval      = 30 * time.Millisecond
	LeastMinDelay         = 30 * time.Millisecond
	GreatestMaxInterval   = 1800 * time.Second
	GreatestLifetime      = 9000 * time.Second // of the router
	RecommendedMaximum    = 7200 * time.Second // LKE Maximum Lifetime, draft section 3.1.1
	initialAdverts        = 3                  // MAX_INITIAL_RTR_ADVERTISEMENTS
	initialInterval       = 16 * time.Second   // MAX_INITIAL_RTR_ADVERT_INTERVAL
	finalAdverts          = 3                  // MAX_FINAL_RTR_ADVERTISEMENTS
	maxAnswerDelay        = 500 * time.Millisecond
	greatestReachable     = time.Hour
	minimumMTU            = 1280
	intervalSlackBelow    = 200 * time.Millisecond // RFC 6275 section 7.5
	intervalSlack         = 20 * time.Millisecond
	maxRoutes             = 17 // RFC 4191 section 4
	maxPrefixes           = 32
	maxServers, maxSearch = 16, 16
)

// LimitPreferred and LimitValid are ND_PREFERRED_LIMIT and ND_VALID_LIMIT of RFC 9096 section 4: lifetimes to give to
// prefixes that were learned and may change, beside the ends of their own lifetimes.
const (
	LimitPreferred = 2700 * time.Second
	LimitValid     = 5400 * time.Second
)

// Config is what one link's speaker says and when. Begin with DefaultConfig. Zero durations of intervals and delays, of
// HomeAgentInfo and of Capability stand for their defaults; where zero means something, Default does.
type Config struct {
	Interface int           // index of the link; advertisements go out here
	Hardware  ipv6.LinkAddr // sent as Source Link-Layer Address
	LinkLocal netip.Addr    // source of all advertisements
	LinkMTU   int           // octets of an IPv6 packet on the link, which bounds an advertisement; 0: 1280
	Reserve   int           // octets of that to leave free for whoever signs the packet (LKE-AR-28)

	MaxInterval time.Duration // MaxRtrAdvInterval, 70 ms to 1800 s; 0: 600 s
	MinInterval time.Duration // MinRtrAdvInterval, 30 ms to 0.75 MaxInterval; 0: 0.33 MaxInterval, under 9 s 0.75 of it
	MinDelay    time.Duration // MIN_DELAY_BETWEEN_RAS, 30 ms to MinInterval; 0: 3 s
	Unicast     bool          // answer solicitations to the soliciting host where that can be done (RFC 7772)

	HopLimit       uint8 // Cur Hop Limit; 0: unspecified
	Managed, Other bool  // M and O: there is a DHCPv6 server for addresses, for other things
	HomeAgent      bool  // H
	// RouterLifetime is zero (no default router) or MaxInterval to 9000 s. Default: 3 MaxInterval, with a Capability at
	// least its Maximum Lifetime or the recommended 7200 s.
	RouterLifetime time.Duration
	Preference     Preference
	Reachable      time.Duration // up to an hour; 0: unspecified
	Retrans        time.Duration // 0: unspecified
	MTU            uint32        // MTU option; 0: none

	Prefixes          []Prefix
	Routes            []Route
	Servers           []Servers
	Search            []Search
	AdvertiseInterval bool // send the Advertisement Interval option
	HomeAgentInfo     *HomeAgentInfo
	Capability        *Capability
	CodePoints        ndp.CodePoints // zero: those of the draft

	Rand io.Reader // for delays and intervals; it must not fail
}

// Preference is the 2-bit signed preference of RFC 4191 section 2.1.
type Preference uint8

// Preferences.
const (
	Medium Preference = 0
	High   Preference = 1
	Low    Preference = 3
)

// String gives the word used in configurations.
func (p Preference) String() string {
	switch p {
	case Medium:
		return "medium"
	case High:
		return "high"
	case Low:
		return "low"
	}
	return "reserved"
}

// Prefix is one Prefix Information option. What is sent is the lesser of the fixed lifetime and of what is left until the
// given time: fixed lifetimes stay the same in each advertisement, the other decrements (RFC 4861 section 6.2.1).
type Prefix struct {
	Prefix     netip.Prefix
	Router     netip.Addr // the router's own address in it, sent with the R bit; the zero Addr: none
	OnLink     bool       // L
	Autonomous bool       // A

	Valid, Preferred           time.Duration // Default: 30 days, and 7 days or Valid if that is less
	ValidUntil, PreferredUntil time.Time     // zero: no such time
}

// Route is one Route Information option (RFC 4191 section 2.3).
type Route struct {
	Prefix     netip.Prefix // ::/0 is allowed
	Preference Preference
	Lifetime   time.Duration // Default: the router's lifetime, or 3 MaxInterval where that is zero
}

// Servers are recursive DNS servers with one lifetime (RFC 8106 section 5.1).
type Servers struct {
	Addrs    []netip.Addr  // link-local addresses are allowed
	Lifetime time.Duration // Default: 3 MaxInterval
}

// Search is a DNS search list with one lifetime (RFC 8106 section 5.2).
type Search struct {
	Domains  []string      // ASCII, with or without a dot at the end
	Lifetime time.Duration // Default: 3 MaxInterval
}

// HomeAgentInfo is the Home Agent Information option (RFC 6275 section 7.4). It is not sent where it says only what holds
// without it: preference 0 and the router's lifetime.
type HomeAgentInfo struct {
	Preference uint16        // more is better
	Lifetime   time.Duration // 1 s to 65535 s; 0: the router's lifetime
}

// Capability is the LKE Capability Advertisement (draft-liu-mobileip-lke-01 section 3.1.1).
type Capability struct {
	MaximumLifetime time.Duration // of an LBSA; 0: the least of 7200 s, the router's lifetime, and the home agent's
	PublicKey       []byte        // SubjectPublicKeyInfo, DER; RSA of 1024 to 4096 bits
}

// DefaultConfig gives the defaults of RFC 4861 for the fields for which zero is no default.
func DefaultConfig() Config {
	return Config{
		Unicast:        true,
		HopLimit:       DefaultHopLimit,
		RouterLifetime: Default,
		CodePoints:     ndp.DefaultCodePoints(),
	}
}

// DefaultPrefix gives an on-link prefix for autoconfiguration with fixed default lifetimes.
func DefaultPrefix(p netip.Prefix) Prefix {
	return Prefix{Prefix: p, OnLink: true, Autonomous: true, Valid: Default, Preferred: Default}
}

// Lifetimes gives what is left of p at now: never negative, preferred never over valid.
func (p *Prefix) Lifetimes(now time.Time) (valid, preferred time.Duration) {
	valid, preferred = p.Valid, p.Preferred
	if !p.ValidUntil.IsZero() {
		valid = min(valid, p.ValidUntil.Sub(now))
	}
	if !p.PreferredUntil.IsZero() {
		preferred = min(preferred, p.PreferredUntil.Sub(now))
	}
	valid = max(valid, 0)
	return valid, max(min(preferred, valid), 0)
}
