package ladder

import (
	"fmt"
	"math/rand"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// handover is the play that is interfered with: exchange on the first link, move, binding. It must come to its end.
func handover(t testing.TB, w World, limit time.Duration) {
	t.Helper()
	pcoa := attach(t, w, mn, par)
	associate(t, w, mn, par, pcoa, limit)
	w.Run(time.Second)
	ncoa := attach(t, w, mn, nar)
	bound(t, w, mn, par, pcoa, ncoa, limit)
	associate(t, w, mn, nar, ncoa, limit)
	// Nothing is left over that ends what stands.
	w.Run(span(w, 10*time.Second, 4*time.Second))
	bound(t, w, mn, par, pcoa, ncoa, 0)
	if got := len(w.Router(par)) + len(w.Router(nar)); got != 2 {
		t.Errorf("%d associations, want one on each link", got)
	}
}

// Interrupted loses each message of a handover in turn, and each pair of messages that follow one another; it comes to its
// end all the same. The router says nothing about the advertisement that it waits for, so that the loss of both of its
// copies is the one that cannot be made good: it is left out.
func Interrupted(t *testing.T, make Maker) {
	clean := make(t, roaming())
	handover(t, clean, 5*time.Second)
	messages := clean.Transcript()
	for lost := range messages {
		for pair := range 2 {
			if pair == 1 && (lost+1 == len(messages) || messages[lost].Name == DADReply && messages[lost+1].Name == DADReply) {
				continue
			}
			t.Run(fmt.Sprintf("%03d+%d %v", lost, pair, messages[lost]), func(t *testing.T) {
				w := make(t, roaming())
				w.(Interferer).Interfere(func(m Message) []time.Duration {
					if m.Number >= lost && m.Number <= lost+pair {
						return nil
					}
					return []time.Duration{0}
				})
				handover(t, w, 20*time.Second)
			})
		}
	}
}

// Doubled brings every message twice or three times.
func Doubled(t *testing.T, make Maker) {
	for _, apart := range []time.Duration{0, 300 * time.Microsecond, 20 * time.Millisecond, 700 * time.Millisecond} {
		t.Run(apart.String(), func(t *testing.T) {
			t.Parallel()
			w := make(t, roaming())
			w.(Interferer).Interfere(func(Message) []time.Duration { return []time.Duration{0, apart, 2 * apart} })
			handover(t, w, 20*time.Second)
		})
	}
}

// Shuffled delays each message by its own time, so that they overtake one another.
func Shuffled(t *testing.T, make Maker) {
	for seed := range int64(40) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewSource(seed))
			w := make(t, roaming())
			w.(Interferer).Interfere(func(Message) []time.Duration {
				return []time.Duration{time.Duration(r.Int63n(int64(350 * time.Millisecond)))}
			})
			handover(t, w, time.Minute)
		})
	}
}

// Lossy loses one message in six, doubles others and delays them. What nobody acknowledges is not lost altogether: of the
// node's advertisement one copy of two arrives, and Finished messages do (Interrupted loses them one by one).
func Lossy(t *testing.T, make Maker) {
	for seed := range int64(40) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewSource(seed))
			lost := map[string]int{} // in a row
			w := make(t, roaming())
			w.(Interferer).Interfere(func(m Message) (copies []time.Duration) {
				most := map[string]int{DADReply: 1, Finished: 0}
				if limit, limited := most[m.Name]; r.Intn(6) == 0 && (!limited || lost[m.Name] < limit) {
					lost[m.Name]++
					return nil
				}
				lost[m.Name] = 0
				for range 1 + r.Intn(2) {
					copies = append(copies, time.Duration(r.Int63n(int64(50*time.Millisecond))))
				}
				return copies
			})
			handover(t, w, 3*time.Minute)
		})
	}
}

// Unheard loses every answer to the router's duplicate address detection: the router has no association (LKE-AR-15), which
// the node learns by its binding updates being refused. Nothing is forwarded, and the next link is not affected.
func Unheard(t *testing.T, make Maker) {
	w := make(t, roaming())
	w.(Interferer).Interfere(func(m Message) []time.Duration {
		if m.Name == DADReply && m.Link == par {
			return nil
		}
		return []time.Duration{0}
	})
	pcoa := attach(t, w, mn, par)
	w.Run(span(w, 10*time.Second, 3*time.Second))
	if got := w.Router(par); len(got) != 0 {
		t.Fatalf("LKE-AR-15: association %+v without any advertisement", got)
	}
	ncoa := attach(t, w, mn, nar)
	associate(t, w, mn, nar, ncoa, 5*time.Second)
	await(t, w, 20*time.Second, "the node gives the association up", func() bool {
		_, known := nodeAssociation(w, mn, pcoa)
		return !known
	})
	if got := w.Reaches(pcoa); got != "" {
		t.Errorf("LKE-AR-27: the address reaches %q without an association", got)
	}
	here := attach(t, w, mn, third)
	bound(t, w, mn, nar, ncoa, here, 3*time.Second)
}

// Restarted kills the previous router at each stage of a node's life and starts it again with what it saved.
func Restarted(t *testing.T, make Maker) {
	topology := roaming()
	valid := func(t *testing.T) (World, Restarter, netip.Addr) {
		w := make(t, topology)
		pcoa := attach(t, w, mn, par)
		associate(t, w, mn, par, pcoa, 3*time.Second)
		return w, w.(Restarter), pcoa
	}

	t.Run("valid", func(t *testing.T) {
		t.Parallel()
		w, r, pcoa := valid(t)
		r.Kill(par)
		w.Run(time.Second)
		r.Start(par)
		if a, ok := association(w, par, pcoa); !ok || a.State != "valid" {
			t.Fatalf("association after the restart: %+v", a)
		}
		ncoa := attach(t, w, mn, nar)
		bound(t, w, mn, par, pcoa, ncoa, 3*time.Second)
	})
	t.Run("while it is dead", func(t *testing.T) {
		t.Parallel()
		w, r, pcoa := valid(t)
		r.Kill(par)
		ncoa := attach(t, w, mn, nar)
		w.Run(5 * time.Second)
		r.Start(par)
		bound(t, w, mn, par, pcoa, ncoa, 20*time.Second)
	})
	t.Run("bound", func(t *testing.T) {
		t.Parallel()
		w, r, pcoa := valid(t)
		ncoa := attach(t, w, mn, nar)
		bound(t, w, mn, par, pcoa, ncoa, 3*time.Second)
		r.Kill(par)
		if r.Forwards(par) {
			for range 50 {
				w.Run(100 * time.Millisecond)
				if got := w.Reaches(pcoa); got != mn {
					t.Fatalf("forwarding stopped with the program: the address reaches %q", got)
				}
			}
		} else if got := w.Reaches(pcoa); got != "" {
			t.Errorf("the address reaches %q without anybody who forwards", got)
		}
		r.Start(par)
		bound(t, w, mn, par, pcoa, ncoa, 0)
		// The sequence number is kept (LKE-resolution-t): the node's next update is the next one for the router, too.
		here := attach(t, w, mn, third)
		bound(t, w, mn, par, pcoa, here, 3*time.Second)
		w.Run(span(w, 10*time.Second, 4*time.Second))
		bound(t, w, mn, par, pcoa, here, 0)
	})
	t.Run("between acknowledgement and Finished", func(t *testing.T) {
		t.Parallel()
		w, r, pcoa := valid(t)
		ncoa := attach(t, w, mn, nar)
		await(t, w, 3*time.Second, "the acknowledgement is under way", func() bool {
			for _, m := range w.Transcript() {
				if m.Name == BindingAck {
					return true
				}
			}
			return false
		})
		r.Kill(par)
		w.Run(500 * time.Millisecond)
		r.Start(par)
		bound(t, w, mn, par, pcoa, ncoa, 10*time.Second)
		w.Run(span(w, 10*time.Second, 4*time.Second))
		bound(t, w, mn, par, pcoa, ncoa, 0)
	})
	// In the exchange: with each message, and in memory at many moments.
	inExchange := func(t *testing.T, w World, when string, stage func()) {
		w.Move(mn, par)
		stage()
		w.(Restarter).Kill(par)
		w.Run(200 * time.Millisecond)
		w.(Restarter).Start(par)
		w.Run(span(w, 10*time.Second, 6*time.Second))
		pcoa := attach(t, w, mn, par)
		ncoa := attach(t, w, mn, nar)
		a, ok := association(w, par, pcoa)
		if !ok {
			// It died in its DAD period: the association had not been saved, for it was not valid (LKE-AR-27).
			await(t, w, 20*time.Second, "killed "+when+": the node gives its association up", func() bool {
				_, known := nodeAssociation(w, mn, pcoa)
				return !known
			})
			if got := w.Reaches(pcoa); got != "" {
				t.Errorf("killed %s: the address reaches %q", when, got)
			}
			return
		}
		if a.State == "dad" {
			t.Errorf("killed %s: association %+v", when, a)
		}
		bound(t, w, mn, par, pcoa, ncoa, 10*time.Second)
	}
	for _, name := range []string{KeyExchangeRequest, KeyExchangeAck, DADReply} {
		t.Run("with the "+name, func(t *testing.T) {
			t.Parallel()
			w := make(t, topology)
			inExchange(t, w, "with the "+name, func() {
				await(t, w, 3*time.Second, name, func() bool {
					return slices.ContainsFunc(w.Transcript(), func(m Message) bool { return m.Name == name })
				})
			})
		})
	}
	t.Run("in the exchange", func(t *testing.T) {
		t.Parallel()
		for after, step := time.Duration(0), time.Duration(0); after < 40*time.Millisecond; after += step {
			w := make(t, topology)
			step = span(w, 4*time.Millisecond, time.Second)
			inExchange(t, w, "after "+after.String(), func() { w.Run(after) })
		}
	})
}
