package cga

import (
	"crypto/sha1"
	"testing"
)

// RFC 3972 section 5 step 7: Sec 0 to 7 ask for 0 to 112 zero bits at the start of Hash2, and nothing of the rest. No one
// can find a modifier for the larger ones, so that the hash is made up here.
func TestHasWork(t *testing.T) {
	for zero := range sha1.Size * 8 {
		var hash2 [sha1.Size]byte
		hash2[zero/8] = 0x80 >> (zero % 8)
		for sec := range uint8(MaxSec + 1) {
			if got, want := hasWork(&hash2, sec), zero >= 16*int(sec); got != want {
				t.Errorf("%d zero bits, Sec %d: %v", zero, sec, got)
			}
		}
	}
}
