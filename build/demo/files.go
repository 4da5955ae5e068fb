package main

import (
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

// writeCapture writes both runs one after the other.
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
		Title: "A mobile node changes routers",
		Subtitle: fmt.Sprintf("%d packets a second go to its address at the old router; its radio is away for %v",
			d.options.Rate, d.options.Radio),
		From: -100 * time.Millisecond,
		To:   min(d.options.After, max(500*time.Millisecond, 3*d.options.Radio)),
	}
	for _, r := range d.runs {
		figure.Panels = append(figure.Panels, panel(r))
		if r.Options.LKE {
			figure.Ladder = ladder(r)
		}
	}
	return d.create("demo.svg", func(f *os.File) error { return figure.Write(f) })
}

func panel(r played) picture.Panel {
	p := picture.Panel{Title: "Without LKE", GapFrom: r.Loss.Last.Sub(r.Down)}
	if r.Options.LKE {
		p.Title = "With LKE"
	}
	p.Result = fmt.Sprintf("%d of %d packets lost, gap %.0f ms", r.Loss.Lost, r.Loss.Sent, float64(r.Loss.Gap)/float64(time.Millisecond))
	if r.Loss.First.IsZero() {
		p.Result = fmt.Sprintf("%d of %d packets lost: none came after the move", r.Loss.Lost, r.Loss.Sent)
	}
	fates := map[scenario.Fate]picture.Fate{
		scenario.Lost: picture.Lost, scenario.Direct: picture.Direct, scenario.Forwarded: picture.Forwarded,
	}
	for seq, at := range r.Flow.Sent {
		p.Packets = append(p.Packets, picture.Packet{At: at.Sub(r.Down), Fate: fates[r.Loss.Fates[seq]]})
	}
	for _, part := range r.Parts {
		p.Gap = append(p.Gap, picture.Part{Name: part.Name, Took: part.Took})
	}
	names := map[string]string{
		"link down": "link down", "link up": "link up", string(scenario.RouterAdvert): "RA", string(scenario.Update): "BU",
		"forwarding": "forwarded",
	}
	for _, s := range r.Steps {
		if name := names[s.What]; s.After && name != "" {
			p.Marks = append(p.Marks, picture.Mark{At: s.At.Sub(r.Down), Label: name})
		}
	}
	return p
}

// Columns of the ladder.
const (
	columnCorrespondent = iota
	columnPAR
	columnNAR
	columnNode
)

func ladder(r played) picture.Ladder {
	l := picture.Ladder{Title: "The messages, with LKE", Columns: []string{"correspondent", "old router", "new router", "mobile node"}}
	columns := map[string]int{
		scenario.NodeName: columnNode, scenario.PARName: columnPAR, scenario.NARName: columnNAR,
	}
	direct := []int{columnCorrespondent, columnPAR, columnNode}
	flow := func(fate picture.Fate, label string) {
		l.Rows = append(l.Rows, picture.Row{Kind: picture.Flow, Untimed: true, Path: direct, Fate: fate, Label: label})
	}
	for _, s := range r.Steps {
		at := s.At.Sub(r.Down)
		row := picture.Row{At: at, From: columns[s.From], Label: s.What, Detail: s.Detail}
		switch {
		case s.What == "link down":
			flow(picture.Direct, "packets to the node")
			row.Kind, row.Label = picture.Divider, "the node's link goes down"
			l.Rows = append(l.Rows, row)
			flow(picture.Lost, "lost")
			continue
		case s.What == "first packet":
			flow(picture.Forwarded, "forwarded through the tunnel, by the new router's link")
			continue
		case s.To == "":
			row.Kind = picture.Event
		default:
			row.Kind, row.To = picture.Message, columns[s.To]
			row.Emphasis = s.Message == scenario.Update || s.Message == scenario.UpdateAck
		}
		l.Rows = append(l.Rows, row)
	}
	return l
}
