package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// figures collects what was measured.
type figures struct {
	out  io.Writer
	over []string
}

// atMost and atLeast print one figure and remember it if it breaks its limit.
func (f *figures) atMost(name string, value float64, unit string, limit float64) {
	f.print(name, value, unit, limit, value <= limit)
}

func (f *figures) atLeast(name string, value float64, unit string, limit float64) {
	f.print(name, value, unit, limit, value >= limit)
}

func (f *figures) print(name string, value float64, unit string, limit float64, ok bool) {
	verdict := "ok"
	if !ok {
		verdict = "OVER"
		f.over = append(f.over, name)
	}
	fmt.Fprintf(f.out, "bench: %-34s %10s %-6s limit %10s %s\n", name, number(value), unit, number(limit), verdict)
}

// tell prints a figure that has no limit of its own: what another one is compared with.
func (f *figures) tell(name string, value float64, unit string) {
	fmt.Fprintf(f.out, "bench: %-34s %10s %-6s limit %10s ok\n", name, number(value), unit, "none")
}

func number(v float64) string {
	switch {
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// latencies are round trip times.
type latencies []time.Duration

// at gives a percentile in milliseconds.
func (l latencies) at(percent float64) float64 {
	if len(l) == 0 {
		return 0
	}
	slices.Sort(l)
	i := min(int(percent/100*float64(len(l))), len(l)-1)
	return float64(l[i]) / float64(time.Millisecond)
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
