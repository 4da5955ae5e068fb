package daemon

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
)

func sampleRecord() lke.Record {
	return lke.Record{
		Home: netip.MustParseAddr("2001:db8:1::abcd"), Router: netip.MustParseAddr("2001:db8:1::1"), Link: "br-lan",
		Node: ipv6.LinkAddr{2, 1, 2, 3, 4, 5}, NodeLocal: netip.MustParseAddr("fe80::1:2ff:fe03:405"), Key: [16]byte{15: 9},
		RequestSeq: 0x1234, Expires: time.Unix(0, 7_200_000_000_123), UpdateSeq: 0xfffe, Updated: true, Advert: []byte("an advertisement"),
		Bound: true, CareOf: netip.MustParseAddr("2001:db8:2::beef"), BoundUntil: time.Unix(0, 99), Verified: true, BoundSeconds: 420,
	}
}

func TestRecordRoundTrip(t *testing.T) {
	minimal := lke.Record{Home: netip.MustParseAddr("2001:db8::1"), Router: netip.MustParseAddr("2001:db8::2")}
	for _, want := range []lke.Record{sampleRecord(), minimal} {
		octets := appendRecord(nil, &want)
		got, err := parseRecord(octets)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %#v, %v", got, err)
		}
		for n := range octets {
			if _, err := parseRecord(octets[:n]); err == nil {
				t.Fatalf("%d of %d octets were accepted", n, len(octets))
			}
		}
		octets[0]++
		if _, err := parseRecord(octets); err == nil {
			t.Fatal("a record of another version was accepted")
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	r := sampleRecord()
	f.Add(appendRecord(nil, &r))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRecord(b)
		if err != nil {
			return
		}
		again, err := parseRecord(appendRecord(nil, &r))
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%v, %v", again.Home, err)
		}
	})
}
