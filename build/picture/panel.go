package picture

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Measures of a panel.
const (
	plotLeft   = margin + 56
	plotRight  = width - margin
	plotUp     = 76.0 // received packets
	plotDown   = 30.0 // lost packets
	plotQueue  = 34.0 // packets that are kept
	markSpace  = 58.0 // above the plot, for the labels of marks
	gapHeight  = 16.0
	labelWidth = 6.4 // of a character at size 11, nearly
)

func (f Figure) heading(d *drawing) float64 {
	d.text(margin, 44, style{size: 22, bold: true, class: "title"}, f.Title)
	d.text(margin, 68, style{size: 13, fill: faint}, f.Subtitle)
	return 84
}

// x is where a moment is on the time axis.
func (f Figure) x(at time.Duration) float64 {
	at = min(max(at, f.From), f.To)
	return plotLeft + (plotRight-plotLeft)*float64(at-f.From)/float64(f.To-f.From)
}

func (f Figure) panel(d *drawing, p Panel, scale scales, y float64) float64 {
	y += 26
	d.text(margin, y, style{size: 15, bold: true, class: "panel"}, p.Title)
	d.text(plotRight, y, style{size: 12, fill: faint, anchor: "end"}, p.Result)
	top := y + markSpace + 4
	axis := top + plotUp
	bottom := axis + plotDown

	d.rect(plotLeft, top, plotRight-plotLeft, plotUp+plotDown, shade)
	f.bars(d, p, scale, top, axis, bottom)
	d.line(plotLeft, axis, plotRight, axis, ink, 1, "")
	d.text(plotLeft-8, top+12, style{size: 11, fill: faint, anchor: "end"}, "received")
	d.text(plotLeft-8, bottom-6, style{size: 11, fill: faint, anchor: "end"}, "lost")
	if len(p.Queue) > 0 {
		bottom = f.queue(d, p, bottom+4)
	}
	f.ticks(d, bottom)
	f.marks(d, p.Marks, top, bottom)
	return f.gap(d, p, bottom+22)
}

// binWidth is the time that one bar stands for.
func binWidth(span time.Duration) time.Duration {
	for _, w := range []time.Duration{time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond} {
		if span/w <= 100 {
			return w
		}
	}
	return 50 * time.Millisecond
}

// counts are packets of one span of time, by fate.
type counts [3]int

// count sorts a panel's packets into bins.
func (f Figure) count(p Panel) []counts {
	bin := binWidth(f.To - f.From)
	bins := make([]counts, int((f.To-f.From+bin-1)/bin))
	for _, packet := range p.Packets {
		if packet.At >= f.From && packet.At < f.To {
			bins[int((packet.At-f.From)/bin)][packet.Fate]++
		}
	}
	return bins
}

// scales are how many packets of one bin reach the edges of a panel.
type scales struct{ received, lost float64 }

// scale gives what is the same for all panels, so that they can be compared. A moment in which the sender made up for what it was
// late with must not make all the rest small; but where packets were kept, they come faster afterwards, and that is to be seen.
func (f Figure) scale() scales {
	const usual, faster = 1.25, 2.3
	middle, factor := 1, usual
	for _, p := range f.Panels {
		var totals []int
		for _, c := range f.count(p) {
			totals = append(totals, c[Lost]+c[Direct]+c[Forwarded])
		}
		slices.Sort(totals)
		middle = max(middle, totals[len(totals)/2])
		if len(p.Queue) > 0 {
			factor = faster
		}
	}
	return scales{received: factor * float64(middle), lost: usual * float64(middle)}
}

// queue draws how many packets are kept, as an area.
func (f Figure) queue(d *drawing, p Panel, y float64) float64 {
	bottom := y + plotQueue
	d.rect(plotLeft, y, plotRight-plotLeft, plotQueue, shade)
	most := 1
	for _, l := range p.Queue {
		most = max(most, l.Packets)
	}
	height := func(packets int) float64 { return bottom - (plotQueue-4)*float64(packets)/float64(most) }
	var points [][2]float64
	at, before := f.From, bottom
	for _, l := range p.Queue {
		at = l.At
		points = append(points, [2]float64{f.x(at), before}, [2]float64{f.x(at), height(l.Packets)})
		before = height(l.Packets)
	}
	points = append(points, [2]float64{f.x(max(at, f.To)), before})
	d.area(points, bottom, violet)
	d.line(plotLeft, bottom, plotRight, bottom, ink, 1, "")
	d.text(plotLeft-8, bottom-6, style{size: 11, fill: faint, anchor: "end"}, "kept")
	d.text(plotRight-6, y+14, style{size: 11, anchor: "end", class: "queue"}, p.QueueText)
	return bottom
}

// bars draws how many packets of each span of time were received, upwards, and lost, downwards.
func (f Figure) bars(d *drawing, p Panel, scale scales, top, axis, bottom float64) {
	bin := binWidth(f.To - f.From)
	for i, c := range f.count(p) {
		from := f.x(f.From + time.Duration(i)*bin)
		w := f.x(f.From+time.Duration(i+1)*bin) - from
		w = max(w-0.6, 0.5)
		at := axis
		for _, fate := range []Fate{Direct, Forwarded} {
			if h := min((axis-top)*float64(c[fate])/scale.received, at-top); h > 0 {
				at -= h
				d.rect(from, at, w, h, colour(fate))
			}
		}
		if h := min((bottom-axis)*float64(c[Lost])/scale.lost, bottom-axis); h > 0 {
			d.rect(from, axis, w, h, colour(Lost))
		}
	}
}

// ticks labels the time axis.
func (f Figure) ticks(d *drawing, y float64) {
	step := 100 * time.Millisecond
	for _, s := range []time.Duration{20, 50, 100, 200, 500, 1000} {
		step = s * time.Millisecond
		if (f.To-f.From)/step <= 14 {
			break
		}
	}
	first := time.Duration(math.Ceil(float64(f.From)/float64(step))) * step
	for at := first; at <= f.To; at += step {
		x := f.x(at)
		d.line(x, y, x, y+4, faint, 1, "")
		label := fmt.Sprintf("%d", at.Milliseconds())
		if at == first || at == 0 {
			label += " ms"
		}
		d.text(x, y+16, style{size: 11, fill: faint, anchor: "middle"}, label)
	}
}

// marks draws vertical lines, their labels in as many rows as they need to stay apart.
func (f Figure) marks(d *drawing, marks []Mark, top, bottom float64) {
	marks = slices.Clone(marks)
	slices.SortStableFunc(marks, func(a, b Mark) int { return int(a.At - b.At) })
	const rows = 4
	var ends [rows]float64
	for _, m := range marks {
		if m.At < f.From || m.At > f.To {
			continue
		}
		x := f.x(m.At)
		wide := labelWidth*float64(len([]rune(m.Label))) + 8
		row := 0
		for row < rows-1 && x < ends[row] {
			row++
		}
		left, anchor := x+3, "start"
		if left+wide > plotRight {
			left, anchor = x-3, "end"
		}
		ends[row] = x + wide
		y := top - 6 - 13*float64(rows-1-row)
		d.line(x, y-9, x, bottom, ink, 0.8, " stroke-dasharray=\"3 2\"")
		d.text(left, y, style{size: 11, anchor: anchor, class: "mark", halo: true}, m.Label)
	}
}

// gap draws where the gap went, on the same scale of time, with what each part took beside it.
func (f Figure) gap(d *drawing, p Panel, y float64) float64 {
	if len(p.Gap) == 0 {
		return y + 8
	}
	y += 14
	d.text(plotLeft-8, y+12, style{size: 11, fill: faint, anchor: "end"}, "gap")
	at := p.GapFrom
	var words []string
	for i, part := range p.Gap {
		x, to := f.x(at), f.x(at+part.Took)
		d.rect(x, y, max(to-x, 1), gapHeight, partColour(part.Name, i))
		if float64(len(part.Name))*labelWidth+10 < to-x {
			d.text((x+to)/2, y+12, style{size: 11, fill: paper, anchor: "middle", bold: true}, part.Name)
		}
		at += part.Took
		words = append(words, fmt.Sprintf("%s %s", part.Name, milliseconds(part.Took)))
	}
	text := "= " + strings.Join(words, " + ")
	x, anchor := f.x(at)+8, "start"
	if x+labelWidth*float64(len(text)) > plotRight {
		x, anchor, y = plotRight, "end", y+gapHeight+2
	}
	d.text(x, y+12, style{size: 12, anchor: anchor, class: "gap"}, text)
	return y + gapHeight + 10
}

// partColour makes the router's share stand out, and neighbours differ.
func partColour(name string, i int) string {
	if name == "router" {
		return orange
	}
	return []string{"#8aa0b8", "#a9bbcd", "#6d8bad"}[i%3]
}

// milliseconds gives a duration with a precision that says something.
func milliseconds(t time.Duration) string {
	ms := float64(t) / float64(time.Millisecond)
	switch {
	case ms >= 10:
		return fmt.Sprintf("%.0f ms", ms)
	case ms >= 1:
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.2f ms", ms)
}

func (f Figure) legend(d *drawing, y float64) float64 {
	y += 16
	x := plotLeft
	for _, item := range []struct {
		fate Fate
		text string
	}{
		{Direct, "received"}, {Forwarded, "received, forwarded by the old router"}, {Lost, "lost"},
	} {
		d.rect(x, y-10, 12, 12, colour(item.fate))
		d.text(x+18, y, style{size: 12}, item.text)
		x += 18 + 7.2*float64(len(item.text)) + 24
	}
	if slices.ContainsFunc(f.Panels, func(p Panel) bool { return len(p.Queue) > 0 }) {
		d.rect(x, y-10, 12, 12, violet)
		d.text(x+18, y, style{size: 12}, "kept at the new router")
	}
	y += 18
	d.text(plotRight, y, style{size: 11, fill: faint, anchor: "end"}, "0 ms: the link went down; a lost packet is shown when it would have come")
	return y + 18
}
