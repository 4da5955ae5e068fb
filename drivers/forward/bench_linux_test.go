package forward

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// flood is a UDP socket that sends the same packet again and again, many by one system call.
type flood struct {
	fd   int
	hdrs []mmsghdr
	iov  unix.Iovec
}

// flood opens a flood at a namespace from src to dst: of UDP, or of tunnel packets with this in them.
func (n *network) flood(ns interface{ Do(func() error) error }, src, dst netip.Addr, kind int, payload []byte) *flood {
	n.t.Helper()
	f := &flood{hdrs: make([]mmsghdr, 64)}
	n.must(ns.Do(func() (err error) {
		proto := 0
		if kind == unix.SOCK_RAW {
			proto = unix.IPPROTO_IPV6
		}
		if f.fd, err = unix.Socket(unix.AF_INET6, kind|unix.SOCK_CLOEXEC, proto); err != nil {
			return err
		}
		if err := unix.Bind(f.fd, &unix.SockaddrInet6{Addr: src.As16()}); err != nil {
			return err
		}
		port := 0
		if kind == unix.SOCK_DGRAM {
			port = 5000
		}
		return unix.Connect(f.fd, &unix.SockaddrInet6{Addr: dst.As16(), Port: port})
	}))
	n.t.Cleanup(func() { unix.Close(f.fd) })
	f.iov.Base = &payload[0]
	f.iov.SetLen(len(payload))
	for i := range f.hdrs {
		f.hdrs[i].hdr.Iov = &f.iov
		f.hdrs[i].hdr.SetIovlen(1)
	}
	return f
}

func (f *flood) send(count int) {
	for count > 0 {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(f.fd), uintptr(unsafe.Pointer(&f.hdrs[0])),
			uintptr(min(count, len(f.hdrs))), 0, 0, 0)
		if errno != 0 {
			time.Sleep(time.Millisecond)
			continue
		}
		count -= int(n)
	}
}

// TestTUNAllocatesNothingForAPacket counts what the whole process allocates while packets cross both ends.
func TestTUNAllocatesNothingForAPacket(t *testing.T) {
	n := newNetwork(t)
	f, e := n.router(Config{Backend: TUN}), n.node(NodeConfig{Backend: TUN})
	n.must(f.Bind(bound))
	n.must(e.Bind(bound))
	n.listen(n.mn, homeAddr, 5000) // nobody reads: what does not fit is dropped, and not answered
	fl := n.flood(n.cn, peer, homeAddr, unix.SOCK_DGRAM, make([]byte, 64))
	const burst, bursts = 200, 50
	arrived := &e.(*nodeTUN).engine.count.in[passed]
	push := func() {
		want := arrived.Load() + burst
		fl.send(burst)
		for end := time.Now().Add(3 * time.Second); arrived.Load() < want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d of %d packets arrived", arrived.Load()+burst-want, burst)
			}
		}
	}
	push()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range bursts {
		push()
	}
	runtime.ReadMemStats(&after)
	if each := float64(after.Mallocs-before.Mallocs) / (burst * bursts); each > 0.05 {
		t.Errorf("%.2f allocations for each packet", each)
	}
}

// BenchmarkTUN reports what one processor could take through the router's end: packets for each second of processor time
// that the process takes, less that of the sender. It holds the kernel's part up to the far end, too.
func BenchmarkTUN(b *testing.B) {
	for _, size := range []int{100, 1400} {
		b.Run(fmt.Sprintf("out/%d", size), func(b *testing.B) {
			n := newNetwork(b)
			n.deaf()
			f := n.router(Config{Backend: TUN}).(*routerTUN)
			n.must(f.Bind(bound))
			fl := n.flood(n.cn, peer, homeAddr, unix.SOCK_DGRAM, make([]byte, size-48))
			benchmark(b, n, fl, &f.engine.count.out[passed])
		})
		b.Run(fmt.Sprintf("in/%d", size), func(b *testing.B) {
			n := newNetwork(b)
			f := n.router(Config{Backend: TUN}).(*routerTUN)
			n.must(f.Bind(bound))
			n.listen(n.cn, peer, 5000)
			fl := n.flood(n.mn, careOf, routerAddr, unix.SOCK_RAW, udp(homeAddr, peer, 64, strings.Repeat("x", size-48)))
			benchmark(b, n, fl, &f.engine.count.in[passed])
		})
	}
}

func benchmark(b *testing.B, n *network, fl *flood, passed *atomic.Uint64) {
	n.uncapture()
	var stop atomic.Bool
	sender := make(chan time.Duration)
	total, begin := cpu(unix.RUSAGE_SELF), passed.Load()
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		start := cpu(unix.RUSAGE_THREAD)
		for !stop.Load() {
			fl.send(64)
		}
		sender <- cpu(unix.RUSAGE_THREAD) - start
	}()
	b.ReportAllocs()
	b.ResetTimer()
	for passed.Load()-begin < uint64(b.N) {
		time.Sleep(5 * time.Millisecond)
	}
	b.StopTimer()
	stop.Store(true)
	own := cpu(unix.RUSAGE_SELF) - total - <-sender
	b.ReportMetric(float64(passed.Load()-begin)/own.Seconds(), "packets/cpu-s")
}

// cpu is the processor time that the process or the thread has taken.
func cpu(who int) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(who, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
