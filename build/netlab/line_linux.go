package netlab

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Line is a long line between two namespaces: a TUN device in each, and a delay in between that every packet takes. Packets
// keep their order.
type Line struct {
	files   [2]*os.File
	workers sync.WaitGroup
}

// lineQueue is how many packets may be on the line in each direction; more are dropped.
const lineQueue = 8192

// Line makes a long line. Its ends are up; their hardware addresses do not count.
func (l *Lab) Line(a, b End, delay time.Duration) (*Line, error) {
	line := &Line{}
	for i, end := range []End{a, b} {
		file, err := end.NS.openTUN(end.Name)
		if err != nil {
			if i == 1 {
				line.files[0].Close()
			}
			return nil, end.NS.wrap("make the end of a line "+end.Name, err)
		}
		line.files[i] = file
	}
	for _, end := range []End{a, b} {
		if err := end.NS.SetUp(end.Name); err != nil {
			line.files[0].Close()
			line.files[1].Close()
			return nil, err
		}
	}
	line.carry(line.files[0], line.files[1], delay)
	line.carry(line.files[1], line.files[0], delay)
	return line, nil
}

// openTUN makes a TUN device that goes away with its file.
func (ns *Namespace) openTUN(name string) (file *os.File, err error) {
	err = ns.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		req, err := unix.NewIfreq(name)
		if err == nil {
			req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
		if err != nil {
			unix.Close(fd)
			return err
		}
		file = os.NewFile(uintptr(fd), name)
		return nil
	})
	return file, err
}

type onLine struct {
	packet []byte
	due    time.Time
}

func (l *Line) carry(from, to *os.File, delay time.Duration) {
	queue := make(chan onLine, lineQueue)
	l.workers.Go(func() {
		defer close(queue)
		buf := make([]byte, 1<<16)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return // closed
			}
			select {
			case queue <- onLine{append([]byte(nil), buf[:n]...), time.Now().Add(delay)}:
			default:
			}
		}
	})
	l.workers.Go(func() {
		for p := range queue {
			time.Sleep(time.Until(p.due))
			_, _ = to.Write(p.packet) // what cannot be delivered is lost, as on a line
		}
	})
}

// Close takes the line down, with its devices.
func (l *Line) Close() error {
	l.files[0].Close()
	l.files[1].Close()
	l.workers.Wait()
	return nil
}
