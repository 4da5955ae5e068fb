package pcap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Values of the classic capture format (draft-ietf-opsawg-pcap), which other tools write.
const (
	classicMicroseconds = 0xa1b2c3d4
	classicNanoseconds  = 0xa1b23c4d
	classicHead         = 24
	classicRecord       = 16
	maxFrame            = 1 << 18

	ethernetHead = 14
	etherIPv6    = 0x86dd
)

// ErrFormat is what Read fails with where the octets are no whole classic capture of Ethernet frames.
var ErrFormat = errors.New("not a classic capture file of Ethernet frames, or one that is cut off (convert others with editcap -F pcap)")

// Read reads a capture file in the classic format, in either byte order. The frames have no interface, direction or
// comment.
func Read(r io.Reader) ([]Frame, error) {
	var head [classicHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	var order binary.ByteOrder = binary.LittleEndian
	if head[0] == 0xa1 {
		order = binary.BigEndian
	}
	unit := time.Microsecond
	switch order.Uint32(head[0:4]) {
	case classicMicroseconds:
	case classicNanoseconds:
		unit = time.Nanosecond
	default:
		return nil, ErrFormat
	}
	if order.Uint32(head[20:24])&0xffff != linkEthernet {
		return nil, ErrFormat
	}
	var frames []Frame
	for {
		var record [classicRecord]byte
		switch _, err := io.ReadFull(r, record[:]); {
		case errors.Is(err, io.EOF):
			return frames, nil
		case err != nil:
			return nil, fmt.Errorf("%w: frame %d: %w", ErrFormat, len(frames)+1, err)
		}
		n := order.Uint32(record[8:12])
		if n > maxFrame || n != order.Uint32(record[12:16]) {
			return nil, fmt.Errorf("%w: frame %d has %d of %d octets", ErrFormat, len(frames)+1, n, order.Uint32(record[12:16]))
		}
		f := Frame{
			At:     time.Unix(int64(order.Uint32(record[0:4])), int64(order.Uint32(record[4:8]))*int64(unit)).UTC(),
			Octets: make([]byte, n),
		}
		if _, err := io.ReadFull(r, f.Octets); err != nil {
			return nil, fmt.Errorf("%w: frame %d: %w", ErrFormat, len(frames)+1, err)
		}
		frames = append(frames, f)
	}
}

// ReadFile reads the capture file called name, as Read does.
func ReadFile(name string) ([]Frame, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	frames, err := Read(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return frames, nil
}

// IPv6 gives the IPv6 packet in the frame, with any padding behind it; nil if it holds none.
func (f Frame) IPv6() []byte {
	if len(f.Octets) < ethernetHead || binary.BigEndian.Uint16(f.Octets[12:14]) != etherIPv6 {
		return nil
	}
	return f.Octets[ethernetHead:]
}
