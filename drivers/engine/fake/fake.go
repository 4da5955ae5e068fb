// Package fake is drivers/engine without threads: an [Engine] whose jobs are done when a test says so, and [Operations]
// without RSA.
package fake

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"sync"

	"github.com/roamkey/roamkey/drivers/engine"
)

var (
	_ engine.Jobs       = (*Engine)(nil)
	_ engine.Operations = Operations{}
)

// Engine keeps jobs until a test completes them.
type Engine struct {
	// Full makes each Submit lose the job that is submitted. It is set before use.
	Full bool

	results chan engine.Result

	mu                           sync.Mutex
	jobs                         []engine.Job
	submitted, failed, lostCount uint64
	done                         [4]uint64
}

// New gives an Engine without jobs.
func New() *Engine { return &Engine{results: make(chan engine.Result, 1024)} }

// Submit implements engine.Jobs.
func (e *Engine) Submit(j engine.Job) (lost engine.Ticket, dropped bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.submitted++
	if e.Full {
		e.lostCount++
		return j.Ticket, true
	}
	j.Octets, j.PublicKey, j.Signature = slices.Clone(j.Octets), slices.Clone(j.PublicKey), slices.Clone(j.Signature)
	e.jobs = append(e.jobs, j)
	return engine.Ticket{}, false
}

// Jobs gives the jobs that wait, in the order of their submission.
func (e *Engine) Jobs() []engine.Job {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.jobs)
}

// Complete does the oldest job by o. It reports whether there was one.
func (e *Engine) Complete(o engine.Operations) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.jobs) == 0 {
		return false
	}
	r := engine.Do(o, &e.jobs[0])
	e.jobs = e.jobs[1:]
	if r.OK {
		e.done[r.Op]++
	} else {
		e.failed++
	}
	e.results <- r
	return true
}

// Results implements engine.Jobs.
func (e *Engine) Results() <-chan engine.Result { return e.results }

// Counters implements engine.Jobs.
func (e *Engine) Counters(yield func(name string, value uint64)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	yield("engine_submitted", e.submitted)
	yield("engine_decrypted", e.done[engine.Decrypt])
	yield("engine_signed", e.done[engine.Sign])
	yield("engine_verified", e.done[engine.Verify])
	yield("engine_encrypted", e.done[engine.Encrypt])
	yield("engine_failed", e.failed)
	yield("engine_dropped", e.lostCount)
	yield("engine_waiting", uint64(len(e.jobs)))
}

// Close implements engine.Jobs.
func (e *Engine) Close() {}

// Operations are without any secret: a ciphertext begins with what it encrypts, and who knows a public key can sign.
type Operations struct {
	Other     [engine.KeyLen]byte // what a ciphertext of less than 16 octets is decrypted to
	PublicKey []byte              // of the key that signs; Verify takes its signatures under it alone
	SignError error               // when not nil, what Sign returns
}

// Decrypt implements engine.Decrypter: the key is the first 16 octets of a ciphertext.
func (o Operations) Decrypt(dst *[engine.KeyLen]byte, ciphertext []byte) {
	*dst = o.Other
	if len(ciphertext) >= engine.KeyLen {
		copy(dst[:], ciphertext)
	}
}

// signatureLen is that of an RSA key of 1024 bits.
const signatureLen = 128

// Sign implements engine.Operations: the signature is a hash of public key and digest, four times.
func (o Operations) Sign(digest [engine.DigestLen]byte) ([]byte, error) {
	if o.SignError != nil {
		return nil, o.SignError
	}
	return sign(o.PublicKey, digest), nil
}

// Verify implements engine.Operations.
func (o Operations) Verify(spki []byte, digest [engine.DigestLen]byte, signature []byte) bool {
	return bytes.Equal(signature, sign(spki, digest))
}

func sign(spki []byte, digest [engine.DigestLen]byte) []byte {
	sum := sha256.Sum256(append(slices.Clone(spki), digest[:]...))
	return bytes.Repeat(sum[:], signatureLen/len(sum))
}

// Encrypt implements engine.Operations: the ciphertext is plain and a hash of the public key.
func (o Operations) Encrypt(spki, plain []byte) ([]byte, error) {
	sum := sha256.Sum256(spki)
	return append(slices.Clone(plain), sum[:]...), nil
}
