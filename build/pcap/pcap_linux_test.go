package pcap

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/netlab/netlabtest"
)

func TestMain(m *testing.M) { os.Exit(netlabtest.Main(m)) }

// tshark shows the fields of each frame of a capture, a line a frame, tab between fields.
func tshark(t *testing.T, capture []byte, fields ...string) []string {
	t.Helper()
	path, err := exec.LookPath("tshark")
	if err != nil {
		netlabtest.Missing(t, "tshark is not installed (apt install tshark)")
	}
	file := filepath.Join(t.TempDir(), "capture.pcap")
	if err := os.WriteFile(file, capture, 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"-r", file, "-T", "fields", "-o", "udp.check_checksum:TRUE"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	out, err := exec.Command(path, args...).Output()
	if err != nil {
		t.Fatalf("tshark does not read it: %v", err)
	}
	return strings.Split(strings.TrimRight(string(out), "\n"), "\n")
}

// Names, times, directions, comments and octets come back from an independent reader.
func TestTsharkReadsTheFile(t *testing.T) {
	at := time.Unix(1700000000, 123456789)
	frame := append(bytes.Repeat([]byte{0xff}, 6), 2, 0, 0, 0, 0, 1, 0x88, 0xb5, 1, 2, 3)
	var file bytes.Buffer
	err := Write(&file, "test", []Interface{{Name: "one"}, {Name: "two", Description: "the second"}}, []Frame{
		{Interface: 1, At: at, Octets: frame, Comment: "hello"},
		{Interface: 0, At: at.Add(time.Nanosecond), Outgoing: true, Octets: frame[:14]},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := tshark(t, file.Bytes(), "frame.time_epoch", "frame.interface_name", "frame.len", "frame.packet_flags_direction", "frame.comment", "eth.type")
	want := []string{
		"1700000000.123456789\ttwo\t17\t0x00000001\thello\t0x88b5",
		"1700000000.123456790\tone\t14\t0x00000002\t\t0x88b5",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("tshark reads\n%q\nwant\n%q", got, want)
	}
}

func TestAFrameOfAnUnknownInterfaceIsAnError(t *testing.T) {
	if err := Write(&bytes.Buffer{}, "test", []Interface{{Name: "one"}}, []Frame{{Interface: 1}}); err == nil {
		t.Error("it was written")
	}
}

// Both ends of a wire are recorded, with checksums in place and in the order of time.
func TestARecordingShowsBothEnds(t *testing.T) {
	lab, ns := netlabtest.New(t, "a", "b")
	a, b := ns[0], ns[1]
	for _, err := range []error{
		lab.Veth(netlab.End{NS: a, Name: "eth0"}, netlab.End{NS: b, Name: "eth0"}),
		a.AddAddress("eth0", netip.MustParsePrefix("2001:db8::a/64")),
		b.AddAddress("eth0", netip.MustParsePrefix("2001:db8::b/64")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var r Recorder
	defer r.Close()
	for _, err := range []error{r.Add(a, "eth0", "a", ""), r.Add(b, "eth0", "b", "")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	conn := netlabtest.Open(t, a, func() (net.Conn, error) { return net.Dial("udp6", "[2001:db8::b]:9") })
	// The first one that left and the first one that arrived: of the last ones the end may not be recorded yet.
	seen := func(text string) (out, in int) {
		for i, f := range r.Frames() {
			switch {
			case !bytes.Contains(f.Octets, []byte(text)) || f.Octets[20] != 17: // an ICMPv6 error holds it, too
			case out == 0 && f.Outgoing && f.Interface == 0:
				out = i + 1
			case in == 0 && !f.Outgoing && f.Interface == 1:
				in = i + 1
			}
		}
		return out, in
	}
	out, in := 0, 0
	for deadline := time.Now().Add(3 * time.Second); (out == 0 || in == 0) && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		_, _ = conn.Write([]byte("over the wire"))
		out, in = seen("over the wire")
	}
	if out == 0 || in == 0 || out > in {
		t.Fatalf("sent as frame %d, received as frame %d", out, in)
	}
	if dropped := r.Close(); dropped != 0 {
		t.Errorf("%d frames were dropped", dropped)
	}
	var file bytes.Buffer
	if err := Write(&file, "test", r.Interfaces(), r.Frames()); err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, status := range tshark(t, file.Bytes(), "udp.checksum.status") {
		checked += strings.Count(status, "1")
		if strings.Contains(status, "0") {
			t.Error("a checksum is wrong")
		}
	}
	if checked < 2 {
		t.Errorf("tshark checked %d checksums", checked)
	}
}
