package picture

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

const ms = time.Millisecond

// example is a handover as the demo draws it.
func example() Figure {
	run := func(lost, back int, fate Fate) []Packet {
		var packets []Packet
		for i := -150; i < 600; i++ {
			p := Packet{At: time.Duration(i) * ms, Fate: Direct}
			switch {
			case i >= 0 && i < lost:
				p.Fate = Lost
			case i >= lost && i < back:
				p.Fate = fate
			}
			packets = append(packets, p)
		}
		return packets
	}
	return Figure{
		Title:    "A handover, with and without Local Key Exchange <&>",
		Subtitle: "1,000 packets a second from the correspondent to the node",
		From:     -150 * ms, To: 600 * ms,
		Panels: []Panel{
			{
				Title: "Without LKE", Result: "244 of 750 packets lost", Packets: run(244, 244, Direct),
				Marks: []Mark{{At: 0, Label: "link down"}, {At: 50 * ms, Label: "link up"}, {At: 82 * ms, Label: "Binding Update"}},
				Gap:   []Part{{"link", 50 * ms}, {"attach", 32 * ms}, {"binding", 162 * ms}},
			},
			{
				Title: "With LKE", Result: "84 of 750 packets lost", Packets: run(84, 240, Forwarded),
				Marks: []Mark{
					{At: 0, Label: "link down"}, {At: 50 * ms, Label: "link up"}, {At: 80 * ms, Label: "Router Advertisement"},
					{At: 82 * ms, Label: "Binding Update"}, {At: 83 * ms, Label: "forwarded"},
				},
				Gap: []Part{{"link", 50 * ms}, {"attach", 32 * ms}, {"binding", ms}, {"router", 70 * time.Microsecond}, {"delivery", ms}},
			},
		},
		Ladders: []Ladder{{
			Title:   "The messages",
			Columns: []string{"correspondent", "old router", "new router", "mobile node"},
			Rows: []Row{
				{Kind: Message, At: -2100 * ms, From: 1, To: 3, Label: "RA", Detail: "prefix, RSA 2048 key"},
				{Kind: Message, At: -2099 * ms, From: 3, To: 1, Label: "KEReq", Detail: "a fresh key, under the router's RSA key"},
				{Kind: Flow, Untimed: true, Path: []int{0, 1, 3}, Fate: Direct, Label: "packets to the node"},
				{Kind: Divider, At: 0, Label: "the node's link goes down"},
				{Kind: Flow, Untimed: true, Path: []int{0, 1, 3}, Fate: Lost, Label: "lost"},
				{Kind: Event, At: 82 * ms, From: 3, Label: "address", Detail: "2001:db8:2::9"},
				{Kind: Message, At: 82 * ms, From: 3, To: 1, Label: "BU", Emphasis: true},
				{Kind: Flow, Untimed: true, Path: []int{0, 1, 3}, Fate: Forwarded, Label: "forwarded"},
			},
		}},
	}
}

// element is what the tests look at of an SVG element.
type element struct {
	name  string
	attrs map[string]string
	text  string
}

func parse(t *testing.T, svg []byte) []element {
	t.Helper()
	var all []element
	in := xml.NewDecoder(bytes.NewReader(svg))
	for {
		token, err := in.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			e := element{name: token.Name.Local, attrs: map[string]string{}}
			for _, a := range token.Attr {
				e.attrs[a.Name.Local] = a.Value
			}
			all = append(all, e)
		case xml.CharData:
			all[max(len(all)-1, 0)].text += strings.TrimSpace(string(token))
		}
	}
}

func draw(t *testing.T, f Figure) []element {
	t.Helper()
	var b bytes.Buffer
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	if path := os.Getenv("PICTURE_OUT"); path != "" {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return parse(t, b.Bytes())
}

func texts(all []element, class string) []string {
	var found []string
	for _, e := range all {
		if e.name == "text" && e.attrs["class"] == class {
			found = append(found, e.text)
		}
	}
	return found
}

// All that the figure says is in the picture, in its order.
func TestEveryWordIsDrawn(t *testing.T) {
	all := draw(t, example())
	for class, want := range map[string]string{
		"title":   "A handover, with and without Local Key Exchange <&>",
		"panel":   "Without LKE|With LKE|The messages",
		"mark":    "link down|link up|Binding Update|link down|link up|Router Advertisement|Binding Update|forwarded",
		"gap":     "= link 50 ms + attach 32 ms + binding 162 ms|= link 50 ms + attach 32 ms + binding 1.0 ms + router 0.07 ms + delivery 1.0 ms",
		"column":  "correspondent|old router|new router|mobile node",
		"message": "RA: prefix, RSA 2048 key|KEReq: a fresh key, under the router's RSA key|BU",
		"event":   "address: 2001:db8:2::9",
		"divider": "the node's link goes down",
		"flow":    "packets to the node|lost|forwarded",
		"time":    "-2100 ms|-2099 ms|+0.0 ms|+82.0 ms|+82.0 ms",
	} {
		if got := strings.Join(texts(all, class), "|"); got != want {
			t.Errorf("%s:\n got %s\nwant %s", class, got, want)
		}
	}
}

// The bars of a panel show each packet once: their areas are in the proportion of the packets' fates.
func TestBarsCountPackets(t *testing.T) {
	f := example()
	f.Panels, f.Ladders = f.Panels[1:], nil
	f.Panels[0].Gap = nil // it has the same colours
	area := map[string]float64{}
	for _, e := range draw(t, f) {
		if e.name == "rect" && e.attrs["height"] != "100%" && e.attrs["height"] != "12.0" && e.attrs["height"] != "16.0" {
			area[e.attrs["fill"]] += number(t, e, "height")
		}
	}
	direct, forwarded := area[blue], area[orange]
	if got, want := forwarded/direct, 156.0/510; got < want*0.98 || got > want*1.02 {
		t.Errorf("forwarded to direct is drawn as %.3f, want %.3f", got, want)
	}
	if got, want := area[red]/direct, 84.0/510*plotDown/plotUp; got < want*0.98 || got > want*1.02 {
		t.Errorf("lost to direct is drawn as %.3f, want %.3f", got, want)
	}
}

func number(t *testing.T, e element, name string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(e.attrs[name], 64)
	if err != nil {
		t.Fatalf("%s of a %s is %q", name, e.name, e.attrs[name])
	}
	return v
}

// Nothing is drawn outside of the picture, and no number is none.
func TestAllIsInsideThePicture(t *testing.T) {
	for name, f := range map[string]Figure{"example": example(), "empty": {To: ms}, "one column": {To: ms, Ladders: []Ladder{{Columns: []string{"x"}}}}} {
		all := draw(t, f)
		w, h := number(t, all[0], "width"), number(t, all[0], "height")
		for _, e := range all[2:] {
			for _, attr := range []string{"x", "x1", "x2", "cx"} {
				if e.attrs[attr] != "" {
					if v := number(t, e, attr); !(v >= 0 && v <= w) {
						t.Errorf("%s: %s %v of %+v", name, attr, v, e)
					}
				}
			}
			for _, attr := range []string{"y", "y1", "y2", "cy"} {
				if e.attrs[attr] != "" {
					if v := number(t, e, attr); !(v >= 0 && v <= h) {
						t.Errorf("%s: %s %v of %+v", name, attr, v, e)
					}
				}
			}
			if e.name == "rect" && number(t, e, "x")+number(t, e, "width") > w {
				t.Errorf("%s: a box goes over the edge: %+v", name, e)
			}
		}
	}
}

// What is kept on the way is an area whose height goes with the packets.
func TestTheQueueIsAnArea(t *testing.T) {
	f := example()
	for _, e := range draw(t, f) {
		if e.attrs["class"] == "area" {
			t.Error("a queue is drawn where nothing was kept")
		}
	}
	f.Panels[1].Queue = []Level{{-150 * ms, 0}, {0, 10}, {50 * ms, 40}, {100 * ms, 0}}
	f.Panels[1].QueueText = "up to 40 packets"
	all := draw(t, f)
	if got := texts(all, "queue"); len(got) != 1 || got[0] != "up to 40 packets" {
		t.Errorf("the queue is told as %q", got)
	}
	for _, e := range all {
		if e.attrs["class"] != "area" {
			continue
		}
		var heights []float64
		points := strings.FieldsFunc(e.attrs["d"], func(r rune) bool { return strings.ContainsRune("MLZ ", r) })
		for i := 0; i+1 < len(points); i += 2 {
			x, errX := strconv.ParseFloat(points[i], 64)
			y, errY := strconv.ParseFloat(points[i+1], 64)
			if errX != nil || errY != nil || x < plotLeft || x > plotRight {
				t.Fatalf("point %q %q of the area", points[i], points[i+1])
			}
			heights = append(heights, y)
		}
		base := heights[0]
		if low, high := base-heights[4], base-heights[6]; low <= 0 || high < 3.9*low || high > 4.1*low {
			t.Errorf("10 packets are %.1f high, 40 are %.1f", low, high)
		}
		if heights[len(heights)-1] != base || heights[len(heights)-2] != base {
			t.Errorf("the queue is not drawn as empty at its end: %v", heights)
		}
		return
	}
	t.Error("no queue is drawn")
}

// Labels of marks that are close together go to rows of their own.
func TestMarksDoNotOverlap(t *testing.T) {
	f := example()
	f.Panels = f.Panels[1:]
	var rows []string
	for _, e := range draw(t, f) {
		if e.attrs["class"] == "mark" && (e.text == "Router Advertisement" || e.text == "Binding Update" || e.text == "forwarded") {
			rows = append(rows, e.attrs["y"])
		}
	}
	if len(rows) != 3 || rows[0] == rows[1] || rows[1] == rows[2] || rows[0] == rows[2] {
		t.Errorf("labels at 80, 82 and 83 ms are at y = %v", rows)
	}
}
