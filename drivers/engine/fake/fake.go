// Package fake is drivers/engine without threads: an [Engine] whose jobs are done when a test says so, and a [Decrypter]
// without RSA.
package fake

import (
	"slices"
	"sync"

	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/ipv6"
)

var (
	_ engine.Jobs      = (*Engine)(nil)
	_ engine.Decrypter = Decrypter{}
)

// Job is one decryption that was submitted.
type Job struct {
	Job        uint64
	Source     ipv6.LinkAddr
	Ciphertext []byte
}

// Engine keeps jobs until a test completes them.
type Engine struct {
	// Full makes each Submit lose the job that is submitted. It is set before use.
	Full bool

	results chan engine.Result

	mu                         sync.Mutex
	jobs                       []Job
	submitted, done, lostCount uint64
}

// New gives an Engine without jobs.
func New() *Engine { return &Engine{results: make(chan engine.Result, 1024)} }

// Submit implements engine.Jobs.
func (e *Engine) Submit(job uint64, source ipv6.LinkAddr, ciphertext []byte) (lost uint64, dropped bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.submitted++
	if e.Full {
		e.lostCount++
		return job, true
	}
	e.jobs = append(e.jobs, Job{job, source, slices.Clone(ciphertext)})
	return 0, false
}

// Jobs gives the jobs that wait, in the order of their submission.
func (e *Engine) Jobs() []Job {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.jobs)
}

// Complete ends the oldest job with the key that d finds. It reports whether there was one.
func (e *Engine) Complete(d engine.Decrypter) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.jobs) == 0 {
		return false
	}
	r := engine.Result{Job: e.jobs[0].Job}
	d.Decrypt(&r.Key, e.jobs[0].Ciphertext)
	e.jobs = e.jobs[1:]
	e.done++
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
	yield("engine_decrypted", e.done)
	yield("engine_dropped", e.lostCount)
	yield("engine_waiting", uint64(len(e.jobs)))
}

// Close implements engine.Jobs.
func (e *Engine) Close() {}

// Decrypter takes the first 16 octets of a ciphertext for the key; one that is shorter gives Other.
type Decrypter struct {
	Other [engine.KeyLen]byte
}

// Decrypt implements engine.Decrypter.
func (d Decrypter) Decrypt(dst *[engine.KeyLen]byte, ciphertext []byte) {
	*dst = d.Other
	if len(ciphertext) >= engine.KeyLen {
		copy(dst[:], ciphertext)
	}
}
