package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// flow is datagrams of a correspondent to a node, one every few milliseconds, and when they came to its care-of address.
type flow struct {
	w    *world
	n    *rig.Node
	peer *peer
	mark int
	stop chan struct{}
	done sync.WaitGroup
}

func (w *world) flow(n *rig.Node) *flow {
	f := &flow{w: w, n: n, peer: w.peer(), mark: w.away.mark(), stop: make(chan struct{})}
	f.done.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-f.stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			// While nobody forwards, the kernel may tell that the address cannot be reached.
			_, _ = f.peer.conn.WriteToUDPAddrPort([]byte(fmt.Sprint("flow ", i)), netip.AddrPortFrom(n.Home, nodePort))
		}
	})
	return f
}

// arrivals are the moments at which datagrams of the flow came out of the tunnel at the care-of address.
func (f *flow) arrivals() (at []time.Time) {
	for _, h := range f.w.away.since(f.mark, inTunnel(func(h *heard) bool { return h.Dst == f.n.Home })) {
		if h.Dst == f.n.CareOf {
			at = append(at, h.at)
		}
	}
	return at
}

// end stops the flow and gives the longest time without an arrival, and when that began.
func (f *flow) end() (gap time.Duration, from time.Time) {
	close(f.stop)
	f.done.Wait()
	at := f.arrivals()
	for i := 1; i < len(at); i++ {
		if d := at[i].Sub(at[i-1]); d > gap {
			gap, from = d, at[i-1]
		}
	}
	return gap, from
}

// TestKilledInAFlow kills the daemon while it forwards: with TUN forwarding pauses until the next one has taken up the
// association and the binding, and that one says for how long.
func TestKilledInAFlow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	n := w.node()
	w.associate(n)
	w.move(n, 1000)
	replay := n.Update(1000) // the next one in turn ...
	mark := w.away.mark()
	w.fromAway(replay) // ... is taken ...
	w.acknowledgement(mark, n)
	f := w.flow(n)
	eventually(t, "datagrams in the tunnel", func() bool { return len(f.arrivals()) > 50 })
	time.Sleep(300 * time.Millisecond) // the daemon tells four times a second that it lives

	w.d.Kill()
	dead := time.Now()
	before := len(f.arrivals())
	time.Sleep(700 * time.Millisecond)
	if n := len(f.arrivals()) - before; n > 5 {
		t.Errorf("%d datagrams were forwarded without a daemon", n)
	}
	w.restart()
	s := w.await("the binding", func(s control.Snapshot) bool { return stateOf(s, n) == "bound" })
	back := len(f.arrivals())
	eventually(t, "datagrams in the tunnel again", func() bool { return len(f.arrivals()) > back+50 })
	gap, from := f.end()
	if from.After(dead.Add(100*time.Millisecond)) || from.Add(gap).Before(dead.Add(700*time.Millisecond)) {
		t.Errorf("the longest gap of %v began %v after the daemon's end, and ended before there was another", gap, from.Sub(dead))
	}
	if s.Restart == nil || s.Restart.LBSAs != 1 || s.Restart.Bindings != 1 {
		t.Fatalf("restart %+v", s.Restart)
	}
	// The pause is counted from the last sign of life, a quarter of a second before the end at the most.
	if pause := time.Duration(s.Restart.Pause); pause < gap-50*time.Millisecond || pause > gap+400*time.Millisecond {
		t.Errorf("status says %v, the flow paused for %v", pause, gap)
	}
	w.awaitLog("forwarding stood still over the restart", "ms=")
	w.awaitLog("took up what an earlier process left", "associations=1", "bindings=1")

	// ... and is not taken a second time by another process (LKE-resolution-t).
	mark = w.away.mark()
	w.fromAway(replay)
	if _, ack := w.acknowledgement(mark, n); ack.Status != mobility.StatusSequence {
		t.Errorf("LKE-resolution-t: the replay is answered with status %d", ack.Status)
	}
	n.CareOf = n.CareOf.Next()
	w.move(n, 1000) // the key is the same
}

// TestRestartForAnUpgrade ends the daemon by USR2: nothing is lost.
func TestRestartForAnUpgrade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	valid, bound := w.node(), w.node()
	w.associate(valid)
	w.associate(bound)
	w.move(bound, 1000)
	check(t, w.d.Signal(handOver))
	check(t, w.d.Wait(5*time.Second))
	w.restart()
	w.await("both nodes", func(s control.Snapshot) bool {
		return stateOf(s, valid) == "valid" && stateOf(s, bound) == "bound" && rig.Serves(s)
	})
	p := w.peer()
	mark := w.away.mark()
	p.send(bound, "after the upgrade")
	w.away.hear(mark, "the datagram in the tunnel", inTunnel(datagramTo(bound.Home, "after the upgrade")))
	// The cached advertisement is there, too (LKE-AR-17).
	before, _ := w.status()
	w.nodes.send(proberHW, ipv6.MulticastLinkAddr(ipv6.SolicitedNode(valid.Home)), competing(valid))
	w.await("the cached advertisement", func(s control.Snapshot) bool { return changes(before, s)["lke/adverts_replayed"] == 1 })
}

// TestStopForgets ends the daemon for real: the next one knows nobody.
func TestStopForgets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	n := w.node()
	w.associate(n)
	check(t, w.d.Signal(terminate))
	check(t, w.d.Wait(5*time.Second))
	if s := w.start(); s.LBSAs.Total != 0 || s.Restart != nil {
		t.Errorf("associations %+v, restart %+v", s.LBSAs, s.Restart)
	}
}

// TestReload takes over settings while a binding stands: what changed changes, and nothing else.
func TestReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	n := w.node()
	w.associate(n)
	w.move(n, 1000)
	f := w.flow(n)
	first := w.awaitAdvert(0, "an advertisement", func(a advert) bool { return a.HopLimit == 64 })
	if first.capability.MaximumLifetime != 7200 {
		t.Errorf("maximum lifetime %d", first.capability.MaximumLifetime)
	}
	eventually(t, "datagrams in the tunnel", func() bool { return len(f.arrivals()) > 20 })
	was, _ := w.status()

	mark := w.nodes.mark()
	w.reload(replace(replace(replace(settings,
		"option device 'lan0'", "option device 'lan0'\n\toption hop_limit '33'\n\tlist dns '2001:db8:1::53'"),
		"config lke 'lke'", "config lke 'lke'\n\toption max_lifetime '1800'"),
		"option log_level 'debug'", "option log_level 'warn'\n\toption tunnel_device 'other0'"))
	w.awaitAdvert(mark, "what is new in an advertisement", func(a advert) bool {
		return a.HopLimit == 33 && a.capability.MaximumLifetime == 1800 && hasOption(a, 25)
	})
	w.awaitLog("warn", "this changes at the next start only", "option=tunnel_device")
	eventually(t, "datagrams in the tunnel", func() bool { return len(f.arrivals()) > 100 })
	if gap, _ := f.end(); gap > 500*time.Millisecond {
		t.Errorf("forwarding paused for %v", gap)
	}
	is, _ := w.status()
	if stateOf(is, n) != "bound" || state(was) != state(is) || is.PID != was.PID || is.Tunnel.Device != was.Tunnel.Device {
		t.Errorf("state was\n%sand is\n%s", state(was), state(is))
	}
	if w.farewells(mark) > 0 {
		t.Error("a reload said goodbye")
	}
	// The log level was taken over as well: a key request is not told any more.
	log := len(w.d.Log())
	w.associate(w.node())
	if text := w.d.Log()[log:]; strings.Contains(text, "key-request") || strings.Contains(text, "lbsa-valid") {
		t.Errorf("log_level warn, and still:\n%s", text)
	}
}

func hasOption(a advert, typ uint8) bool {
	options := a.Options
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if o.Type == typ {
			return true
		}
	}
	return false
}

// TestReloadWithoutTheLink takes a link out of the settings, and puts it in again: hosts hear that this is no router any
// more, and nodes lose nothing.
func TestReloadWithoutTheLink(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	here, away := w.node(), w.node()
	w.associate(here)
	w.associate(away)
	w.move(away, 1000)
	w.awaitAdvert(0, "an advertisement", func(a advert) bool { return a.Lifetime > 0 })
	mark := w.nodes.mark()
	w.reload(replace(replace(settings, "config link 'lan'", "config link 'guest'"), "'lan0'", "'lan9'"))
	eventually(t, "all final advertisements", func() bool { return w.farewells(mark) == 3 })
	s := w.await("the other link", func(s control.Snapshot) bool { return s.Links[0].Name == "guest" })
	if stateOf(s, here) != "valid" || stateOf(s, away) != "bound" {
		t.Errorf("associations %+v", s.LBSAs.List)
	}
	p := w.peer()
	far := w.away.mark()
	p.send(away, "all the same")
	w.away.hear(far, "the datagram in the tunnel", inTunnel(datagramTo(away.Home, "all the same")))
	w.request(here) // nobody listens any more
	w.fence()
	if is, _ := w.status(); changes(s, is)["engine/engine_submitted"] != 0 {
		t.Error("a request on the link that was taken out was taken")
	}

	mark = w.nodes.mark()
	w.reload(settings)
	w.awaitAdvert(mark, "an advertisement as before", func(a advert) bool { return a.Lifetime > 0 && a.capability != nil })
	w.move(here, 100)
}

// TestReloadOfBrokenSettings changes nothing, and says what is wrong and where.
func TestReloadOfBrokenSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	n := w.node()
	w.associate(n)
	w.move(n, 1000)
	was, _ := w.status()
	mark := w.nodes.mark()
	w.reload(replace(settings, "option device 'lan0'", "option device 'lan0'\n\toption hop_limit '1000'"))
	w.awaitLog("the settings in force stay")
	w.awaitLog("config:11: link lan, option hop_limit")
	w.awaitAdvert(mark, "an advertisement as before", func(a advert) bool { return a.HopLimit == 64 })
	is, _ := w.status()
	if state(was) != state(is) || is.PID != was.PID || !rig.Serves(is) {
		t.Errorf("state was\n%sand is\n%s", state(was), state(is))
	}
	// A file that is gone is no reason to stop either.
	check(t, os.Remove(w.options.Dir+"/config"))
	check(t, w.d.Signal(hangup))
	w.awaitLog("the settings in force stay", "no such file")
	w.reload(replace(settings, "option device 'lan0'", "option device 'lan0'\n\toption hop_limit '44'"))
	w.awaitAdvert(mark, "an advertisement by settings that are right again", func(a advert) bool { return a.HopLimit == 44 })
}

// TestSecondDaemon finds another one at work: it says so on one line and ends, and the first goes on.
func TestSecondDaemon(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	n := w.node()
	w.associate(n)
	w.move(n, 1000)
	f := w.flow(n)
	eventually(t, "datagrams in the tunnel", func() bool { return len(f.arrivals()) > 20 })
	was, _ := w.status()
	log := len(w.d.Log())
	mark := w.nodes.mark()

	second, err := rig.Start(w.router, w.options)
	check(t, err)
	if err := second.Wait(5 * time.Second); err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("the second daemon ended with: %v", err)
	}
	said := strings.TrimSpace(w.d.Log()[log:])
	if strings.Contains(said, "\n") || !strings.Contains(said, fmt.Sprintf("process %d", w.d.PID())) || !strings.Contains(said, "runs already") {
		t.Errorf("the second daemon says:\n%s", said)
	}

	// One with a state of its own has the same kernel: it must not take away what the first has there.
	other := w.options
	other.Dir = t.TempDir()
	third, err := rig.Start(w.router, other)
	check(t, err)
	if err := third.Wait(5 * time.Second); err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("the daemon with a state of its own ended with: %v\n%s", err, third.Log())
	}
	if said := lastLine(third.Log()); !strings.HasPrefix(said, "error: ") || !strings.Contains(said, "stop it first") {
		t.Errorf("the daemon with a state of its own says:\n%s", third.Log())
	}
	if got := w.installed(); len(got) != len([]string{"route", "table", "device", "journal", "socket"}) {
		t.Errorf("of the first daemon there is %v", got)
	}
	time.Sleep(100 * time.Millisecond)
	if gap, _ := f.end(); gap > 500*time.Millisecond {
		t.Errorf("forwarding paused for %v", gap)
	}
	is, _ := w.status()
	if state(was) != state(is) || is.PID != was.PID || w.farewells(mark) > 0 {
		t.Errorf("state was\n%sand is\n%s%d farewells", state(was), state(is), w.farewells(mark))
	}
	if n := is.Counters["guard"]["table_restored"]; n != 0 {
		t.Errorf("the first daemon's table was gone %d times", n)
	}
}

// TestFailedStartAfterACrash leaves what the crash left: the start that succeeds goes on with it.
func TestFailedStartAfterACrash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	n := w.node()
	w.associate(n)
	w.move(n, 1000)
	w.d.Kill()
	left := w.installed()
	w.options.Settings = replace(settings, "tunnel 'tun'", "tunnel 'tun'\n\toption tunnel_device 'lan0'") // it is taken
	w.launch()
	if err := w.d.Wait(5 * time.Second); err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("the failed start ended with: %v", err)
	}
	got := w.installed()
	if i := slices.Index(left, "socket"); i >= 0 {
		left = slices.Delete(left, i, i+1) // a new one was made, and removed
	}
	if !slices.Equal(got, left) {
		t.Errorf("the crash left %v, the failed start %v", left, got)
	}
	w.options.Settings = settings
	w.restart()
	w.await("the binding", func(s control.Snapshot) bool { return stateOf(s, n) == "bound" })
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
