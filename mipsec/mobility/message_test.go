package mobility_test

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

var (
	cp   = mobility.DefaultCodePoints()
	link = ipv6.LinkAddr{0x02, 1, 2, 3, 4, 5}

	// unknownOption is one that nobody here knows; it has to be skipped (RFC 6275 section 6.2.1).
	unknownOption = []byte{0xfa, 2, 0xaa, 0xbb}
)

// message is one message in octets, built by hand from the figures of the source, and as a struct.
type message struct {
	name   string
	octets string
	want   any
	build  func() []byte
	parse  func(mobility.Header) (any, error)
	fixed  int // octets before the options
}

// parser forgets a Parse function's type.
func parser[T any](parse func(mobility.Header) (T, error)) func(mobility.Header) (any, error) {
	return func(h mobility.Header) (any, error) { return parse(h) }
}

func messages() []message {
	parseBA := func(h mobility.Header) (mobility.BindingAck, error) { return mobility.ParseBindingAck(h, cp) }
	parseRequest := func(h mobility.Header) (mobility.KeyExchangeRequest, error) {
		return mobility.ParseKeyExchangeRequest(h, 16, cp)
	}
	parseAck := func(h mobility.Header) (mobility.KeyExchangeAck, error) { return mobility.ParseKeyExchangeAck(h, cp) }
	parseFinished := func(h mobility.Header) (mobility.Finished, error) { return mobility.ParseFinished(h, cp) }

	cookie := mobility.Token{1, 2, 3, 4, 5, 6, 7, 8}
	token := mobility.Token{9, 10, 11, 12, 13, 14, 15, 16}
	hoti := mobility.TestInit{Type: mobility.TypeHoTI, Cookie: cookie}
	coti := mobility.TestInit{Type: mobility.TypeCoTI, Cookie: cookie}
	hot := mobility.Test{Type: mobility.TypeHoT, NonceIndex: 7, Cookie: cookie, Token: token}
	cot := mobility.Test{Type: mobility.TypeCoT, NonceIndex: 9, Cookie: cookie, Token: token}
	bu := mobility.BindingUpdate{Seq: 0x0102, Flags: mobility.FlagAck, Lifetime: 105}
	buFull := mobility.BindingUpdate{
		Seq: 0x0102, Flags: mobility.FlagAck, Lifetime: 105, AlternateCareOf: other,
		NonceIndices: mobility.NonceIndices{Present: true, Home: 7, CareOf: 9}, HasAuth: true, AuthLast: true,
	}
	ba := mobility.BindingAck{Status: mobility.StatusSequence, KeyManagement: true, Seq: 0x0102, Lifetime: 3}
	baFull := mobility.BindingAck{
		Seq: 0x0102, Lifetime: 3, RefreshAdvice: 2, FinishedRequest: true, FinishedNonce: 0x0a0b0c0d, HasAuth: true, AuthLast: true,
	}
	be := mobility.BindingError{Status: mobility.ErrorUnknownBinding, HomeAddress: home}
	fbu := mobility.FastBindingUpdate{
		Seq: 0x0102, Flags: mobility.FlagAck | mobility.FlagHome, Lifetime: 60, AlternateCareOf: other, LinkAddr: link,
		Auth: mobility.FastAuth{Present: true, Last: true, SPI: 0x01020304, MAC: mobility.HMACSHA256},
	}
	fback := mobility.FastBindingAck{
		Status: mobility.FastStatusUseSupplied, KeyManagement: true, Seq: 0x0102, Lifetime: 60, AlternateCareOf: other,
		Auth: mobility.FastAuth{Present: true, Last: true},
	}
	fna := mobility.FastNeighborAdvert{LinkAddr: link}
	experiment := mobility.Experimental{Data: []byte{0xc0, 0xde, 1, 2, 3, 4, 5, 6, 7, 8}}
	hswitch := mobility.HomeAgentSwitch{Addresses: mobility.AddressList{}.Add(router).Add(other), RefreshAdvice: 5}
	heartbeat := mobility.Heartbeat{Unsolicited: true, Response: true, Seq: 0x01020304, HasRestarts: true, RestartCounter: 9}
	hi := mobility.HandoverInitiate{
		Seq: 0x0102, Assigned: true, Buffer: true, Code: 1, LinkAddr: link, PreviousCareOf: home, NewCareOf: other,
	}
	hack := mobility.HandoverAck{Seq: 0x0102, Code: mobility.HandoverAddressAssigned, NewCareOf: other}
	protected := hi
	protected.Number, protected.HasNumber = 0x0102030405060708, true
	protected.Auth = mobility.FastAuth{Present: true, Last: true, SPI: mobility.SPIPairKey, MAC: mobility.HMACSHA256}
	protectedAck := mobility.HandoverAck{Seq: 0x0102, Number: 9, HasNumber: true, Auth: protected.Auth}
	request := mobility.KeyExchangeRequest{Seq: 0x0102, Data: bytes.Repeat([]byte{0xee}, 16), Lifetime: 3600}
	ack := mobility.KeyExchangeAck{Status: mobility.StatusProhibited, Seq: 0x0102, Lifetime: 900, Router: router}
	finished := mobility.Finished{Status: 1, Seq: 0x0102, Lifetime: 900, Nonce: 0x0a0b0c0d, HasAuth: true, AuthLast: true}

	return []message{
		{"BRR", "3b 00 00 00 0000 0000", mobility.BindingRefreshRequest{},
			func() []byte { return mobility.BindingRefreshRequest{}.Append(nil) }, parser(mobility.ParseBindingRefreshRequest), 8},
		{"HoTI", "3b 01 01 00 0000 0000 0102030405060708", hoti,
			func() []byte { return hoti.Append(nil) }, parser(mobility.ParseTestInit), 16},
		{"CoTI", "3b 01 02 00 0000 0000 0102030405060708", coti,
			func() []byte { return coti.Append(nil) }, parser(mobility.ParseTestInit), 16},
		{"HoT", "3b 02 03 00 0000 0007 0102030405060708 090a0b0c0d0e0f10", hot,
			func() []byte { return hot.Append(nil) }, parser(mobility.ParseTest), 24},
		{"CoT", "3b 02 04 00 0000 0009 0102030405060708 090a0b0c0d0e0f10", cot,
			func() []byte { return cot.Append(nil) }, parser(mobility.ParseTest), 24},
		{"BU", "3b 01 05 00 0000 0102 8000 0069 01020000", bu,
			func() []byte { return bu.Append(nil) }, parser(mobility.ParseBindingUpdate), 12},
		{"BU with all options", "3b 06 05 00 0000 0102 8000 0069 0100" + // the Alternate Care-of Address is aligned at 8n+6
			"0310 20010db8000300000000000000000003 0404 0007 0009 0102 0000" + // nonce indices at 2n, then PadN
			"050c 000000000000000000000000", buFull,
			func() []byte { return buFull.Append(nil) }, parser(mobility.ParseBindingUpdate), 12},
		{"BA", "3b 01 06 00 0000 87 80 0102 0003 01020000", ba,
			func() []byte { return ba.Append(nil, cp) }, parser(parseBA), 12},
		{"BA with all options", "3b 04 06 00 0000 00 00 0102 0003 0202 0002 0606 8000 0a0b0c0d 0100" +
			"050c 000000000000000000000000", baFull,
			func() []byte { return baFull.Append(nil, cp) }, parser(parseBA), 12},
		{"BE", "3b 02 07 00 0000 01 00 20010db800010000000000000000abcd", be,
			func() []byte { return be.Append(nil) }, parser(mobility.ParseBindingError), 24},
		{"FBU with all options", "3b 07 08 00 0000 0102 c000 003c 0100 0310 20010db8000300000000000000000003" +
			"0707 02 020102030405 00 1514 01020304 00000000000000000000000000000000", fbu,
			func() []byte { return fbu.Append(nil) }, parser(mobility.ParseFastBindingUpdate), 12},
		{"FBack", "3b 06 09 00 0000 01 80 0102 003c 0100 0310 20010db8000300000000000000000003 0104 00000000" +
			"1510 00000000 000000000000000000000000", fback,
			func() []byte { return fback.Append(nil) }, parser(mobility.ParseFastBindingAck), 12},
		{"FNA", "3b 02 0a 00 0000 0000 0707 02 020102030405 0105 0000000000", fna,
			func() []byte { return fna.Append(nil) }, parser(mobility.ParseFastNeighborAdvert), 8},
		{"experimental", "3b 01 0b 00 0000 c0de 0102030405060708", experiment,
			func() []byte { return experiment.Append(nil) }, parser(mobility.ParseExperimental), 0},
		{"home agent switch", "3b 05 0c 00 0000 02 00 20010db8000100000000000000000001 20010db8000300000000000000000003" +
			"0202 0005 01020000", hswitch,
			func() []byte { return hswitch.Append(nil) }, parser(mobility.ParseHomeAgentSwitch), 40},
		{"heartbeat", "3b 02 0d 00 0000 00 03 01020304 0100 1c04 00000009 01020000", heartbeat,
			func() []byte { return heartbeat.Append(nil) }, parser(mobility.ParseHeartbeat), 12},
		{"HI with all options", "3b 07 0e 00 0000 0102 c0 01 0707 02 020102030405 00" + // Pad1, for 8n+4
			"2212 01 80 20010db800010000000000000000abcd 01 02 0000" +
			"2212 02 80 20010db8000300000000000000000003", hi,
			func() []byte { return hi.Append(nil) }, parser(mobility.ParseHandoverInitiate), 10},
		{"HAck", "3b 03 0f 00 0000 0102 00 02 0100 2212 02 80 20010db8000300000000000000000003", hack,
			func() []byte { return hack.Append(nil) }, parser(mobility.ParseHandoverAck), 10},
		{"HI with number and authenticator", "3b 0c 0e 00 0000 0102 c0 01 0707 02 020102030405 00" +
			"2212 01 80 20010db800010000000000000000abcd 01 02 0000" +
			"2212 02 80 20010db8000300000000000000000003 0100" + // PadN, for 8n+2
			"0a08 0102030405060708 0104 00000000" +
			"1514 00000001 00000000000000000000000000000000", protected,
			func() []byte { return protected.Append(nil) }, parser(mobility.ParseHandoverInitiate), 10},
		{"HAck with number and authenticator", "3b 05 0f 00 0000 0102 00 00 0a08 0000000000000009 0104 00000000" +
			"1514 00000001 00000000000000000000000000000000", protectedAck,
			func() []byte { return protectedAck.Append(nil) }, parser(mobility.ParseHandoverAck), 10},
		{"KeyExchangeRequest", "3b 03 08 00 0000 0102 eeeeeeeeeeeeeeee eeeeeeeeeeeeeeee 0302 0e10 0102 0000", request,
			func() []byte { return request.Append(nil, cp) }, parser(parseRequest), 24},
		{"KeyExchangeAck", "3b 06 09 00 0000 81 00 0102 0384 0410 20010db8000100000000000000000001 0000" +
			"0514 0000000000000000000000000000000000000000 0000", ack,
			func() []byte { return ack.Append(nil, cp) }, parser(parseAck), 12},
		{"Finished", "3b 03 0a 00 0000 01 00 0102 0384 0a0b0c0d 0100 050c 000000000000000000000000", finished,
			func() []byte { return finished.Append(nil, cp) }, parser(parseFinished), 16},
	}
}

// strip removes the walkers, which hold the octets themselves.
func strip(m any) any {
	switch m := m.(type) {
	case mobility.BindingRefreshRequest:
		m.Options = mobility.Options{}
		return m
	case mobility.TestInit:
		m.Options = mobility.Options{}
		return m
	case mobility.Test:
		m.Options = mobility.Options{}
		return m
	}
	return m
}

// Every message is built as its figure shows it, and read from it.
func TestMessages(t *testing.T) {
	for _, m := range messages() {
		t.Run(m.name, func(t *testing.T) {
			octets := unhex(t, m.octets)
			same(t, m.build(), octets)
			got, err := m.parse(header(t, octets))
			if err != nil || !reflect.DeepEqual(strip(got), m.want) {
				t.Errorf("read %+v, %v\nwant %+v", got, err, m.want)
			}
			if min, known := mobility.MinHeaderLen(octets[2]); !known || octets[1] < min {
				t.Errorf("Header Len %d would not pass, at least %d", octets[1], min)
			}
		})
	}
}

// A message is read from its own type alone.
func TestMessagesRefuseOtherTypes(t *testing.T) {
	for _, m := range messages() {
		octets := unhex(t, m.octets)
		octets[2] = 200
		if _, err := m.parse(header(t, octets)); !errors.Is(err, mobility.ErrType) {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}

// A header cut to any multiple of 8 octets, its Header Len in step, is read or refused, never read beyond. None of the
// errors costs memory.
func TestMessagesShorter(t *testing.T) {
	for _, m := range messages() {
		octets := unhex(t, m.octets)
		for n := 8; n < len(octets); n += 8 {
			cut := bytes.Clone(octets[:n:n])
			cut[1] = uint8(n/8 - 1)
			h := header(t, cut)
			_, err := m.parse(h)
			if n < m.fixed && !errors.Is(err, mobility.ErrLength) {
				t.Errorf("%s in %d octets: %v", m.name, n, err)
			}
			if err != nil {
				if allocs := testing.AllocsPerRun(5, func() { m.parse(h) }); allocs > 1 { // one is the test's own: any
					t.Errorf("%s in %d octets: %v allocations", m.name, n, allocs)
				}
			}
		}
		// A Header whose octets are no header at all can only be made by hand; it is refused, too.
		if _, err := m.parse(mobility.Header{Type: octets[2], Octets: octets[:3]}); !errors.Is(err, mobility.ErrLength) {
			t.Errorf("%s in 3 octets: %v", m.name, err)
		}
	}
}

// withOptions gives message m with its options replaced.
func withOptions(t *testing.T, m message, options ...[]byte) mobility.Header {
	t.Helper()
	b := bytes.Clone(unhex(t, m.octets)[:m.fixed])
	for _, o := range options {
		b = append(b, o...)
	}
	for len(b)%8 != 0 {
		b = append(b, mobility.OptPad1)
	}
	b[1] = uint8(len(b)/8 - 1)
	return header(t, b)
}

// RFC 6275 section 6.2.1: an option that is not known is skipped; one that runs over the end spoils the message.
func TestMessagesOptions(t *testing.T) {
	overrun := []byte{0xfa, 200, 1}
	noLength := append(bytes.Repeat([]byte{0}, 7), 0xfa) // a type in the last octet
	for _, m := range messages() {
		if m.fixed == 0 {
			continue // has no options
		}
		var plain []byte // what the message cannot do without
		switch m.name {
		case "KeyExchangeRequest":
			plain = unhex(t, "0302 0e10")
		case "KeyExchangeAck":
			plain = unhex(t, "0410 20010db8000100000000000000000001 0514 0000000000000000000000000000000000000000")
		}
		if _, err := m.parse(withOptions(t, m, unknownOption, []byte{0}, []byte{1, 0}, unknownOption, plain)); err != nil {
			t.Errorf("%s with unknown options: %v", m.name, err)
		}
		if _, err := m.parse(withOptions(t, m, plain, overrun)); !errors.Is(err, mobility.ErrOption) {
			t.Errorf("%s with an option over the end: %v", m.name, err)
		}
		tail := noLength[(m.fixed+len(plain))%8:]
		if _, err := m.parse(withOptions(t, m, plain, tail)); !errors.Is(err, mobility.ErrOption) {
			t.Errorf("%s with an option without a length: %v", m.name, err)
		}
	}
}

// The walker gives each option with its place and passes over padding of both kinds.
func TestOptionsWalk(t *testing.T) {
	mh := unhex(t, "3b 04 05 00 0000 0102 8000 0069 00 0100 fa03 010203 0104 00000000 fb00 00 0103 000000 fc02 aabb")
	options := mobility.OptionsAt(mh, 12)
	for _, want := range []mobility.Option{
		{Type: 0xfa, Data: []byte{1, 2, 3}, Offset: 15},
		{Type: 0xfb, Data: []byte{}, Offset: 26},
		{Type: 0xfc, Data: []byte{0xaa, 0xbb}, Offset: 34},
	} {
		if got, ok := options.Next(); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v, want %+v", got, ok, want)
		}
	}
	if o, ok := options.Next(); ok || options.Err() != nil {
		t.Errorf("after the last: %+v, %v", o, options.Err())
	}
	for _, offset := range []int{-1, len(mh) + 1} {
		options := mobility.OptionsAt(mh, offset)
		if _, ok := options.Next(); ok || !errors.Is(options.Err(), mobility.ErrLength) {
			t.Errorf("offset %d: %v", offset, options.Err())
		}
	}
}

// Options of a length that they cannot have, repeated, missing, or in the wrong place.
func TestBadOptions(t *testing.T) {
	find := func(name string) message {
		for _, m := range messages() {
			if m.name == name {
				return m
			}
		}
		t.Fatalf("no message %s", name)
		return message{}
	}
	alternate := "0310 20010db8000300000000000000000003"
	routerOption := "0410 20010db8000100000000000000000001"
	hmac := "0514 0000000000000000000000000000000000000000"
	for _, tt := range []struct {
		name, message, options string
		want                   error
	}{
		{"alternate care-of address of 2 octets", "BU", "0302 0e10", mobility.ErrOption},
		{"two alternate care-of addresses", "BU", alternate + alternate, mobility.ErrOption},
		{"nonce indices of 2 octets", "BU", "0402 0007", mobility.ErrOption},
		{"nonce indices twice", "BU", "0404 00070009 0404 00070009", mobility.ErrOption},
		{"authenticator of 20 octets", "BU", hmac, mobility.ErrOption},
		{"a mobile network prefix is somebody else's", "BU", "0612 00 40 20010db8000100000000000000000000", nil},
		{"refresh advice of 4 octets", "BA", "0204 00000002", mobility.ErrOption},
		{"authenticator of 20 octets", "BA", hmac, mobility.ErrOption},
		{"two Finished Requests", "BA", "0606 8000 0a0b0c0d 0606 8000 0a0b0c0d", mobility.ErrOption},
		{"option 6 of another length is not LKE's", "BA", "0612 00 40 20010db8000100000000000000000000", nil},
		{"no lifetime", "KeyExchangeRequest", "", mobility.ErrMissing},
		{"lifetime of 16 octets", "KeyExchangeRequest", alternate, mobility.ErrOption},
		{"two lifetimes", "KeyExchangeRequest", "0302 0e10 0302 0e10", mobility.ErrOption},
		{"no HMAC", "KeyExchangeAck", routerOption, mobility.ErrMissing},
		{"no router", "KeyExchangeAck", hmac, mobility.ErrMissing},
		{"HMAC that is not last", "KeyExchangeAck", hmac + routerOption, mobility.ErrMissing},
		{"HMAC of 12 octets", "KeyExchangeAck", routerOption + "050c 000000000000000000000000", mobility.ErrOption},
		{"router of 4 octets", "KeyExchangeAck", "0404 00070009" + hmac, mobility.ErrOption},
		{"two routers", "KeyExchangeAck", routerOption + routerOption + hmac, mobility.ErrOption},
		{"authenticator of 4 octets", "Finished", "0504 00000000", mobility.ErrOption},
		{"alternate care-of address of 4 octets", "FBU with all options", "0304 00000000", mobility.ErrOption},
		{"two alternate care-of addresses", "FBack", alternate + alternate, mobility.ErrOption},
		{"link-layer address of 8 octets", "FNA", "0709 02 0102030405060708", nil},
		{"link-layer address of the access point", "FNA", "0707 01 020102030405", nil},
		{"refresh advice of 1 octet", "home agent switch", "0201 00", mobility.ErrOption},
		{"restart counter of 2 octets", "heartbeat", "1c02 0009", mobility.ErrOption},
		{"DNS update is no address", "HI with all options", "1104 00000000", nil},
		{"address of 4 octets", "HAck", "2204 01800000", nil},
	} {
		m := find(tt.message)
		if _, err := m.parse(withOptions(t, m, unhex(t, tt.options))); !errors.Is(err, tt.want) {
			t.Errorf("%s, %s: %v, want %v", tt.message, tt.name, err, tt.want)
		}
	}
}

// RFC 5568 prints 17 for the option that IANA registered as 34: both are read, 34 is sent.
func TestHandoverMisprintedOption(t *testing.T) {
	octets := unhex(t, "3b 03 0f 00 0000 0102 00 02 0100 1112 02 80 20010db8000300000000000000000003")
	if m, err := mobility.ParseHandoverAck(header(t, octets)); err != nil || m.NewCareOf != other {
		t.Errorf("read %+v, %v", m, err)
	}
}

// The r bit of the Finished Request, not the option's presence, asks for Finished (LKE draft section 3.2.3).
func TestFinishedRequestBit(t *testing.T) {
	for bits, want := range map[string]bool{"8000": true, "ffff": true, "7fff": false, "0000": false} {
		octets := unhex(t, "3b 02 06 00 0000 00 00 0102 0003 0606", bits, "0a0b0c0d 0102 0000")
		if m, err := mobility.ParseBindingAck(header(t, octets), cp); err != nil || m.FinishedRequest != want {
			t.Errorf("%s: read %+v, %v", bits, m, err)
		}
	}
}

// Code points are the configuration's, in both directions.
func TestCodePoints(t *testing.T) {
	own := mobility.CodePoints{
		KeyExchangeRequest: 100, KeyExchangeAck: 101, Finished: 102,
		OptLifetime: 103, OptRouter: 104, OptHMAC: 105, OptFinishedRequest: 106,
	}
	request := mobility.KeyExchangeRequest{Seq: 1, Data: make([]byte, 128), Lifetime: 60}
	h := header(t, request.Append(nil, own))
	if m, err := mobility.ParseKeyExchangeRequest(h, 128, own); err != nil || m.Lifetime != 60 || h.Type != 100 {
		t.Errorf("request: %+v, %v", m, err)
	}
	if _, err := mobility.ParseKeyExchangeRequest(h, 128, cp); !errors.Is(err, mobility.ErrType) {
		t.Errorf("request under other numbers: %v", err)
	}
	ack := mobility.KeyExchangeAck{Seq: 1, Router: router}
	h = header(t, ack.Append(nil, own))
	if err := mobility.SignKeyExchangeAck(h.Octets, kbm, router, careOf, home); err != nil {
		t.Fatal(err)
	}
	if m, err := mobility.ParseKeyExchangeAck(h, own); err != nil || m != ack || h.Type != 101 {
		t.Errorf("acknowledgement: %+v, %v", m, err)
	}
	if !mobility.VerifyKeyExchangeAck(h.Octets, kbm, router, careOf, home) {
		t.Error("HMAC under other numbers refused")
	}
	finished := mobility.Finished{Seq: 1, Nonce: 2, HasAuth: true}
	h = header(t, finished.Append(nil, own))
	if m, err := mobility.ParseFinished(h, own); err != nil || m.Nonce != 2 || h.Type != 102 {
		t.Errorf("finished: %+v, %v", m, err)
	}
	ba := mobility.BindingAck{FinishedRequest: true, FinishedNonce: 3}
	if m, err := mobility.ParseBindingAck(header(t, ba.Append(nil, own)), own); err != nil || m != ba {
		t.Errorf("binding acknowledgement: %+v, %v", m, err)
	}
	if m, _ := mobility.ParseBindingAck(header(t, ba.Append(nil, own)), cp); m.FinishedRequest {
		t.Error("a number that is not configured counted as Finished Request")
	}
}

// RSA keys of the sizes that are allowed, and one that no mobility header can hold.
func TestKeyExchangeRequestSizes(t *testing.T) {
	for _, modulus := range []int{128, 192, 256, 384, 512, 129} {
		mh := mobility.KeyExchangeRequest{Seq: 9, Data: bytes.Repeat([]byte{0xdd}, modulus), Lifetime: 7200}.Append(nil, cp)
		m, err := mobility.ParseKeyExchangeRequest(header(t, mh), modulus, cp)
		if err != nil || len(m.Data) != modulus || m.Lifetime != 7200 || cap(m.Data) != modulus {
			t.Errorf("modulus of %d octets: %v, %d octets, %d s", modulus, err, len(m.Data), m.Lifetime)
		}
		if _, err := mobility.ParseKeyExchangeRequest(header(t, mh), 2048, cp); !errors.Is(err, mobility.ErrLength) {
			t.Errorf("for a larger modulus: %v", err)
		}
		if _, err := mobility.ParseKeyExchangeRequest(header(t, mh), -1, cp); !errors.Is(err, mobility.ErrLength) {
			t.Errorf("for a negative modulus: %v", err)
		}
	}
	tooLong := mobility.KeyExchangeRequest{Data: make([]byte, 2040)}.Append([]byte("before"), cp)
	if string(tooLong) != "before" {
		t.Errorf("%d octets for a message that cannot be expressed", len(tooLong))
	}
	if longest := (mobility.KeyExchangeRequest{Data: make([]byte, 2036)}).Append(nil, cp); len(longest) != 2048 || longest[1] != 255 {
		t.Errorf("longest message has %d octets", len(longest))
	}
}

// A list of addresses that no mobility header can hold.
func TestHomeAgentSwitchSizes(t *testing.T) {
	var list mobility.AddressList
	for range 127 {
		list = list.Add(router)
	}
	mh := mobility.HomeAgentSwitch{Addresses: list}.Append(nil)
	m, err := mobility.ParseHomeAgentSwitch(header(t, mh))
	if err != nil || m.Addresses.Len() != 127 || m.Addresses.At(126) != router {
		t.Errorf("127 addresses: %d, %v", m.Addresses.Len(), err)
	}
	if b := (mobility.HomeAgentSwitch{Addresses: list.Add(router)}).Append([]byte{1}); len(b) != 1 {
		t.Errorf("128 addresses: %d octets", len(b))
	}
	mh[6] = 128 // says more than there are
	if _, err := mobility.ParseHomeAgentSwitch(header(t, mh)); !errors.Is(err, mobility.ErrLength) {
		t.Errorf("list over the end: %v", err)
	}
}

// What Append is given it appends to; what stands before stays, and does not count for alignment.
func TestAppendKeepsWhatStandsBefore(t *testing.T) {
	before := []byte("abc")
	bu := mobility.BindingUpdate{Seq: 1, AlternateCareOf: other, HasAuth: true}
	same(t, bu.Append(bytes.Clone(before)), append(bytes.Clone(before), bu.Append(nil)...))
	fbu := mobility.FastBindingUpdate{AlternateCareOf: other, LinkAddr: link, Auth: mobility.FastAuth{Present: true}}
	same(t, fbu.Append(bytes.Clone(before)), append(bytes.Clone(before), fbu.Append(nil)...))
	hi := mobility.HandoverInitiate{LinkAddr: link, NewCareOf: other}
	same(t, hi.Append(bytes.Clone(before)), append(bytes.Clone(before), hi.Append(nil)...))
	ba := mobility.BindingAck{FinishedRequest: true, HasAuth: true}
	same(t, ba.Append(bytes.Clone(before), cp), append(bytes.Clone(before), ba.Append(nil, cp)...))
}

// Parsing the messages of LKE and of return routability costs no memory.
func TestParseAllocatesNothing(t *testing.T) {
	bu := header(t, mobility.BindingUpdate{AlternateCareOf: other, NonceIndices: mobility.NonceIndices{Present: true}, HasAuth: true}.Append(nil))
	ba := header(t, mobility.BindingAck{FinishedRequest: true, HasAuth: true}.Append(nil, cp))
	request := header(t, mobility.KeyExchangeRequest{Data: make([]byte, 128)}.Append(nil, cp))
	ack := header(t, mobility.KeyExchangeAck{Router: router}.Append(nil, cp))
	finished := header(t, mobility.Finished{HasAuth: true}.Append(nil, cp))
	fbu := header(t, mobility.FastBindingUpdate{Auth: mobility.FastAuth{Present: true}}.Append(nil))
	hi := header(t, mobility.HandoverInitiate{LinkAddr: link, NewCareOf: other, HasNumber: true, Auth: mobility.FastAuth{Present: true}}.Append(nil))
	badHI := header(t, unhex(t, "3b 01 0e 00 0000 0102 0000 0a04 00000000"))
	bad := header(t, unhex(t, "3b 01 05 00 0000 0102 8000 0069 fa20 0000"))
	for name, parse := range map[string]func(){
		"header":   func() { mobility.ParseHeader(bu.Octets) },
		"BU":       func() { mobility.ParseBindingUpdate(bu) },
		"bad BU":   func() { mobility.ParseBindingUpdate(bad) },
		"BA":       func() { mobility.ParseBindingAck(ba, cp) },
		"request":  func() { mobility.ParseKeyExchangeRequest(request, 128, cp) },
		"too long": func() { mobility.ParseKeyExchangeRequest(request, 256, cp) },
		"ack":      func() { mobility.ParseKeyExchangeAck(ack, cp) },
		"finished": func() { mobility.ParseFinished(finished, cp) },
		"FBU":      func() { mobility.ParseFastBindingUpdate(fbu) },
		"HI":       func() { mobility.ParseHandoverInitiate(hi) },
		"bad HI":   func() { mobility.ParseHandoverInitiate(badHI) },
	} {
		if allocs := testing.AllocsPerRun(20, parse); allocs != 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
}

// A zero Addr where a message needs an address is sent as ::.
func TestZeroAddress(t *testing.T) {
	be := mobility.BindingError{Status: 2}.Append(nil)
	if m, err := mobility.ParseBindingError(header(t, be)); err != nil || m.HomeAddress != netip.IPv6Unspecified() {
		t.Errorf("read %+v, %v", m, err)
	}
	ack := mobility.KeyExchangeAck{Status: mobility.StatusProhibited}.Append(nil, cp)
	if m, err := mobility.ParseKeyExchangeAck(header(t, ack), cp); err != nil || m.Router != netip.IPv6Unspecified() {
		t.Errorf("read %+v, %v", m, err)
	}
}
