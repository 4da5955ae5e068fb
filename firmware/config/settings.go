package config

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// Config is one file of settings, validated. Reference gives a text that describes each of them.
type Config struct {
	Global     Global
	LKE        LKE
	Send       Send
	Fast       Fast
	CodePoints CodePoints
	Links      []Link // those that are enabled, in the order of the file
	Neighbors  []Neighbor

	// Warnings are what is allowed, and yet hardly meant.
	Warnings Problems
}

// Global are the settings of the daemon as a whole.
type Global struct {
	StateDir string     // holds the journal
	Control  string     // path of the control socket
	LKEKey   string     // path of the RSA key that key requests are encrypted for
	User     string     // as whom the daemon is started; only check uses it
	LogLevel slog.Level // least level that is logged

	Tunnel       string // "auto", "kernel" or "tun"
	TunnelDevice string
	TunnelMTU    int // octets; 0: from the uplink

	Workers  int // RSA operations at one time; 0: one fewer than the CPUs, at least one
	Queue    int // RSA operations that wait
	MaxNodes int // home addresses at one time; 0: from the memory of the device, see NodeLimit
}

// NodeLimit gives the greatest number of nodes on a device with so many octets of memory: MaxNodes where it is set,
// otherwise one for each 32 KiB (a twentieth of the memory, as a node takes 1.5 KB), from 256 to 65536.
func (g Global) NodeLimit(memory uint64) int {
	if g.MaxNodes != 0 {
		return g.MaxNodes
	}
	return int(min(max(memory/(32<<10), 256), 65536))
}

// LKE are the settings of Local Key Exchange.
type LKE struct {
	MaxLifetime       time.Duration // of an association; Link.KeyLifetime is what a link really advertises
	RequestInterval   time.Duration // least time between two requests of one node
	RequestBackoffMax time.Duration // to which it doubles
	DADTransmits      int
	RetransTimer      time.Duration
	RequestFinished   bool
	FinishedTimeout   time.Duration
	MaxBinding        time.Duration
	Padding           string // of the encrypted keys: "pkcs1" or "oaep"
	KeyBits           int    // for keygen
}

// CodePoints are the numbers of LKE, which collide with those that IANA gave to others.
type CodePoints struct {
	Mobility mobility.CodePoints
	ND       ndp.CodePoints
}

// Link is one link that is served.
type Link struct {
	Name           string // of the section
	Device         string // network interface
	LKE            bool
	AllowHiddenDAD bool // serve LKE although DAD may not reach every station (resolution w)
	RA             RA

	Send         SendMode
	Fast         bool            // handover keys and fast handovers (RFC 5269, 5568) for the nodes of this link
	AccessPoints []ipv6.LinkAddr // those of this router whose stations are on this link: BSSIDs

	// KeyLifetime is the Maximum Lifetime of the LKE capability on this link: LKE.MaxLifetime, or less where a router or
	// home agent lifetime bounds it (LKE-AR-3).
	KeyLifetime time.Duration

	Position Position // of the section
}

// RA is what a link's router advertisements say, and when they are sent (RFC 4861 section 6.2.1).
type RA struct {
	Enabled     bool
	MaxInterval time.Duration
	MinInterval time.Duration
	MinDelay    time.Duration // MIN_DELAY_BETWEEN_RAS

	HopLimit      uint8
	Managed       bool
	Other         bool
	Lifetime      time.Duration // 0: no default router
	Preference    Preference
	ReachableTime time.Duration
	RetransTimer  time.Duration
	MTU           int // octets; 0 leaves the option out, MTUAuto is the device's own

	// The H bit is set where LKE is on.
	HomeAgentPreference   uint16
	HomeAgentLifetime     time.Duration // 0: as Lifetime; the option is then left out if the preference is 0, too
	AdvertisementInterval bool          // the option of RFC 6275 section 7.3

	Prefixes           []Prefix
	PrefixesFromDevice bool          // those of the device's own addresses, too ...
	PrefixValid        time.Duration // ... for so long, unless the address ends before
	PrefixPreferred    time.Duration
	RouterAddresses    []netip.Addr // at most one in each prefix; in others the device's own address is the router's
	DNS                []netip.Addr
	Domains            []string // search list
	DNSLifetime        time.Duration
	Routes             []Route
}

// MTUAuto as RA.MTU stands for the device's own.
const MTUAuto = -1

// Prefix is one prefix that is advertised.
type Prefix struct {
	Prefix     netip.Prefix
	Valid      time.Duration // up to Forever
	Preferred  time.Duration
	OnLink     bool
	Autonomous bool
}

// Route is one route information option (RFC 4191 section 2.3).
type Route struct {
	Prefix     netip.Prefix
	Lifetime   time.Duration
	Preference Preference
}

// Preference of a router or route (RFC 4191 section 2.1).
type Preference int8

// Preferences.
const (
	Low    Preference = -1
	Medium Preference = 0
	High   Preference = 1
)

func (p *Preference) set(value string) *fault {
	var choice string
	if f := setChoice(&choice, value, "low", "medium", "high"); f != nil {
		return f
	}
	*p = map[string]Preference{"low": Low, "medium": Medium, "high": High}[choice]
	return nil
}

// String gives the name that a file has for it.
func (p Preference) String() string {
	switch {
	case p < 0:
		return "low"
	case p > 0:
		return "high"
	}
	return "medium"
}
