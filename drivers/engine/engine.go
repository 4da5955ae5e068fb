package engine

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Jobs is what a program needs of an engine. *Engine and the fake's *Engine are Jobs.
type Jobs interface {
	// Submit queues a job and copies all that it holds. It never waits. Where there is no room a job is lost, this one or the
	// newest one of a source that has more: dropped says so, and lost which.
	Submit(j Job) (lost Ticket, dropped bool)
	// Results gives what is done, in no particular order. It is never closed.
	Results() <-chan Result
	Counters(yield func(name string, value uint64))
	// Close ends the workers; what is queued is forgotten. An operation that is under way is waited for.
	Close()
}

var _ Jobs = (*Engine)(nil)

// Engine is a queue with workers.
type Engine struct {
	operations Operations
	results    chan Result
	work       chan struct{} // a token for each worker that might have to wake up
	done       chan struct{}
	workers    sync.WaitGroup

	mu    sync.Mutex
	queue *queue

	submitted, dropped, unprioritised atomic.Uint64
	succeeded                         [opCount]atomic.Uint64
	failed                            atomic.Uint64
}

// Workers is how many workers suit this machine: all processors but one, and at least one.
func Workers() int { return max(1, runtime.NumCPU()-1) }

// Procs is the least GOMAXPROCS for that many workers: each may keep one of Go's processors busy throughout, and the rest
// of the program needs one more, even where the machine has a single core. The program's main sets it.
func Procs(workers int) int { return max(1, workers) + 1 }

// perSource is the part of the queue that one source can have: a quarter.
const perSource = 4

// New starts workers (at least one) behind a queue for that many jobs. No source gets more than a quarter of the queue.
func New(o Operations, workers, queue int) *Engine {
	workers, queue = max(workers, 1), max(queue, 1)
	e := &Engine{
		operations: o,
		results:    make(chan Result, queue+workers),
		work:       make(chan struct{}, workers),
		done:       make(chan struct{}),
		queue:      newQueue(queue, queue/perSource),
	}
	for range workers {
		e.workers.Go(func() { onThread(e.run) })
	}
	return e
}

// Submit implements Jobs.
func (e *Engine) Submit(j Job) (lost Ticket, dropped bool) {
	e.mu.Lock()
	lost, dropped = e.queue.put(&j)
	e.mu.Unlock()
	e.submitted.Add(1)
	if dropped {
		e.dropped.Add(1)
	}
	select {
	case e.work <- struct{}{}:
	default: // as many tokens as workers: all will look
	}
	return lost, dropped
}

// Results implements Jobs.
func (e *Engine) Results() <-chan Result { return e.results }

// run is one worker.
func (e *Engine) run(low bool) {
	if !low {
		e.unprioritised.Add(1)
	}
	var buf []byte
	for {
		e.mu.Lock()
		j, wrong, ok := e.queue.take(&buf)
		e.mu.Unlock()
		if !ok {
			select {
			case <-e.work:
				continue
			case <-e.done:
				return
			}
		}
		r := do(e.operations, &j, wrong)
		clear(buf) // it may hold a handover key
		if r.OK {
			e.succeeded[r.Op].Add(1)
		} else {
			e.failed.Add(1)
		}
		select {
		case e.results <- r:
		case <-e.done:
			return
		}
		select {
		case <-e.done:
			return
		default:
		}
	}
}

// Counters implements Jobs.
func (e *Engine) Counters(yield func(name string, value uint64)) {
	e.mu.Lock()
	waiting := e.queue.count
	e.mu.Unlock()
	yield("engine_submitted", e.submitted.Load())
	yield("engine_decrypted", e.succeeded[Decrypt].Load())
	yield("engine_signed", e.succeeded[Sign].Load())
	yield("engine_verified", e.succeeded[Verify].Load())
	yield("engine_encrypted", e.succeeded[Encrypt].Load())
	yield("engine_failed", e.failed.Load())
	yield("engine_dropped", e.dropped.Load())
	yield("engine_waiting", uint64(waiting))
	yield("engine_workers_without_low_priority", e.unprioritised.Load())
}

// Close implements Jobs.
func (e *Engine) Close() {
	close(e.done)
	e.workers.Wait()
}
