package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"time"
)

// The captures of the project are read whole, with the times that tshark shows.
func TestReadCapture(t *testing.T) {
	for _, tt := range []struct {
		file  string
		count int
		last  time.Duration // after the first
	}{
		{"send-ns-na.pcap", 10, 4638985 * time.Microsecond},
		{"send-ra-cps-cpa.pcap", 21, 39986402 * time.Microsecond},
	} {
		frames, err := ReadFile("../../testdata/captures/" + tt.file)
		if err != nil || len(frames) != tt.count {
			t.Fatalf("%s: %d frames, %v", tt.file, len(frames), err)
		}
		if got := frames[tt.count-1].At.Sub(frames[0].At); got != tt.last || frames[0].At.Year() < 2020 {
			t.Errorf("%s: begins %v, lasts %v", tt.file, frames[0].At, got)
		}
		for i, f := range frames {
			if p := f.IPv6(); len(p) < 40 || p[0]>>4 != 6 {
				t.Errorf("%s: frame %d: %x", tt.file, i+1, f.Octets)
			}
		}
	}
}

func TestReadFormats(t *testing.T) {
	classic := func(order binary.AppendByteOrder, magic, link, n, whole uint32) []byte {
		b := order.AppendUint32(nil, magic)
		b = append(b, make([]byte, 16)...)
		b = order.AppendUint32(b, link)
		for _, v := range []uint32{1700000000, 500000, n, whole} {
			b = order.AppendUint32(b, v)
		}
		return append(b, 1, 2, 3)
	}
	for _, tt := range []struct {
		name   string
		octets []byte
		want   time.Duration // of the second; 0: no capture
	}{
		{"little endian", classic(binary.LittleEndian, classicMicroseconds, 1, 3, 3), 500 * time.Millisecond},
		{"big endian", classic(binary.BigEndian, classicMicroseconds, 1, 3, 3), 500 * time.Millisecond},
		{"nanoseconds", classic(binary.LittleEndian, classicNanoseconds, 1, 3, 3), 500 * time.Microsecond},
		{"another link type", classic(binary.LittleEndian, classicMicroseconds, 101, 3, 3), 0},
		{"another format", classic(binary.LittleEndian, blockSection, 1, 3, 3), 0},
		{"cut frame", classic(binary.LittleEndian, classicMicroseconds, 1, 3, 9), 0},
		{"cut file", classic(binary.LittleEndian, classicMicroseconds, 1, 4, 4), 0},
		{"cut record", classic(binary.LittleEndian, classicMicroseconds, 1, 3, 3)[:30], 0},
		{"length beyond all frames", classic(binary.LittleEndian, classicMicroseconds, 1, 1<<31, 1<<31), 0},
		{"empty", nil, 0},
	} {
		frames, err := Read(bytes.NewReader(tt.octets))
		if tt.want == 0 {
			if !errors.Is(err, ErrFormat) || frames != nil {
				t.Errorf("%s: %v, %v", tt.name, frames, err)
			}
			continue
		}
		if err != nil || len(frames) != 1 || !bytes.Equal(frames[0].Octets, []byte{1, 2, 3}) ||
			frames[0].At.Sub(time.Unix(1700000000, 0)) != tt.want || frames[0].IPv6() != nil {
			t.Errorf("%s: %+v, %v", tt.name, frames, err)
		}
	}
	if _, err := ReadFile("no-such-file.pcap"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
