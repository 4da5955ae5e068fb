package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/pcap"
	"github.com/roamkey/roamkey/build/scenario"
	"github.com/roamkey/roamkey/firmware/control"
)

func at(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }

// example is a run as the scenario gives it.
func example(protocol scenario.Protocol) played {
	o := scenario.Options{Protocol: protocol, Rate: 1000, Radio: 50 * time.Millisecond, Home: 75 * time.Millisecond, After: time.Second}
	r := &scenario.Report{
		Options: o, Down: at(0), Up: at(50), Tunnel: control.Tunnel{Backend: "tun"},
		Interfaces: []pcap.Interface{{Name: "one"}, {Name: "two"}},
		Frames:     []pcap.Frame{{Interface: 1, At: at(1), Octets: make([]byte, 60)}},
	}
	a := scenario.Analysis{
		Loss: scenario.Loss{
			Sent: 3, Lost: 1, Last: at(-1), First: at(90), Gap: 91 * time.Millisecond,
			Fates: []scenario.Fate{scenario.Direct, scenario.Lost, scenario.Direct}, Times: []time.Time{at(-1), at(40), at(90)},
		},
		Parts: []scenario.Part{{Name: "link", Took: 51 * time.Millisecond, Story: "away"}, {Name: "attach", Took: 40 * time.Millisecond}},
		Steps: []scenario.Step{
			{At: at(0), From: scenario.NodeName, What: "link down", After: true},
			{At: at(50), From: scenario.NodeName, What: "link up", After: true},
			{At: at(80), From: scenario.NodeName, To: scenario.PARName, What: "BU", Message: scenario.Update, After: true, Detail: "send my packets here"},
			{At: at(90), From: scenario.NodeName, What: "first packet", After: true},
			{At: at(-12345), From: scenario.NARName, To: scenario.NodeName, What: "first packet", Detail: strings.Repeat("x", scenario.MaxDetail)},
		},
		Result: scenario.Result{Protocol: protocol, Sent: 3, Lost: 1, Gap: 91 * time.Millisecond},
	}
	if protocol != scenario.None {
		a.Loss.Fates[2], a.Loss.Forwarded = scenario.Forwarded, 1
		a.Result.Forwarded, a.Result.Router = 1, 200*time.Microsecond
	}
	if protocol.Fast() {
		a.Loss.Fates[1], a.Loss.Lost, a.Result.Lost = scenario.Forwarded, 0, 0
		a.Queue = scenario.Queue{Packets: []scenario.Kept{{Came: at(-3), Left: at(95)}, {Came: at(40), Left: at(96)}}, Most: 2, Empty: at(96)}
		a.Result.Held, a.Acked, a.InFlight = 2, protocol == scenario.FMIP, 12
		a.Steps = append(a.Steps,
			scenario.Step{At: at(-9), From: scenario.NodeName, To: scenario.PARName, What: "FBU", Message: scenario.FastUpdate},
			scenario.Step{At: at(-4), From: scenario.PARName, What: "forwarding"},
			scenario.Step{At: at(-3), From: scenario.PARName, To: scenario.NodeName, What: "FBack", Message: scenario.FastAck},
			scenario.Step{At: at(96), From: scenario.NARName, What: scenario.QueueEmpty, After: true},
		)
		slices.SortStableFunc(a.Steps, func(x, y scenario.Step) int { return x.At.Compare(y.At) })
	}
	return played{r, a}
}

func newDemo(t *testing.T) (*demo, *bytes.Buffer) {
	var text bytes.Buffer
	d := &demo{
		out: t.TempDir(), text: &text, limit: time.Millisecond, options: example(scenario.None).Options, moves: scenario.Protocols(),
	}
	for _, p := range d.moves {
		d.runs = append(d.runs, example(p))
	}
	return d, &text
}

func TestTheTextFitsAConsole(t *testing.T) {
	d, text := newDemo(t)
	d.out = "out"
	for _, home := range []time.Duration{0, 75 * time.Millisecond} {
		d.options.Home = home
		d.headline()
		for i, r := range d.runs {
			d.title(i+1, r.Options.Protocol)
			d.timeline(r)
		}
	}
	d.compare()
	d.files()
	for line := range strings.Lines(text.String()) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if without, with, _ := strings.Cut(text.String(), "A mobile node changes routers"); without != "" || strings.Count(with, "2001:db8:40::1") != 1 {
		t.Errorf("the home agent is drawn %d times, want once: with it", strings.Count(with, "2001:db8:40::1"))
	}
}

// All runs are in the capture, and the pictures are ones that can be read.
func TestFilesHoldAllRuns(t *testing.T) {
	d, _ := newDemo(t)
	if err := errors.Join(d.writeCapture(), d.writePicture()); err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	var interfaces []pcap.Interface
	var frames []pcap.Frame
	for i, r := range d.runs {
		interfaces = append(interfaces, r.Interfaces...)
		frames = append(frames, pcap.Frame{Interface: 2*i + 1, At: at(1), Octets: make([]byte, 60)})
	}
	if err := pcap.Write(&want, "roamkey demo", interfaces, frames); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(d.out, "demo.pcap"))
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("the capture has %d octets (%v), want %d", len(got), err, want.Len())
	}
	for name, says := range map[string][]string{
		"demo.svg": {
			"Plain Mobile IPv6", "Local Key Exchange", "Fast handover:", "Fast handover, left too early", "1 of 3 packets lost", "none of 3 packets lost",
			"2 packets waited, up to 2 at a time", "FBack", "queue empty",
		},
		"messages.svg": {"home agent", "BU: send my packets here", "forwarded by the old router", "kept at the new router", "FBack"},
	} {
		svg, err := os.ReadFile(filepath.Join(d.out, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range says {
			if !bytes.Contains(svg, []byte(text)) {
				t.Errorf("%s does not say %q", name, text)
			}
		}
		in := xml.NewDecoder(bytes.NewReader(svg))
		for {
			if _, err := in.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// One bad run spoils the demo, whichever it is.
func TestVerdict(t *testing.T) {
	d, _ := newDemo(t)
	if err := d.verdict(); err != nil {
		t.Errorf("a good demo: %v", err)
	}
	for i := range d.runs {
		d, _ := newDemo(t)
		d.runs[i].Result.Sent = 0
		if err := d.verdict(); err == nil || !strings.HasPrefix(err.Error(), string(d.moves[i])+":") {
			t.Errorf("%s sent nothing: %v", d.moves[i], err)
		}
	}
}

// What the machine did meanwhile is no reason to fail; what the programs did is.
func TestWhatIsPlayedOnceMore(t *testing.T) {
	d, _ := newDemo(t)
	for _, r := range d.runs {
		if why := d.spoilt(r); why != "" {
			t.Errorf("%s: %s", r.Options.Protocol, why)
		}
	}
	slow, early := d.runs[1], d.runs[3]
	slow.Result.Router, early.Acked = time.Millisecond, true
	if d.spoilt(slow) == "" || d.spoilt(early) == "" {
		t.Error("a slow router, or a node that left in time, was taken as it is")
	}
	slow.Result.Forwarded = 0
	if d.spoilt(slow) != "" {
		t.Error("a router that forwards nothing gets another try")
	}
}

func TestArgumentsThatMakeNoSense(t *testing.T) {
	for _, args := range [][]string{{"-rate", "0"}, {"-radio", "2s"}, {"-after", "1ms"}, {"-home", "2s"}, {"-apart", "1s"}, {"-moves", "none,walk"}, {"more"}, {"-nonesuch"}} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
	if err := run(t.Context(), []string{"-roamkeyd", "/nonexistent"}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "make") {
		t.Errorf("without programs: %v", err)
	}
}
