package main

import (
	"sync/atomic"
	"time"

	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/ipv6"
)

// flood is a stream of packets from many sources, floodRate a second.
type flood struct {
	halt  atomic.Bool
	done  chan error
	sent  int
	start time.Time
}

// startFlood sends what next gives, numbered from 0, to a station on a wire that nobody else sends on meanwhile.
func startFlood(wire *rig.Wire, to ipv6.LinkAddr, next func(i int) (from ipv6.LinkAddr, packet []byte)) *flood {
	f := &flood{done: make(chan error, 1), start: time.Now()}
	go func() {
		for !f.halt.Load() {
			from, packet := next(f.sent)
			if err := wire.Send(from, to, packet); err != nil {
				f.done <- err
				return
			}
			f.sent++
			if ahead := time.Duration(f.sent)*time.Second/floodRate - time.Since(f.start); ahead > time.Millisecond {
				time.Sleep(ahead)
			}
		}
		f.done <- nil
	}()
	return f
}

func (f *flood) stop() (rate float64, err error) {
	f.halt.Store(true)
	err = <-f.done
	return float64(f.sent) / time.Since(f.start).Seconds(), err
}
