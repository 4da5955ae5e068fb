package mobility_test

import (
	"bytes"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// FuzzMobility reads any octets as each of the messages. What is read and built again must read the same.
func FuzzMobility(f *testing.F) {
	all := messages()
	for _, m := range all {
		f.Add(unhex(f, m.octets))
	}
	v := readVectors(f)
	for _, mh := range [][]byte{
		v.RR.Header, v.FBU.Header, v.FBUShort.Header, v.LKE.Request.Header, v.LKE.Ack.Header, v.LKE.BU.Header, v.LKE.BA.Header,
		v.LKE.Finished.Header,
	} {
		f.Add(mh)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		h, err := mobility.ParseHeader(b)
		if err != nil {
			return
		}
		if len(h.Octets) > len(b) || len(h.Octets)%8 != 0 || len(h.Octets) == 0 {
			t.Fatalf("header of %d octets cut from %d", len(h.Octets), len(b))
		}
		for _, m := range all {
			_, _ = m.parse(h)
		}
		if m, err := mobility.ParseBindingUpdate(h); err == nil {
			again := mobility.Header{Type: mobility.TypeBU, Octets: m.Append(nil)}
			n, err := mobility.ParseBindingUpdate(again)
			m.AuthLast = m.HasAuth
			if err != nil || n != m {
				t.Fatalf("read %+v, built and read again %+v, %v", m, n, err)
			}
		}
		if m, err := mobility.ParseBindingAck(h, cp); err == nil {
			n, err := mobility.ParseBindingAck(mobility.Header{Type: mobility.TypeBA, Octets: m.Append(nil, cp)}, cp)
			m.AuthLast = m.HasAuth
			if !m.FinishedRequest {
				m.FinishedNonce = 0
			}
			if err != nil || n != m {
				t.Fatalf("read %+v, built and read again %+v, %v", m, n, err)
			}
		}
		if m, err := mobility.ParseKeyExchangeRequest(h, 128, cp); err == nil {
			n, err := mobility.ParseKeyExchangeRequest(mobility.Header{Type: 8, Octets: m.Append(nil, cp)}, 128, cp)
			if err != nil || n.Seq != m.Seq || n.Lifetime != m.Lifetime || !bytes.Equal(n.Data, m.Data) {
				t.Fatalf("read %+v, built and read again %+v, %v", m, n, err)
			}
		}
		if m, err := mobility.ParseKeyExchangeAck(h, cp); err == nil {
			n, err := mobility.ParseKeyExchangeAck(mobility.Header{Type: 9, Octets: m.Append(nil, cp)}, cp)
			if err != nil || n != m {
				t.Fatalf("read %+v, built and read again %+v, %v", m, n, err)
			}
		}
		if m, err := mobility.ParseHandoverInitiate(h); err == nil {
			n, err := mobility.ParseHandoverInitiate(mobility.Header{Type: mobility.TypeHI, Octets: m.Append(nil)})
			m.Auth.Last = m.Auth.Present
			if err != nil || n != m {
				t.Fatalf("read %+v, built and read again %+v, %v", m, n, err)
			}
		}
		if m, err := mobility.ParseHandoverAck(h); err == nil {
			n, err := mobility.ParseHandoverAck(mobility.Header{Type: mobility.TypeHAck, Octets: m.Append(nil)})
			m.Auth.Last = m.Auth.Present
			if err != nil || n != m {
				t.Fatalf("read %+v, built and read again %+v, %v", m, n, err)
			}
		}
		mobility.VerifyBAD(h.Octets, kbm, careOf, router)
		mobility.VerifyHandover(h.Octets, kbm, careOf, router)
		mobility.VerifyHandover(b, kbm, careOf, router)
		mobility.VerifyBADF(h.Octets, kbm, careOf, router, mobility.HMACSHA1)
		mobility.VerifyBADF(b, kbm, careOf, router, mobility.HMACSHA256)
		mobility.VerifyKeyExchangeAck(b, kbm, careOf, router, home)
		if !bytes.Equal(b, before) {
			t.Fatal("a Parse or Verify function wrote to the packet")
		}
	})
}

// FuzzCheck takes whole packets: what Check lets through has the least length of its type, and an answer is a packet of at
// most 1,280 octets that can itself be read.
func FuzzCheck(f *testing.F) {
	for _, m := range messages() {
		mh := unhex(f, m.octets)
		mobility.FixChecksum(mh, home, router)
		f.Add(ipv6.Append(nil, ipv6.Header{Src: careOf, Dst: router, HomeAddress: home}, ipv6.ProtoMobility, mh))
		f.Add(ipv6.Append(nil, ipv6.Header{Src: router, Dst: careOf, RoutingHome: home}, ipv6.ProtoMobility, mh))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var p ipv6.Packet
		if ipv6.Parse(raw, &p) != ipv6.OK {
			return
		}
		h, fault := mobility.Check(&p, mobility.MinHeaderLen)
		if least, known := mobility.MinHeaderLen(h.Type); fault == mobility.FaultNone && (!known || h.Octets[1] < least) {
			t.Fatalf("let through: %x", h.Octets)
		}
		for i := range mobility.Faults {
			answer := mobility.Answer(&p, mobility.Fault(i), router)
			if answer == nil {
				continue
			}
			var q ipv6.Packet
			if problem := ipv6.Parse(answer, &q); problem != ipv6.OK || len(answer) > 1280 || q.Src != router || q.Dst != p.Src {
				t.Fatalf("answer of %d octets, %v: %x", len(answer), problem, answer)
			}
		}
	})
}
