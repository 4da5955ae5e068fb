package picture

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// Measures in SVG units.
const (
	width  = 1240.0
	margin = 36.0
)

// Colours: a light theme that also prints in grey.
const (
	paper     = "#ffffff"
	ink       = "#1f2933"
	faint     = "#6b7785"
	hairline  = "#d5dae0"
	shade     = "#f4f6f8"
	blue      = "#2f6fbb"
	orange    = "#dd7a12"
	red       = "#c8372d"
	green     = "#2e8555"
	violet    = "#7b5aa6"
	fontStack = "DejaVu Sans, Helvetica, Arial, sans-serif"
)

// colour is that of packets by fate.
func colour(f Fate) string {
	switch f {
	case Direct:
		return blue
	case Forwarded:
		return orange
	}
	return red
}

// drawing collects SVG elements.
type drawing struct{ b strings.Builder }

func newDrawing() *drawing { return &drawing{} }

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}

func (d *drawing) rect(x, y, w, h float64, fill string) {
	fmt.Fprintf(&d.b, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n", x, y, w, h, fill)
}

func (d *drawing) box(x, y, w, h float64, fill, stroke string) {
	fmt.Fprintf(&d.b, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"4\" fill=\"%s\" stroke=\"%s\"/>\n", x, y, w, h, fill, stroke)
}

func (d *drawing) line(x1, y1, x2, y2 float64, stroke string, thick float64, extra string) {
	fmt.Fprintf(&d.b, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" stroke-width=\"%.1f\"%s/>\n",
		x1, y1, x2, y2, stroke, thick, extra)
}

// area fills what is between the points, each an x and a y, and the base line.
func (d *drawing) area(points [][2]float64, base float64, fill string) {
	if len(points) == 0 {
		return
	}
	fmt.Fprintf(&d.b, "<path class=\"area\" d=\"M%.1f %.1f", points[0][0], base)
	for _, p := range points {
		fmt.Fprintf(&d.b, " L%.1f %.1f", p[0], p[1])
	}
	fmt.Fprintf(&d.b, " L%.1f %.1f Z\" fill=\"%s\"/>\n", points[len(points)-1][0], base, fill)
}

func (d *drawing) circle(x, y, r float64, fill string) {
	fmt.Fprintf(&d.b, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" fill=\"%s\"/>\n", x, y, r, fill)
}

// head is the head of an arrow that ends at (x, y) and comes from the left (dir 1) or the right (dir -1).
func (d *drawing) head(x, y, dir float64, fill string, size float64) {
	fmt.Fprintf(&d.b, "<path d=\"M%.1f %.1f L%.1f %.1f L%.1f %.1f Z\" fill=\"%s\"/>\n",
		x, y, x-dir*size, y-size*0.45, x-dir*size, y+size*0.45, fill)
}

// style of a text.
type style struct {
	size   float64
	fill   string
	anchor string // start, middle, end
	bold   bool
	class  string
	halo   bool // a background of paper, so that lines do not run through it
}

func (d *drawing) text(x, y float64, s style, text string) {
	if s.anchor == "" {
		s.anchor = "start"
	}
	if s.fill == "" {
		s.fill = ink
	}
	weight := ""
	if s.bold {
		weight = " font-weight=\"bold\""
	}
	class := ""
	if s.class != "" {
		class = fmt.Sprintf(" class=\"%s\"", s.class)
	}
	if s.halo {
		wide := 0.56 * s.size * float64(len([]rune(text)))
		if s.bold {
			wide *= 1.14
		}
		left := x
		switch s.anchor {
		case "middle":
			left -= wide / 2
		case "end":
			left -= wide
		}
		left = max(left-3, 0)
		d.rect(left, y-0.8*s.size, wide+6, 0.95*s.size, paper)
	}
	fmt.Fprintf(&d.b, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%.1f\" fill=\"%s\" text-anchor=\"%s\"%s%s>%s</text>\n",
		x, y, s.size, s.fill, s.anchor, weight, class, escape(text))
}

func (d *drawing) write(w io.Writer, width, height float64) error {
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" font-family="%s">
<rect width="100%%" height="100%%" fill="%s"/>
%s</svg>
`, width, height, width, height, fontStack, paper, d.b.String())
	return err
}
