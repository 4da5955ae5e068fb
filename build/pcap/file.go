package pcap

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Frame is one Ethernet frame as it was seen on an interface.
type Frame struct {
	Interface int // index into the list of interfaces
	At        time.Time
	Outgoing  bool   // the interface sent it
	Octets    []byte // from the Ethernet header on
	Comment   string // shown with the frame; may be empty
}

// Interface is one place where frames were seen.
type Interface struct {
	Name        string
	Description string
}

// Block types, options and values of the pcapng format (draft-ietf-opsawg-pcapng).
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockPacket    = 6

	byteOrderMagic = 0x1a2b3c4d
	linkEthernet   = 1

	optEnd         = 0
	optComment     = 1
	optAppl        = 4 // of a section
	optName        = 2 // of an interface
	optDescription = 3
	optResolution  = 9
	optFlags       = 2 // of a packet

	nanoseconds = 9 // if_tsresol: 10 to the power of -9

	directionIn, directionOut = 1, 2

	sectionLengthUnknown = 0xffffffffffffffff
)

// Write writes frames to w in pcapng format with the link type Ethernet and times in nanoseconds. Frames have to be in
// the order in which they are to be shown.
func Write(w io.Writer, application string, interfaces []Interface, frames []Frame) error {
	out := bufio.NewWriter(w)
	var b []byte

	b = binary.LittleEndian.AppendUint32(b, byteOrderMagic)
	b = binary.LittleEndian.AppendUint16(b, 1) // version 1.0
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint64(b, sectionLengthUnknown)
	b = appendOption(b, optAppl, []byte(application))
	writeBlock(out, blockSection, endOptions(b))

	for _, i := range interfaces {
		b = binary.LittleEndian.AppendUint16(b[:0], linkEthernet)
		b = binary.LittleEndian.AppendUint16(b, 0)
		b = binary.LittleEndian.AppendUint32(b, 0) // no limit to the length of a frame
		b = appendOption(b, optName, []byte(i.Name))
		if i.Description != "" {
			b = appendOption(b, optDescription, []byte(i.Description))
		}
		b = appendOption(b, optResolution, []byte{nanoseconds})
		writeBlock(out, blockInterface, endOptions(b))
	}
	for n, f := range frames {
		if f.Interface < 0 || f.Interface >= len(interfaces) {
			return fmt.Errorf("frame %d is of interface %d, there are %d", n, f.Interface, len(interfaces))
		}
		at := uint64(f.At.UnixNano())
		b = binary.LittleEndian.AppendUint32(b[:0], uint32(f.Interface))
		b = binary.LittleEndian.AppendUint32(b, uint32(at>>32))
		b = binary.LittleEndian.AppendUint32(b, uint32(at))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(f.Octets)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(f.Octets)))
		b = pad(append(b, f.Octets...))
		if f.Comment != "" {
			b = appendOption(b, optComment, []byte(f.Comment))
		}
		direction := uint32(directionIn)
		if f.Outgoing {
			direction = directionOut
		}
		b = appendOption(b, optFlags, binary.LittleEndian.AppendUint32(nil, direction))
		writeBlock(out, blockPacket, endOptions(b))
	}
	return out.Flush()
}

// writeBlock leaves errors to the Flush at the end: a bufio.Writer keeps the first.
func writeBlock(w *bufio.Writer, typ uint32, body []byte) {
	total := uint32(len(body) + 12)
	var word [4]byte
	for _, v := range []uint32{typ, total} {
		binary.LittleEndian.PutUint32(word[:], v)
		_, _ = w.Write(word[:])
	}
	_, _ = w.Write(body)
	binary.LittleEndian.PutUint32(word[:], total)
	_, _ = w.Write(word[:])
}

func appendOption(b []byte, code uint16, value []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	return pad(append(b, value...))
}

func endOptions(b []byte) []byte { return append(b, optEnd, 0, 0, 0) }

// pad fills up to a multiple of four octets; all of a block before is aligned.
func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}
