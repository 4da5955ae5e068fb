package hold

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Measured is what it takes to keep packets, in this process.
type Measured struct {
	Packets  int
	Heap     float64 // octets of the heap for each packet
	Resident float64 // octets of memory for each packet
	Drained  float64 // packets each second, as fast as it can
}

// Measure keeps packets of a length (1,280 or more, with all headers) that this host itself sends to addr, and drains them. The
// calling thread's network namespace needs a way to addr. It is for benchmarks.
func Measure(addr netip.Addr, packets, length int) (m Measured, failed error) {
	h, err := Open(Config{PacketsPerNode: packets, OctetsPerNode: 1 << 30, Octets: 1 << 30, DrainPercent: 10_000})
	if err != nil {
		return m, err
	}
	defer h.Close()
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return m, fmt.Errorf("open a socket: %w", err)
	}
	defer unix.Close(fd)
	if err := h.Hold(addr, false); err != nil {
		return m, err
	}
	to, payload := &unix.SockaddrInet6{Addr: addr.As16(), Port: 9}, make([]byte, length-headerLen-8)
	held := func() int {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.buffer.packets
	}
	end := time.Now().Add(30 * time.Second)
	send := func(count int) error {
		for want := held() + count; held() < want; {
			for range min(want-held(), 100) { // fewer than the device's queue takes
				if err := unix.Sendto(fd, payload, 0, to); err != nil {
					return fmt.Errorf("send to %s: %w", addr, err)
				}
			}
			for before := time.Now(); held() < want && time.Since(before) < 5*time.Millisecond; {
				time.Sleep(100 * time.Microsecond)
			}
			if time.Now().After(end) {
				return fmt.Errorf("%d of %d packets were kept", held(), want)
			}
		}
		return nil
	}
	// What is taken once, whatever is kept, is taken before.
	const before = 10
	if err := send(before); err != nil {
		return m, err
	}
	heap, resident := memory()
	if err := send(packets - before); err != nil {
		return m, err
	}
	heapAfter, residentAfter := memory()
	m.Packets = held()
	n := float64(m.Packets - before)
	m.Heap, m.Resident = float64(heapAfter-heap)/n, float64(residentAfter-resident)/n

	start := time.Now()
	if err := h.Drain(addr); err != nil {
		return m, err
	}
	select {
	case <-h.Drained():
	case <-time.After(30 * time.Second):
		return m, fmt.Errorf("%d of %d packets were not drained", held(), m.Packets)
	}
	m.Drained = float64(m.Packets) / time.Since(start).Seconds()
	return m, nil
}

// memory is the heap in use and the resident memory, in octets, without garbage.
func memory() (heap, resident int64) {
	debug.FreeOSMemory()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	b, err := os.ReadFile("/proc/self/statm")
	if fields := strings.Fields(string(b)); err == nil && len(fields) > 1 {
		pages, _ := strconv.ParseInt(fields[1], 10, 64)
		resident = pages * int64(os.Getpagesize())
	}
	return int64(s.HeapAlloc), resident
}
