package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/pcap"
	"github.com/roamkey/roamkey/build/scenario"
	"github.com/roamkey/roamkey/firmware/control"
)

func at(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }

// example is a run as the scenario gives it.
func example(lke bool) played {
	o := scenario.Options{LKE: lke, Rate: 1000, Radio: 50 * time.Millisecond, Home: 75 * time.Millisecond, After: time.Second}
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
		Result: scenario.Result{Protocol: o.Label(), Sent: 3, Lost: 1, Gap: 91 * time.Millisecond},
	}
	if lke {
		a.Loss.Fates[2], a.Loss.Forwarded = scenario.Forwarded, 1
		a.Result.Forwarded, a.Result.Router = 1, 200*time.Microsecond
	}
	return played{r, a}
}

func newDemo(t *testing.T) (*demo, *bytes.Buffer) {
	var text bytes.Buffer
	return &demo{
		out: t.TempDir(), text: &text, limit: time.Millisecond, options: example(true).Options,
		runs: []played{example(false), example(true)},
	}, &text
}

func TestTheTextFitsAConsole(t *testing.T) {
	d, text := newDemo(t)
	d.out = "out"
	for _, home := range []time.Duration{0, 75 * time.Millisecond} {
		d.options.Home = home
		d.headline()
		for i, r := range d.runs {
			d.title(i+1, r.Options.LKE)
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

// Both runs are in the capture, and the picture is one that can be read.
func TestFilesHoldBothRuns(t *testing.T) {
	d, _ := newDemo(t)
	if err := errors.Join(d.writeCapture(), d.writePicture()); err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	frames := []pcap.Frame{{Interface: 1, At: at(1), Octets: make([]byte, 60)}, {Interface: 3, At: at(1), Octets: make([]byte, 60)}}
	if err := pcap.Write(&want, "roamkey demo", append(d.runs[0].Interfaces, d.runs[1].Interfaces...), frames); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(d.out, "demo.pcap"))
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("the capture has %d octets (%v), want %d", len(got), err, want.Len())
	}
	svg, err := os.ReadFile(filepath.Join(d.out, "demo.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"Without LKE", "With LKE", "home agent", "BU: send my packets here", "forwarded by the old router"} {
		if !bytes.Contains(svg, []byte(text)) {
			t.Errorf("the picture does not say %q", text)
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

func TestVerdict(t *testing.T) {
	d, _ := newDemo(t)
	if err := d.verdict(); err != nil {
		t.Errorf("a good demo: %v", err)
	}
	for name, change := range map[string]func(without, with *played){
		"nothing forwarded":     func(_, with *played) { with.Result.Forwarded = 0 },
		"router too slow":       func(_, with *played) { with.Result.Router = time.Millisecond },
		"nothing lost without":  func(without, _ *played) { without.Result.Lost = 0 },
		"forwarded without LKE": func(without, _ *played) { without.Result.Forwarded = 1 },
	} {
		d, _ := newDemo(t)
		change(&d.runs[0], &d.runs[1])
		if d.verdict() == nil {
			t.Errorf("%s: passed", name)
		}
	}
}

func TestArgumentsThatMakeNoSense(t *testing.T) {
	for _, args := range [][]string{{"-rate", "0"}, {"-radio", "2s"}, {"-after", "1ms"}, {"-home", "2s"}, {"more"}, {"-nonesuch"}} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
	if err := run(t.Context(), []string{"-roamkeyd", "/nonexistent"}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "make") {
		t.Errorf("without programs: %v", err)
	}
}
