package send

import (
	"crypto/sha1"
	"strconv"
	"time"
)

// Endpoint is one secured link's SEND: a pure state machine that one goroutine owns.
type Endpoint struct {
	cfg   Config
	count counters

	peers    peers
	nonces   nonces
	paths    paths
	received pool[waiting]
	signing  pool[signing]
	lastJob  uint64
	wake     time.Duration // when something that waits is given up; 0: never

	own       []ownAddress
	keyHash   [16]byte
	clock     sentClock
	toldUnset bool
	told      [eventCount]time.Duration // when an event of this kind was last told; zero: never
	signer    signer
	scratch   [ownNonce]byte

	base    time.Time     // of what time.Durations count from
	at      time.Duration // of the step under way
	started bool
	effects []Effect // of the step under way
	spare   []Effect // given back by Recycle, empty
}

// NewEndpoint makes the endpoint of one link. It fails when cfg can't be, with ErrIdentity where that is wrong.
func NewEndpoint(cfg Config) (*Endpoint, error) {
	e := &Endpoint{signer: signer{sha: sha1.New()}}
	if err := e.configure(cfg); err != nil {
		return nil, err
	}
	return e, nil
}

// Reconfigure replaces the configuration. With an error nothing is changed. What waits goes on as it began; what is known
// of peers and paths stays.
func (e *Endpoint) Reconfigure(now time.Time, cfg Config) error { return e.configure(cfg) }

func (e *Endpoint) configure(cfg Config) error {
	cfg, err := complete(cfg)
	if err != nil {
		return err
	}
	e.cfg = cfg
	e.peers.resize(cfg.MaxPeers)
	e.nonces.resize(cfg.MaxNonces)
	e.identify()
	return nil
}

// Step handles one input that arrived at now, on a clock that never goes back. It returns the effects to carry out, in
// order; nil where there is nothing to do, which then costs no memory either.
func (e *Endpoint) Step(now time.Time, in Input) []Effect {
	if !e.started {
		// Not zero at the first step, for a time of zero is none.
		e.base, e.started = now.Add(-1), true
	}
	t := now.Sub(e.base)
	e.at = t
	if e.wake != 0 && t >= e.wake {
		e.expire(t)
	}
	switch in.Kind {
	case InReceived:
		e.noteClock(in.Wall)
		e.receive(t, &in)
	case InSend:
		e.noteClock(in.Wall)
		e.send(t, &in)
	case InVerified:
		e.verified(t, in.Job, in.OK)
	case InSigned:
		e.signed(t, in.Job, in.Signature)
	case InLost:
		e.lost(in.Job)
	case InPath:
		e.pathFound(t, &in)
	}
	e.rearm()
	effects := e.effects
	e.effects = nil
	return effects
}

// Deadline is when Step wants an InTick next; the zero Time if never.
func (e *Endpoint) Deadline() time.Time {
	if e.wake == 0 {
		return time.Time{}
	}
	return e.base.Add(e.wake)
}

// rearm forgets the deadline when nothing waits any more. Otherwise it may be early: then expire finds the next one.
func (e *Endpoint) rearm() {
	if e.received.busy == 0 && e.signing.busy == 0 {
		e.wake = 0
	}
}

func (e *Endpoint) wakeAt(t time.Duration) {
	if e.wake == 0 || t < e.wake {
		e.wake = t
	}
}

// expire gives up what has waited for too long.
func (e *Endpoint) expire(now time.Duration) {
	for i := range e.received.places {
		at := &e.received.places[i]
		if at.job == 0 || now < at.deadline {
			continue
		}
		reason := ReasonNoPath
		if at.what.state == waitRSA {
			reason = ReasonLate
		}
		e.giveUp(at, reason)
	}
	for i := range e.signing.places {
		if at := &e.signing.places[i]; at.job != 0 && now >= at.deadline {
			e.count.add(countSignLate)
			e.dropSigning(at)
		}
	}
	e.wake = e.signing.earliest(e.received.earliest(0))
}

// lost handles a job that the full queue dropped.
func (e *Endpoint) lost(job uint64) {
	if at := e.received.find(job); at != nil {
		e.giveUp(at, ReasonLost)
		return
	}
	if at := e.signing.find(job); at != nil {
		e.count.add(countSignLost)
		e.dropSigning(at)
		return
	}
	e.count.add(countUnknownJob)
}

// noteClock tells once that the wall clock is not set.
func (e *Endpoint) noteClock(wall time.Time) {
	if e.toldUnset || isSet(wall) {
		return
	}
	e.toldUnset = true
	e.report(Event{
		Kind:   EventClockUnset,
		Detail: "the clock is not set (before 2020): until it is, timestamps of others can't be judged",
	})
}

func (e *Endpoint) emit(effect Effect) {
	if e.effects == nil {
		e.effects, e.spare = e.spare, nil
	}
	e.effects = append(e.effects, effect)
}

func (e *Endpoint) report(event Event) {
	if at := &e.told[event.Kind]; *at == 0 || e.at-*at >= eventPause {
		*at = e.at
	} else {
		return
	}
	event.Link = e.cfg.Link
	e.emit(Effect{Kind: EffectReport, Event: event})
}

// eventPause is how far apart two events of one kind are.
const eventPause = time.Minute

// Recycle gives back the effects of a step, all carried out, for a later step to use their memory. Nobody has to.
func (e *Endpoint) Recycle(effects []Effect) {
	clear(effects)
	if cap(effects) > cap(e.spare) && cap(effects) <= maxSpare {
		e.spare = effects[:0]
	}
}

// maxSpare bounds what is kept: a path that lets many messages through is seldom.
const maxSpare = 64

// Waiting says how many received messages wait for RSA or for a certification path, and how many of ours for a signature.
func (e *Endpoint) Waiting() (received, own int) { return e.received.busy, e.signing.busy }

// Peers says of how many peers the last timestamp is remembered.
func (e *Endpoint) Peers() int { return len(e.peers.slots) }

// String names the endpoint.
func (e *Endpoint) String() string { return "send endpoint of link " + strconv.Itoa(e.cfg.Link) }
