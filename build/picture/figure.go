package picture

import (
	"io"
	"time"
)

// Figure is the whole picture. Times are relative to the moment at which the node's link went down.
type Figure struct {
	Title, Subtitle string
	From, To        time.Duration // the span of time that the panels show
	Panels          []Panel
	Ladders         []Ladder
}

// Fate is what became of a packet.
type Fate uint8

// Fates.
const (
	Lost Fate = iota
	Direct
	Forwarded
)

// Packet is one packet of the flow.
type Packet struct {
	At   time.Duration // when it was sent
	Fate Fate
}

// Level is how many packets are kept from a moment on.
type Level struct {
	At      time.Duration
	Packets int
}

// Mark is a moment that a panel shows as a vertical line.
type Mark struct {
	At    time.Duration
	Label string
}

// Part is one share of the gap.
type Part struct {
	Name string
	Took time.Duration
}

// Panel shows the packets of one run over time, and where its gap went.
type Panel struct {
	Title, Result string
	Packets       []Packet
	Queue         []Level // packets that are kept on the way; nil if none ever is
	QueueText     string
	Marks         []Mark
	GapFrom       time.Duration // when the last packet before the gap came
	Gap           []Part
}

// Ladder is the exchange of messages between columns, from top to bottom.
type Ladder struct {
	Title   string
	Columns []string
	Rows    []Row
}

// RowKind says what a row of the ladder is.
type RowKind uint8

// Kinds of rows.
const (
	Message RowKind = iota // an arrow From - To
	Event                  // something that happens at From
	Divider                // a line across all columns
	Flow                   // packets that go along Path
)

// Row is one row of the ladder.
type Row struct {
	Kind     RowKind
	At       time.Duration
	Untimed  bool // At says nothing
	From, To int  // columns
	Path     []int
	Fate     Fate // of a Flow: Direct, Forwarded (the last part of Path is a tunnel), or Lost (it ends with a cross)
	Label    string
	Detail   string
	Emphasis bool
}

// Write writes the figure as SVG.
func (f Figure) Write(w io.Writer) error {
	d := newDrawing()
	y := f.heading(d)
	scale := f.scale()
	for _, p := range f.Panels {
		y = f.panel(d, p, scale, y)
	}
	if len(f.Panels) > 0 {
		y = f.legend(d, y)
	}
	for _, l := range f.Ladders {
		y = l.draw(d, y)
	}
	return d.write(w, width, y+margin)
}
