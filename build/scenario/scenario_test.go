package scenario

import (
	"strings"
	"testing"
	"time"
)

func TestResultLineRoundTrip(t *testing.T) {
	r := Result{Protocol: "lke", Sent: 2500, Lost: 83, Gap: 82_100 * time.Microsecond, Router: 74_500 * time.Nanosecond, Forwarded: 1917}
	const want = "result: protocol=lke sent=2500 lost=83 gap_ms=83 router_us=75 forwarded=1917"
	if got := r.String(); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	back, err := ParseResult(want)
	if err != nil {
		t.Fatal(err)
	}
	if back.String() != want {
		t.Errorf("parsed and written again: %s", back)
	}
}

func TestResultLinesThatAreNone(t *testing.T) {
	const good = "result: protocol=lke sent=1 lost=2 gap_ms=3 router_us=4 forwarded=5"
	for name, line := range map[string]string{
		"empty":          "",
		"prefix":         strings.TrimPrefix(good, "result: "),
		"missing field":  strings.TrimSuffix(good, " forwarded=5"),
		"further field":  good + " more=1",
		"order":          strings.Replace(good, "sent=1 lost=2", "lost=2 sent=1", 1),
		"negative":       strings.Replace(good, "lost=2", "lost=-2", 1),
		"not a number":   strings.Replace(good, "gap_ms=3", "gap_ms=3.5", 1),
		"without equals": strings.Replace(good, "sent=1", "sent", 1),
	} {
		if r, err := ParseResult(line); err == nil {
			t.Errorf("%s: %q was read as %+v", name, line, r)
		}
	}
}

func TestARunHasToShowItsHandover(t *testing.T) {
	good := map[Protocol]Analysis{
		None:      {Result: Result{Protocol: None, Sent: 10, Lost: 5}},
		LKE:       {Result: Result{Protocol: LKE, Sent: 10, Lost: 5, Forwarded: 5, Router: time.Millisecond - 1}},
		FMIP:      {Result: Result{Protocol: FMIP, Sent: 10, Forwarded: 5, Held: 4, Router: 11 * time.Millisecond}, Acked: true, InFlight: 9},
		FMIPEarly: {Result: Result{Protocol: FMIPEarly, Sent: 10, Lost: 2, Forwarded: 5, Held: 4, Router: 1}, Loss: Loss{Lost: 2}, InFlight: 2},
	}
	for protocol, a := range good {
		if err := a.Check(time.Millisecond); err != nil {
			t.Errorf("a good run of %s: %v", protocol, err)
		}
	}
	handedOver := []Protocol{LKE, FMIP, FMIPEarly}
	for name, c := range map[string]struct {
		change func(*Analysis)
		of     []Protocol
	}{
		"nothing sent":            {func(a *Analysis) { a.Result.Sent = 0 }, Protocols()},
		"nothing lost without":    {func(a *Analysis) { a.Result.Lost = 0 }, []Protocol{None}},
		"forwarded without":       {func(a *Analysis) { a.Result.Forwarded = 1 }, []Protocol{None}},
		"nothing forwarded":       {func(a *Analysis) { a.Result.Forwarded = 0 }, handedOver},
		"router unknown":          {func(a *Analysis) { a.Result.Router = 0 }, handedOver},
		"router too slow":         {func(a *Analysis) { a.Result.Router = time.Millisecond }, []Protocol{LKE}},
		"one lost":                {func(a *Analysis) { a.Loss.Lost++ }, []Protocol{FMIP, FMIPEarly}},
		"none was kept":           {func(a *Analysis) { a.Result.Held = 0 }, []Protocol{FMIP, FMIPEarly}},
		"out of order":            {func(a *Analysis) { a.Queue.Overtaken = 1 }, []Protocol{FMIP, FMIPEarly}},
		"the early one was ready": {func(a *Analysis) { a.Acked = true }, []Protocol{FMIPEarly}},
	} {
		for _, protocol := range c.of {
			a := good[protocol]
			c.change(&a)
			if a.Check(time.Millisecond) == nil {
				t.Errorf("%s, %s: passed", protocol, name)
			}
		}
	}
}

// ms gives a time n milliseconds after the start of a flow.
func ms(n int) time.Time { return time.Unix(1000, 0).Add(time.Duration(n) * time.Millisecond) }

// flow sends a packet each millisecond; arrive tells what becomes of packet n.
func flow(n int, arrive func(n int) (ok, tunnel bool)) Flow {
	f := Flow{End: ms(n)}
	for i := range n {
		f.Sent = append(f.Sent, ms(i))
		if ok, tunnel := arrive(i); ok {
			f.Arrivals = append(f.Arrivals, Arrival{Seq: uint64(i), At: ms(i), Tunnel: tunnel})
		}
	}
	return f
}

func TestMeasureAMoveThatIsForwarded(t *testing.T) {
	f := flow(100, func(n int) (bool, bool) { return n <= 20 || n >= 61, n >= 61 })
	f.Arrivals = append(f.Arrivals, f.Arrivals[len(f.Arrivals)-1], Arrival{Seq: 4711, At: ms(99)})
	l := f.Measure(ms(20))
	if l.Sent != 100 || l.Lost != 40 || l.Forwarded != 39 || l.Duplicates != 1 {
		t.Errorf("sent %d, lost %d, forwarded %d, duplicates %d; want 100, 40, 39, 1", l.Sent, l.Lost, l.Forwarded, l.Duplicates)
	}
	if want := 41 * time.Millisecond; l.Gap != want || !l.First.Equal(ms(61)) {
		t.Errorf("gap %v, want %v", l.Gap, want)
	}
	if l.Fates[20] != Direct || l.Fates[21] != Lost || l.Fates[61] != Forwarded {
		t.Errorf("fates %v", l.Fates)
	}
}

// Without forwarding the gap lasts for as long as one looks.
func TestMeasureAMoveThatIsNot(t *testing.T) {
	l := flow(100, func(n int) (bool, bool) { return n <= 20, false }).Measure(ms(20))
	if l.Lost != 79 || l.Forwarded != 0 || l.Gap != 80*time.Millisecond || !l.First.IsZero() {
		t.Errorf("%+v", l)
	}
}

// A lost packet is shown where it would have come, had it taken as long as those before.
func TestLostPacketsHaveTheirPlace(t *testing.T) {
	f := Flow{End: ms(100)}
	for i := range 50 {
		f.Sent = append(f.Sent, ms(i))
		if i < 20 {
			f.Arrivals = append(f.Arrivals, Arrival{Seq: uint64(i), At: ms(i + 10)})
		}
	}
	l := f.Measure(ms(30))
	if !l.Times[5].Equal(ms(15)) || !l.Times[40].Equal(ms(50)) {
		t.Errorf("packet 5 is at %v, packet 40 at %v", l.Times[5].Sub(ms(0)), l.Times[40].Sub(ms(0)))
	}
}

// What arrives through a tunnel before the move is not forwarded because of it.
func TestTunnelBeforeTheMoveDoesNotCount(t *testing.T) {
	l := flow(100, func(n int) (bool, bool) { return true, n < 50 }).Measure(ms(50))
	if l.Forwarded != 0 || l.Lost != 0 {
		t.Errorf("%+v", l)
	}
}

func TestThePartsAddUpToTheGap(t *testing.T) {
	m := Moments{LastPacket: ms(0), LinkUp: ms(50), Updated: ms(80), Arrived: ms(81), Router: 100 * time.Microsecond, FirstPacket: ms(83)}
	var names []string
	var sum time.Duration
	for _, p := range m.Divide() {
		names = append(names, p.Name)
		sum += p.Took
	}
	if got := strings.Join(names, " "); got != "link attach binding router delivery" {
		t.Errorf("parts are %s", got)
	}
	if sum != 83*time.Millisecond {
		t.Errorf("they add up to %v", sum)
	}
	m.Updated, m.Arrived, m.Router = time.Time{}, time.Time{}, 0
	if got := len(m.Divide()); got != 2 {
		t.Errorf("%d parts without a binding", got)
	}
}
