package send

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// InputKind says what happened.
type InputKind uint8

// Inputs. The comment names the fields of Input that count beside it.
const (
	InTick     InputKind = iota // a deadline passed
	InReceived                  // a packet was received: Packet (only looked at during Step), Wall
	InSend                      // a message is to be sent: Octets, LinkDst, Answers, Source, Cookie, Wall
	InVerified                  // an EffectVerify is done: Job, OK
	InSigned                    // an EffectSign is done: Job, Signature
	InLost                      // the queue dropped a job: Job
	InPath                      // a certification path is known, or there is none: KeyHash, OK, Prefixes, PublicKey, Lifetime
)

// Input is one thing that happened. It is one concrete struct, so that no input costs an allocation.
type Input struct {
	Kind   InputKind
	Packet *ipv6.Packet
	Wall   time.Time // wall-clock time, for timestamps

	// Octets are a whole unsigned IPv6 packet with a message of SEND and no option of it; its source is a CGA of ours or
	// ::. They are not changed and not kept. From another source it leaves unsigned in mixed mode, and not at all on a link
	// that is secured-only; what is said for another's address (NA of a proxy, DAD for another) always leaves unsigned. A
	// solicitation gets a fresh nonce, whose answers are then recognized; Answers is the nonce of the secured solicitation
	// that an advertisement answers, nil if none. Source is whom a fair queue counts the signature to: the station that is
	// answered; zero: ourselves. Cookie comes back in EffectSend.
	Octets  []byte
	LinkDst ipv6.LinkAddr
	Answers []byte
	Source  ipv6.LinkAddr
	Cookie  uint64

	Job       uint64
	OK        bool
	Signature []byte // not kept

	// KeyHash and PublicKey (SPKI DER; can be nil where CGA options carry it) are of the certificate that the path ends
	// with, Prefixes what it may advertise: without any it may advertise none. Lifetime is for how long this is believed;
	// zero is an hour. The slices are kept.
	KeyHash   [16]byte
	Prefixes  []netip.Prefix
	PublicKey []byte
	Lifetime  time.Duration
}

// EffectKind says what is to be done.
type EffectKind uint8

// Effects. The comment names the fields of Effect that count beside it.
const (
	// EffectVerify asks whether Signature is the PKCS #1 v1.5 signature of the SHA-1 Digest under PublicKey (SPKI DER): Job,
	// Source (whom a fair queue counts it to). The slices are good until the answer.
	EffectVerify EffectKind = iota + 1
	// EffectSign asks for the PKCS #1 v1.5 signature of the SHA-1 Digest with the own key: Job, Source.
	EffectSign
	// EffectSend sends the whole Packet as a frame to LinkDst on Link. Nonce is the one that it asks with, nil if none;
	// Cookie is that of its InSend.
	EffectSend
	// EffectDeliver gives Received to those that it is for, with what is known of it: Security. It is the caller's own packet
	// where there is no signature option, otherwise a copy.
	EffectDeliver
	// EffectPath asks for the certification path of KeyHash, which the router at Router uses; InPath answers.
	EffectPath
	// EffectReport tells people: Event.
	EffectReport
)

// Effect is one thing to do. Which fields count depends on Kind.
type Effect struct {
	Kind EffectKind

	Job       uint64
	Source    ipv6.LinkAddr
	PublicKey []byte
	Digest    [20]byte
	Signature []byte

	Link    int
	LinkDst ipv6.LinkAddr
	Packet  []byte
	Nonce   []byte
	Cookie  uint64

	Received *ipv6.Packet
	Security Security

	KeyHash [16]byte
	Router  netip.Addr

	Event Event
}

// Security is what is known of a received message.
type Security struct {
	// Secured: every rule of RFC 3971 is fulfilled. A router solicitation from :: with timestamp or nonce is so without
	// having a signer. Who makes new state asks Fresh.
	Secured bool
	// Repeat: the peer's last accepted timestamp and nonce once more. It may be answered, but must make no new state.
	Repeat bool
	// Stale: the timestamp can't be judged or is out of bounds. It may be answered, but must make no new state.
	Stale      bool
	Reply      bool           // it answers a nonce of ours
	CGA        bool           // the address (source; target of a solicitation from ::) is a CGA of the key
	Authorized bool           // a certification path covers the key
	KeyHash    [16]byte       // of the signer
	PublicKey  []byte         // SPKI of the signer; shares memory with the packet
	Nonce      []byte         // that a secured answer has to copy; shares memory with the packet; nil if none
	Prefixes   []netip.Prefix // what the certification path lets the signer advertise; shared, not to be written to
	Why        Reason         // why it is not secured
}

// Fresh reports whether the message is secured and may make new state.
func (s *Security) Fresh() bool { return s.Secured && !s.Repeat && !s.Stale }

// Covers reports whether the signer's certification path lets it advertise p.
func (s *Security) Covers(p netip.Prefix) bool { return s.Authorized && covers(s.Prefixes, p) }

func covers(prefixes []netip.Prefix, p netip.Prefix) bool {
	for _, q := range prefixes {
		if q.Bits() <= p.Bits() && q.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

// EventKind names what an operator wants to see.
type EventKind uint8

// Events. Each is told once a minute at most: others can bring about that they happen.
const (
	EventClockUnset EventKind = iota + 1 // the wall clock is before 2020: Detail; told once
	EventClockBack                       // the wall clock went back so far that peers will not take our timestamps: Detail
	EventNotSigned                       // a message of ours was not sent, or unsigned: Addr (source or DAD target), Detail
	EventNoPath                          // no certification path for the router at Addr
	eventCount
)

var eventNames = [...]string{
	EventClockUnset: "send-clock-unset", EventClockBack: "send-clock-back", EventNotSigned: "send-not-signed",
	EventNoPath: "send-no-path",
}

// String is the name used in logs and status.
func (k EventKind) String() string {
	if int(k) < len(eventNames) && eventNames[k] != "" {
		return eventNames[k]
	}
	return "unknown"
}

// Event is one thing worth telling a person.
type Event struct {
	Kind   EventKind
	Link   int
	Addr   netip.Addr
	Detail string // a constant sentence fragment
}
