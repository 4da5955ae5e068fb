package send

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
)

// Message is one of the messages that SEND secures.
type Message uint8

// Messages. RtSolPr and PrRtAdv are not in RFC 3971's list: they are treated as a solicitation and an advertisement
// (HK-resolution-e).
const (
	MessageRouterSolicit Message = iota
	MessageRouterAdvert
	MessageNeighborSolicit
	MessageNeighborAdvert
	MessageRedirect
	MessageProxySolicit // RtSolPr
	MessageProxyAdvert  // PrRtAdv
	messageCount

	messagePath  = messageCount     // CPS and CPA, which are never signed
	messageOther = messageCount + 1 // other subtypes of type 154
)

// Messages is the number of Message values, for tables.
const Messages = int(messageCount)

// Method says what authorizes the sender of a message (RFC 3971 section 5.2.3).
type Method uint8

// Methods.
const (
	ByDefault      Method = iota
	ByCGA                 // the address is a CGA of the key
	ByAnchor              // a certification path from a trust anchor covers the key
	ByAnchorAndCGA        // both
	ByAnchorOrCGA         // one of them
)

func (m Method) needsCGA() bool { return m == ByCGA || m == ByAnchorAndCGA }

func (m Method) needsPath(cga bool) bool {
	return m == ByAnchor || m == ByAnchorAndCGA || m == ByAnchorOrCGA && !cga
}

// Identity is the own key: what CGAs are made of it, and how long its signatures are.
type Identity struct {
	Params     cga.Params // modifier, public key and extensions count, for whichever prefix
	Sec        uint8      // for which the modifier was found
	ModulusLen int        // octets of a signature; zero: as the public key says
}

// Config is what an Endpoint is told. Zero values become the defaults.
type Config struct {
	Link     int      // interface index, copied to effects
	Identity Identity // zero: nothing can be signed
	Secured  bool     // secured-only: unsecured messages are dropped
	Router   bool     // changes the default Methods

	MinBits, MaxBits int           // of other's keys; 1024 and 2048, at most 4096
	Delta            time.Duration // 300 s; how far an unknown peer's clock may be off
	Fuzz             time.Duration // 1 s
	DriftPercent     int           // 1; how much slower than ours a peer's clock may run
	MaxPeers         int           // 1024; whose last timestamps are remembered
	MaxPending       int           // 64; messages that wait for RSA or a path, and as many that wait for a signature
	MaxNonces        int           // 256; own solicitations whose answers are recognized

	// Methods by message. The default is ByAnchor for router advertisements, redirects and PrRtAdv on a host, and ByCGA for
	// all else.
	Methods [Messages]Method

	Rand io.Reader // for nonces
}

const (
	defaultMaxBits    = 2048
	defaultDelta      = 300 * time.Second // TIMESTAMP_DELTA (RFC 3971 section 10.2)
	defaultFuzz       = time.Second       // TIMESTAMP_FUZZ
	defaultDrift      = 1                 // TIMESTAMP_DRIFT
	defaultMaxPeers   = 1024
	defaultMaxPending = 64
	defaultMaxNonces  = 256

	maxDelta = 24 * time.Hour // above it a replay is as good as new
	maxBound = 1 << 16        // of MaxPending: a slot's number is part of a job's
)

// ErrIdentity is what NewEndpoint fails with when the identity's key can't be used.
var ErrIdentity = errors.New("identity: give the RSA key of send.key and the modifier and sec (0 to 7) of its CGAs")

// complete gives cfg with its defaults filled in, or says what is wrong.
func complete(cfg Config) (Config, error) {
	cfg.MinBits = orDefault(cfg.MinBits, ndp.MinKeyBits)
	cfg.MaxBits = orDefault(cfg.MaxBits, max(defaultMaxBits, cfg.MinBits))
	cfg.Delta = orDefault(cfg.Delta, defaultDelta)
	cfg.Fuzz = orDefault(cfg.Fuzz, defaultFuzz)
	cfg.DriftPercent = orDefault(cfg.DriftPercent, defaultDrift)
	cfg.MaxPeers = orDefault(cfg.MaxPeers, defaultMaxPeers)
	cfg.MaxPending = orDefault(cfg.MaxPending, defaultMaxPending)
	cfg.MaxNonces = orDefault(cfg.MaxNonces, defaultMaxNonces)
	for m := range cfg.Methods {
		if cfg.Methods[m] != ByDefault {
			continue
		}
		cfg.Methods[m] = ByCGA
		switch Message(m) {
		case MessageRouterAdvert, MessageRedirect, MessageProxyAdvert:
			if !cfg.Router {
				cfg.Methods[m] = ByAnchor
			}
		}
	}
	switch {
	case cfg.Rand == nil:
		return cfg, errors.New("rand: there is none; give a source of random octets")
	case cfg.MinBits < ndp.MinKeyBits || cfg.MaxBits > ndp.MaxKeyBits || cfg.MinBits > cfg.MaxBits:
		return cfg, fmt.Errorf("key sizes from %d to %d bits; give min and max within %d and %d",
			cfg.MinBits, cfg.MaxBits, ndp.MinKeyBits, ndp.MaxKeyBits)
	case cfg.Delta < 0 || cfg.Delta > maxDelta:
		return cfg, fmt.Errorf("timestamp delta %v; give one up to %v", cfg.Delta, maxDelta)
	case cfg.Fuzz < 0 || cfg.Fuzz > cfg.Delta:
		return cfg, fmt.Errorf("timestamp fuzz %v; give one up to the delta", cfg.Fuzz)
	case cfg.DriftPercent < 0 || cfg.DriftPercent > 99:
		return cfg, fmt.Errorf("timestamp drift %d %%; give one up to 99", cfg.DriftPercent)
	case cfg.MaxPeers < 1 || cfg.MaxPending < 1 || cfg.MaxNonces < 1 || cfg.MaxPending > maxBound:
		return cfg, fmt.Errorf("bounds: %d peers, %d pending, %d nonces; give at least 1 and at most %d pending",
			cfg.MaxPeers, cfg.MaxPending, cfg.MaxNonces, maxBound)
	}
	for m, method := range cfg.Methods {
		if method > ByAnchorOrCGA {
			return cfg, fmt.Errorf("message %d has no authorization method %d", m, method)
		}
	}
	id := &cfg.Identity
	if len(id.Params.PublicKey) == 0 {
		id.ModulusLen = 0
		return cfg, nil
	}
	key, n, err := ndp.ParseSPKI(id.Params.PublicKey)
	if err != nil {
		return cfg, fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	id.ModulusLen = orDefault(id.ModulusLen, len(key.Modulus))
	if n != len(id.Params.PublicKey) || id.ModulusLen != len(key.Modulus) || id.Sec > cga.MaxSec {
		return cfg, ErrIdentity
	}
	// A modifier without the work that sec asks for would make addresses that nobody believes.
	first := id.Params
	first.Collisions = 0
	if err := cga.Verify(first.Address(id.Sec), first); err != nil {
		return cfg, fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	return cfg, nil
}

func orDefault[T comparable](v, standard T) T {
	var zero T
	if v == zero {
		return standard
	}
	return v
}
