package neighbor

import (
	"io"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// Config is what a Cache is told about its link. Zero durations and numbers stand for the defaults.
type Config struct {
	Link     int
	Hardware ipv6.LinkAddr // of the own interface
	Router   bool          // this host is a router there
	Secured  bool          // unsecured messages are not taken at all

	Retrans   time.Duration // between solicitations: 1 s (RETRANS_TIMER)
	Reachable time.Duration // for which a confirmation holds, on average: 30 s (REACHABLE_TIME)
	// DelayFirstProbe is how long the kernel uses an entry before it asks for a confirmation: 5 s (DELAY_FIRST_PROBE_TIME).
	// One that it has lost is given once more without a probe, if that was not done as recently.
	DelayFirstProbe time.Duration
	DADTransmits    int // solicitations of Duplicate Address Detection: 1 (DupAddrDetectTransmits); below 0: none

	MaxEntries   int // 1024
	MaxPerSource int // entries that messages from one link-layer address may make: a 32nd of all, and 8 at least
	AskRate      int // neighbours not known that the kernel may have resolved, in a second: 50. A signature costs time
	Rand         io.Reader
}

const (
	defaultRetrans         = time.Second
	defaultReachable       = 30 * time.Second
	defaultDelayFirstProbe = 5 * time.Second
	defaultDADTransmits    = 1
	defaultMaxEntries      = 1024
	defaultAskRate         = 50
	leastPerSource         = 8

	maxSolicits    = 3                // MAX_MULTICAST_SOLICIT, MAX_UNICAST_SOLICIT (RFC 4861 section 10)
	maxDADDelay    = time.Second      // MAX_RTR_SOLICITATION_DELAY
	staleLifetime  = time.Hour        // what was not confirmed for so long is forgotten, and its security with it
	reportInterval = 10 * time.Second // between reports of the kind that anybody on the link can cause
)

func (c *Config) complete() {
	orDefault := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	orDefault(&c.Retrans, defaultRetrans)
	orDefault(&c.Reachable, defaultReachable)
	orDefault(&c.DelayFirstProbe, defaultDelayFirstProbe)
	switch {
	case c.DADTransmits == 0:
		c.DADTransmits = defaultDADTransmits
	case c.DADTransmits < 0:
		c.DADTransmits = 0
	}
	if c.MaxEntries <= 0 {
		c.MaxEntries = defaultMaxEntries
	}
	if c.MaxPerSource <= 0 {
		c.MaxPerSource = max(c.MaxEntries/32, leastPerSource)
	}
	if c.AskRate <= 0 {
		c.AskRate = defaultAskRate
	}
}
