package picture

import (
	"fmt"
	"time"
)

// Measures of the ladder.
const (
	rowHeight   = 30.0
	ladderLeft  = margin + 150
	ladderRight = width - margin - 80
	boxWidth    = 132.0
	boxHeight   = 26.0
)

func (l Ladder) x(column int) float64 {
	if len(l.Columns) < 2 {
		return (ladderLeft + ladderRight) / 2
	}
	return ladderLeft + (ladderRight-ladderLeft)*float64(column)/float64(len(l.Columns)-1)
}

func (l Ladder) draw(d *drawing, y float64) float64 {
	if len(l.Columns) == 0 {
		return y
	}
	y += 26
	d.text(margin, y, style{size: 15, bold: true, class: "panel"}, l.Title)
	y += 18
	top := y + boxHeight
	bottom := top + 8 + rowHeight*float64(len(l.Rows)) + 10
	for i, name := range l.Columns {
		x := l.x(i)
		d.line(x, top, x, bottom, hairline, 2, "")
		d.box(x-boxWidth/2, y, boxWidth, boxHeight, shade, faint)
		d.text(x, y+17.5, style{size: 12, anchor: "middle", bold: true, class: "column"}, name)
	}
	at := top + 8
	for _, r := range l.Rows {
		at += rowHeight
		l.row(d, r, at-6)
	}
	return bottom
}

func (l Ladder) row(d *drawing, r Row, y float64) {
	if !r.Untimed {
		d.text(margin+62, y+1, style{size: 11.5, fill: faint, anchor: "end", class: "time"}, clock(r.At))
	}
	switch r.Kind {
	case Message:
		l.message(d, r, y)
	case Event:
		x := l.x(r.From)
		d.circle(x, y-3, 4, green)
		anchor, dx := "end", -10.0
		if r.From == 0 {
			anchor, dx = "start", 10
		}
		d.text(x+dx, y+1, style{size: 12, anchor: anchor, class: "event", halo: true, fill: green, bold: r.Emphasis}, words(r))
	case Divider:
		d.line(margin+72, y-3, width-margin, y-3, red, 1.2, " stroke-dasharray=\"7 4\"")
		d.text(l.x(0)-boxWidth/2, y+1, style{size: 12, bold: true, fill: red, halo: true, class: "divider"}, words(r))
	case Flow:
		l.flow(d, r, y)
	}
}

func words(r Row) string {
	if r.Detail == "" {
		return r.Label
	}
	return r.Label + ": " + r.Detail
}

func (l Ladder) message(d *drawing, r Row, y float64) {
	x1, x2 := l.x(r.From), l.x(r.To)
	dir := 1.0
	if x2 < x1 {
		dir = -1
	}
	stroke, thick := ink, 1.4
	if r.Emphasis {
		stroke, thick = green, 2.2
	}
	d.line(x1, y, x2-dir*6, y, stroke, thick, "")
	d.head(x2, y, dir, stroke, 9)
	// The words stand at the sender's end, where the eye begins.
	x, anchor := x1+dir*10, "start"
	if dir < 0 {
		anchor = "end"
	}
	d.text(x, y-5, style{size: 12, anchor: anchor, class: "message", halo: true, bold: r.Emphasis}, words(r))
}

// flow draws packets along a path: a thick line, in the tunnel a double one.
func (l Ladder) flow(d *drawing, r Row, y float64) {
	if len(r.Path) < 2 {
		return
	}
	c := colour(r.Fate)
	for i := 1; i < len(r.Path); i++ {
		x1, x2 := l.x(r.Path[i-1]), l.x(r.Path[i])
		last := i == len(r.Path)-1
		dir := 1.0
		if x2 < x1 {
			dir = -1
		}
		if last && r.Fate == Lost {
			x2 = x1 + (x2-x1)*0.55
		}
		switch {
		case last && r.Fate == Forwarded:
			d.line(x1, y-6, x2-dir*9, y-6, c, 1.4, "")
			d.line(x1, y, x2-dir*9, y, c, 1.4, "")
			d.line(x1, y-3, x2-dir*9, y-3, c, 2.4, " stroke-dasharray=\"8 4\"")
		default:
			d.line(x1, y-3, x2-dir*9, y-3, c, 3, " stroke-dasharray=\"8 4\"")
		}
		if last && r.Fate == Lost {
			d.line(x2-6, y-9, x2+6, y+3, c, 2.4, "")
			d.line(x2-6, y+3, x2+6, y-9, c, 2.4, "")
			continue
		}
		d.head(x2, y-3, dir, c, 11)
	}
	d.text(l.x(r.Path[0])+10, y-11, style{size: 12, fill: c, class: "flow", halo: true}, words(r))
}

// clock shows a time relative to the move.
func clock(at time.Duration) string {
	ms := float64(at) / float64(time.Millisecond)
	if ms < -1000 || ms > 1000 {
		return fmt.Sprintf("%+.0f ms", ms)
	}
	return fmt.Sprintf("%+.1f ms", ms)
}
