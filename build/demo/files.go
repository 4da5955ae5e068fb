package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/roamkey/roamkey/build/pcap"
	"github.com/roamkey/roamkey/build/picture"
	"github.com/roamkey/roamkey/build/scenario"
)

// create writes a file as a whole.
func (d *demo) create(name string, write func(f *os.File) error) error {
	f, err := os.Create(filepath.Join(d.out, name))
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		return fmt.Errorf("write %s: %w", f.Name(), err)
	}
	return f.Close()
}

// writeCapture writes all runs one after the other.
func (d *demo) writeCapture() error {
	var interfaces []pcap.Interface
	var frames []pcap.Frame
	for _, r := range d.runs {
		first := len(interfaces)
		interfaces = append(interfaces, r.Interfaces...)
		for _, f := range r.Frames {
			f.Interface += first
			frames = append(frames, f)
		}
	}
	return d.create("demo.pcap", func(f *os.File) error { return pcap.Write(f, "roamkey demo", interfaces, frames) })
}

func (d *demo) writePicture() error {
	figure := picture.Figure{
		Title:    "A mobile node changes routers",
		Subtitle: d.subtitle(),
		From:     -100 * time.Millisecond,
		To:       min(d.options.After, max(500*time.Millisecond, 3*d.options.Radio)),
	}
	messages := picture.Figure{Title: "The messages", Subtitle: "times are relative to the moment at which the node's link went down"}
	for _, r := range d.runs {
		figure.Panels = append(figure.Panels, panel(r, figure.To))
		if r.Options.Protocol != scenario.None {
			messages.Ladders = append(messages.Ladders, ladder(r))
		}
	}
	return errors.Join(
		d.create("demo.svg", func(f *os.File) error { return figure.Write(f) }),
		d.create("messages.svg", func(f *os.File) error { return messages.Write(f) }),
	)
}

func (d *demo) subtitle() string {
	if d.options.Home > 0 {
		return fmt.Sprintf("%d packets a second go to its home address; its home agent is %v away, the routers are %v apart, its radio is off for %v",
			d.options.Rate, d.options.Home, d.options.Apart, d.options.Radio)
	}
	return fmt.Sprintf("%d packets a second go to its address at the old router; the routers are %v apart, its radio is off for %v",
		d.options.Rate, d.options.Apart, d.options.Radio)
}

func panel(r played, end time.Duration) picture.Panel {
	n := names[r.Options.Protocol]
	p := picture.Panel{Title: n.name + ": " + n.story, GapFrom: r.Loss.Last.Sub(r.Down)}
	p.Result = fmt.Sprintf("%d of %d packets lost, gap %.0f ms", r.Loss.Lost, r.Loss.Sent, float64(r.Loss.Gap)/float64(time.Millisecond))
	if r.Loss.Lost == 0 {
		p.Result = fmt.Sprintf("none of %d packets lost, gap %.0f ms", r.Loss.Sent, float64(r.Loss.Gap)/float64(time.Millisecond))
	}
	if r.Options.Protocol == scenario.FMIPEarly && r.Result.Reordered > 0 {
		p.Result += fmt.Sprintf(", %d out of order", r.Result.Reordered)
	}
	if r.Loss.First.IsZero() {
		p.Result = fmt.Sprintf("%d of %d packets lost: none came after the move", r.Loss.Lost, r.Loss.Sent)
	}
	fates := map[scenario.Fate]picture.Fate{
		scenario.Lost: picture.Lost, scenario.Direct: picture.Direct, scenario.Forwarded: picture.Forwarded,
	}
	for seq, at := range r.Loss.Times {
		p.Packets = append(p.Packets, picture.Packet{At: at.Sub(r.Down), Fate: fates[r.Loss.Fates[seq]]})
	}
	for _, part := range r.Parts {
		p.Gap = append(p.Gap, picture.Part{Name: part.Name, Took: part.Took})
	}
	if q := &r.Queue; len(q.Packets) > 0 {
		for at := -100 * time.Millisecond; at <= end; at += time.Millisecond {
			p.Queue = append(p.Queue, picture.Level{At: at, Packets: q.At(r.Down.Add(at))})
		}
		p.QueueText = fmt.Sprintf("%d packets waited, up to %d at a time", len(q.Packets), q.Most)
	}
	marks := map[string]string{
		"link down": "link down", "link up": "link up", string(scenario.RouterAdvert): "RA", string(scenario.Update): "BU",
		"forwarding": "forwarded",
	}
	if r.Options.Protocol.Fast() {
		marks = map[string]string{
			"link down": "link down", "link up": "link up", string(scenario.FastUpdate): "FBU", string(scenario.FastAck): "FBack",
			string(scenario.Announce): "UNA", scenario.QueueEmpty: "queue empty",
		}
	}
	for _, s := range r.Steps {
		if name := marks[s.What]; name != "" && (s.After || r.Options.Protocol.Fast()) {
			delete(marks, s.What) // the first of each counts
			p.Marks = append(p.Marks, picture.Mark{At: s.At.Sub(r.Down), Label: name})
		}
	}
	return p
}

func ladder(r played) picture.Ladder {
	l := picture.Ladder{Title: names[r.Options.Protocol].name, Columns: []string{"correspondent", "old router", "new router", "mobile node"}}
	path := []string{"", scenario.PARName, scenario.NodeName}
	if r.Options.Home > 0 {
		l.Columns = []string{"correspondent", "home agent", "old router", "new router", "mobile node"}
		path = []string{"", scenario.HomeName, scenario.PARName, scenario.NodeName}
	}
	columns := make(map[string]int)
	for i, name := range []string{scenario.NodeName, scenario.NARName, scenario.PARName, scenario.HomeName} {
		columns[name] = len(l.Columns) - 1 - i
	}
	columns[""] = 0 // the correspondent
	flow := func(fate picture.Fate, label string, path ...string) {
		row := picture.Row{Kind: picture.Flow, Untimed: true, Fate: fate, Label: label}
		for _, name := range path {
			row.Path = append(row.Path, columns[name])
		}
		l.Rows = append(l.Rows, row)
	}
	forwarding := false
	for _, s := range r.Steps {
		at := s.At.Sub(r.Down)
		row := picture.Row{At: at, From: columns[s.From], Label: s.What, Detail: s.Detail}
		switch {
		case s.What == "link down":
			if !forwarding {
				flow(picture.Direct, "packets to the node", path...)
			}
			row.Kind, row.Label = picture.Divider, "the node's link goes down"
			l.Rows = append(l.Rows, row)
			switch {
			case !forwarding && r.Loss.Lost == 0:
				flow(picture.Lost, "to nobody: the old router keeps copies", path...)
			case !forwarding:
				flow(picture.Lost, "lost", path...)
			}
			continue
		case s.What == "forwarding" && r.Options.Protocol.Fast():
			if !s.After {
				flow(picture.Direct, "packets to the node", path...)
			}
			forwarding = true
			row.Kind = picture.Event
			l.Rows = append(l.Rows, row)
			flow(picture.Forwarded, "kept at the new router", append(path[:len(path)-1:len(path)-1], scenario.NARName)...)
			continue
		case s.What == "first packet" && r.Options.Protocol.Fast():
			flow(picture.Forwarded, "what was kept, then what comes", append(path[:len(path)-1:len(path)-1], scenario.NARName, scenario.NodeName)...)
			continue
		case s.What == "first packet":
			flow(picture.Forwarded, "forwarded by the old router", path...)
			continue
		case s.What == scenario.HomeAgain:
			flow(picture.Direct, "to the new address", "", scenario.HomeName, scenario.NodeName)
			continue
		case s.To == "":
			row.Kind = picture.Event
		default:
			row.Kind, row.To = picture.Message, columns[s.To]
			row.Emphasis = s.From == scenario.PARName && (s.Message == scenario.UpdateAck || s.Message == scenario.FastAck) ||
				s.To == scenario.PARName && (s.Message == scenario.Update || s.Message == scenario.FastUpdate)
		}
		l.Rows = append(l.Rows, row)
	}
	return l
}
