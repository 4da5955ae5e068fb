package mobilenode

import (
	"testing"

	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

func TestCodePointsCanBeChanged(t *testing.T) {
	mh, nd, err := ParseCodePoints("key_exchange_request=200, nd_capability=253")
	if err != nil {
		t.Fatal(err)
	}
	wantMH, wantND := mobility.DefaultCodePoints(), ndp.DefaultCodePoints()
	wantMH.KeyExchangeRequest, wantND.Capability = 200, 253
	if mh != wantMH || nd != wantND {
		t.Errorf("got %+v and %+v", mh, nd)
	}
	for _, text := range []string{"", "nonesuch=1", "finished", "finished=", "finished=256", "finished=-1", "finished=10;opt_hmac=5"} {
		if _, _, err := ParseCodePoints(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
