package ndp_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/roamkey/roamkey/ndp"
)

// Lengths of 256 octets and more, up to the longest, come out right: 8-bit arithmetic would lose them.
func TestOptionLengths(t *testing.T) {
	for _, units := range []int{1, 2, 31, 32, 33, 38, 41, 64, 255} {
		msg := make([]byte, 24)
		msg = append(msg, 0xfa, uint8(units))
		msg = append(msg, bytes.Repeat([]byte{0xee}, units*8-2)...)
		msg = append(msg, 0xfb, 1, 1, 2, 3, 4, 5, 6)
		options := ndp.OptionsAt(msg, 24)
		first, ok := options.Next()
		if !ok || first.Type != 0xfa || len(first.Octets) != units*8 || first.Offset != 24 || len(first.Body()) != units*8-2 {
			t.Errorf("%d units: %d octets at %d, %v", units, len(first.Octets), first.Offset, ok)
		}
		second, ok := options.Next()
		if !ok || second.Type != 0xfb || second.Offset != 24+units*8 || !bytes.Equal(second.Body(), []byte{1, 2, 3, 4, 5, 6}) {
			t.Errorf("after %d units: %+v, %v", units, second, ok)
		}
		if _, ok := options.Next(); ok || options.Err() != nil {
			t.Errorf("after the last: %v, %v", ok, options.Err())
		}
	}
}

func TestOptionsMalformed(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options string
		before  int // options that can be read
	}{
		{"length zero", "fa00 000000000000", 0},
		{"length zero after a good one", "fa01 000000000000 fb00 000000000000", 1},
		{"over the end", "fa02 000000000000", 0},
		{"over the end by far", "faff 000000000000", 0},
		{"not a multiple of 8", "fa01 000000000000 fb01 0000", 1},
		{"one octet", "fa", 0},
	} {
		options := ndp.OptionsAt(unhex(t, tt.options), 0)
		n := 0
		for _, ok := options.Next(); ok; _, ok = options.Next() {
			n++
		}
		if n != tt.before || !errors.Is(options.Err(), ndp.ErrOption) {
			t.Errorf("%s: %d options, %v", tt.name, n, options.Err())
		}
		if _, ok := options.Next(); ok {
			t.Errorf("%s: the walk goes on after its error", tt.name)
		}
	}
	for _, offset := range []int{-1, 9} {
		if options := ndp.OptionsAt(make([]byte, 8), offset); !errors.Is(options.Err(), ndp.ErrOption) {
			t.Errorf("offset %d: %v", offset, options.Err())
		}
	}
	if options := ndp.OptionsAt(make([]byte, 8), 8); options.Err() != nil {
		t.Errorf("no options: %v", options.Err())
	}
	if body := (ndp.Option{}).Body(); body != nil {
		t.Errorf("body of no option: %x", body)
	}
}

// A walker that is copied walks on its own, so that a parsed message can be walked over again.
func TestOptionsCopy(t *testing.T) {
	first := ndp.OptionsAt(unhex(t, "fa01 000000000000 fb01 000000000000"), 0)
	second := first
	first.Next()
	first.Next()
	if o, ok := second.Next(); !ok || o.Type != 0xfa {
		t.Errorf("the copy is at %+v, %v", o, ok)
	}
}

func TestNonceOption(t *testing.T) {
	for _, tt := range []struct {
		nonce int
		want  int
	}{{0, 8}, {6, 8}, {7, 16}, {14, 16}, {2038, 2040}} {
		o := ndp.NonceOption(bytes.Repeat([]byte{7}, tt.nonce))
		if len(o) != tt.want || int(o[1])*8 != tt.want || o[0] != ndp.OptNonce || bytes.Count(o[2:], []byte{7}) < tt.nonce {
			t.Errorf("nonce of %d octets: option of %d, %x", tt.nonce, len(o), o[:2])
		}
	}
	if o := ndp.NonceOption(make([]byte, 2039)); o != nil {
		t.Errorf("longer than an option can be: %d octets", len(o))
	}
}
