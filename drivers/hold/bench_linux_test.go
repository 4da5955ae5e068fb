package hold

import "testing"

// BenchmarkHold reports the memory that a kept packet of 1,400 octets takes, and how fast packets drain where nothing slows
// them down.
func BenchmarkHold(b *testing.B) {
	n := newNetwork(b)
	for b.Loop() {
		var m Measured
		n.must(n.ar.Do(func() (err error) {
			m, err = Measure(node, 5000, 1400)
			return err
		}))
		b.ReportMetric(m.Heap, "heap-B/packet")
		b.ReportMetric(m.Resident, "rss-B/packet")
		b.ReportMetric(m.Drained, "packets/s")
	}
}

// A kept packet takes little more than its octets.
func TestMemoryOfAKeptPacket(t *testing.T) {
	n := newNetwork(t)
	n.must(n.ar.Do(func() error {
		m, err := Measure(node, 2000, 1400)
		if err == nil && (m.Packets != 2000 || m.Heap < 1400 || m.Heap > 1400*1.2 || m.Resident > 1400*1.5) {
			t.Errorf("%+v", m)
		}
		return err
	}))
}
