package main

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/pcap"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

var (
	home   = netip.MustParseAddr("2001:db8:1::abcd")
	careOf = netip.MustParseAddr("2001:db8:2::beef")
	router = netip.MustParseAddr("2001:db8:1::1")
	local  = netip.MustParseAddr("fe80::1")
)

func update() []byte {
	mh := mobility.BindingUpdate{Seq: 7, Flags: mobility.FlagAck | mobility.FlagHome, Lifetime: 10, HasAuth: true}.Append(nil)
	mobility.FixChecksum(mh, home, router)
	return ipv6.Append(nil, ipv6.Header{Src: careOf, Dst: router, HopLimit: 64, HomeAddress: home}, ipv6.ProtoMobility, mh)
}

func ack(seq uint16, status uint8) []byte {
	mh := mobility.BindingAck{Status: status, Seq: seq, Lifetime: 10, HasAuth: true}.Append(nil, mobility.DefaultCodePoints())
	mobility.FixChecksum(mh, router, home)
	return ipv6.Append(nil, ipv6.Header{Src: router, Dst: careOf, HopLimit: 64, RoutingHome: home}, ipv6.ProtoMobility, mh)
}

func solicit(tail ...byte) []byte {
	msg := ndp.AppendNeighborSolicit(nil, local, ipv6.AllNodes(), home)
	msg = append(msg, tail...)
	ndp.FixChecksum(msg, local, ipv6.AllNodes())
	return ipv6.Append(nil, ipv6.Header{Src: local, Dst: ipv6.AllNodes(), HopLimit: 255}, ipv6.ProtoICMPv6, msg)
}

// fastAuth has the form of what authenticates fast handovers; tshark does not check it.
var fastAuth = mobility.FastAuth{Present: true}

func fast(src, dst, home netip.Addr, mh []byte) []byte {
	from := src
	if home.IsValid() {
		from = home
	}
	mobility.FixChecksum(mh, from, dst)
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 64, HomeAddress: home}, ipv6.ProtoMobility, mh)
}

func fastUpdatePacket(flags uint16) []byte {
	fbu := mobility.FastBindingUpdate{Seq: 3, Flags: flags, Lifetime: 10, AlternateCareOf: careOf, Auth: fastAuth}
	return fast(home, router, home, fbu.Append(nil))
}

func fastAckPacket(seq uint16, status uint8) []byte {
	return fast(router, careOf, netip.Addr{}, mobility.FastBindingAck{Seq: seq, Status: status, Lifetime: 10, Auth: fastAuth}.Append(nil))
}

func initiatePacket() []byte {
	return fast(router, careOf, netip.Addr{}, mobility.HandoverInitiate{Seq: 5, LinkAddr: ipv6.LinkAddr{2}}.Append(nil))
}

func initiateAckPacket(seq uint16, code uint8) []byte {
	return fast(careOf, router, netip.Addr{}, mobility.HandoverAck{Seq: seq, Code: code, LinkAddr: ipv6.LinkAddr{2}}.Append(nil))
}

func changed(packet []byte, fromEnd int) []byte {
	packet[len(packet)-fromEnd] ^= 1
	return packet
}

// Each fault is found, for its own reason; a capture without one is only said to be incomplete.
func TestFaultsAreFound(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("tshark is missing: apt-get install tshark")
		}
		t.Skip("tshark is missing: apt-get install tshark")
	}
	const bothFlags = mobility.FlagAck | mobility.FlagHome
	for _, c := range []struct {
		name    string
		packets [][]byte
		want    string // "" if only completeness is missing
	}{
		{"all is well", [][]byte{update(), ack(7, 0), solicit()}, ""},
		{"a fast handover", [][]byte{fastUpdatePacket(bothFlags), initiatePacket(), initiateAckPacket(5, 0), fastAckPacket(3, 0)}, ""},
		{"fast update without H", [][]byte{fastUpdatePacket(mobility.FlagAck)}, "lacks A, H or its home address"},
		{"fast update refused", [][]byte{fastUpdatePacket(bothFlags), fastAckPacket(3, 130)}, "refuses with 130"},
		{"fast acknowledgement of nothing", [][]byte{fastUpdatePacket(bothFlags), fastAckPacket(4, 0)}, "answers nothing"},
		{"handover refused", [][]byte{initiatePacket(), initiateAckPacket(5, 128)}, "refuses with 128"},
		{"handover answer to nothing", [][]byte{initiatePacket(), initiateAckPacket(6, 0)}, "answers nothing"},
		{"mobility checksum", [][]byte{changed(update(), 1), ack(7, 0)}, "mh_bad_checksum"},
		{"ICMPv6 checksum", [][]byte{changed(solicit(), 1)}, "ICMPv6 checksum is wrong"},
		{"refused", [][]byte{update(), ack(7, 133)}, "refused with status 133"},
		{"other sequence", [][]byte{update(), ack(8, 0)}, "answers no update"},
		{"malformed option", [][]byte{solicit(1, 0, 0, 0, 0, 0, 0, 0)}, "tshark calls it malformed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var frames []pcap.Frame
			for i, p := range c.packets {
				octets := append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd}, p...)
				frames = append(frames, pcap.Frame{At: time.Unix(1, int64(i)), Octets: octets})
			}
			path := filepath.Join(t.TempDir(), "x.pcap")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := pcap.Write(f, "test", []pcap.Interface{{Name: "x"}}, frames); err != nil {
				t.Fatal(err)
			}
			f.Close()
			err = run(path)
			if err == nil {
				t.Fatal("an incomplete capture passed")
			}
			for line := range strings.Lines(err.Error()) {
				line = strings.TrimSpace(line)
				incomplete := strings.HasPrefix(line, "no ")
				if c.want == "" && !incomplete {
					t.Errorf("found %q in a sound capture", line)
				}
			}
			if c.want != "" && !strings.Contains(err.Error(), c.want) {
				t.Errorf("no %q in %v", c.want, err)
			}
		})
	}
}
