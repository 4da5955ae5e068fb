package engine

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/ipv6"
)

// onOneCPU marks the environment of the child process that measures.
const onOneCPU = "ENGINE_TEST_ON_ONE_CPU"

// On a router with a single core a packet does not wait for an RSA operation. The test runs itself as a process that has
// one CPU, with GOMAXPROCS as Procs says, and measures a UDP echo between two goroutines of it: idle, then with the engine
// busy, then, to show that it can tell, with the same operations on an ordinary goroutine and GOMAXPROCS 1.
func TestPacketsDoNotWaitForRSAOnOneCPU(t *testing.T) {
	if os.Getenv(onOneCPU) != "" {
		measureOnOneCPU(t)
		return
	}
	// The affinity of a thread is inherited by the process that it starts.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for cpu := 0; one.Count() == 0; cpu++ {
		if all.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	defer unix.SchedSetaffinity(0, &all)
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), onOneCPU+"=1")
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "echo") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}

func measureOnOneCPU(t *testing.T) {
	if runtime.NumCPU() != 1 {
		t.Fatalf("%d CPUs", runtime.NumCPU())
	}
	slow := slowRSA{NewSoftware(vectorKey(t), nil, PKCS1v15, rand.Reader), unhex(t, keyExchangeData)}
	runtime.GOMAXPROCS(Procs(Workers()))
	idle := measureEcho(t, "idle", 300)

	e := New(only{slow}, Workers(), 16)
	stop := make(chan struct{})
	var feed sync.WaitGroup
	feed.Go(func() {
		for job := uint64(0); ; job++ {
			submitTo(e, job, ipv6.LinkAddr{2, byte(job % 5)}, nil)
			select {
			case <-e.Results():
			case <-stop:
				return
			}
		}
	})
	// The first operation is under way before the echo begins; the queue never runs dry.
	for i := range uint64(8) {
		submitTo(e, 1000+i, ipv6.LinkAddr{2, byte(i % 5)}, nil)
	}
	before := decrypted(e)
	await(t, "an operation is done", func() bool { return decrypted(e) > before })
	before = decrypted(e)
	busy := measureEcho(t, "engine busy", 300)
	if decrypted(e) == before {
		t.Error("the engine was not busy")
	}
	close(stop)
	feed.Wait()
	e.Close()

	// A few milliseconds, or what a busy machine takes anyway.
	if bound := max(5*time.Millisecond, 3*idle.p99); busy.p99 > bound {
		t.Errorf("p99 of the echo is %v while the engine is busy, more than %v", busy.p99, bound)
	}

	runtime.GOMAXPROCS(1)
	stop = make(chan struct{})
	feed.Go(func() {
		var key [KeyLen]byte
		for {
			select {
			case <-stop:
				return
			default:
				slow.Decrypt(&key, nil)
			}
		}
	})
	naive := measureEcho(t, "ordinary goroutine busy", 12)
	close(stop)
	feed.Wait()
	if naive.p50 < 2*busy.p50 {
		t.Errorf("p50 is %v with the engine and %v without: the measurement shows nothing", busy.p50, naive.p50)
	}
}

// slowRSA makes an operation take as long as on a router: tens of milliseconds.
type slowRSA struct {
	d          Decrypter
	ciphertext []byte
}

func (s slowRSA) Decrypt(dst *[KeyLen]byte, _ []byte) {
	for end := time.Now().Add(40 * time.Millisecond); time.Now().Before(end); {
		s.d.Decrypt(dst, s.ciphertext)
	}
}

func decrypted(e *Engine) (n uint64) {
	e.Counters(func(name string, value uint64) {
		if name == "engine_decrypted" {
			n = value
		}
	})
	return n
}

type echo struct{ p50, p99 time.Duration }

// measureEcho sends datagrams to a goroutine that sends them back.
func measureEcho(t *testing.T, what string, samples int) echo {
	t.Helper()
	listen := func() *net.UDPConn {
		c, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	server, client := listen(), listen()
	defer client.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 64)
		for {
			n, from, err := server.ReadFromUDPAddrPort(buf)
			if err != nil {
				return // closed
			}
			if _, err := server.WriteToUDPAddrPort(buf[:n], from); err != nil {
				return
			}
		}
	})
	to := server.LocalAddr().(*net.UDPAddr).AddrPort()
	var times []time.Duration
	buf := make([]byte, 64)
	client.SetDeadline(time.Now().Add(patience))
	for range samples {
		start := time.Now()
		if _, err := client.WriteToUDPAddrPort([]byte("echo"), to); err != nil {
			t.Fatal(err)
		}
		if _, _, err := client.ReadFromUDPAddrPort(buf); err != nil {
			t.Fatal(err)
		}
		times = append(times, time.Since(start))
		time.Sleep(time.Millisecond) // packets come now and then
	}
	server.Close()
	wg.Wait()
	slices.Sort(times)
	e := echo{times[len(times)/2], times[len(times)*99/100]}
	fmt.Printf("echo, %s: p50 %v, p99 %v, max %v of %d\n", what, e.p50, e.p99, times[len(times)-1], len(times))
	return e
}
