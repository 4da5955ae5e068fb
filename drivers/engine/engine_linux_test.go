package engine

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/ipv6"
)

// patience bounds each wait of these tests; none is expected to come near it.
const patience = 5 * time.Second

func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// submitTo submits a Decrypt.
func submitTo(e Jobs, job uint64, source ipv6.LinkAddr, ciphertext []byte) (lost uint64, dropped bool) {
	t, dropped := e.Submit(Job{Ticket: Ticket{Owner: 1, Job: job}, Source: source, Octets: ciphertext})
	return t.Job, dropped
}

// only are Operations of which a test needs Decrypt alone.
type only struct{ Decrypter }

func (only) Sign([DigestLen]byte) ([]byte, error)        { return nil, errNoSendKey }
func (only) Verify([]byte, [DigestLen]byte, []byte) bool { return false }
func (only) Encrypt(spki, plain []byte) ([]byte, error)  { return nil, errTrailing }

// gate is a Decrypter whose operations take until they are let go. Each says on which thread it is done.
type gate struct {
	threads chan int
	release chan struct{}
}

func newGate() *gate { return &gate{threads: make(chan int, 64), release: make(chan struct{})} }

func (g *gate) Decrypt(dst *[KeyLen]byte, ciphertext []byte) {
	g.threads <- unix.Gettid()
	<-g.release
	copy(dst[:], ciphertext)
}

// nice reads the nice value of a thread of this process.
func nice(t *testing.T, tid int) string {
	t.Helper()
	stat := string(readFile(t, fmt.Sprintf("/proc/self/task/%d/stat", tid)))
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	return fields[16] // field 19 of the line, the first two are cut
}

// Each worker has a thread of its own with lowered priority; the rest of the program keeps its priority, and the threads
// end with the engine.
func TestWorkersHaveThreadsOfLowPriority(t *testing.T) {
	g := newGate()
	e := New(only{g}, 2, 8)
	submitTo(e, 1, ipv6.LinkAddr{2}, nil)
	submitTo(e, 2, ipv6.LinkAddr{2}, nil)
	a, b := <-g.threads, <-g.threads
	if a == b {
		t.Fatal("two workers share a thread")
	}
	for _, tid := range []int{a, b} {
		if n := nice(t, tid); n != "15" {
			t.Errorf("nice value of a worker's thread is %s, want 15", n)
		}
	}
	if n := nice(t, os.Getpid()); n == "15" {
		t.Error("the main thread has lowered priority")
	}
	e.Counters(func(name string, value uint64) {
		if name == "engine_workers_without_low_priority" && value != 0 {
			t.Errorf("%s = %d", name, value)
		}
	})
	close(g.release)
	e.Close()
	await(t, "the workers' threads end", func() bool {
		_, errA := os.Stat(fmt.Sprintf("/proc/self/task/%d", a))
		_, errB := os.Stat(fmt.Sprintf("/proc/self/task/%d", b))
		return os.IsNotExist(errA) && os.IsNotExist(errB)
	})
}

// Submit never waits, and each job is either done or named as lost, once.
func TestEachJobIsDoneOrLost(t *testing.T) {
	g := newGate()
	e := New(only{g}, 2, 16)
	defer e.Close()
	state := make(map[uint64]string)
	const jobs = 500
	for job := range uint64(jobs) {
		source := ipv6.LinkAddr{2, 0, 0, 0, 0, byte(job % 7)}
		if job%3 == 0 {
			source = ipv6.LinkAddr{2, 0xff} // submits more than the others
		}
		if lost, dropped := submitTo(e, job, source, []byte{byte(job), byte(job >> 8)}); dropped {
			if state[lost] != "" {
				t.Fatalf("job %d is lost and was %s", lost, state[lost])
			}
			state[lost] = "lost"
		}
	}
	done := 0
	close(g.release)
	for len(state) < jobs {
		select {
		case r := <-e.Results():
			if state[r.Job] != "" {
				t.Fatalf("job %d is done and was %s", r.Job, state[r.Job])
			}
			if got := uint64(r.Key[0]) | uint64(r.Key[1])<<8; got != r.Job {
				t.Errorf("job %d has the result of job %d", r.Job, got)
			}
			state[r.Job] = "done"
			done++
		case <-time.After(patience):
			t.Fatalf("%d jobs are neither done nor lost", jobs-len(state))
		}
	}
	if done < 16 || done > 18 {
		t.Errorf("%d jobs were done, want those of the queue and of the two workers", done)
	}
	counts := make(map[string]uint64)
	e.Counters(func(name string, value uint64) { counts[name] = value })
	if counts["engine_submitted"] != jobs || counts["engine_decrypted"] != uint64(done) || counts["engine_dropped"] != uint64(jobs-done) || counts["engine_waiting"] != 0 {
		t.Errorf("counters %v after %d done", counts, done)
	}
}

// One source cannot have the queue to itself even while it is empty.
func TestOneSourceGetsAQuarterOfTheQueue(t *testing.T) {
	g := newGate()
	e := New(only{g}, 1, 16)
	defer e.Close()
	defer close(g.release)
	submitTo(e, 0, ipv6.LinkAddr{2, 1}, nil)
	<-g.threads // the worker has it
	kept := 0
	for job := range uint64(10) {
		if _, dropped := submitTo(e, job+1, ipv6.LinkAddr{2, 1}, nil); !dropped {
			kept++
		}
	}
	if kept != 4 {
		t.Errorf("%d jobs of one source wait, want 4 of 16", kept)
	}
}

// Workers that sleep wake up for work that comes later, all that are needed.
func TestWorkersWakeUp(t *testing.T) {
	g := newGate()
	e := New(only{g}, 3, 16)
	defer e.Close()
	for round := range uint64(20) {
		for i := range uint64(3) {
			submitTo(e, 3*round+i, ipv6.LinkAddr{2, byte(i)}, nil)
		}
		for range 3 {
			select {
			case <-g.threads:
			case <-time.After(patience):
				t.Fatalf("round %d: a worker sleeps while a job waits", round)
			}
		}
		for range 3 {
			g.release <- struct{}{}
			<-e.Results()
		}
	}
}

// The rate is that of as many workers as were asked for, for as long as was asked for.
func TestRate(t *testing.T) {
	var calls, inside, most atomic.Int64
	var mu sync.Mutex
	seen := make(map[string]bool)
	d := decrypterFunc(func(ciphertext []byte) {
		calls.Add(1)
		most.Store(max(most.Load(), inside.Add(1)))
		time.Sleep(2 * time.Millisecond)
		inside.Add(-1)
		mu.Lock()
		seen[string(ciphertext)] = true
		mu.Unlock()
	})
	start := time.Now()
	rate := Rate(d, 3, [][]byte{{1}, {2}, {3}}, 100*time.Millisecond)
	elapsed := time.Since(start).Seconds()
	if got := float64(calls.Load()) / elapsed; rate < got*0.9 || rate > got*1.3 {
		t.Errorf("rate %.1f, but %d operations in %.3f s", rate, calls.Load(), elapsed)
	}
	if most.Load() != 3 || len(seen) != 3 {
		t.Errorf("%d at once with %d ciphertexts, want 3 of each", most.Load(), len(seen))
	}
	if Rate(d, 1, nil, time.Hour) != 0 {
		t.Error("a rate without work")
	}
}

type decrypterFunc func(ciphertext []byte)

func (f decrypterFunc) Decrypt(_ *[KeyLen]byte, ciphertext []byte) { f(ciphertext) }

func TestProcs(t *testing.T) {
	if Workers() < 1 || Procs(Workers()) < 2 || Procs(0) != 2 || Procs(3) != 4 {
		t.Errorf("%d workers, %d processors", Workers(), Procs(Workers()))
	}
}
