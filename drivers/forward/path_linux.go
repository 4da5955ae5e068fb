package forward

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// pathProbe asks the kernel what it knows about the way to an address, without sending anything.
type pathProbe struct {
	mu sync.Mutex
	fd int
}

func newPathProbe() (*pathProbe, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a socket to ask for path MTUs: %w", err)
	}
	return &pathProbe{fd: fd}, nil
}

// mtu gives the path MTU towards dst, 0 where there is no route.
func (p *pathProbe) mtu(dst addr) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	// The discard port: the socket connects, and never sends.
	if err := unix.Connect(p.fd, &unix.SockaddrInet6{Addr: dst, Port: 9}); err != nil {
		return 0
	}
	mtu, err := unix.GetsockoptInt(p.fd, unix.IPPROTO_IPV6, unix.IPV6_MTU)
	if err != nil {
		return 0
	}
	return mtu
}

func (p *pathProbe) Close() { unix.Close(p.fd) }
