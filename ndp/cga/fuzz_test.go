package cga_test

import (
	"bytes"
	"testing"

	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
)

// FuzzParse takes parameters: what is read is written again as it was, and has an address that verifies.
func FuzzParse(f *testing.F) {
	p, _ := official(f)
	f.Add(p.Append(nil))
	p.Extensions = unhex(f, "fffd0003010203 fffe0000")
	p.Collisions = 2
	f.Add(p.Append(nil))
	for _, h := range allHeard(f)[:3] {
		q, err := cga.ParseOption(h.option)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(q.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := cga.Parse(b)
		if err != nil {
			return
		}
		if p.Collisions > 2 || !bytes.Equal(p.Append(nil), b) {
			t.Fatalf("%x is read as %+v", b, p)
		}
		if err := cga.Verify(p.Address(0), p); err != nil {
			t.Fatal(err)
		}
		if o := cga.Option(p); o != nil {
			q, err := cga.ParseOption(ndp.Option{Type: ndp.OptCGA, Octets: o})
			if err != nil || !bytes.Equal(q.Append(nil), b) {
				t.Fatalf("%x as an option: %+v, %v", b, q, err)
			}
		} else if len(b) <= 2036 {
			t.Fatalf("%d octets do not fit in an option", len(b))
		}
	})
}

// FuzzOption takes whole options.
func FuzzOption(f *testing.F) {
	for _, h := range allHeard(f)[:3] {
		f.Add(h.option.Octets)
	}
	p, _ := official(f)
	f.Add(cga.Option(p))
	f.Add([]byte{11, 1, 255, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := cga.ParseOption(ndp.Option{Type: ndp.OptCGA, Octets: b})
		if err == nil && !bytes.Contains(b, p.Append(nil)) {
			t.Fatalf("%x is read as %+v", b, p)
		}
	})
}
