package send

import (
	"net/netip"
	"time"
)

const (
	maxPaths      = 32
	maxPathsAsked = 8
	// pathWait is for how long a path is waited for: hosts give up after 15 s (CPS_RETRY_MAX, RFC 3971 section 10.2), and
	// verifying takes some time.
	pathWait        = 18 * time.Second
	noPathLifetime  = time.Minute
	pathLifetime    = time.Hour
	maxPathLifetime = 30 * 24 * time.Hour
)

type pathState uint8

const (
	pathUnknown pathState = iota
	pathAsked
	pathNone
	pathKnown
)

// path is what is known of the certification path of one key.
type path struct {
	keyHash  [16]byte
	state    pathState
	until    time.Duration
	prefixes []netip.Prefix
	key      []byte // SPKI of the certificate, if that was told
}

// paths is a bounded cache. Paths that are known are never put out by others that are looked for.
type paths struct{ slots []path }

// find gives the entry of a key, nil if there is none that still counts.
func (t *paths) find(now time.Duration, keyHash [16]byte) *path {
	for i := range t.slots {
		if p := &t.slots[i]; p.state != pathUnknown && p.keyHash == keyHash {
			if p.until <= now {
				*p = path{}
				return nil
			}
			return p
		}
	}
	return nil
}

// ask makes an entry for a key that none is known of. It fails when too many are looked for already.
func (t *paths) ask(now time.Duration, keyHash [16]byte) bool {
	asked := 0
	for i := range t.slots {
		if p := &t.slots[i]; p.state == pathAsked && p.until > now {
			asked++
		}
	}
	if asked >= maxPathsAsked {
		return false
	}
	p := t.room(now)
	if p == nil {
		return false
	}
	*p = path{keyHash: keyHash, state: pathAsked, until: now + pathWait}
	return true
}

// learn notes what was found. It is nil when the cache is full of known paths.
func (t *paths) learn(now time.Duration, found path) *path {
	p := t.find(now, found.keyHash)
	if p == nil {
		p = t.room(now)
	}
	if p != nil {
		*p = found
	}
	return p
}

// room gives an entry to be written over: a free one, one whose time is over, or the one without path that is oldest.
func (t *paths) room(now time.Duration) *path {
	var oldest *path
	for i := range t.slots {
		p := &t.slots[i]
		if p.state == pathUnknown || p.until <= now {
			return p
		}
		if p.state == pathNone && (oldest == nil || p.until < oldest.until) {
			oldest = p
		}
	}
	if len(t.slots) < maxPaths {
		t.slots = append(t.slots, path{})
		return &t.slots[len(t.slots)-1]
	}
	return oldest
}
