package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// checksums checks what tshark does not: the checksum of each mobility header, whose pseudo-header has the address of the
// Home Address option or of the routing header. tshark picks the frames and writes them as a file of the old format.
func checksums(path string) (n int, errs []error) {
	f, err := os.CreateTemp("", "roamkey-mobility-*.pcap")
	if err != nil {
		return 0, []error{err}
	}
	f.Close()
	defer os.Remove(f.Name())
	tshark := exec.Command("tshark", "-r", path, "-Y", "mipv6", "-F", "nsecpcap", "-w", f.Name())
	if out, err := tshark.CombinedOutput(); err != nil {
		return 0, []error{fmt.Errorf("tshark: %w: %s", err, out)}
	}
	file, err := os.ReadFile(f.Name())
	if err != nil {
		return 0, []error{err}
	}
	packets, err := packets(file)
	if err != nil {
		return 0, []error{err}
	}
	for i, octets := range packets {
		var p ipv6.Packet
		if problem := ipv6.Parse(octets, &p); problem != ipv6.OK {
			errs = append(errs, fmt.Errorf("mobility packet %d: %v", i+1, problem))
			continue
		}
		// Any type will do: it is the checksum that counts.
		_, fault := mobility.Check(&p, func(uint8) (uint8, bool) { return 0, true })
		if fault != mobility.FaultNone {
			errs = append(errs, fmt.Errorf("mobility packet %d: %v", i+1, fault))
		}
		n++
	}
	return n, errs
}

// packets gives the IPv6 packets of a capture file of the old format, with Ethernet frames.
func packets(file []byte) ([][]byte, error) {
	const fileHeader, frameHeader, ethernet = 24, 16, 14
	if len(file) < fileHeader {
		return nil, errors.New("no capture file")
	}
	var all [][]byte
	for rest := file[fileHeader:]; len(rest) > 0; {
		if len(rest) < frameHeader {
			return nil, errors.New("capture file ends within a frame")
		}
		n := int(binary.NativeEndian.Uint32(rest[8:]))
		if n < ethernet || len(rest) < frameHeader+n {
			return nil, errors.New("capture file ends within a frame")
		}
		all = append(all, rest[frameHeader+ethernet:frameHeader+n])
		rest = rest[frameHeader+n:]
	}
	return all, nil
}
